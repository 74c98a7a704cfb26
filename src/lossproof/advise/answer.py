"""The answer in sentences: why this loss, what would change it, what to look out for. Each names its source."""

import math
from collections.abc import Sequence

from lossproof.advise.candidates import measure_of
from lossproof.advise.goals import GOALS, MEASURES, Goal
from lossproof.advise.pilot import Pilot
from lossproof.advise.ranking import AT_ENDS, LIKELIHOOD, MARGIN, Need, Ranked, answer_to
from lossproof.advise.traits import Traits
from lossproof.advise.words import percent
from lossproof.data.facts_stream import Facts
from lossproof.likelihood import Levels

BRIGHT = 0.25  # of what the data's type can hold: if no value is above, it may have fewer bits

#: requirement -> what it asks of a loss, in words
ASKS = {
    "mean": "the best prediction should be the mean of what the code leaves open",
    "alive": "the gradient should stay where a saturated pixel is wrong",
    "proper": "the best prediction should be the probability of a 1",
    LIKELIHOOD: "exp(-loss) should be a law of 0 and 1",
}
MIXED = (
    "Evidence on squared error behind a sigmoid is mixed: plateaus are shown (Glorot and Bengio 2010), and with linear "
    "outputs it does as well as cross-entropy (Hui and Belkin, arXiv 2006.07322)."
)
#: goal -> evidence against the measure that decides it
COUNTER = {
    "sample": "A better bound is not a better picture: on MNIST a scale for each pixel took the bound from 896 to 2895 nats "
              "and the FID from 32 to 132 (Rybkin et al., arXiv 2006.13202, table 3).",
    "represent": "A better likelihood is not a better code: on CIFAR-10 decoders whose bounds were 1007 and 3121 nats gave "
                 "codes of 0.43 and 0.47 accuracy (Loaiza-Ganem and Cunningham, arXiv 1907.06845).",
}  # fmt: skip


def reasons(
    first: Ranked,
    order: Sequence[Ranked],
    asked: Sequence[Need],
    facts: Facts,
    pilot: Pilot | None,
    traits: Traits,
    goal: Goal,
) -> list[str]:
    """Why the first loss is advised; the pilot counts before the facts."""
    said = []
    label = first.candidate.label
    measured = pilot is not None and pilot.conclusive
    if pilot is not None:
        said.append(
            f"Pilot ({_many(pilot.rows[0].epochs, 'epoch')} of {pilot.train} images, {pilot.seeds} seeds; what decides: "
            f"{pilot.title}): {pilot.words}."
        )
        said += _drawn(pilot)
    for need, answer in zip(asked, first.met, strict=True):
        told = answer_to(need, traits, facts)
        verdict = {"holds": "yes", "refuted": "no"}.get(told.answer or answer, "not shown")
        after = (
            ""
            if verdict == "yes" or not measured
            else " The pilot measured what that costs here, and counts more."
        )
        said.append(
            f"{_capital(need.reason)}, so {ASKS[need.requirement]}. {label}: {verdict} ({told.why}) "
            f"[{told.source or 'no certificate'}].{after}"
        )
    if facts.noisy:
        other = pilot is not None and pilot.chosen == label and not first.tied
        after = " The pilot measured another one as better here, and counts more." if other else ""
        said.append(
            f"Pixel noise was found (standard deviation {facts.noise.sigma:.3g} in single images, "
            f"{facts.reference.scale:.3g} around a linear model, {percent(facts.noise.impulses)} of pixels standing out "
            f"alone, {percent(facts.reference.outliers)} of residuals beyond six of them), so the loss should be the "
            f"noise's own law.{after}"
        )
    if goal.law_first or facts.noisy or facts.one_bit:
        said += _law(first, order, facts)
    plateaus = any(need.requirement == "alive" for need in asked) and not first.candidate.decoder
    if plateaus and not (measured or facts.one_bit):
        said.append(MIXED)
    if goal.name in COUNTER and (first.candidate.decoder or goal.name == "represent"):
        said.append(COUNTER[goal.name])
    return said


