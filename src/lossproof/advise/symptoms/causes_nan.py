"""NaN and infinity: where the first one can come from, found by evaluating the formula in the dtypes in use."""

import ast
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from lossproof.advise.symptoms.case import Case
from lossproof.advise.symptoms.records import Cause, Finding, RuledOut, short
from lossproof.catalogue import CATALOGUE
from lossproof.formula import REALS, Loss
from lossproof.formula.syntax import syntax
from lossproof.lower import function
from lossproof.lower.autopsy import autopsy

LOG = "log of 0: the loss takes logarithms of rounded probabilities"
DTYPES = ("float32", "float16")
_LOGITS = np.concatenate([np.arange(0, 120, 0.25), np.geomspace(120, 1e4, 60)])
_RESIDUALS = np.geomspace(0.01, 1e5, 600)


def not_finite(case: Case) -> Iterator[Finding | str]:
    """A logged NaN or infinity, or one in the dump."""
    bad = case.value is not None and not math.isfinite(case.value)
    yield from _in_targets(case)
    dumped = list(_in_dump(case))
    yield from dumped
    if not bad:
        return
    yield from _curve(case)
    if case.loss is None:
        if not dumped:
            yield from _any_loss()
        yield "NaN has many roads: name the loss (--loss) and give the data (--data) or a dump (--dump)"
        return
    if not dumped:
        yield from _rounded(case)
        yield from _overflow(case)
        yield "where the first NaN arose (loss, gradient or weights): one dump of targets and outputs would tell (--dump)"


def _in_targets(case: Case) -> Iterator[Finding | str]:
    t = case.targets
    if t is None:
        return
    title = "NaN or infinity in the targets"
    if t.not_finite:
        yield Cause(
            "nan_targets",
            title,
            "shown",
            (
                f"{t.not_finite:,} of {t.stored.total:,} target values are NaN or infinite: so is every mean over them",
            ),
            "x = x[np.isfinite(x).all(axis=tuple(range(1, x.ndim)))]",
            "np.isfinite(x).all()",
            weight=3.0,
        )
    elif case.value is not None and not math.isfinite(case.value):
        yield RuledOut("nan_targets", title, f"all {t.stored.total:,} target values are finite")


def _in_dump(case: Case) -> Iterator[Finding | str]:
    """The first output that is not finite, or at which the formula is not."""
    dump = case.tensors
    if dump is None:
        return
    for name, array in (("logits", dump.logits), ("predictions", dump.predictions)):
        if array is None or np.isfinite(array).all():
            continue
        where = np.argwhere(~np.isfinite(array))
        images = len(set(where[:, 0].tolist()))
        yield Cause(
            "nan_outputs",
            f"NaN or infinity in the network's {name}, before the loss",
            "shown",
            (
                f"{len(where):,} of {array.size:,} {name} are not finite, in {images} of {len(array)} images, first "
                f"{array[tuple(where[0])]} at {where[0].tolist()}",
                "all images: weights that are not finite; some images: those inputs" if images < len(array)
                else "in every image: the weights are not finite, so the NaN came with an earlier step",
            ),
            "lower the learning rate or clip the gradient norm; look at the step before, not at this one",
            "torch.autograd.set_detect_anomaly(True), or lossproof.torch.Monitor, which names the first step",
            weight=2.5,
        )  # fmt: skip
        return
    if case.loss is not None and dump.predictions is not None and case.value is not None and not case.finite:
        yield from _in_formula(case, dump.predictions)


def _in_formula(case: Case, predictions: np.ndarray) -> Iterator[Finding | str]:
    """The first element at which the loss as written by hand is not a number."""
    assert case.loss is not None
    assert case.tensors is not None
    loss = by_hand(case.loss.definition)
    with np.errstate(all="ignore"):
        value = _functions(loss)["value"](case.tensors.targets, predictions)
    wrong = np.argwhere(~np.isfinite(value) & np.isfinite(case.tensors.targets))
    if not len(wrong):
        return
    at = tuple(wrong[0])
    y, p = float(case.tensors.targets[at]), float(predictions[at])
    yield Cause(
        "log_of_zero" if 0 <= p <= 1 else "missing_sigmoid",
        LOG if 0 <= p <= 1 else "no sigmoid: the loss takes the logarithm of a number below 0",
        "shown",
        (
            f"{len(wrong):,} of {value.size:,} values are not finite, first at {[int(i) for i in at]}: target "
            f"{short(y)}, prediction {short(p)}: {autopsy(loss, y, p) or 'the loss is not finite'}",
        ),
        "compute the loss from logits: lossproof.torch.ReconstructionLoss, BCEWithLogitsLoss, from_logits=True",
        "prediction.min() > 0 and prediction.max() < 1, in the dtype of training",
        weight=2.4,
    )


