"""What a calibrated step looks up: T log Z at one temperature, or at one for each value, and floors of targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lossproof.formula import Loss
from lossproof.likelihood import Levels
from lossproof.likelihood.grid import RUNGS as PAIRED
from lossproof.likelihood.grid import SOFT, Grid, weights
from lossproof.likelihood.integrand import Point
from lossproof.likelihood.normaliser import Normaliser, unique
from lossproof.likelihood.surface import RUNGS, Surface
from lossproof.likelihood.table import FURTHEST

STRIDE = 6  # rungs between those that are looked at first


class Found(NamedTuple):
    """T log Z of each value, and its derivatives in the logit and in log T (empty where not asked for)."""

    energy: Tensor
    by_logit: Tensor
    by_log_t: Tensor


class Patches:
    """The rungs that were needed so far, their cells one after another; (6, cells of all)."""

    def __init__(self, surface: Surface, like: Tensor) -> None:
        self.surface = surface
        self.behind, self.low, self.high = surface.grid.behind, surface.grid.low, surface.grid.high
        self.dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self.device = like.device
        self._coarse = ((0, 0), torch.empty(0))  # of a ladder's first rung and length
        self.parts: list[Tensor] = []
        self.known: dict[int, int] = {}  # the rung's place among them
        self.columns = torch.empty(6, 0, dtype=self.dtype, device=self.device)
        self.first, self.of_rung = 0, torch.empty(0, dtype=torch.int64, device=self.device)
        self.start, self.cells = (torch.empty(0, dtype=torch.int32, device=self.device) for _ in range(2))

    def serves(self, like: Tensor) -> bool:
        """Whether tensors of this device and dtype can be looked up."""
        return like.device == self.device and (like.dtype == torch.float64) == (self.dtype == torch.float64)

    def need(self, rungs: Sequence[int]) -> None:
        """Make the rungs that are not there yet. Raises ``LossproofError`` where no table is fine enough."""
        new = [rung for rung in rungs if rung not in self.known]
        if not new:
            return
        for rung in new:
            made = torch.from_numpy(self.surface.patches(rung)).to(self.device, self.dtype)
            self.known[rung] = len(self.parts)
            self.parts.append(made)
        self.columns = torch.cat(self.parts, 1)
        sizes = [part.shape[1] for part in self.parts]
        self.first = min(self.known)
        of_rung = [self.known.get(rung, 0) for rung in range(self.first, max(self.known) + 1)]
        self.of_rung = torch.tensor(of_rung, device=self.device)
        whole = torch.tensor(sizes, dtype=torch.int32, device=self.device)
        self.cells, self.start = whole, (whole.cumsum(0) - whole).to(torch.int32)

    def look_up(
        self, raw: Tensor, at: tuple[Tensor, Tensor], log_t: Tensor, *, slopes: bool, exact: bool
    ) -> Found:
        """At logits (n, c, h, w), whose ``place`` is given, and log T that broadcasts to them; missing rungs are made.

        ``exact``: every log T is that of a rung, and has no derivative.
        """
        place = log_t * RUNGS
        rung = place.round()
        w = place - rung
        which = rung.long()
        self.need(which.unique().tolist())
        part = self.of_rung[which - self.first]
        start, cells = self.start[part], self.cells[part]
        spot = at[0] * cells
        cell = torch.minimum(spot.to(torch.int32).clamp_(min=0), cells - 1)
        u = spot.sub_(cell)
        index = cell.add_(start).view(-1)

        def column(number: int) -> Tensor:
            return self.columns[number].index_select(0, index).view_as(raw)

        c1, half = column(1), column(2).mul_(u)
        energy = column(0).addcmul_(u, c1 + half)
        by_logit = c1.add_(half, alpha=2) if slopes else c1
        by_log_t = energy
        if not exact:
            c3, c4, c5 = (column(number) for number in (3, 4, 5))
            c3.addcmul_(u, c4)  # the derivative in w at w = 0
            energy.addcmul_(c3, w).addcmul_(c5, w.square())
            by_logit.addcmul_(c4, w)
            by_log_t = c3.addcmul_(c5, 2 * w).mul_(RUNGS) if slopes else c3
        return Found(energy, by_logit.mul_(at[1].mul_(cells)) if slopes else by_logit, by_log_t)

    def place(self, raw: Tensor, slopes: bool) -> tuple[Tensor, Tensor]:
        """Where in the grid's range each logit lies, from 0 to 1, and the derivative of that in the logit."""
        if self.behind:
            root = raw.abs().add_(SOFT).rsqrt_()
            scale = 1 / (self.high - self.low)
            spot = torch.mul(raw, root).mul_(scale).add_(0.5)
            return spot, root.mul_(root.square().mul_(SOFT / 2).add_(0.5)).mul_(scale) if slopes else root
        p = raw.sigmoid()
        return p, torch.addcmul(p, p, p, value=-1) if slopes else p

    def best(self, at: Tensor, losses: Tensor, ladder: range, most: Tensor | None) -> Tensor:
        """The rung of the ladder at which each image (n, ...) has the fewest nats, as log T (n,); ``at`` is its ``place``.

        A histogram of each image's logits over the grid, times T log Z there: first at some of the rungs, then at all
        between the neighbours of the best of those, as the nats have one minimum. ``most``: no T above it.
        """
        table = self.coarse(ladder)
        count, nodes = len(at), len(table)
        index = (at * (nodes - 1)).add_(0.5).long().clamp_(0, nodes - 1)
        index = index.add_(torch.arange(count, device=at.device).mul_(nodes).view(-1, 1, 1, 1)).view(-1)
        ones = torch.ones((), dtype=self.dtype, device=at.device).expand(len(index))
        histogram = torch.zeros(count * nodes, dtype=self.dtype, device=at.device).scatter_add_(
            0, index, ones
        )
        histogram = histogram.view(count, nodes)
        total = losses.flatten(1).sum(1, keepdim=True)

        def least(columns: slice) -> Tensor:
            t = torch.tensor([math.exp(rung / RUNGS) for rung in ladder[columns]], device=at.device).to(total)
            nats = (histogram @ table[:, columns] + total) / t
            if most is not None:
                nats = nats.masked_fill(t > most.unsqueeze(1), torch.inf)  # if all are, the first is taken
            return nats.argmin(1)

        found = least(slice(None, None, STRIDE)) * STRIDE
        low = max(0, int(found.min()) - STRIDE)
        found = low + least(slice(low, int(found.max()) + STRIDE + 1))
        return (ladder[0] + found).double().div(RUNGS)

    def coarse(self, ladder: range) -> Tensor:
        """T log Z at the nodes of the coarsest grid, for every rung: (nodes, rungs)."""
        key = (ladder[0], len(ladder))
        if self._coarse[0] != key:
            table = np.stack([self.surface.free_energy(2 * rung)[::2] for rung in ladder], 1)
            self._coarse = (key, torch.from_numpy(table).to(self.device, self.dtype))
        return self._coarse[1]


