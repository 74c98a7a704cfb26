"""All claims, decided: each verdict is computed when it is asked for."""

from collections.abc import Iterator, Sequence

from lossproof.advise.claims import about_minimum, about_shape, about_training
from lossproof.advise.claims.records import Answer, Claim, chosen

CLAIMS: tuple[Claim, ...] = (*about_minimum.CLAIMS, *about_shape.CLAIMS, *about_training.CLAIMS)


def decide(ids: Sequence[str] = ()) -> Iterator[Answer]:
    """Decide claims by their ids, all of them without ids. Raises ``LossproofError`` for an unknown id.

    >>> [answer.decision.verdict for answer in decide(["reach-zero", "dims"])]
    ['true under a condition', 'false']
    """
    for claim in chosen(CLAIMS, ids):
        yield Answer(claim.id, claim.text, claim.seen, claim.decide())
