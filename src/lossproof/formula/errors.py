"""The one error type of the project: what was expected, what came, where, and what to do."""

import difflib
from collections.abc import Iterable


class LossproofError(ValueError):
    """A wrong input, explained: what was expected, what came, where, and what to do.

    >>> raise LossproofError("bce: expected target in [0, 1], got 1.5 at [3]. Divide by 255?")
    Traceback (most recent call last):
        ...
    lossproof.formula.errors.LossproofError: bce: expected target in [0, 1], got 1.5 at [3]. Divide by 255?
    """


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> str:
    """Say which known names are near to a wrong one, or list all of them.

    >>> nearest("bec", ["bce", "mse"])
    'did you mean bce?'
    >>> nearest("zzz", ["bce", "mse"])
    'known: bce, mse.'
    """
    names = {n.lower(): n for n in sorted(known)}
    close = difflib.get_close_matches(name.lower(), names, n=count, cutoff=0.4)
    if close:
        return f"did you mean {', '.join(names[c] for c in close)}?"
    return f"known: {', '.join(names.values())}."
