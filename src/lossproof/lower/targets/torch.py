"""torch: eager, and without a graph break under torch.compile."""

from lossproof.lower.targets.spelling import Target

_ONE_ARGUMENT = ("log", "log1p", "exp", "expm1", "sqrt", "sign", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf",
                 "digamma", "sigmoid", "atan", "asinh", "atanh")  # fmt: skip

TORCH = Target(
    id="torch",
    title="torch",
    header="import math\n\nimport torch\n",
    functions={name: f"torch.{name}({{0}})" for name in _ONE_ARGUMENT}
    | {
        "Abs": "torch.abs({0})",
        "maximum": "torch.maximum({args})",
        "minimum": "torch.minimum({args})",
        "logaddexp": "torch.logaddexp({args})",
        "loggamma": "torch.lgamma({0})",
        "trigamma": "torch.polygamma(1, {0})",
        "polygamma": "torch.polygamma({args})",
        "xlogy": "torch.xlogy({args})",
        "xlog1py": "torch.special.xlog1py({args})",
        # log1p(exp(x)) up to 40, x above: in float64 the rest is below half a unit in the last place
        "softplus": "torch.nn.functional.softplus({0}, threshold=40.0)",
    },
    where="torch.where({0}, {1}, {2})",
    fill="torch.full_like({1}, {0})",
    with_scalar={
        "maximum": "torch.clamp({0}, min={1})",
        "minimum": "torch.clamp({0}, max={1})",
        "logaddexp": "torch.logaddexp({0}, torch.full_like({0}, {1}))",
    },
    primitives={
        "slope": '''# looked up once: the way to an operator through torch.ops costs as much as a small one
small_slope = torch.ops.aten.sigmoid_backward.grad_input
large_slope = torch.ops.aten.softplus_backward.grad_input


def slope(x, p, z):
    """x p (1 - p), written over p = sigmoid(z); for large z without the cancellation in 1 - p."""
    if z.is_cpu and z.numel() and z.amax().item() < 12:
        return small_slope(x, p, grad_input=p)
    return large_slope(p.mul_(x), z, -1, 40, grad_input=p)
''',
        "scaled": '''def scaled(x, factor, out):
    """factor times x, into out, or over x where there is none."""
    return x.mul_(factor) if out is None or out is x else torch.mul(x, factor, out=out)
''',
        "inside": '''def inside(x, low, high):
    """True where a look, cheap on a CPU, finds no value outside: then clamping would change none, and is left out."""
    if not (x.is_cpu and x.numel()):
        return False
    least, largest = torch.aminmax(x)
    return least.item() >= low and largest.item() <= high
''',
        "finished": '''def finished(x, factor, summed):
    """factor times x, over x; or the sum of that, as a number."""
    if summed:
        return factor * x.sum().item()
    return x if factor == 1 else x.mul_(factor)
''',
        "multiplied": '''def multiplied(x, w, factor, summed):
    """factor x w, over x; or the sum of that, as a number."""
    if summed and x.numel() <= 131072:  # of more, a dot product in one go loses digits
        return factor * torch.dot(x.flatten(), w.flatten()).item()
    x = x.mul_(w)
    if summed:
        return factor * x.sum().item()
    return x if factor == 1 else x.mul_(factor)
''',
        "difference": '''half_slope = torch.ops.aten.mse_loss_backward.grad_input


def difference(p, y, factor):
    """factor (p - y), in one pass."""
    grad = torch.scalar_tensor(factor / 2, dtype=p.dtype)
    return half_slope(grad, p, y, 0, grad_input=torch.empty_like(p))
''',
        "softplus_tails": '''def softplus_tails(p):
    """Sum of log(1 + exp(-|z|)) for p = sigmoid(z), as a number: four factors of a product share a logarithm."""
    m = 1 - p
    m = torch.minimum(m, p, out=m).flatten()  # log(1 + exp(-|z|)) = -log(1 - m)
    for _ in range(2):
        half = (m.numel() + 1) // 2
        a, b = m[: m.numel() - half], m[half:]
        a.add_(b.addcmul_(a, b, value=-1))  # 1 - (a + b - a b) = (1 - a)(1 - b), and small ones keep their digits
        m = m[:half]
    return -m.neg_().log1p_().sum().item()
''',
        "xdivy": '''def xdivy(x, y):
    """x / y, and 0 where x = 0."""
    zero = x == 0
    return torch.where(zero, 0.0, x / torch.where(zero, 1.0, y))
''',
        "xtimes": '''def xtimes(x, w):
    """x w, and 0 where x = 0 even if w is infinite."""
    zero = x == 0
    return torch.where(zero, 0.0, x * torch.where(zero, 1.0, w))
''',
        "logcosh": '''def logcosh(x):
    """log(cosh(x)) without overflow, and without cancellation at 0."""
    a = torch.abs(x)
    return torch.log1p(2 * torch.sinh(torch.clamp(a, max=20) / 2) ** 2) + torch.relu(a - 20)
''',
        "logsinhc": '''def logsinhc(x):
    """log(sinh(x)/x), and 0 at 0."""
    a = torch.abs(x)
    b = torch.where(a == 0, 1.0, a)
    return torch.where(a == 0, 0.0, a + torch.log(-torch.expm1(-2 * b) / (2 * b)))
''',
        "logexprel": '''def logexprel(x):
    """log((exp(x) - 1)/x), and 0 at 0; expm1(n)/n is 1 for the smallest n, so 0 needs no branch."""
    n = torch.clamp(-torch.abs(x), max=-torch.finfo(x.dtype).tiny)
    return torch.clamp(x, min=0) + torch.log(torch.expm1(n) / n)
''',
        "meanexp": '''def meanexp(x):
    """1/(1 - exp(-x)) - 1/x, and 1/2 at 0; near 0 by a continued fraction, which does not cancel."""
    a = torch.clamp(x, -6, 6) / 2
    s = a * a
    tail = 11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25))))))
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / tail))))
    b = torch.where(torch.abs(x) < 6, 6.0, x)
    return torch.where(torch.abs(x) < 6, 0.5 + near / 2, -1 / torch.expm1(-b) - 1 / b)
''',
        "langevin": '''def langevin(x):
    """coth(x) - 1/x, and 0 at 0; near 0 by its continued fraction, which does not cancel."""
    a = torch.clamp(x, -3, 3)
    s = a * a
    tail = 11 + s / (13 + s / (15 + s / (17 + s / (19 + s / (21 + s / (23 + s / 25))))))
    near = a / (3 + s / (5 + s / (7 + s / (9 + s / tail))))
    b = torch.where(torch.abs(x) < 3, 3.0, x)
    return torch.where(torch.abs(x) < 3, near, 1 / torch.tanh(b) - 1 / b)
''',
    },
)
