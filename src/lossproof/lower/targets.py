"""The targets: how numpy and torch spell the functions, and the helper functions they lack."""

from lossproof.lower.emit import Target

NUMPY = Target(
    id="numpy",
    header="import math\n\nimport numpy as np\n",
    functions={
        "log": "np.log({0})", "log1p": "np.log1p({0})", "exp": "np.exp({0})", "expm1": "np.expm1({0})",
        "sqrt": "np.sqrt({0})", "Abs": "np.abs({0})", "sign": "np.sign({0})", "sin": "np.sin({0})",
        "cos": "np.cos({0})", "tan": "np.tan({0})", "atan": "np.arctan({0})", "sinh": "np.sinh({0})",
        "cosh": "np.cosh({0})", "tanh": "np.tanh({0})", "asinh": "np.arcsinh({0})", "atanh": "np.arctanh({0})",
        "maximum": "np.maximum({0}, {1})", "minimum": "np.minimum({0}, {1})", "logaddexp": "np.logaddexp({0}, {1})",
        "softplus": "np.logaddexp(0, {0})",
    },
    where="np.where({0}, {1}, {2})",
    fill="np.full_like({1}, {0})",
    primitives={
        "sigmoid": '''def sigmoid(x):
    """1/(1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)
''',
        "xlogy": '''def xlogy(x, y):
    """x log(y), and 0 where x = 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x * np.log(np.where(zero, 1, y)))
''',
        "xlog1py": '''def xlog1py(x, y):
    """x log(1 + y), and 0 where x = 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x * np.log1p(np.where(zero, 0, y)))
''',
        "xdivy": '''def xdivy(x, y):
    """x / y, and 0 where x = 0."""
    zero = np.equal(x, 0)
    return np.where(zero, 0.0, x / np.where(zero, 1, y))
''',
        "logcosh": '''def logcosh(x):
    """log(cosh(x)) without overflow, and without cancellation at 0."""
    a = np.abs(x)
    near = np.log1p(2 * np.sinh(np.minimum(a, 1) / 2) ** 2)
    return np.where(a < 1, near, a + np.log1p(np.exp(-2 * a)) - 0.6931471805599453)
''',
        "logsinhc": '''def logsinhc(x):
    """log(sinh(x)/x), and 0 at 0."""
    a = np.abs(x)
    b = np.where(a == 0, 1, a)
    return np.where(a == 0, 0.0, a + np.log(-np.expm1(-2 * b) / (2 * b)))
''',
        "logexprel": '''def logexprel(x):
    """log((exp(x) - 1)/x), and 0 at 0."""
    a = np.where(x == 0, 1, np.abs(x))
    return np.where(x == 0, 0.0, np.maximum(x, 0) + np.log(-np.expm1(-a) / a))
''',
        "meanexp": '''def meanexp(x):
    """1/(1 - exp(-x)) - 1/x, and 1/2 at 0; near 0 by a continued fraction, which does not cancel."""
    a = np.clip(x, -6, 6) / 2
    s = a * a
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / (11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25)))))))))))
    b = np.where(np.abs(x) < 6, 6, x)
    return np.where(np.abs(x) < 6, 0.5 + near / 2, -1 / np.expm1(-b) - 1 / b)
''',
        "langevin": '''def langevin(x):
    """coth(x) - 1/x, and 0 at 0; near 0 by its continued fraction, which does not cancel."""
    a = np.clip(x, -3, 3)
    s = a * a
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / (11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25)))))))))))
    b = np.where(np.abs(x) < 3, 3, x)
    return np.where(np.abs(x) < 3, near, 1 / np.tanh(b) - 1 / b)
''',
    },
)

