"""A lowered loss as source text: value, gradients and floor, plain and behind the link."""

import math
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from lossproof.formula import SIGMOID, Link, Loss, LossproofError
from lossproof.formula.errors import nearest
from lossproof.formula.symbols import P, Y, Z
from lossproof.lower import stable
from lossproof.lower.emit import Emitter
from lossproof.lower.rules import TooSlow
from lossproof.lower.stable import Lowered
from lossproof.lower.targets import FORMULA, TARGETS

NAMES = ("value", "gradient", "value_logits", "gradient_logits", "floor")


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
        lines = [line for line in target.header.splitlines() if not line or _is_used(line, body)]
        header = "\n".join(lines).strip() + "\n"
        return f"{header}\n\n{body}".lstrip()


def source(
    loss: Loss,
    target: str = "torch",
    *,
    link: Link = SIGMOID,
    bound: bool = False,
    naive: bool = False,
    names: Collection[str] = NAMES,
) -> Source:
    """Write a loss's functions for a target. Parameters stay keyword arguments unless ``bound``.

    ``naive`` leaves out every rewriting rule; ``names`` chooses among value, gradient, value_logits,
    gradient_logits, curvature_logits, floor, and for torch both_logits and fused_logits. What takes longer than ten
    seconds to rewrite and print comes in its plain form, with a warning. Raises ``LossproofError`` for an unknown
    target, or a function that the target lacks.

    >>> from lossproof.catalogue import CATALOGUE
    >>> print(source(CATALOGUE["bce"], "numpy").functions["value_logits"])
    def value_logits(y, z):
        \"\"\"loss(y, sigmoid(z)).\"\"\"
        return np.logaddexp(0, z) - y * z
    <BLANKLINE>
    """
    if target not in TARGETS:
        raise LossproofError(f"lower: expected a target, got {target!r}; {nearest(target, TARGETS)}")
    if not naive:
        deadline = time.thread_time() + stable.BUDGET
        lowered = stable.lower(loss, link, bound=bound)
        if not lowered.plain:
            try:
                return _printed(loss, target, link, bound, names, lowered, deadline)
            except (TooSlow, MemoryError, RecursionError):
                stable.warn_of_time(loss)
    return _printed(loss, target, link, bound, names, stable.lower_naive(loss, link, bound=bound), math.inf)


def _printed(
    loss: Loss,
    target: str,
    link: Link,
    bound: bool,
    names: Collection[str],
    lowered: Lowered,
    deadline: float,
) -> Source:
    """The text; of the plain form without a look for common parts, and no ``both_logits`` and ``fused_logits``."""
    emitter = Emitter(TARGETS[target], deadline=deadline, share=not lowered.plain)
    extra = "" if bound else "".join(f", {name}={float(value)!r}" for name, value in loss.values.items())
    plan: list[tuple[str, tuple[Any, ...], str]] = [
        ("value", (Y, P), "loss(y, p)."),
        ("gradient", (Y, P), "Derivative of the loss with respect to p."),
        ("value_logits", (Y, Z), f"loss(y, {link.forward})."),
        ("gradient_logits", (Y, Z), "Derivative of the loss with respect to z."),
        ("curvature_logits", (Y, Z), "Second derivative of the loss with respect to z."),
        ("floor", (Y,), "Least loss over p."),
    ]
    functions = {}
    for name, args, doc in plan:
        if name not in names:
            continue
        expr = lowered.curvature_logits(deadline) if name == "curvature_logits" else getattr(lowered, name)
        if expr is not None:
            functions[name] = emitter.function(name, args, ", ".join(map(str, args)) + extra, expr, doc)
    if target == "torch" and "both_logits" in names and not lowered.plain:
        from lossproof.lower.inplace import both_logits

        text, used = both_logits(lowered.value_logits, lowered.gradient_logits, "y, z" + extra, deadline)
        functions["both_logits"] = text
        emitter.used.update(used)
    if target == "torch" and "fused_logits" in names and not lowered.plain:
        from lossproof.lower.fused import one_exponential

        pair, given = one_exponential(lowered.value_logits, lowered.gradient_logits)
        if given:
            doc = "Loss and its derivative with respect to z, for a compiler."
            functions["fused_logits"] = emitter.function(
                "fused_logits", (Y, Z), "y, z" + extra, pair, doc, given
            )
    order = tuple(name for name in TARGETS[target].primitives if name in emitter.used)
    return Source(functions, order, lowered, target)


def _is_used(statement: str, body: str) -> bool:
    name = statement.rsplit(maxsplit=1)[-1]
    return re.search(rf"\b{re.escape(name)}\.", body) is not None


def readable(expr: Any) -> str:
    """An expression as people write it, terms in the order of the code.

    >>> from lossproof.formula.functions import softplus
    >>> readable(-Y * Z + softplus(Z))
    'softplus(z) - y*z'
    """
    return Emitter(FORMULA)(expr).replace(" * ", "*").replace(" / ", "/")