def _curve(case: Case) -> Iterator[Finding | str]:
    """What the curve did before its first NaN."""
    if case.curve is None:
        return
    train = case.curve.train
    bad = np.flatnonzero(~np.isfinite(train))
    if not bad.size:
        return
    first = int(bad[0])
    before = train[:first]
    if before.size < 3:
        return
    low = float(np.median(np.abs(before)))
    last = float(abs(before[-1]))
    if last > 10 * max(low, 1e-12):
        yield Cause(
            "divergence",
            "divergence: the loss exploded before it was NaN",
            "fits",
            (f"point {first + 1} is the first NaN; before it {short(before[-1])}, {short(last / low)} times the median "
             "of the points before",),
            "lower the learning rate, clip the gradient norm, warm up",
            "log the gradient norm of every step",
            weight=1.5,
        )  # fmt: skip
    else:
        title = "divergence: the loss exploded before it was NaN"
        yield RuledOut(
            "divergence", title, f"the last number before point {first + 1} was {short(before[-1])}, as usual"
        )


def _rounded(case: Case) -> Iterator[Finding | str]:
    """The logit at which the formula, as written by hand on probabilities, is no longer finite."""
    assert case.loss is not None
    loss = case.loss.definition
    y = _levels(case)
    found = []
    for dtype in DTYPES:
        logit, said = breaks_at(loss, y, dtype)
        if logit is not None:
            found.append(f"{dtype}: from |z| = {short(logit)} on, {said}")
    if not found:
        yield RuledOut(
            "log_of_zero",
            LOG,
            f"{loss.label} is finite at every prediction that a float16 sigmoid can round to",
        )
        return
    yield Cause(
        "log_of_zero",
        LOG,
        "fits",
        (
            "the formula on p = sigmoid(z), written by hand without clipping, evaluated at the targets:",
            *found,
            "without a sigmoid at all the logarithm is of a number below 0 as soon as one output is negative",
        ),
        "compute the loss from logits: lossproof.torch.ReconstructionLoss, BCEWithLogitsLoss, from_logits=True",
        "prediction.min() > 0 and prediction.max() < 1, in the dtype of training",
        weight=1.2,
    )


def _any_loss() -> Iterator[Finding]:
    """What can make a loss that was not named NaN or infinite: the catalogue, evaluated as people write it."""
    logs: dict[str, list[str]] = {"": []}
    large: list[str] = []
    for loss in CATALOGUE.values():
        case = Case(loss=function(loss))
        logit, _ = breaks_at(loss, _levels(case), DTYPES[0])
        logs.setdefault("" if logit is None else short(logit), []).append(loss.label)
        limits = ", ".join(f"{dtype} {short(limit)}" for dtype, limit in _limits(loss).items())
        large += [f"{loss.label} ({limits})"] if limits else []
    fine = logs.pop("")
    yield Cause(
        "log_of_zero",
        LOG,
        "possible",
        (
            *(f"{DTYPES[0]}, from |z| = {z} on, the sigmoid rounded to 0 or 1: {', '.join(names)}"
              for z, names in sorted(logs.items(), key=lambda item: float(item[0]))),
            f"finite there, so it is not this with: {', '.join(fine)}",
        ),
        "compute the loss from logits: lossproof.torch.ReconstructionLoss, BCEWithLogitsLoss, from_logits=True",
        "prediction.min() > 0 and prediction.max() < 1, in the dtype of training",
        weight=1.2,
    )  # fmt: skip
    yield Cause(
        "overflow",
        "overflow: the formula as it stands raises numbers too large for the dtype",
        "possible",
        (f"as people write it, not finite from this |y - p| on: {'; '.join(large)}",),
        "use a stable form (lossproof show LOSS --as torch), and targets in [0, 1]",
        "print (target - prediction).abs().max()",
        weight=0.6,
    )
    yield Cause(
        "divergence",
        "weights that are not finite: every loss of them is NaN",
        "possible",
        (
            "a step that was too large: a learning rate, or targets such as 255 where the loss has no lower bound",
        ),
        "lower the learning rate, clip the gradient norm; x = x / 255",
        "lossproof.torch.Monitor names the first step, image and pixel",
        weight=0.5,
    )