class Table:
    """The quadratics at one temperature, divided by it, as tensors; energy + u (rise + u bend) in each cell."""

    def __init__(self, grid: Grid, t: float, u: float, pair: np.ndarray, like: Tensor) -> None:
        self.temperature, self.behind = t, grid.behind
        self.cells = pair.shape[-1]
        self.factor = self.cells / (grid.high - grid.low)
        (c0, c1, c2), (d0, d1, d2) = np.tensordot(weights(u), pair, 1) / t
        columns = np.stack([c0, c1, c2, d0 * PAIRED, (d1 + d2) * PAIRED])
        tensor = torch.from_numpy(columns.astype(np.float32 if like.dtype != torch.float64 else np.float64))
        self.energy, self.rise, self.bend, self.moment, self.drift = tensor.to(like.device).unbind(0)

    def place(self, raw: Tensor, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Each logit's cell and place in it, flat, and the derivative of the place in the logit."""
        if self.behind:
            root = raw.abs().add_(SOFT).rsqrt_()
            spot = torch.mul(raw, root).mul_(self.factor).add_(self.cells / 2)
            chain = root.mul_(root.square().mul_(SOFT / 2).add_(0.5)).mul_(self.factor) if slopes else root
        else:
            p = raw.sigmoid()
            spot = p * self.cells
            chain = torch.addcmul(p, p, p, value=-1).mul_(self.cells) if slopes else p
        cell = spot.to(torch.int32).clamp_(0, self.cells - 1)
        return cell.view(-1), spot.sub_(cell).view(-1), chain


def within(raw: Tensor, grid: Grid) -> tuple[Tensor, Tensor | None]:
    """Logits kept inside the grid, and a mask of those that were not; None where all were. Off the CPU it waits."""
    if not grid.behind or not raw.numel():
        return raw, None
    low, high = raw.aminmax()
    if not max(-float(low), float(high)) > FURTHEST:
        return raw, None
    return raw.clamp(-FURTHEST, FURTHEST), (raw.abs() > FURTHEST) & raw.isfinite()


def summed(grid: Grid, target: Tensor, raw: Tensor, log_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Nats of few values (n,) and their derivatives in the logit and in log T, summed as such, in float64."""
    y, z, t = (a.double().cpu().numpy() for a in (target, raw, log_t.exp()))
    found = np.empty((3, z.size))
    for one in np.unique(t):
        normaliser, at = Normaliser(grid.loss, one, grid.measure, grid.of), t == one
        point = Point(z[at], logits=True)
        first, back = unique(point)
        engine, integrand = normaliser.engine, normaliser.integrand
        value, turn = integrand.value(y[at, None], point)[:, 0], integrand.gradient(y[at, None], point)[:, 0]
        expected = engine.expectations(first, ("value",))[0][back]
        nats = value / one + engine.log_total(first)[back]
        found[:, at] = np.stack([nats, turn / one + engine.slope(first)[back], (expected - value) / one])
    values, slopes, by_log_t = torch.from_numpy(found).to(raw).unbind(0)
    return values, slopes, by_log_t


class Floors:
    """The loss's floor at targets: looked up by level, or computed where targets may be anything."""

    def __init__(self, loss: Loss, measure: object) -> None:
        from lossproof.lower import function

        self.floor = function(loss).floor
        self.values: Tensor | None = None
        self.regular = False
        self.edges: Tensor | None = None
        if isinstance(measure, Levels):
            self.values = torch.from_numpy(np.asarray(self.floor(measure.values), dtype=np.float64))
            self.low = float(measure.values[0])
            self.step = float(measure.values[-1] - measure.values[0]) / (measure.count - 1)
            self.regular = measure.regular
            self.edges = torch.from_numpy((measure.values[1:] + measure.values[:-1]) / 2)
        self.cast: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def __call__(self, target: Tensor) -> Tensor:
        if self.values is None:  # a floor may be a search, so each distinct target is looked at once
            distinct, back = torch.unique(target, return_inverse=True)
            found = np.asarray(self.floor(distinct.double().cpu().numpy()))
            return torch.from_numpy(found).to(target)[back]
        key = (target.device, target.dtype)
        if key not in self.cast:
            self.cast[key] = self.values.to(target)
        values = self.cast[key]
        if self.regular:
            level = ((target - self.low) / self.step).round_().to(torch.int32).clamp_(0, len(values) - 1)
        else:
            assert self.edges is not None
            level = torch.bucketize(target, self.edges.to(target), out_int32=True)
        return values.index_select(0, level.view(-1)).view_as(target)


__all__ = ["Floors", "Found", "Patches", "Table", "summed", "within"]
