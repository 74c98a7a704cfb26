"""A lowered loss as a module of source text: value, gradient and floor, plain and behind the link."""

from dataclasses import dataclass
from typing import Any

from lossproof.formula import SIGMOID, Link, Loss, LossproofError
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower.emit import Emitter
from lossproof.lower.stable import Lowered, lower
from lossproof.lower.targets import FORMULA, TARGETS


@dataclass(frozen=True)
class Source:
    """Functions of one loss for one target, and the primitives they call."""

    functions: dict[str, str]
    primitives: tuple[str, ...]
    lowered: Lowered
    target: str

    def text(self) -> str:
        """One self-contained module: imports, the primitives in use, the functions."""
        target = TARGETS[self.target]
        helpers = [target.primitives[name] for name in self.primitives]
        body = "\n\n".join([*helpers, *self.functions.values()])
        header = target.header if "math." in body else target.header.replace("import math\n\n", "")
        return f"{header}\n\n{body}".lstrip()


def source(loss: Loss, target: str = "torch", *, link: Link = SIGMOID, bound: bool = False) -> Source:
    """Write a loss's functions for a target. Parameters stay keyword arguments unless ``bound``.

    >>> from lossproof.catalogue import CATALOGUE
    >>> print(source(CATALOGUE["bce"], "numpy").functions["value_logits"])
    def value_logits(y, z):
        \"\"\"softplus(z) - y*z with p = sigmoid(z).\"\"\"
        return np.logaddexp(0, z) - y * z
    <BLANKLINE>
    """
    if target not in TARGETS:
        raise LossproofError(f"lower: expected a target of {', '.join(TARGETS)}, got {target!r}.")
    lowered = lower(loss, link, bound=bound)
    emitter = Emitter(TARGETS[target])
    extra = "" if bound else "".join(f", {p.name}={_default(p.default)}" for p in loss.params)
    plan: list[tuple[str, tuple[Any, ...], Any, str]] = [
        ("value", (Y, P), lowered.value, "loss(y, p)."),
        ("gradient", (Y, P), lowered.gradient, "Derivative of the loss with respect to p."),
        ("value_logits", (Y, Z), lowered.value_logits, f"loss(y, {link.forward})."),
        ("gradient_logits", (Y, Z), lowered.gradient_logits, "Derivative of the loss with respect to z."),
    ]
    if lowered.floor is not None:
        plan.append(("floor", (Y,), lowered.floor, "Least loss over p."))
    functions = {
        name: emitter.function(name, args, ", ".join(map(str, args)) + extra, expr, doc)
        for name, args, expr, doc in plan
    }
    order = tuple(name for name in TARGETS[target].primitives if name in emitter.used)
    return Source(functions, order, lowered, target)


def _default(value: float) -> str:
    return repr(float(value))


def readable(expr: Any) -> str:
    """An expression as people write it, terms in the order of the code.

    >>> from lossproof.formula.functions import softplus
    >>> readable(-Y * Z + softplus(Z))
    'softplus(z) - y*z'
    """
    return Emitter(FORMULA)(expr).replace(" * ", "*").replace(" / ", "/")
