"""The losses: data only, one small file a family. ``resolve`` turns what a user writes into a Loss."""

from lossproof.catalogue import bernoulli, counts, distance, shifted
from lossproof.catalogue.resolve import resolve_in
from lossproof.formula import Loss, LossproofError

CATALOGUE: dict[str, Loss] = {}
for _loss in (*bernoulli.LOSSES, *distance.LOSSES, *counts.LOSSES, *shifted.LOSSES):
    if _loss.id in CATALOGUE:
        raise LossproofError(f"catalogue: expected distinct ids, got {_loss.id!r} twice.")
    CATALOGUE[_loss.id] = _loss


def resolve(spec: object, **params: float) -> Loss:
    """Turn a catalogue id, ``"id(param=...)"``, a formula string, ``"module:function"`` or a callable into a Loss.

    Raises ``LossproofError`` with the nearest names for an unknown id, and with the column for a bad formula.

    >>> resolve("huber(delta=0.1)").label
    'huber(delta=0.1)'
    >>> resolve("abs(y - p)**q", q=1.5).values["q"]
    1.5
    """
    return resolve_in(CATALOGUE, spec, params)


__all__ = ["CATALOGUE", "resolve"]
