"""The answer in sentences: why this loss, what would change it, what to look out for. Each names its source."""

import math
from collections.abc import Sequence

from lossproof.advise.goals import Goal
from lossproof.advise.pilot import Pilot
from lossproof.advise.ranking import MARGIN, Need, Ranked, answer_to
from lossproof.advise.traits import Traits
from lossproof.data.facts_stream import Facts


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
    if pilot is not None:
        said.append(
            f"Pilot ({pilot.seeds} seeds, {pilot.train} training images, decided by {pilot.title}): {pilot.words}."
        )
    for need, answer in zip(asked, first.met, strict=True):
        told = answer_to(need, traits, facts)
        verdict = {"holds": "has it", "refuted": "does not have it"}.get(
            told.answer or answer, "is not shown to have it"
        )
        said.append(
            f"{_sentence(need.reason)} {label} {verdict}: {told.why} [{told.source or 'no certificate'}]."
        )
    if facts.noisy:
        said.append(
            f"Pixel noise was found (standard deviation {facts.noise.sigma:.3g} in single images, "
            f"{facts.reference.scale:.3g} around a linear model, {100 * facts.noise.impulses:.2g} % of pixels standing out "
            f"alone, {100 * facts.reference.outliers:.2g} % of residuals beyond six of them): the loss should be the "
            "noise's own law."
        )
    law = first.candidate.law
    if not law.reason:
        others = [
            e.candidate for e in order if e.candidate.label != label and math.isfinite(e.candidate.law.nats)
        ]
        best = min(others, key=lambda c: c.law.nats, default=None)
        unit = "nats of mass" if facts.unit and facts.size else "nats of density"
        text = f"Its law exp(-loss/T)/Z with T = {law.temperature:.3g} costs {law.nats:.3f} {unit} a value"
        if best is not None:
            gap = best.law.nats - law.nats
            alike = f"as {best.label} does, within {MARGIN} nats" if abs(gap) < MARGIN else (
                f"{abs(gap):.3f} {'less' if gap > 0 else 'more'} than {best.label}, the best of the others"
            )  # fmt: skip
            text += f", {alike}"
        said.append(f"{text} (held-out values around a linear model of rank {facts.reference.rank}).")
    if goal.name == "reconstruct" and pilot is None and not facts.noisy:
        said.append(
            "Without a pilot this rests on the facts alone. Evidence on squared error behind a sigmoid is mixed: plateaus "
            "are shown (Glorot and Bengio 2010), and with linear outputs it does as well as cross-entropy (Hui and Belkin, "
            "arXiv 2006.07322)."
        )
    return said


def changes(
    first: Ranked, order: Sequence[Ranked], facts: Facts, pilot: Pilot | None, goal: Goal
) -> list[str]:
    """What would change the advice."""
    said = []
    if pilot is None:
        said.append("A pilot (--budget 60): it measures what the facts only suggest.")
    else:
        alike = [row.label for row in pilot.rows if not row.separated and row.label != pilot.chosen]
        if not pilot.conclusive:
            said.append(
                "A longer pilot (a larger --budget): this one ended before the models had learnt enough."
            )
        elif alike:
            said.append(
                f"A longer pilot or more seeds: {', '.join(alike)} could not be told from {pilot.chosen} with "
                f"{pilot.rows[0].epochs} epochs and {pilot.seeds} seeds."
            )
    if facts.one_bit:
        said.append(
            "Grey values between 0 and 1: then the noise of the pixels decides, not the probability of a 1."
        )
    elif facts.noisy:
        runner = next(
            (e.candidate.label for e in order if not e.tied and math.isfinite(e.candidate.law.nats)), None
        )
        said.append(
            "Images without the noise, or with noise of lighter or heavier tails"
            + (f" (the next law that fits: {runner})." if runner else ".")
        )
    elif facts.at_zero + facts.at_one > 0.05:
        said.append(
            "A linear output instead of the sigmoid: then nothing saturates, and a loss with a plateau behind the sigmoid "
            "has none."
        )
    else:
        said.append("More values at 0 and 1 (now "
                    f"{100 * (facts.at_zero + facts.at_one):.2g} %): then plateaus behind the sigmoid count.")  # fmt: skip
    others = {"reconstruct": "sample", "sample": "reconstruct"}.get(goal.name, "reconstruct")
    said.append(f"Another goal: --goal {others} is decided by another measure.")
    said.append("Pictures judged by eye: no loss that adds up pixels stands for that (Zhao et al. 2017, "
                "DOI 10.1109/TCI.2016.2644865).")  # fmt: skip
    return said


def warnings(facts: Facts, first: Ranked, beta: float | None, goal: Goal) -> list[str]:
    """What to look out for before training."""
    said = []
    if facts.problem:
        said.append(facts.problem + (f" Undo it: {facts.fix}" if facts.fix else ""))
    if facts.problem and facts.history.stds:
        said.append("The advice is for the values after that line.")
    if facts.skipped_count:
        names = ", ".join(name for name, _ in facts.skipped[:3])
        said.append(f"{facts.skipped_count} of {facts.expected} pictures could not be read and were left out: {names}"
                    f"{', ...' if facts.skipped_count > 3 else ''}.")  # fmt: skip
    if facts.dropped:
        where = ", ".join(map(str, facts.dropped_numbers[:5]))
        said.append(f"{facts.dropped} images hold NaN or infinity and were left out: numbers {where}"
                    f"{', ...' if facts.dropped > 5 else ''}.")  # fmt: skip
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
        said.append(f"{100 * order.equal:.2g} % of the images repeat another exactly and {100 * order.near:.2g} % nearly"
                    + (f"; {order.across} of them stand in the test set and repeat a training image" if order.across else "")
                    + ": drop them before you split.")  # fmt: skip
    if facts.equal_channels:
        said.append("The three channels are equal everywhere: one would do (--grey).")
    if facts.constant_pixels > 0.2:
        said.append(f"{100 * facts.constant_pixels:.0f} % of the pixels are the same in all images.")
    if facts.history.text.find("gamma") >= 0 and facts.history.undo:
        said.append(
            f"The values were probably {facts.history.text}: that changes how much errors in the dark weigh."
        )
    law = first.candidate.law
    if math.isfinite(law.deviation) and goal.model == "vae":
        kept = facts.spectrum.above(law.deviation**2)
        at_one = facts.spectrum.above(law.deviation_at_one**2)
        said.append(
            f"KL weight: with weight 1 a linear model keeps {at_one} directions, with {law.temperature:.2g} it keeps {kept} "
            f"(covariance eigenvalues above the law's variance). Averaging the loss over the {facts.pixels} values "
            f"multiplies the weight by {facts.pixels}."
        )
    if first.candidate.floor:
        said.append(
            f"The loss cannot go below {first.candidate.floor:.4g} nats per image on this data: read its excess."
        )
    return said


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


__all__ = ["changes", "reasons", "warnings"]
