"""LossDistribution: the law that a loss gives the target, as a torch distribution."""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from lossproof.catalogue import resolve
from lossproof.formula import Loss, LossproofError
from lossproof.likelihood import Levels, Likelihood, Normaliser, RealLine
from lossproof.likelihood.density import Density
from lossproof.likelihood.integrand import Of, Point
from lossproof.likelihood.law import targets_on
from lossproof.likelihood.measures import SMALLEST, Measure, need_mass, positive_temperature
from lossproof.likelihood.table import FURTHEST, Table, table_for
from lossproof.torch.kernel import apply, kernel
from lossproof.torch.log_z import Constant, GeometricSum, Interpolated, LevelSum, LogExprel, Summed


class _OnLevels(constraints.Constraint):
    """Values on a lattice of levels, up to a thousandth of a step."""

    is_discrete = True

    def __init__(self, levels: Levels) -> None:
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """True where a value is a level."""
        values = torch.as_tensor(self.levels.values, device=value.device)
        wide = value.detach().double()
        right = torch.searchsorted(values, wide.contiguous()).clamp(1, values.numel() - 1)
        below, above = values[right - 1], values[right]
        off = torch.minimum((wide - below).abs(), (wide - above).abs())
        return off <= 1e-3 * (above - below)

    def __repr__(self) -> str:
        return f"on {self.levels}"


@lru_cache(maxsize=64)
def _table(loss: Loss, temperature: float, measure: Measure, of: Of) -> Table | None:
    """A table of log Z; None where T is so low that none serves."""
    try:
        return table_for(loss, temperature, measure, of)
    except LossproofError:
        return None


