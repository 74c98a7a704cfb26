"""Laws on grey levels without a location: beta-binomial, categorical."""

from __future__ import annotations

import torch
from torch import Tensor

from lossproof.likelihood.measures import Levels
from lossproof.torch.decoders.base import Heads, Law
from lossproof.torch.decoders.special import log_rising, wide

#: log alpha and log beta beyond it only weigh against each other: the law is the binomial within n^2 exp(-30)
_LARGE = 30.0


class BetaBinomial(Law):
    """The beta-binomial mass, without the cancellation of log-gammas at large alpha and beta."""

    id = "beta_binomial"

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        inside = torch.arange(self.n + 1, dtype=torch.float64)
        total = torch.lgamma(inside[-1] + 1)
        #: log of the binomial coefficients of n
        self.choose = total - torch.lgamma(inside + 1) - torch.lgamma(self.n - inside + 1)

    def law(self, target: Tensor, heads: Heads, *, slopes: bool) -> tuple[Tensor, Heads]:
        """log C(n, k) and three rising factorials, their large logarithms joined to those of shares.

        What cancels there costs float32 five digits. Slopes bear that; without them all is summed in float64, so that
        the mass sums to 1 within 1e-6.
        """
        la, lb = heads["log_alpha"], heads["log_beta"]
        asked = target.dtype
        if not slopes:
            target, la, lb = wide(target), wide(la), wide(lb)
        over = (torch.maximum(la, lb) - _LARGE).clamp(min=0)
        la, lb = la - over, lb - over
        alpha, beta = torch.exp(la), torch.exp(lb)
        k = self.level(target)
        others, total = self.n - k, k.new_tensor(float(self.n))
        up_a, to_a, by_a = log_rising(alpha, la, k, slope=slopes)
        up_b, to_b, by_b = log_rising(beta, lb, others, slope=slopes)
        both = alpha + beta
        up_t, to_t, by_t = log_rising(both, torch.logaddexp(la, lb), total, slope=slopes)
        mass = (
            self.choose.to(k)[k.long()]
            + (up_a + up_b - up_t)
            + k * torch.log(to_a / to_t)
            + others * torch.log(to_b / to_t)
        )
        if not slopes:
            return -mass.to(asked), {}
        share = torch.sigmoid(la - lb)
        return -mass, {
            "log_alpha": by_t * share - by_a,
            "log_beta": by_t * torch.sigmoid(lb - la) - by_b,
        }

    def mean_of(self, heads: Heads) -> Tensor:
        """alpha/(alpha + beta)."""
        return torch.sigmoid(heads["log_alpha"] - heads["log_beta"])


class Categorical(Law):
    """A softmax over the levels."""

    id = "categorical"
    even = False

    def law(self, target: Tensor, heads: Heads, *, slopes: bool) -> tuple[Tensor, Heads]:
        """Cross-entropy of the level. The sum has float64: its rounding is the same for every level of a pixel."""
        index = self.index(target).unsqueeze(1)
        less = heads["logits"] - heads["logits"].amax(1, keepdim=True)
        own = less.gather(1, index).squeeze(1)
        slope = less.exp_()
        total = slope.sum(1, dtype=torch.float64 if slope.device.type != "mps" else None)
        value = (total.log() - own).to(own.dtype)
        if not slopes:
            return value, {}
        slope.div_(total.unsqueeze(1))
        return value, {"logits": slope.scatter_add_(1, index, -torch.ones_like(index, dtype=slope.dtype))}

    def index(self, target: Tensor) -> Tensor:
        """The number of each target's level."""
        assert isinstance(self.measure, Levels)
        values = self._levels(target)
        return torch.bucketize(target.contiguous(), (values[1:] + values[:-1]) / 2)

    def mean_of(self, heads: Heads) -> Tensor:
        """The mean level."""
        values = self._levels(heads["logits"])
        return torch.einsum("nlchw,l->nchw", heads["logits"].softmax(dim=1), values)


__all__ = ["BetaBinomial", "Categorical"]
