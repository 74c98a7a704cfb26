"""JavaScript, on numbers: for pages."""

from lossproof.lower.targets.spelling import Syntax, Target

_SYNTAX = Syntax(
    define="function {name}({args}) {{", doc="// {doc}", assign="const {name} = {value};", give="return {value};",
    when="if ({condition}) {{", otherwise="}}", close="}", both=" && ", either=" || ", equal="===", unequal="!==",
    power="Math.pow({0}, {1})", indent="  ",
)  # fmt: skip
_MATH = {
    name: f"Math.{name}({{args}})"
    for name in ("log", "log1p", "exp", "expm1", "sqrt", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan",
                 "asinh", "atanh")
} | {"Abs": "Math.abs({0})", "maximum": "Math.max({args})", "minimum": "Math.min({args})"}  # fmt: skip

_TAIL = "(11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25)))))))"

JAVASCRIPT = Target(
    id="javascript",
    title="JavaScript",
    header="",
    functions=_MATH,
    numbers=_MATH,
    where="({0} ? {1} : {2})",
    fill="{0}",
    syntax=_SYNTAX,
    joint=(" && ", " || "),
    lazy=True,
    primitives={
        "sigmoid": """function sigmoid(x) {
  const e = Math.exp(-Math.abs(x));
  return (x >= 0 ? 1 : e) / (1 + e);
}
""",
        "softplus": """function softplus(x) {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}
""",
        "logaddexp": """function logaddexp(a, b) {
  if (a === b) return a + Math.LN2;
  return Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
}
""",
        "xlogy": "function xlogy(x, y) {\n  return x === 0 ? 0 : x * Math.log(y);\n}\n",
        "xlog1py": "function xlog1py(x, y) {\n  return x === 0 ? 0 : x * Math.log1p(y);\n}\n",
        "xdivy": "function xdivy(x, y) {\n  return x === 0 ? 0 : x / y;\n}\n",
        "xtimes": "function xtimes(x, w) {\n  return x === 0 ? 0 : x * w;\n}\n",
        "logcosh": """function logcosh(x) {
  const a = Math.abs(x);
  return a < 1 ? Math.log1p(2 * Math.pow(Math.sinh(a / 2), 2)) : a + Math.log1p(Math.exp(-2 * a)) - Math.LN2;
}
""",
        "logsinhc": """function logsinhc(x) {
  const a = Math.abs(x);
  return a === 0 ? 0 : a + Math.log(-Math.expm1(-2 * a) / (2 * a));
}
""",
        "logexprel": """function logexprel(x) {
  const a = Math.abs(x);
  return a === 0 ? 0 : Math.max(x, 0) + Math.log(-Math.expm1(-a) / a);
}
""",
        "meanexp": f"""function meanexp(x) {{
  if (Math.abs(x) >= 6) return -1 / Math.expm1(-x) - 1 / x;
  const a = x / 2, s = a * a;
  return 0.5 + a / (3 + s / (5 + s / (7 + s / (9 + s / {_TAIL})))) / 2;
}}
""",
        "langevin": f"""function langevin(x) {{
  if (Math.abs(x) >= 3) return 1 / Math.tanh(x) - 1 / x;
  const s = x * x;
  return x / (3 + s / (5 + s / (7 + s / (9 + s / {_TAIL}))));
}}
""",
    },
)