class LossDistribution(Distribution):
    """q(y | p) = exp(-loss(y, p)/T)/Z(p, T), element-wise: ``log_prob`` in nats, differentiable in p (or logits) and T.

    ``loss`` is what ``lossproof.loss`` takes; give ``p``, or ``logits`` for p = sigmoid(logits), which keeps digits at
    black and white. ``temperature`` is a number or a scalar tensor. ``measure``: "levels" (256, a log-mass),
    "interval" or "line" (log-densities); ``of``: "loss" or "excess" - two different laws. log Z is a closed form, or a
    table over p within 1e-4 nats of it, checked when it is made; where T is too low for one it is summed, slowly. Each
    value is one event: wrap it in ``torch.distributions.Independent`` for images. ``sample``, ``mean``, ``mode``,
    ``variance``, ``cdf`` and ``entropy`` carry no gradient. Raises ``LossproofError`` for T <= 0, a tensor T that is no
    scalar, targets off the measure, and what cannot be normalised.

    >>> import torch
    >>> law = LossDistribution("mse", p=torch.tensor([0.2, 0.5]), temperature=0.02, measure="line")
    >>> normal = torch.distributions.Normal(torch.tensor([0.2, 0.5]), 0.1)
    >>> torch.allclose(law.log_prob(torch.tensor([0.3, 0.3])), normal.log_prob(torch.tensor([0.3, 0.3])))
    True
    """

    has_rsample = False

    def __init__(
        self,
        loss: object,
        *,
        p: Tensor | None = None,
        logits: Tensor | None = None,
        temperature: float | Tensor = 1.0,
        measure: object = "levels",
        of: Of = "loss",
        validate_args: bool | None = None,
    ) -> None:
        definition = resolve(loss)
        given = p if logits is None else logits
        if (p is None) == (logits is None) or not isinstance(given, Tensor) or not given.is_floating_point():
            raise LossproofError(f"{definition.label}: expected one floating tensor, as p= or as logits=.")
        if isinstance(temperature, Tensor) and temperature.numel() != 1:
            raise LossproofError(
                f"{definition.label}: expected temperature as a number or a scalar tensor, got shape "
                f"{tuple(temperature.shape)}. For one a channel or pixel, make one distribution each."
            )
        number = positive_temperature(
            temperature.item() if isinstance(temperature, Tensor) else temperature, definition.label
        )
        self._law = Likelihood(Normaliser(definition, number, measure, of))
        self.temperature = temperature
        self.from_logits = logits is not None
        self.parameter: Tensor = given
        setattr(self, "logits" if self.from_logits else "p", given)
        self._ready()
        super().__init__(given.shape, validate_args=validate_args)
        corners = self._log_z_kind == "affine" and not self._on_levels and not self.from_logits
        if self._validate_args and corners and bool(((given <= 0) | (given >= 1)).any()):
            raise LossproofError(
                f"{definition.label}: expected p inside (0, 1), got 0 or 1: there all mass sits at one point, and there "
                "is no density. Give logits."
            )

    def _ready(self) -> None:
        form, engine = self._law.normaliser.integrand.form, self._law.normaliser.engine
        self._on_levels = isinstance(self._law.measure, Levels)
        self._log_z_kind = "table"
        self._table: Table | None = None
        if isinstance(engine, Density) and engine.centred:
            self._log_z_kind = "constant"
        elif form.kind == "affine":
            self._log_z_kind = "affine"
        elif isinstance(self._law.measure, RealLine):
            raise LossproofError(
                f"{self._law.loss.label}: expected a loss of y - p on the real line, got one whose log Z changes with p. "
                "Use measure='levels' or 'interval'."
            )
        else:
            t = self._law.temperature
            if isinstance(
                self.temperature, Tensor
            ):  # a learned T moves: tables are checked at steps of sqrt(2) below it
                t = max(2.0 ** (np.floor(2 * np.log2(t)) / 2), SMALLEST)
            self._table = _table(self._law.loss, float(t), self._law.measure, self._law.of)

    @property
    def law(self) -> Likelihood:
        """The same law in NumPy, at the temperature as it is now."""
        if isinstance(self.temperature, Tensor):
            now = float(self.temperature.detach())
            if now != self._law.temperature:
                self._law = self._law.at(now)
                self._ready()
        return self._law

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """What the prediction may be: any real logit; p in [0, 1], or where the loss takes it."""
        if self.from_logits:
            return {"logits": constraints.real}
        domain = self._law.loss.prediction
        if np.isinf(domain.low):
            return {"p": constraints.real}
        return {"p": constraints.nonnegative if np.isinf(domain.high) else constraints.unit_interval}

    @property
    def support(self) -> constraints.Constraint:
        """The levels, [0, 1] or the real line."""
        if isinstance(self._law.measure, Levels):
            return _OnLevels(self._law.measure)
        line: constraints.Constraint = constraints.real
        return line if isinstance(self._law.measure, RealLine) else constraints.unit_interval

    def expand(self, batch_shape: Any, _instance: Any = None) -> "LossDistribution":
        """The same law with its predictions expanded to a larger batch shape."""
        new = self._get_checked_instance(LossDistribution, _instance)
        for name in ("_law", "temperature", "from_logits", "_on_levels", "_log_z_kind", "_table"):
            setattr(new, name, getattr(self, name))
        new.parameter = self.parameter.expand(batch_shape)
        setattr(new, "logits" if self.from_logits else "p", new.parameter)
        super(LossDistribution, new).__init__(new.parameter.shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    # log-probability

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(value | p): shapes broadcast as in torch.distributions; at least float32, computed in float64.

        On levels a value counts as the nearest level; one that is none is refused, unless ``validate_args`` is False.
        """
        if self._validate_args:
            self._validate_sample(value)
        x, y = torch.broadcast_tensors(self._wide(self.parameter), self._on_measure(self._wide(value)))
        return self._log_prob(x, y, self._t(x.dtype)).to(self._out)

    def _log_prob(self, x: Tensor, y: Tensor, t: Tensor) -> Tensor:
        if self._law.normaliser.integrand.form.kind == "affine":  # what is free of y cancels, and is left out
            slope = self._slope(x)
            u = self._exponent(slope, t)
            anchor, rest = self._affine_parts(u)
            return (y - anchor) * u - rest  # y u and log Z alone may be huge, and cancel
        loss = apply(kernel(self._law.loss), x, y, from_logits=self.from_logits)
        if self._law.normaliser.integrand.shifts:
            loss = loss - self._floor(y.detach())
        return -loss / t - self._log_z(x, t)

    @property
    def _out(self) -> torch.dtype:
        return torch.promote_types(self.parameter.dtype, torch.float32)

    def _wide(self, x: Tensor) -> Tensor:
        """In float64, as loss/T and log Z are large numbers whose difference is small; Metal has float32 alone."""
        return x.to(torch.float32 if x.device.type == "mps" else torch.float64)

    def bits_per_pixel(self, value: Tensor) -> Tensor:
        """Mean of -log2 q(value | p) over all values, a scalar: levels only. Raises ``LossproofError`` for a density.

        >>> import torch
        >>> law = LossDistribution("mae", p=torch.tensor([0.5, 0.5]), temperature=1e6)  # flat on 256 levels
        >>> round(law.bits_per_pixel(torch.tensor([0.0, 1.0])).item(), 6)
        8.0
        """
        need_mass(self._law.measure, self._law.loss.label)
        return -self.log_prob(value).mean() / math.log(2)

    def _validate_sample(self, value: Tensor) -> None:
        if self._on_levels and isinstance(value, Tensor):
            targets_on(
                self._law.measure, value.detach().cpu().numpy(), self._law.loss.label
            )  # its message says what to do
        super()._validate_sample(value)

    def _floor(self, y: Tensor) -> Tensor:
        known = kernel(self._law.loss).floor
        if known is not None:
            return torch.as_tensor(known(y))
        levels, back = torch.unique(y, return_inverse=True)  # a search is dear
        found = self._law.normaliser.integrand.functions.floor(levels.double().cpu().numpy())
        return torch.as_tensor(found).to(y)[back]

    def log_z(self) -> Tensor:
        """log Z of each prediction, less what of the loss is free of the target; differentiable in p (or logits) and T."""
        x = self._wide(self.parameter)
        return self._log_z(x, self._t(x.dtype)).to(self._out)

    def _on_measure(self, y: Tensor) -> Tensor:
        """Targets as their levels are in float64: at a low T their rounding to float32 counts."""
        measure = self._law.measure
        if not isinstance(measure, Levels):
            return y
        levels = torch.from_numpy(measure.values).to(y)
        return levels[torch.bucketize(y.detach().contiguous(), (levels[1:] + levels[:-1]) / 2)]

    def _log_z(self, x: Tensor, t: Tensor) -> Tensor:
        if self._log_z_kind == "affine":
            u = self._exponent(self._slope(x), t)
            anchor, rest = self._affine_parts(u)
            return anchor * u + rest
        if self._log_z_kind == "constant":
            return Constant.apply(t, self.law).expand(x.shape)
        return self._looked_up(x, t)

    def _t(self, dtype: torch.dtype) -> Tensor:
        if isinstance(self.temperature, Tensor):
            return self.temperature.to(self.parameter.device, dtype).reshape(())
        return torch.tensor(self.law.temperature, dtype=dtype, device=self.parameter.device)

    def _slope(self, x: Tensor) -> Tensor:
        part = self._law.normaliser.integrand.form.slope
        assert part is not None
        found = apply(kernel(part), x, torch.ones_like(x), from_logits=self.from_logits)
        return found.clamp(-1e30, 1e30)  # infinite at p = 0 and 1: 0 times it must stay 0

    @staticmethod
    def _exponent(slope: Tensor, t: Tensor) -> Tensor:
        return (-slope / t).clamp(-1e30, 1e30)

    def _affine_parts(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log Z = anchor u + rest: the anchor is the end at which exp(y u) is largest, the rest at most log n."""
        measure, up = self._law.measure, u > 0
        downhill = torch.where(up, -u, u)  # not -|u|, whose derivative at 0 torch takes for 0
        if not isinstance(measure, Levels):
            return self._anchor(u), LogExprel.apply(downhill)
        if not measure.regular:
            return self._anchor(u), LevelSum.apply(u, torch.from_numpy(measure.values).to(u))
        first, last, n = float(measure.values[0]), float(measure.values[-1]), measure.count
        return self._anchor(u), GeometricSum.apply((last - first) / (n - 1) * downhill, n)

    def _anchor(self, u: Tensor) -> Tensor:
        domain = self._law.measure.domain
        return torch.where(u > 0, u.new_tensor(domain.high), u.new_tensor(domain.low))

    def _looked_up(self, x: Tensor, t: Tensor) -> Tensor:
        law, table = self.law, self._table
        if table is None:  # T is so low that no table serves: slow, and right
            return Summed.apply(x, t, law, self.from_logits)
        found = Interpolated.apply(x, t, table, self.from_logits)
        if table.behind:  # the table ends where sigmoid(-z) is no normal float64: what lies beyond is summed
            far = (x.abs() > FURTHEST) & x.isfinite() if self.from_logits else (x <= 0) | (x >= 1)
            if bool(far.any()):
                found = found.masked_scatter(far, Summed.apply(x[far], t, law, self.from_logits))
            return found
        beyond = (x < 0) | (x > 1)
        if not self.from_logits and bool(beyond.any()):  # few predictions leave the targets' range
            found = found.masked_scatter(beyond, self._directly(x[beyond], t))
        return found

    def _directly(self, x: Tensor, t: Tensor) -> Tensor:
        measure, k = self._law.measure, kernel(self._law.loss)
        if isinstance(measure, Levels):
            nodes, weights = measure.values, np.zeros(measure.count)
        else:
            edges = np.linspace(0, 1, 65)
            x16, w16 = np.polynomial.legendre.leggauss(16)
            nodes = ((edges[1:] + edges[:-1])[:, None] / 2 + x16 / 128).ravel()
            weights = np.log(np.tile(w16 / 128, 64))
        y, w = (torch.as_tensor(a).to(x) for a in (nodes, weights))
        if self._law.normaliser.integrand.shifts:
            w = w + torch.as_tensor(self._law.normaliser.integrand.functions.floor(nodes)).to(x) / t
        parts = [
            torch.logsumexp(
                w - apply(k, *torch.broadcast_tensors(part[:, None], y), from_logits=False) / t, dim=1
            )
            for part in x.split(1 << 12)
        ]
        return torch.cat(parts)

    # what has no gradient: computed by the NumPy law

    def _numpy(self, name: str, *before: np.ndarray[Any, Any]) -> Tensor:
        x = self.parameter.detach().double().cpu().numpy()
        called = getattr(self.law, name)
        found = called(*before, logits=x) if self.from_logits else called(*before, x)
        return torch.as_tensor(np.asarray(found)).to(self.parameter.device, self._out)

    @property
    def mean(self) -> Tensor:
        """Expected target; no gradient."""
        return self._numpy("mean")

    @property
    def mode(self) -> Tensor:
        """Most likely target; no gradient."""
        return self._numpy("mode")

    @property
    def variance(self) -> Tensor:
        """Variance of the target; no gradient."""
        return self._numpy("variance")

    def entropy(self) -> Tensor:
        """Entropy in nats (differential on an interval or the line): E[loss]/T + log Z; no gradient."""
        with torch.no_grad():
            law, at = (
                self.law,
                Point(self.parameter.detach().double().cpu().numpy().ravel(), self.from_logits),
            )
            value = law.normaliser.engine.expectations(at, ("value",))[0] / law.temperature
            found = value + law.normaliser.engine.log_total(at)
            return torch.as_tensor(found.reshape(tuple(self.batch_shape))).to(
                self.parameter.device, self._out
            )

    def cdf(self, value: Tensor) -> Tensor:
        """Mass at or below the value; no gradient."""
        x, y = torch.broadcast_tensors(self.parameter, value)
        return self.expand(x.shape)._numpy("cdf", y.detach().double().cpu().numpy())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw targets by inversion, from torch's own generator."""
        shape = self._extended_shape(torch.Size(sample_shape))
        share = torch.rand(shape, dtype=torch.float64).clamp_min(2.0**-54)
        with torch.no_grad():
            return self.expand(shape)._numpy("quantile", share.numpy())


__all__ = ["LossDistribution"]
