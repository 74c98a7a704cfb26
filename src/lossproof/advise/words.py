"""The facts as rows of text, for the terminal and the page."""

import math

from lossproof.data.facts_stream import Facts


def fact_rows(facts: Facts) -> list[tuple[str, str]]:
    """Name and text of each fact, in order."""
    c, h, w = facts.shape
    rows = [
        ("images", f"{facts.count} of {c} x {h} x {w} = {facts.pixels} values, stored as {facts.dtype}"),
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
            ("histograms", f"{whole:.3f} bits a value for one of all values, {each:.3f} for one a pixel")
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
    noise = facts.noise
    if math.isnan(noise.impulses):
        return "not measured: images below 3 x 3"
    said = f"{noise.sigma:.3g} in single images, {percent(noise.impulses)} of pixels stand out alone"
    return f"{said}: {'noise' if facts.noisy else 'no pixel noise that shows'}"


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
        f"rank {left.rank} leaves {left.scale:.3g}, {percent(left.outliers)} beyond six of it, excess kurtosis "
        f"{left.kurtosis:.3g}" + (", outliers left out of the fit" if left.robust else "")
    )


def _order(facts: Facts) -> str:
    order = facts.order
    first = order.distances.get(1)
    said = (
        "too few images"
        if first is None
        else f"neighbours at {percent(first)} of two random images' distance"
    )
    kind = "like a film" if order.film else "sorted" if order.sorted else "no order"
    return f"{said}: {kind}; {percent(order.equal)} repeat another, {percent(order.near)} nearly"
