"""Small certificates written by hand: one line of every kind of verdict, independent of the prover."""

from __future__ import annotations

from typing import Any

from lossproof.formula import Certified, Claim, Piece, Proved, Refuted, Step, Unknown, Verdict
from lossproof.prove.certificate import Certificate
from lossproof.prove.problem import Line

DOMAIN = "y in [0, 1], p in (0, 1)"
INSIDE = (("y", "(0, 1)"), ("p", "(0, 1)"))
POSITIVE = (("u", "(0, inf)"), ("v", "(0, inf)"), ("w", "(0, inf)"))
BCE = "-(xlogy(y, p) + xlogy(1 - y, 1 - p))"
WEIGHTED = "-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))"
SLOPE = "(1 - y)/(1 - p) - y/p"


def side(sign: str) -> tuple[Step, ...]:
    """The steps of the prover for BCE on one side of the diagonal, as it writes them."""
    tidy, relation = "(-p + y)/(p*(p - 1))", ">" if sign == ">" else "<"
    positive = "v*(u + v + w)/(w*(u + v))" if sign == ">" else "-v*(u + v + w)/(u*(v + w))"
    given = (f"p {sign} y",)
    return (
        Step(f"for y inside, p {sign} y: dl/dp = {tidy}", Claim(SLOPE, "=", tidy, INSIDE, given)),
        Step("all terms are positive", Claim("u + v + w", ">", "0", POSITIVE)),
        Step("product of factors of known sign", Claim(positive, relation, "0", POSITIVE)),
        Step(
            f"so the loss grows as p moves away from y (y inside, p {sign} y)",
            Claim(SLOPE, relation, "0", INSIDE, given),
        ),
    )


PROVED = Proved("sign of the derivative", DOMAIN, side(">") + side("<"))
EXACT_P = (
    "21617278211378381/36028797018963968"  # 0.6 as a binary number, and what a step down the slope finds
)
LOWER = Refuted(
    (("y", "1/2"), ("p", EXACT_P)),
    Claim(f"{WEIGHTED} - 2*log(2)", "<", "0", (("y", "1/2"), ("p", EXACT_P))),
    "[-0.161910559534 +/- 1.73e-13]",
)


def line(key: str, verdict: Verdict, statement: str = "", **details: Any) -> Line:
    return Line(key, statement or f"statement of {key}", verdict, details)


def certificate(*lines: Line, loss: str = "mine", formula: str = BCE, **more: Any) -> Certificate:
    fields: dict[str, Any] = {
        "params": {}, "free": {}, "target": "[0, 1]", "prediction": "(0, 1)", "constants": "binary",
        "versions": {"lossproof": "0.1.0"}, "agreement": None,
    }  # fmt: skip
    return Certificate(
        loss=loss, formula=formula, lines={one.key: one for one in lines}, **{**fields, **more}
    )


def every_verdict() -> Certificate:
    """BCE with a line of each kind; the lines need not be true, only well formed."""
    return certificate(
        line("minimum", PROVED, "p = y is a global minimiser of p -> loss(y, p)", attained={"0": True, "1": False}),
        line("unique", PROVED, "p = y is the only global minimiser of p -> loss(y, p)"),
        line("convex", Certified("enclosures", f"{DOMAIN}, y != 0", (), (Piece((("y", 0.0, 1.0),), "y", ">=", "0"),))),
        line("strictly_convex", LOWER),
        line("convex_logits", Unknown("the budget of 10 s was used up", (("y", 0.25, 0.5),))),
        line(
            "consistency", Proved("separation", DOMAIN, (Step("F increases"),)),
            functional="mean", generator="-1/(p*(p - 1))",
        ),
    )  # fmt: skip
