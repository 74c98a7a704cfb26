"""Losses that are known to be numbers wherever the logits are not extreme: their values need no looking after."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lossproof.formula.loss import Loss

EXTREME = 64.0  # exp of it, and its square, are far from where float32 ends
LARGE = 1e30  # float32 ends at 3.4e38


@lru_cache(maxsize=256)
def finite(loss: Loss) -> bool:
    """Whether the loss is a number in float32, and all parts of it are, for targets in [0, 1] and logits in [-64, 64].

    Shown by one interval evaluation of the form that the kernel computes; what it cannot show counts as no.

    >>> from lossproof.catalogue import resolve
    >>> [finite(resolve(loss)) for loss in ("bce", "mse", "(y - p)**2 + 0.001*log(p - 0.1)")]
    [True, True, False]
    """
    from lossproof.formula import SIGMOID, LossproofError
    from lossproof.formula.symbols import Y, Z
    from lossproof.lower.stable import lower
    from lossproof.prove.enclose import Enclosure

    low, high = max(0.0, float(loss.target.low)), min(1.0, float(loss.target.high))
    try:
        form = Enclosure(lower(loss, SIGMOID, bound=True).value_logits, [Y, Z])
    except LossproofError:
        return False
    return form.steady(((low, high), (-EXTREME, EXTREME)), below=LARGE)[1]


__all__ = ["EXTREME", "finite"]
