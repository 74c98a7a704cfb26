"""Numbers as a reader meets them: few digits, one minus sign, no exponent where none is needed."""

from __future__ import annotations

import math

MINUS = "\u2212"
DIGITS = 3


def decimals_for(value: float, digits: int = DIGITS) -> int:
    """Decimal places that show `value` with `digits` significant digits (never negative).

    >>> decimals_for(62.14), decimals_for(0.01234), decimals_for(1234.5)
    (1, 4, 0)
    """
    if value == 0 or not math.isfinite(value):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def fixed(value: float, decimals: int) -> str:
    """`value` with that many decimals; infinities and missing values in words.

    >>> fixed(-1.25, 1), fixed(float("-inf"), 2), fixed(12345.6, 0)
    ('−1.2', '−∞', '12,346')
    """
    if math.isnan(value):
        return "no value"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text.lstrip("-")
    return text.replace("-", MINUS)


def number(value: float, digits: int = DIGITS) -> str:
    """`value` to `digits` significant digits.

    >>> number(62.137), number(0.0123456), number(206.4), number(0.0), number(2.5e-7), number(3e8)
    ('62.1', '0.0123', '206', '0', '2.50e−7', '3.00e8')
    """
    if math.isfinite(value) and value != 0 and not 1e-4 <= abs(value) < 1e7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    return fixed(value, decimals_for(value, digits))


def with_margin(value: float, margin: float) -> str:
    """A mean and the half-width of its interval, rounded alike, with at most five significant digits.

    A margin that is not finite is left out, and so is one that is rounding noise: the seeds agree then.

    >>> with_margin(16.634, 0.4211), with_margin(0.01234, 0.00031), with_margin(5.0, float("nan"))
    ('16.63 ± 0.42', '0.01234 ± 0.00031', '5.00')
    >>> with_margin(45.534, 1e-14), with_margin(20.0, 0.0)
    ('45.53', '20')
    """
    if not math.isfinite(margin) or not math.isfinite(value):
        return number(value)
    if margin <= 1e-9 * abs(value):
        return fixed(value, 0) if value.is_integer() else number(value, 4)
    places = decimals_for(margin, 2)
    if max(abs(value), margin) < 1e-4 or places > decimals_for(value, 5) > 0:
        return f"{number(value, 4)} ± {number(margin, 2)}"
    return f"{fixed(value, places)} ± {fixed(margin, places)}"


def span(value: float, low: float, high: float) -> str:
    """A signed difference with its interval, rounded alike.

    >>> span(-0.0123, -0.0151, -0.0095)
    '−0.0123 [−0.0151, −0.0095]'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return number(value)
    half = (high - low) / 2
    largest = max(abs(low), abs(high))
    if half <= 1e-9 * largest or largest < 1e-4:
        return f"{number(value)} [{number(low)}, {number(high)}]"
    # four digits are enough where the interval is narrow
    places = min(decimals_for(half, 2), decimals_for(largest, 4))
    return f"{fixed(value, places)} [{fixed(low, places)}, {fixed(high, places)}]"


def parts(total: float, floor: float, excess: float) -> tuple[str, str, str]:
    """Total, floor and excess with one number of decimals, chosen so that the printed numbers add up.

    >>> parts(62.14, 45.46, 16.68)
    ('62.14', '45.46', '16.68')
    >>> parts(62.1, 45.5, 16.6)
    ('62.1', '45.5', '16.6')
    """
    if not all(map(math.isfinite, (total, floor, excess))):
        return number(total), number(floor), number(excess)
    first = max(min(decimals_for(excess), 6), decimals_for(total))
    for places in range(first, first + 4):
        rounded = [round(value, places) for value in (total, floor, excess)]
        if abs(rounded[0] - rounded[1] - rounded[2]) < 10.0 ** -(places + 2):
            return fixed(total, places), fixed(floor, places), fixed(excess, places)
    return fixed(total, first), fixed(floor, first), fixed(excess, first)


def listing(items: list[str]) -> str:
    """Words joined as in a sentence.

    >>> listing(["bce"]), listing(["bce", "mse"]), listing(["bce", "mse", "mae"])
    ('bce', 'bce and mse', 'bce, mse and mae')
    """
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]
