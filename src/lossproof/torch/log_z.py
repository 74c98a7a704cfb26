"""log Z as torch functions with derivatives of their own: closed forms, the look-up in a table, and NumPy's sums."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lossproof.likelihood import Likelihood
from lossproof.likelihood.integrand import Point
from lossproof.likelihood.normaliser import unique
from lossproof.likelihood.table import FURTHEST, Table

_BLOCK = 1 << 20  # numbers held at a time


class LogExprel(torch.autograd.Function):
    """log((exp(x) - 1)/x) with its own derivative, 1/(1 - exp(-x)) - 1/x; both keep their digits near 0."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        a = torch.where(x == 0, 1.0, x.abs())
        return torch.where(x == 0, 0.0, x.clamp(min=0) + torch.log(-torch.expm1(-a) / a))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        near = x.abs() < 0.5
        s = torch.where(near, x, 0.0) ** 2
        series = 1 / 12 - s * (1 / 720 - s * (1 / 30240 - s * (1 / 1209600 - s / 47900160)))
        b = torch.where(near, 1.0, x)
        return grad * torch.where(near, 0.5 + x * series, -1 / torch.expm1(-b) - 1 / b)


class GeometricSum(torch.autograd.Function):
    """log of the sum of exp(k u) over k = 0 .. n - 1, with its own derivative, the mean of k."""

    @staticmethod
    def forward(u: Tensor, n: int) -> Tensor:
        a = u.abs().clamp_min_(1e-30)
        ratio = torch.expm1(-n * a).div_(torch.expm1(-a))
        return ratio.log_().add_(u.clamp(min=0), alpha=n - 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.n = inputs[1]
        ctx.save_for_backward(inputs[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (u,), n = ctx.saved_tensors, ctx.n
        a = u.abs()
        near = a * n < 0.02  # there the difference cancels, and two terms of the series do
        b = torch.where(near, 1.0, a)
        far = 1 / torch.expm1(b) - n / torch.expm1(n * b)
        low = torch.where(near, (n - 1) / 2 - a * (n * n - 1) / 12, far)
        return grad * torch.where(u > 0, (n - 1) - low, low), None


class LevelSum(torch.autograd.Function):
    """log of the sum of exp((y - end) u) over levels y, at that end which has most mass; its slope, the mean of y - end."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, levels: Tensor) -> Tensor:
        rest, mean = torch.empty_like(u).flatten(), torch.empty_like(u).flatten()
        flat, step = u.detach().flatten(), max(1, _BLOCK // len(levels))
        for start in range(0, len(flat), step):
            part = flat[start : start + step, None]
            away = torch.where(part > 0, levels - levels[-1], levels - levels[0])
            exponents = torch.where(away == 0, 0.0, away * part)
            rest[start : start + step] = exponents.logsumexp(1)
            mean[start : start + step] = (exponents.softmax(1) * away).sum(1)
        ctx.save_for_backward(mean.view_as(u))
        return rest.view_as(u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.saved_tensors[0], None


class _InBoth(torch.autograd.Function):
    """What was saved are the derivatives in the prediction and in T, of which T's is asked for where it is learned."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        by_x, by_t = ctx.saved_tensors
        return grad * by_x, (grad * by_t).sum() if ctx.learned else None, None, None


class Interpolated(_InBoth):
    """log Z from its table: value and slope in one pass, and the derivative in T beside them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, table: Table, logits: bool) -> Tensor:
        if table.behind:
            z = x if logits else torch.log(x.clamp(0, 1)) - torch.log1p(-x.clamp(0, 1))
            z = z.clamp(-FURTHEST, FURTHEST)
            # torch's own asinh is not vectorised on the CPU: ten times slower
            far = torch.sqrt(z * z + 1)
            spot, slope = torch.log(far + z.abs()).copysign(z), far.reciprocal()
            if not logits:
                slope = torch.where((x > 0) & (x < 1), slope / (x * (1 - x)), 0.0)
        else:
            spot = torch.sigmoid(x) if logits else x.clamp(0, 1)
            slope = spot * (1 - spot) if logits else torch.ones_like(x)
        place = (spot - table.low).mul_(1 / table.width)
        # a NaN stays one by u; its cell is any
        cell = place.floor().clamp_(0, table.cells - 1).nan_to_num_(0.0)
        u = place.sub_(cell)
        rows = torch.as_tensor(table.cubics(float(t))).to(x)[cell.long().flatten()]
        c0, c1, c2, c3, low, step = (c.reshape(x.shape) for c in rows.unbind(-1))
        ctx.learned = t.requires_grad
        ctx.save_for_backward(
            (c1 + u * (2 * c2 + 3 * u * c3)).mul_(slope).mul_(1 / table.width),
            low + u * step if ctx.learned else u,
        )
        return c0 + u * (c1 + u * (c2 + u * c3))


class Summed(_InBoth):
    """log Z and its derivatives as NumPy sums or integrates it, equal predictions once; p = 0 and 1 have no slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, law: Likelihood, logits: bool) -> Tensor:
        point, back = unique(Point(x.detach().double().cpu().numpy().ravel(), logits))
        engine = law.normaliser.engine
        total, value = engine.log_total(point), engine.expectations(point, ("value",))[0]
        ends = np.zeros(total.shape, dtype=bool) if logits else np.isin(point.x, (0.0, 1.0))
        slope = np.zeros_like(total)
        slope[~ends] = engine.slope(point.take(~ends))
        made = np.stack([total, slope, value / law.temperature**2])[:, back]
        found, *kept = torch.from_numpy(made).to(x).view(3, *x.shape).unbind(0)
        ctx.learned = t.requires_grad
        ctx.save_for_backward(*kept)
        return found


class Constant(torch.autograd.Function):
    """log Z of a law that every prediction only shifts; its derivative in T is E[loss]/T^2."""

    @staticmethod
    def forward(t: Tensor, law: Likelihood) -> Tensor:
        return t.new_tensor(float(law.normaliser.engine.log_total(Point(np.zeros(1)))[0]))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.law = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        law = ctx.law
        expected = float(law.normaliser.engine.expectations(Point(np.zeros(1)), ("value",))[0][0])
        return grad * expected / law.temperature**2, None


__all__ = ["Constant", "GeometricSum", "Interpolated", "LevelSum", "LogExprel", "Summed"]