def _law(first: Ranked, order: Sequence[Ranked], facts: Facts) -> list[str]:
    law, label = first.candidate.law, first.candidate.label
    if law.reason:
        return []
    others = [
        e.candidate for e in order if e.candidate.label != label and math.isfinite(e.candidate.law.nats)
    ]
    best = min(others, key=lambda c: c.law.nats, default=None)
    mass = isinstance(measure_of(facts), Levels)
    cost = (
        f"{law.nats:.3f} nats"
        + (f" ({law.nats / math.log(2):.3f} bits)" if mass else " of density")
        + " a value"
    )
    if first.candidate.decoder:
        text = (
            f"As a law of the pixels {label} costs {cost} (its outputs fitted to the predictions of a linear model of rank "
            f"{facts.reference.rank} on half of held-out images, judged on the other half)"
        )
    else:
        text = (
            f"As a law of the pixels, exp(-loss/T)/Z with T = {law.temperature:.3g}, {label} costs {cost} (held-out values "
            f"around a linear model of rank {facts.reference.rank}, T fitted on the other half)"
        )
    if best is not None:
        gap = best.law.nats - law.nats
        text += (
            f"; {best.label} costs as much, within {MARGIN}"
            if abs(gap) < MARGIN
            else f"; {best.label}, the best of the others, {abs(gap):.3f} {'more' if gap > 0 else 'less'}"
        )
    return [f"{text}."]


def _drawn(pilot: Pilot) -> list[str]:
    """What the pictures drawn from the pilot's models say, where they do not say the same as what decided."""
    known = [row for row in pilot.rows if not row.reason and math.isfinite(row.other.get("drawn", math.nan))]
    if len(known) < 2:
        return []
    near = min(known, key=lambda row: row.other["drawn"])
    mine = next((row for row in known if row.label == pilot.chosen), None)
    if mine is None:
        return []
    nearest = f"{near.label} comes nearest to held-out images (energy distance {near.other['drawn']:.3g}"
    said = f"Pictures drawn from the pilot's models: {nearest}"
    if near is mine:
        return [f"{said})."]
    return [
        f"{said}, {pilot.chosen} {mine.other['drawn']:.3g}): a bound and the look of samples are two things."
    ]


def changes(
    first: Ranked, order: Sequence[Ranked], facts: Facts, pilot: Pilot | None, goal: Goal, none: str = ""
) -> list[str]:
    """What would change the advice; ``none`` says why there is no pilot."""
    said = []
    if pilot is None:
        said.append(f"{none[:1].upper()}{none[1:]}.")
    else:
        alike = [row.label for row in pilot.rows if not row.separated and row.label != pilot.chosen]
        if not pilot.conclusive:
            said.append(
                "A longer pilot (a larger --budget): this one ended before the models had learnt enough."
            )
        elif pilot.skipped:
            said.append(
                f"A longer pilot (a larger --budget): {', '.join(pilot.skipped)} ended after an epoch for want of time."
            )
        elif alike:
            said.append(
                f"A longer pilot or more seeds: {', '.join(alike)} could not be told from {pilot.chosen} with "
                f"{_many(pilot.rows[0].epochs, 'epoch')} and {pilot.seeds} seeds."
            )
        else:
            said.append(
                f"Training for much longer than the pilot's {_many(pilot.rows[0].epochs, 'epoch')}: some losses begin "
                "slowly and end ahead (docs/advice.md)."
            )
    if facts.one_bit:
        said.append(
            "Grey values between 0 and 1: then the noise of the pixels decides, not the probability of a 1."
        )
    elif facts.noisy:
        runner = next(
            (
                entry.candidate.label
                for entry in order
                if entry is not first and not entry.tied and math.isfinite(entry.candidate.law.nats)
            ),
            None,
        )
        said.append(
            "Images without the noise, or with noise of lighter or heavier tails"
            + (f" (the next law that fits: {runner})." if runner else ".")
        )
    elif first.candidate.decoder or not facts.unit:
        pass
    elif facts.at_zero + facts.at_one > AT_ENDS:
        said.append(
            "A linear output instead of the sigmoid: then nothing saturates, and a plateau behind the sigmoid is none."
        )
    else:
        ends = percent(facts.at_zero + facts.at_one)
        said.append(f"More values at 0 and 1 (now {ends}): then plateaus behind the sigmoid count.")
    others = {"reconstruct": "sample", "sample": "reconstruct"}.get(goal.name, "reconstruct")
    decides = MEASURES.get(GOALS[others].decides, MEASURES["squared"])
    said.append(f"Another goal: what decides for --goal {others} is another measure ({decides}).")
    said.append("Pictures judged by eye: no loss that adds up pixels stands for that (Zhao et al. 2017, "
                "DOI 10.1109/TCI.2016.2644865).")  # fmt: skip
    return said


