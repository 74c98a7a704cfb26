"""Decoders as criteria: laws with several parameters per pixel, on grey levels, on [0, 1] or on the real line."""

from lossproof.catalogue.decoder import Decoder
from lossproof.catalogue.decoders import DECODERS, find
from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest
from lossproof.torch.decoders.base import Law
from lossproof.torch.decoders.counts import BetaBinomial, Categorical
from lossproof.torch.decoders.interval import ContinuousBernoulli
from lossproof.torch.decoders.location import DiscretisedGaussian, DiscretisedLogistic, Gaussian, StudentT
from lossproof.torch.decoders.student import DiscretisedStudentT

LAWS: dict[str, type[Law]] = {
    law.id: law
    for law in (
        Gaussian,
        DiscretisedGaussian,
        DiscretisedLogistic,
        BetaBinomial,
        StudentT,
        DiscretisedStudentT,
        Categorical,
        ContinuousBernoulli,
    )
}


def criterion_for(decoder: Decoder | str, image_shape: tuple[int, int, int], levels: object = None) -> Law:
    """A fresh criterion of a decoder, for images of (channels, height, width).

    ``levels`` is what the data lie on, for laws on levels: 256 for bytes, another number, or ``Levels.of(data)``.
    ``outputs`` of the result is what a model is to be built with. Raises ``LossproofError`` for an unknown decoder, a
    loss, and levels that are missing or do not fit.

    >>> import torch
    >>> law = criterion_for("discretised_logistic", (1, 28, 28), levels=256)
    >>> law.outputs, law.unit
    (2, 'nats of mass')
    >>> raw = torch.zeros(5, law.outputs, 28, 28)
    >>> law.grade(torch.zeros(5, 1, 28, 28), raw).slopes.shape
    torch.Size([5, 2, 28, 28])
    """
    found = find(decoder) if isinstance(decoder, str) else decoder
    if not isinstance(found, Decoder) or found.id not in LAWS:
        name = getattr(found, "label", repr(found))
        raise LossproofError(
            f"decoder: expected one of {', '.join(DECODERS)}, got {name}; {nearest(str(name), DECODERS)}"
        )
    return LAWS[found.id](found, image_shape, levels)


__all__ = ["LAWS", "Law", "criterion_for"]
