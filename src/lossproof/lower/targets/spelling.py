"""What a target is: how a language or framework spells functions, statements and the helpers it lacks."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Syntax:
    """Statements of a language, as format strings."""

    define: str = "def {name}({args}):"
    doc: str = '"""{doc}"""'
    assign: str = "{name} = {value}"
    give: str = "return {value}"
    when: str = "if {condition}:"
    otherwise: str = ""  # closes a `when`
    close: str = ""
    both: str = " and "
    either: str = " or "
    equal: str = "=="
    unequal: str = "!="
    power: str = "{0}**{1}"
    indent: str = "    "


#: functions of plain Python numbers: what is known from the parameters alone
PYTHON_NUMBERS = {
    "log": "math.log({0})", "log1p": "math.log1p({0})", "exp": "math.exp({0})", "expm1": "math.expm1({0})",
    "sqrt": "math.sqrt({0})", "Abs": "abs({0})", "sign": "(({0} > 0) - ({0} < 0))", "sin": "math.sin({0})",
    "cos": "math.cos({0})", "tan": "math.tan({0})", "atan": "math.atan({0})", "sinh": "math.sinh({0})",
    "cosh": "math.cosh({0})", "tanh": "math.tanh({0})", "asinh": "math.asinh({0})", "atanh": "math.atanh({0})",
    "maximum": "max({0}, {1})", "minimum": "min({0}, {1})", "erf": "math.erf({0})", "loggamma": "math.lgamma({0})",
    "xlogy": "({0} * math.log({1}) if {0} else 0.0)", "xdivy": "({0} / {1} if {0} else 0.0)",
    "sigmoid": "(math.exp(min({0}, 0)) / (1 + math.exp(-abs({0}))))",
    "logcosh": "(math.log1p(2 * math.sinh(({0}) / 2)**2) if abs({0}) < 20 else abs({0}) - math.log(2))",
    "softplus": "(max({0}, 0) + math.log1p(math.exp(-abs({0}))))",
}  # fmt: skip


@dataclass(frozen=True)
class Target:
    """How a target spells things; ``primitives`` are helper functions it lacks: name -> source."""

    id: str
    title: str
    header: str
    functions: Mapping[str, str]
    where: str
    fill: str  # an array of one number, shaped as another array
    primitives: Mapping[str, str] = field(default_factory=dict)
    with_scalar: Mapping[str, str] = field(default_factory=dict)  # spelling when one argument is a number
    numbers: Mapping[str, str] = field(default_factory=lambda: PYTHON_NUMBERS)
    syntax: Syntax = field(default_factory=Syntax)
    joint: tuple[str, str] = (" & ", " | ")  # and, or of conditions on arrays
    rational: str = ""  # spelling of an exact p/q; a decimal float if empty
    lazy: bool = False  # the where of the target evaluates only the branch it takes


def array_functions(module: str) -> dict[str, str]:
    """Names that numpy, jax.numpy and keras.ops share."""
    names = {
        "log": "log", "log1p": "log1p", "exp": "exp", "expm1": "expm1", "sqrt": "sqrt", "Abs": "abs", "sign": "sign",
        "sin": "sin", "cos": "cos", "tan": "tan", "atan": "arctan", "sinh": "sinh", "cosh": "cosh", "tanh": "tanh",
        "asinh": "arcsinh", "atanh": "arctanh", "maximum": "maximum", "minimum": "minimum", "logaddexp": "logaddexp",
    }  # fmt: skip
    return {name: f"{module}.{spelt}({{args}})" for name, spelt in names.items()}


def array_primitives(module: str) -> dict[str, str]:
    """Helper functions over a module with numpy's names; each guards the argument of the branch not taken."""
    texts = {
        "sigmoid": '''def sigmoid(x):
    """1/(1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1 + e)
''',
        "softplus": '''def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))
''',
        "xlogy": '''def xlogy(x, y):
    """x log(y), and 0 where x = 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x * np.log(np.where(zero, 1.0, y)))
''',
        "xlog1py": '''def xlog1py(x, y):
    """x log(1 + y), and 0 where x = 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x * np.log1p(np.where(zero, 0.0, y)))
''',
        "xdivy": '''def xdivy(x, y):
    """x / y, and 0 where x = 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x / np.where(zero, 1.0, y))
''',
        "xtimes": '''def xtimes(x, w):
    """x w, and 0 where x = 0 even if w is infinite."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x * np.where(zero, 1.0, w))
''',
        "logcosh": '''def logcosh(x):
    """log(cosh(x)) without overflow, and without cancellation at 0."""
    a = np.abs(x)
    return np.log1p(2 * np.sinh(np.minimum(a, 20.0) / 2) ** 2) + np.maximum(a - 20.0, 0.0)
''',
        "logsinhc": '''def logsinhc(x):
    """log(sinh(x)/x), and 0 at 0."""
    a = np.abs(x)
    b = np.where(np.equal(a, 0), 1.0, a)
    return np.where(np.equal(a, 0), 0.0, a + np.log(-np.expm1(-2 * b) / (2 * b)))
''',
        "logexprel": '''def logexprel(x):
    """log((exp(x) - 1)/x), and 0 at 0."""
    zero = np.equal(x, 0)
    a = np.where(zero, 1.0, np.abs(x))
    return np.where(zero, 0.0, np.maximum(x, 0.0) + np.log(-np.expm1(-a) / a))
''',
        "meanexp": '''def meanexp(x):
    """1/(1 - exp(-x)) - 1/x, and 1/2 at 0; near 0 by a continued fraction, which does not cancel."""
    a = np.clip(x, -6.0, 6.0) / 2
    s = a * a
    tail = 11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25))))))
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / tail))))
    b = np.where(np.abs(x) < 6, 6.0, x)
    return np.where(np.abs(x) < 6, 0.5 + near / 2, -1 / np.expm1(-b) - 1 / b)
''',
        "langevin": '''def langevin(x):
    """coth(x) - 1/x, and 0 at 0; near 0 by its continued fraction, which does not cancel."""
    a = np.clip(x, -3.0, 3.0)
    s = a * a
    tail = 11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25))))))
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / tail))))
    b = np.where(np.abs(x) < 3, 3.0, x)
    return np.where(np.abs(x) < 3, near, 1 / np.tanh(b) - 1 / b)
''',
    }
    return {name: text.replace("np.", f"{module}.") for name, text in texts.items()}