def warnings(facts: Facts, first: Ranked, beta: float | None, goal: Goal) -> list[str]:
    """What to look out for before training."""
    said = []
    if facts.problem:
        how = "If that is so, undo it and ask again" if facts.scale_unknown else "Undo it"
        said.append(facts.problem + (f" {how}: {facts.fix}" if facts.fix else ""))
    if facts.undone:
        said.append("The advice is for the values after that line.")
    elif facts.scale_unknown:
        said.append("The advice is for the values as they are.")
    if facts.divisor > 1 and not facts.problem and facts.high <= BRIGHT:
        top = round(facts.high * facts.divisor)
        said.append(
            f"The largest value is {top} of {facts.divisor:g} that {facts.dtype} can hold. Fewer bits than the type has? "
            f"Then divide by the largest there can be (x / {top}?) and ask again: scales and floors hang on it."
        )
    if facts.skipped_count:
        names = ", ".join(name for name, _ in facts.skipped[:3])
        said.append(f"{facts.skipped_count} of {facts.expected} pictures could not be read, left out: {names}"
                    f"{', ...' if facts.skipped_count > 3 else ''}.")  # fmt: skip
    if facts.dropped:
        where = ", ".join(map(str, facts.dropped_numbers[:5])) + (", ..." if facts.dropped > 5 else "")
        said.append(f"{_many(facts.dropped, 'image')} with NaN or infinity left out: number {where}.")
    order = facts.order
    if order.film:
        said.append(
            f"Neighbouring images are alike (their distance is {100 * order.distances[1]:.0f} % of two random images'): "
            "frames of a film? A random split would put nearly the same frame into train and test: --split tail."
        )
    elif order.sorted:
        said.append("The images are in an order (neighbours are more alike than random ones): sorted by class or person? "
                    "Shuffle for training; split by person.")  # fmt: skip
    if order.equal + order.near > 0.001:
        across = (
            f"; {order.across} of them stand in the test set and repeat a training image"
            if order.across
            else ""
        )
        said.append(f"{percent(order.equal)} of the images repeat another exactly and {percent(order.near)} nearly{across}: "
                    "drop them before you split.")  # fmt: skip
    if facts.equal_channels:
        said.append("The three channels are equal everywhere: one would do (--grey).")
    if facts.constant_pixels > 0.2:
        said.append(f"{100 * facts.constant_pixels:.0f} % of the pixels are the same in all images.")
    if facts.history.text.find("gamma") >= 0 and facts.history.undo:
        said.append(
            f"The values were probably {facts.history.text}: that changes how much errors in the dark weigh."
        )
    law = first.candidate.law
    if goal.model == "vae" and first.candidate.decoder:
        said.append(
            f"KL weight: 1, since its scale is learned. Averaging over the {facts.pixels} values in place of summing would "
            f"make it {facts.pixels}."
        )
    elif first.candidate.likelihood and goal.model == "vae":
        said.append(
            f"KL weight: 1, since exp(-{first.candidate.label}) is a law of these values as it is; T = "
            f"{law.temperature:.3g} fits a linear model's predictions better, but the loss over it is no law's. Averaging "
            f"over the {facts.pixels} values in place of summing would make it {facts.pixels}."
        )
    elif math.isfinite(law.deviation) and goal.model == "vae":
        kept = facts.spectrum.above(law.deviation**2)
        at_one = facts.spectrum.above(law.deviation_at_one**2)
        said.append(
            f"KL weight: at 1 a linear VAE would use {at_one} directions of its code, at {law.temperature:.2g} {kept} "
            "(covariance eigenvalues above the law's variance, arXiv 1911.02469). Averaging the loss over the "
            f"{facts.pixels} values in place of summing multiplies the weight by {facts.pixels}."
        )
    if first.candidate.floor:
        grey = f"a perfect copy still costs {first.candidate.floor:.4g} nats an image on average"
        said.append(
            f"Score images by the excess, not by the loss: {grey} (excess=True)."
            if goal.name == "anomaly"
            else f"{first.candidate.label} does not reach 0 here: {grey}. Read its excess (excess=True)."
        )
    return said


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


__all__ = ["changes", "reasons", "warnings"]
