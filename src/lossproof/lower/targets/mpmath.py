"""mpmath: the formula as it stands, in as many digits as one asks for."""

from lossproof.lower.targets.spelling import Syntax, Target

_SAME = ("log", "log1p", "exp", "expm1", "sqrt", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "asinh",
         "atanh", "erf")  # fmt: skip
_FUNCTIONS = {name: f"mp.{name}({{0}})" for name in _SAME} | {
    "Abs": "abs({0})",
    "maximum": "max({args})",
    "minimum": "min({args})",
    "loggamma": "mp.loggamma({0})",
    "digamma": "mp.psi(0, {0})",
    "trigamma": "mp.psi(1, {0})",
    "polygamma": "mp.psi({args})",
}

MPMATH = Target(
    id="mpmath",
    title="mpmath",
    header="import mpmath as mp\n",
    functions=_FUNCTIONS,
    numbers={},
    where="({1} if {0} else {2})",
    fill="mp.mpf({0})",
    syntax=Syntax(),
    joint=(" and ", " or "),
    rational="(mp.mpf({0}) / {1})",
    lazy=True,
    primitives={
        "xlogy": "def xlogy(x, y):\n    return x * mp.log(y) if x else mp.mpf(0)\n",
        "xlog1py": "def xlog1py(x, y):\n    return x * mp.log(1 + y) if x else mp.mpf(0)\n",
        "xdivy": "def xdivy(x, y):\n    return x / y if x else mp.mpf(0)\n",
        "xtimes": "def xtimes(x, w):\n    return x * w if x else mp.mpf(0)\n",
        "sigmoid": "def sigmoid(x):\n    return 1 / (1 + mp.exp(-x))\n",
        "softplus": "def softplus(x):\n    return mp.log(1 + mp.exp(x))\n",
        "logaddexp": "def logaddexp(a, b):\n    return mp.log(mp.exp(a) + mp.exp(b))\n",
        "logcosh": "def logcosh(x):\n    return mp.log(mp.cosh(x))\n",
        "logsinhc": "def logsinhc(x):\n    return mp.log(mp.sinh(x) / x) if x else mp.mpf(0)\n",
        "logexprel": "def logexprel(x):\n    return mp.log(mp.expm1(x) / x) if x else mp.mpf(0)\n",
        "meanexp": "def meanexp(x):\n    return -1 / mp.expm1(-x) - 1 / x if x else mp.mpf(1) / 2\n",
        "langevin": "def langevin(x):\n    return mp.coth(x) - 1 / x if x else mp.mpf(0)\n",
    },
)
