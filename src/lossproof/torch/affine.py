"""Laws of losses that are affine in the target, as BCE and its kin: exact, behind the sigmoid, at any temperatures."""

from __future__ import annotations

import torch
from torch import Tensor

from lossproof.likelihood import Levels
from lossproof.likelihood.integrand import Integrand
from lossproof.torch.kernel import kernel

_NEAR = 0.1  # below this differences cancel, and three terms of a series do


class Exponential:
    """-log of the mass or density that exp(y u) has, u = -slope(p)/T, on regular levels or on [0, 1].

    Both are counted from the end of the targets at which the law is largest, so that nothing large cancels:
    |y - end| |u| + log of the sum of exp(-|y - end| |u|).
    """

    def __init__(self, integrand: Integrand) -> None:
        assert integrand.form.slope is not None
        self.kernel = kernel(integrand.form.slope)
        measure = integrand.measure
        self.low, self.high = float(measure.domain.low), float(measure.domain.high)
        self.count = measure.count if isinstance(measure, Levels) else 0
        self.step = (self.high - self.low) / (self.count - 1) if self.count else 1.0

    @classmethod
    def of(cls, integrand: Integrand) -> Exponential | None:
        """The law of a loss of this form; None for others."""
        measure = integrand.measure
        regular = measure.regular if isinstance(measure, Levels) else True
        return cls(integrand) if integrand.form.kind == "affine" and regular else None

    def grade(self, target: Tensor, raw: Tensor, inverse: Tensor | float, slopes: bool) -> tuple[Tensor, ...]:
        """Nats; and if asked for, their derivatives in the logit and in log T, (n, c, h, w) each. ``inverse``: 1/T."""
        ones = torch.ones_like(raw)
        u = (self.kernel.value_logits(ones, raw) * inverse).neg_()
        up, size = u > 0, u.abs()
        away = torch.where(up, self.high - target, target - self.low)
        a = (size * self.step).clamp_(min=1e-30)
        rest, mean = self._sums(a, slopes)
        values = rest.addcmul_(away, size)
        if not slopes:
            return (values,)
        off = away.sub_(
            mean.mul_(self.step)
        )  # how much further from that end the target is than its expectation
        by_log_t = size.mul_(off).neg_()
        turn = self.kernel.gradient_logits(ones, raw) * inverse
        return values, torch.where(up, -off, off).mul_(turn), by_log_t

    def _sums(self, a: Tensor, slopes: bool) -> tuple[Tensor, Tensor]:
        """log of the sum of exp(-k a), k < n (or of its mean over [0, 1]), and the mean of k under that law."""
        n = self.count
        one = torch.expm1(-a)
        if not n:
            rest = one.neg().div_(a).log_()
            if not slopes:
                return rest, a
            far = a.reciprocal() + (one + 1).div_(one)
            near = a.square().mul_(1 / 720).sub_(1 / 12).mul_(a).add_(0.5)
            return rest, torch.where(a < _NEAR, near, far)
        every = torch.expm1(-n * a)
        rest = (every / one).log_()
        if not slopes:
            return rest, a
        far = (every + 1).mul_(n).div_(every).sub_((one + 1).div_(one))
        near = a.square().mul_((n**4 - 1) / 720).sub_((n * n - 1) / 12).mul_(a).add_((n - 1) / 2)
        return rest, torch.where(a * n < _NEAR, near, far)


__all__ = ["Exponential"]
