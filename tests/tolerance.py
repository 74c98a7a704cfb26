"""One table of tolerances: how far a dtype may be from the exact answer, in units of its last place."""

import math

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
ULP = 4.0  # of the result, or of the largest term that the formula adds up


def error_in_ulp(got: float, exact: object, dtype: str, *, largest_term: float = 1.0) -> float:
    """Distance in units of the last place of the larger of the exact result and the largest term."""
    import mpmath

    if not math.isfinite(got):
        return 0.0 if got == float(exact) else math.inf  # type: ignore[arg-type]
    scale = max(abs(exact), largest_term, mpmath.mpf(2) ** -126)  # type: ignore[type-var]
    return float(abs(mpmath.mpf(got) - exact) / scale) / EPS[dtype]
