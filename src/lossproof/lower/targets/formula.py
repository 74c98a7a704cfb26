"""Formulas for people to read: the same order of terms as the code."""

from lossproof.formula.functions import NAMES
from lossproof.lower.targets.spelling import Target

_OWN = ("xdivy", "xtimes", "logsinhc", "logexprel", "meanexp", "langevin")

FORMULA = Target(
    id="formula",
    title="formula",
    header="",
    functions={name: f"{name}({{args}})" for name in (*NAMES, *_OWN)}
    | {"Abs": "abs({0})", "atan": "arctan({0})", "asinh": "arcsinh({0})", "atanh": "arctanh({0})",
       "loggamma": "gammaln({0})", "trigamma": "polygamma(1, {0})"},
    numbers={},
    where="where({0}, {1}, {2})",
    fill="{0}",
)  # fmt: skip