TORCH = Target(
    id="torch",
    header="import math\n\nimport torch\n",
    functions={
        "log": "torch.log({0})", "log1p": "torch.log1p({0})", "exp": "torch.exp({0})", "expm1": "torch.expm1({0})",
        "sqrt": "torch.sqrt({0})", "Abs": "torch.abs({0})", "sign": "torch.sign({0})", "sin": "torch.sin({0})",
        "cos": "torch.cos({0})", "tan": "torch.tan({0})", "atan": "torch.atan({0})", "sinh": "torch.sinh({0})",
        "cosh": "torch.cosh({0})", "tanh": "torch.tanh({0})", "asinh": "torch.asinh({0})",
        "atanh": "torch.atanh({0})", "maximum": "torch.maximum({0}, {1})", "minimum": "torch.minimum({0}, {1})",
        "logaddexp": "torch.logaddexp({0}, {1})", "sigmoid": "torch.sigmoid({0})", "erf": "torch.erf({0})",
        "loggamma": "torch.lgamma({0})", "digamma": "torch.digamma({0})", "trigamma": "torch.polygamma(1, {0})",
        "xlogy": "torch.xlogy({0}, {1})", "xlog1py": "torch.special.xlog1py({0}, {1})",
        # log1p(exp(x)) up to 40, x above: in float64 the rest is below half a unit in the last place
        "softplus": "torch.nn.functional.softplus({0}, threshold=40.0)",
    },
    where="torch.where({0}, {1}, {2})",
    fill="torch.full_like({1}, {0})",
    with_scalar={"maximum": "torch.clamp({0}, min={1})", "minimum": "torch.clamp({0}, max={1})"},
    primitives={
        "xdivy": '''def xdivy(x, y):
    """x / y, and 0 where x = 0."""
    zero = x == 0
    return torch.where(zero, torch.zeros_like(x), x / torch.where(zero, torch.ones_like(y), y))
''',
        "logcosh": '''def logcosh(x):
    """log(cosh(x)) without overflow, and without cancellation at 0."""
    a = torch.abs(x)
    near = torch.log1p(2 * torch.sinh(torch.clamp(a, max=1) / 2) ** 2)
    return torch.where(a < 1, near, a + torch.log1p(torch.exp(-2 * a)) - 0.6931471805599453)
''',
        "logsinhc": '''def logsinhc(x):
    """log(sinh(x)/x), and 0 at 0."""
    a = torch.abs(x)
    b = torch.where(a == 0, torch.ones_like(a), a)
    return torch.where(a == 0, torch.zeros_like(a), a + torch.log(-torch.expm1(-2 * b) / (2 * b)))
''',
        "logexprel": '''def logexprel(x):
    """log((exp(x) - 1)/x), and 0 at 0."""
    a = torch.where(x == 0, torch.ones_like(x), torch.abs(x))
    return torch.where(x == 0, torch.zeros_like(x), torch.clamp(x, min=0) + torch.log(-torch.expm1(-a) / a))
''',
        "meanexp": '''def meanexp(x):
    """1/(1 - exp(-x)) - 1/x, and 1/2 at 0; near 0 by a continued fraction, which does not cancel."""
    a = torch.clamp(x, -6, 6) / 2
    s = a * a
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / (11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25)))))))))))
    b = torch.where(torch.abs(x) < 6, torch.full_like(x, 6), x)
    return torch.where(torch.abs(x) < 6, 0.5 + near / 2, -1 / torch.expm1(-b) - 1 / b)
''',
        "langevin": '''def langevin(x):
    """coth(x) - 1/x, and 0 at 0; near 0 by its continued fraction, which does not cancel."""
    a = torch.clamp(x, -3, 3)
    s = a * a
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / (11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25)))))))))))
    b = torch.where(torch.abs(x) < 3, torch.full_like(x, 3), x)
    return torch.where(torch.abs(x) < 3, near, 1 / torch.tanh(b) - 1 / b)
''',
    },
)

#: formulas for people to read: same order of terms as the code
FORMULA = Target(
    id="formula",
    header="",
    functions={"Abs": "abs({args})", "atan": "arctan({args})", "asinh": "arcsinh({args})", "atanh": "arctanh({args})",
               "loggamma": "gammaln({args})"},
    where="where({0}, {1}, {2})",
    fill="{0}",
    primitives=dict.fromkeys(
        ["log", "log1p", "exp", "expm1", "sqrt", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "maximum",
         "minimum", "erf", "digamma", "trigamma", "xlogy", "xlog1py", "xdivy", "sigmoid", "softplus", "logaddexp",
         "logcosh", "logsinhc", "logexprel", "meanexp", "langevin"], ""),
)  # fmt: skip

TARGETS = {target.id: target for target in (NUMPY, TORCH)}
