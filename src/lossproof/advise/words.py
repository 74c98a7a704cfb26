"""The facts as rows of text, for the terminal and the page; the floors of the losses beside them."""

import math
from collections.abc import Mapping

from lossproof.data.facts_stream import Facts


def fact_rows(facts: Facts) -> list[tuple[str, str]]:
    """Name and text of each fact, in order."""
    c, h, w = facts.shape
    rows = [
        ("images", f"{facts.count} of {c} x {h} x {w} = {facts.pixels} values, stored as {facts.dtype}"),
        *((("read", "; ".join(facts.notes)),) if facts.notes else ()),
        ("scaling", facts.scaling),
        ("done before", f"{facts.history.text} ({facts.history.evidence})"),
        ("values", f"{facts.low:.4g} .. {facts.high:.4g}, mean {facts.mean:.3g}, {_levels(facts)}"),
        (
            "shares",
            f"{percent(facts.at_zero)} at 0, {percent(facts.at_one)} at 1, {percent(facts.between)} between"
            + (f", {percent(facts.outside)} outside [0, 1]" if facts.outside else ""),
        ),
    ]
    if facts.histogram_bits is not None:
        whole, each = facts.histogram_bits
        rows.append(
            (
                "histograms",
                f"{whole:.3f} bits a value under one of all values, {each:.3f} under one for each pixel",
            )
        )
    rows += [
        ("noise", _noise(facts)),
        ("spectrum", _spectrum(facts)),
        ("linear model", _linear(facts)),
        ("order", _order(facts)),
    ]
    if facts.constant_pixels:
        rows.append(("dead pixels", f"{percent(facts.constant_pixels)} are the same in all images"))
    if facts.shape[0] == 3:
        rows.append(("channels", "three, equal everywhere" if facts.equal_channels else "three"))
    return rows


def floors(floors_of: Mapping[str, float | None]) -> str:
    """The floors of legal losses in nats per image: those above 0, then how many are 0.

    >>> floors({"bce": 13.658, "mse": 0.0, "mae": 0.0, "continuous_bernoulli": None})
    'bce 13.66; continuous_bernoulli has none; 0 for the others'
    """
    above = [
        f"{label} {value:.4g}"
        for label, value in floors_of.items()
        if value is not None and abs(value) > 1e-9
    ]
    none = [label for label, value in floors_of.items() if value is None]
    said = [", ".join(above)] if above else []
    if none:
        said.append(f"{', '.join(none)} {'has' if len(none) == 1 else 'have'} none")
    if len(above) + len(none) < len(floors_of):
        said.append("0 for the others" if said else "0 for every loss")
    return "; ".join(said)


def percent(share: float) -> str:
    """A share; one that is small but not zero does not read as zero.

    >>> percent(0.5), percent(0.000001), percent(0.0)
    ('50.00 %', '0.0001 %', '0.00 %')
    """
    return f"{100 * share:.2f} %" if share == 0 or share >= 5e-5 else f"{100 * share:.1g} %"


def _levels(facts: Facts) -> str:
    if facts.one_bit:
        return "one bit"
    known = f"{facts.size} distinct values" if facts.size else "more than 65536 distinct values"
    return f"{known} on {facts.grid} grey levels" if facts.grid else known


def _noise(facts: Facts) -> str:
    noise, left = facts.noise, facts.reference
    if math.isnan(noise.impulses):
        return "not measured: images below 3 x 3"
    alone = f"{percent(noise.impulses)} of pixels stand out from all around them"
    if facts.noisy:
        return f"found: standard deviation {left.scale:.3g}, {alone}"
    if facts.one_bit:
        return f"not told apart from content in images of one bit; {alone}"
    if noise.sigma < 1.5 / 255:
        return f"none found; {alone}"
    return f"none that can be told from content (at most {noise.sigma:.3g} in single images); {alone}"


def _spectrum(facts: Facts) -> str:
    values = facts.spectrum.values
    lead = ", ".join(f"{v:.3g}" for v in values[:3])
    share = float(values[:10].sum()) / facts.spectrum.total if facts.spectrum.total > 0 else 0.0
    kind = "" if facts.spectrum.exact else " (a sketch: lower bounds)"
    return (
        f"{lead}, ... of total variance {facts.spectrum.total:.4g}; the first ten hold {percent(share)}{kind}"
    )


def _linear(facts: Facts) -> str:
    left = facts.reference
    return (
        f"of rank {left.rank}, on held-out images: residuals of {left.scale:.3g} (by their median), "
        f"{percent(left.outliers)} beyond six of it, excess kurtosis {left.kurtosis:.3g}"
        + (", outliers left out of the fit" if left.robust else "")
    )


def _order(facts: Facts) -> str:
    order = facts.order
    first = order.distances.get(1)
    kind = "like a film" if order.film else "sorted" if order.sorted else "no order"
    far = (
        "" if first is None else f" (neighbours at {100 * first:.0f} % of the distance of two random images)"
    )
    repeats = (
        f"{percent(order.equal)} repeat another, {percent(order.near)} nearly"
        if order.equal + order.near
        else "none repeats another"
    )
    return f"{'too few images to tell' if first is None else kind + far}; {repeats}"