def _limits(loss: Loss) -> dict[str, float]:
    """dtype -> the residual from which on a loss of y - p written by hand is not finite; those where there is one."""
    if not loss.prediction.covers(REALS):
        return {}
    functions, found = _functions(by_hand(loss)), {}
    for dtype in DTYPES:
        r = _RESIDUALS[np.finfo(dtype).max > _RESIDUALS].astype(dtype)
        with np.errstate(all="ignore"):
            bad = ~np.isfinite(functions["value"](np.zeros_like(r), r))
        if bad.any():
            found[dtype] = float(r[int(bad.argmax())])
    return found


def _overflow(case: Case) -> Iterator[Finding | str]:
    """The residual at which the formula overflows, for losses of y - p written by hand."""
    assert case.loss is not None
    loss = case.loss.definition
    span = (
        1.0
        if case.targets is None
        else max(abs(case.targets.stored.values[0]), abs(case.targets.stored.values[-1]))
    )
    limits = _limits(loss)
    lines = [f"{dtype}: not finite from |y - p| = {short(limit)} on" for dtype, limit in limits.items()]
    reached = any(span >= limit for limit in limits.values())
    if lines:
        lines.append(f"the targets, as stored, go up to {short(float(span))}")
        yield Cause(
            "overflow",
            "overflow: the formula as it stands raises numbers too large for the dtype",
            "fits" if reached else "possible",
            tuple(lines),
            "use a stable form (lossproof show LOSS --as torch), and targets in [0, 1]",
            "print (target - prediction).abs().max()",
            weight=1.3 if reached else 0.1,
        )


def _levels(case: Case) -> np.ndarray:
    if case.targets is not None and case.legal:
        values = case.targets.levels.values
        return values[np.linspace(0, len(values) - 1, min(9, len(values))).astype(int)]
    assert case.loss is not None
    y = np.array([0.0, 0.25, 0.5, 1.0])
    return y[case.loss.definition.target.contains(y)]


def breaks_at(loss: Loss, targets: np.ndarray, dtype: str) -> tuple[float | None, str]:
    """The least |z| at which a loss written by hand on sigmoid(z) is not finite in a dtype, and what it is there.

    >>> from lossproof.catalogue import resolve
    >>> breaks_at(resolve("bce"), np.array([0.5]), "float32")
    (16.75, 'the loss of target 0.5 is inf: the sigmoid rounds to 1')
    """
    functions = _functions(by_hand(loss))
    found: tuple[float | None, str] = (None, "")
    for y in targets.tolist():
        for sign in (1.0, -1.0):
            z = (sign * _LOGITS).astype(dtype)
            with np.errstate(all="ignore"):
                p = (1 / (1 + np.exp(-z.astype(np.float32)))).astype(
                    dtype
                )  # half precision computes in single
                value = functions["value"](np.full_like(z, y), p)
            bad = ~np.isfinite(value) & ((p == 0) | (p == 1))
            if not np.isfinite(value[0]):  # not even at p = 1/2: it is not the rounding
                continue
            if bad.any() and (found[0] is None or abs(z[int(bad.argmax())]) < found[0]):
                at = int(bad.argmax())
                said = f"the loss of target {short(y)} is {value[at]}: the sigmoid rounds to {short(float(p[at]))}"
                found = (float(abs(z[at])), said)
    return found


@lru_cache(maxsize=64)
def _functions(loss: Loss) -> dict[str, Any]:
    """The value of a loss with no rewriting, as NumPy code; it keeps the dtype of its arguments."""
    from lossproof.lower.kernels import run
    from lossproof.lower.source import source

    text = source(loss, "numpy", bound=True, naive=True, names=("value",)).text()
    return run(text, f"<by hand {loss.label}>")


@lru_cache(maxsize=64)
def by_hand(loss: Loss) -> Loss:
    """The loss with the functions that guard its corners written out: y*log(p) for xlogy(y, p), log(cosh(r)).

    >>> from lossproof.catalogue import resolve
    >>> by_hand(resolve("bce")).formula
    '-(y * log(p) + (1 - y) * log(1 - p))'
    """
    tree = _Plain().visit(syntax(loss.formula))
    text = ast.unparse(ast.fix_missing_locations(tree))
    return replace(loss, formula=text, target=REALS)


class _Plain(ast.NodeTransformer):
    """Guarded functions of formulas, written as people write them."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        plain = _WRITTEN_OUT.get(node.func.id) if isinstance(node.func, ast.Name) else None
        return node if plain is None else plain(*node.args)


def _call(name: str, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [argument], [])


#: function of formulas -> what is typed in its place
_WRITTEN_OUT: dict[str, Callable[..., ast.expr]] = {
    "xlogy": lambda a, b: ast.BinOp(a, ast.Mult(), _call("log", b)),
    "logcosh": lambda r: _call("log", _call("cosh", r)),
}
