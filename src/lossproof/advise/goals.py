"""What the advice is for: each goal's model, what decides in a pilot, and what a loss must do for it."""

from dataclasses import dataclass

from lossproof.formula import LossproofError
from lossproof.formula.errors import nearest


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal: the model that a pilot trains, the measure that decides it (lower is better), and the measure in words.

    ``law_first``: without a pilot the fit of the law decides, whatever else; else only where noise was found.
    ``decoders``: laws with more than one output a value are candidates too.
    """

    name: str
    title: str
    model: str
    decides: str
    law_first: bool
    decoders: bool = False


GOALS: dict[str, Goal] = {
    goal.name: goal
    for goal in (
        Goal("reconstruct", "reconstruct images", "ae", "picture", law_first=False),
        Goal("sample", "draw new images from a VAE", "vae", "bound", law_first=True, decoders=True),
        Goal("denoise", "remove noise that the images have", "ae", "hidden", law_first=False),
        Goal("anomaly", "tell odd images by their loss", "ae", "anomaly", law_first=False),
        Goal(
            "represent", "use the code for something else", "ae", "neighbours", law_first=False, decoders=True
        ),
    )
}

#: what decides -> words for it
MEASURES: dict[str, str] = {
    "squared": "mean squared error of held-out images, per value",
    "absolute": "mean absolute error of held-out images, per value",
    "hidden_squared": "mean squared error at pixels of held-out images that the model is not shown",
    "hidden_absolute": "mean absolute error at pixels of held-out images that the model is not shown",
    "bound": "nats a value of held-out images under the calibrated loss, plus the rate (a bound on -log likelihood)",
    "anomaly": "1 - AUROC of the excess: held-out images against the same with a patch of another image",
    "neighbours": "share of held-out images whose 5 nearest codes have another label",
    "moved": "share of held-out images that, moved by a pixel, have another image's code nearest",
}


def goal_of(name: str) -> Goal:
    """The goal of that name. Raises ``LossproofError`` with the names there are."""
    if name not in GOALS:
        raise LossproofError(
            f"goal: expected one of {', '.join(GOALS)}, got {name!r}; {nearest(str(name), GOALS)}"
        )
    return GOALS[name]
