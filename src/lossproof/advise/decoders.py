"""Decoders as candidates: which come into question on the data, and how well their laws fit held-out values.

A decoder has more than one number a value, so a prediction p alone does not say its law. As a stand-in for a network
each of its outputs is an affine function of (1, p, logit p), p the linear model's prediction, the same function for all
values; its coefficients are fitted on one half of the images and judged on the other, like a loss's temperature.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lossproof.advise.goals import Goal
from lossproof.advise.law import Law
from lossproof.catalogue.decoder import Decoder
from lossproof.formula import LossproofError
from lossproof.likelihood import Levels

if TYPE_CHECKING:
    from lossproof.advise.candidates import Bench
    from lossproof.data.facts_stream import Facts

OUTPUTS = 4  # for a value; a decoder with more is tried only where it is named
STEPS = 60


def why_not(decoder: Decoder, facts: Facts, measure: object, *, named: bool = False) -> str:
    """Why a decoder does not come into question on the data; "" if it does."""
    mass = isinstance(measure, Levels)
    if facts.one_bit and not named:
        return "the values are 0 and 1: one number p says all that a law of them can"
    if not facts.unit:
        return "values lie beyond [0, 1], and a pilot of decoders needs values inside"
    if (decoder.measure == "levels") != mass:
        return (
            "a density, whose nats do not compare with those of a mass on the data's grey levels"
            if mass
            else f"a mass on grey levels, which the data do not lie on ({facts.size or 'too many'} distinct values)"
        )
    outputs = decoder.outputs(measure.count if isinstance(measure, Levels) else None)
    if outputs > OUTPUTS and not named:
        return f"it needs {outputs} outputs a value; --loss {decoder.id} tries it all the same"
    try:
        _criterion(decoder, measure)
    except LossproofError as error:
        return str(error)
    except ImportError:
        return "decoders need torch: pip install 'lossproof[torch]'"
    return ""


def not_for(goal: Goal) -> str:
    """Why a goal does without decoders."""
    return (
        f"a decoder's further outputs serve its law, and for this goal ({goal.name}) only the picture counts: "
        "--goal sample and --goal represent try it"
    )


def decoder_law(decoder: Decoder, bench: Bench) -> Law:
    """The decoder's law on the bench's values; its scale is learned, so that its temperature is 1."""
    import torch

    made = _criterion(decoder, bench.measure)
    outputs = made.outputs
    p = np.clip(bench.p, 1e-4, 1 - 1e-4)
    features = torch.from_numpy(np.stack([np.ones_like(p), p, np.log(p / (1 - p))]))
    y = torch.from_numpy(bench.y)
    weights = torch.zeros(outputs, 3, dtype=torch.float64)
    own = [value.detach().double().clone() for value in made.parameters.values()]

    def values(rows: slice) -> torch.Tensor:
        raw = torch.einsum("oj,jnv->onv", weights, features[:, rows])
        made.parameters = dict(zip(made.parameters, own, strict=True))
        target = y[rows].unsqueeze(1).unsqueeze(1)
        return made.values(target, raw.movedim(0, 1).unsqueeze(2)).reshape(len(target), -1)

    every, rest = slice(0, None, 2), slice(1, None, 2) if len(bench.y) >= 4 else slice(0, None, 2)
    learned = [weights, *own]
    for tensor in learned:
        tensor.requires_grad_(True)
    with torch.enable_grad():
        search = torch.optim.LBFGS(learned, max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            search.zero_grad()
            loss = values(every).mean()
            loss.backward()
            return loss

        try:
            search.step(closure)
        except LossproofError as error:  # values between the levels
            return Law(math.nan, math.inf, np.empty(0), math.nan, str(error))
    with torch.no_grad():
        by_image = values(rest).mean(1).numpy()
    nats = float(by_image.mean())
    if not math.isfinite(nats):
        return Law(
            math.nan,
            math.inf,
            np.empty(0),
            math.nan,
            "its fit on the linear model's predictions did not end well",
        )
    return Law(1.0, nats, by_image, math.nan)


def _criterion(decoder: Decoder, measure: object):
    from lossproof.torch.decoders import criterion_for

    return criterion_for(decoder, (1, 1, 1), measure if isinstance(measure, Levels) else None)


__all__ = ["decoder_law", "not_for", "why_not"]
