"""What is measured of a model in a pilot, on held-out images: errors, nats, rate, drawn pictures, anomalies, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import conv2d

from lossproof.advise.candidates import COLDEST, measure_of, normalised
from lossproof.data.facts_noise import cut_off, impulse_rates
from lossproof.formula import LossproofError
from lossproof.likelihood import fit_temperature, likelihood
from lossproof.train.loop import rate_per_image
from lossproof.train.randomness import generator

if TYPE_CHECKING:
    from lossproof.advise.pilot import Row
    from lossproof.data import Images
    from lossproof.data.facts_stream import Facts
    from lossproof.train.member import Member

Floats = npt.NDArray[np.float64]
Images32 = npt.NDArray[np.float32]
VALUES = 12_000  # that a temperature is fitted to, and as many that it is judged on
NEIGHBOURS = 5
PATCH = 1 / 3  # of each side
CORNERS = ((0, 0), (1, 2), (2, 1), (3, 3))  # from which every fourth pixel of every fourth row is hidden


class Judge:
    """Measures members of a pilot; the images, the values and the anomalies are the same for all of them.

    ``wanted``: of "anomaly", "neighbours" and "moved" those to measure, besides errors, laws and rates, which always are.
    ``clean``: the test images without their noise, where that is known: then "clean" is the squared error to them. Where
    pixels are black or white by chance, or noise was cut off at black and white, what errors at hidden pixels have of that
    is taken off.
    ``laws``: fit temperatures and measure nats; without them errors alone are left.
    """

    def __init__(
        self,
        images: Images,
        facts: Facts,
        wanted: Sequence[str] = (),
        clean: Images32 | None = None,
        *,
        laws: bool = True,
    ) -> None:
        self.images, self.wanted, self.laws = images, wanted, laws
        self.targets = torch.from_numpy(np.ascontiguousarray(images.test))
        self.clean = None if clean is None else torch.from_numpy(np.ascontiguousarray(clean))
        clipped = not facts.unit
        self.reference = "interval" if clipped else measure_of(facts)
        rng = np.random.default_rng(0)
        size = self.targets.numel()
        self.places = rng.permutation(size)[: 2 * VALUES]
        self.odd = torch.from_numpy(patched(images.test, rng)) if "anomaly" in wanted else None
        hides = any(name.startswith("hidden") for name in wanted)
        self.masks = [hidden(self.targets, corner) for corner in CORNERS] if hides else []
        self.black, self.white = 0.0, 0.0
        #: what pictures are held against at hidden pixels
        self.asked = self.targets
        if hides and facts.unit:
            self.asked = torch.from_numpy(cut_off(images.test))
            if facts.noise.impulsive:
                self.black, self.white = impulse_rates(images.train)

        #: what no model can learn at hidden pixels, nor the mean image
        self.of_noise = facts.noise.sigma**2 if hides else 0.0
        #: nats a value of a histogram for each pixel: a bound below has learnt more than no model can, whatever its pictures
        counted = facts.histogram_bits if facts.unit else None
        self.histograms = counted[1] * float(np.log(2)) if counted else float("-inf")
        mean = torch.from_numpy(images.train.mean(axis=0, dtype=np.float64))
        #: squared error a value of always predicting the mean training image
        self.mean_image = self.errors(mean.expand(self.targets.shape), self.asked)[0]

    def errors(self, picture: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
        """Squared and absolute error a value, less what targets that are black or white by chance add to them.

        With b of them black and w white, E (Y - p)^2 = (1 - b - w) (y - p)^2 + b p^2 + w (1 - p)^2, and so for |Y - p|.
        """
        p, y = picture.double(), targets.double()
        out = []
        for power in (2, 1):
            by_chance = self.black * p.abs() ** power + self.white * (1 - p).abs() ** power
            told = (y - p).abs() ** power - by_chance
            out.append(float(told.mean()) / (1 - self.black - self.white))
        return out[0], out[1]

    def squared(self, row: Row, measure: str) -> float:
        """The squared error a value of a row, whatever decided; where pixels are hidden, at those."""
        name = "hidden_squared" if measure.startswith("hidden") else "squared"
        return row.mean if measure == name else row.other[name]

    def measures(self, members: Sequence[Member]) -> dict[str, Floats]:
        """Each measure's values, one a member."""
        found = [self._of(member) for member in members]
        return {name: np.array([one[name] for one in found]) for name in found[0]}

    def _of(self, member: Member) -> dict[str, float]:
        member.model.eval()
        count, values = len(self.targets), self.targets.numel()
        noise = torch.randn(count, member.model.latent, generator=generator(0, "pilot"))
        with torch.inference_mode():
            raw, mean, logvar = member.model(self.targets, noise)
            picture = member.criterion.picture(raw)
            gap = (picture - self.targets).double()
            out = {"squared": float(gap.square().mean()), "absolute": float(gap.abs().mean())}
            if self.clean is not None:
                out["clean"] = float((picture - self.clean).double().square().mean())
            rate = 0.0 if logvar is None else float(rate_per_image(mean, logvar).double().sum()) / values
            if logvar is not None:
                code = torch.randn(count, member.model.latent, generator=generator(0, "drawn"))
                drawn = member.criterion.picture(member.model.decode(code))
                out["drawn"] = energy_distance(drawn.flatten(1), self.targets.flatten(1))
        out["rate"] = rate
        if self.laws:
            out["law"], out["temperature"] = self._law(member, raw)
            out["bound"] = out["law"] + rate
        if self.odd is not None:
            out["anomaly"] = 1 - self._auroc(member, raw)
        if self.masks:
            out["hidden_squared"], out["hidden_absolute"] = self._hidden(member)
        if "neighbours" in self.wanted:
            out["neighbours"] = self._neighbours(member, mean)
        if "moved" in self.wanted:
            out["moved"] = self._moved(member, mean)
        return out

    def _law(self, member: Member, raw: torch.Tensor) -> tuple[float, float]:
        """Calibrated nats a value: temperature fitted to one half of the values, judged on the other."""
        loss, half = member.loss, len(self.places) // 2
        if loss is None:  # a decoder: its scale was learned
            with torch.inference_mode():
                values = -member.criterion.log_prob(self.targets, raw).double()
            return float(values.numpy().ravel()[self.places[half:]].mean()), float("nan")
        y = self.targets.double().numpy().ravel()[self.places]
        z = raw.double().numpy().ravel()[self.places]
        of = normalised(loss)
        try:
            fitted = fit_temperature(
                loss, y[:half], logits=z[:half], measure=self.reference, of=of, low=COLDEST
            )
            law = likelihood(loss, float(fitted.temperature), self.reference, of)
            return float(-np.mean(law.log_prob(y[half:], logits=z[half:]))), float(fitted.temperature)
        except LossproofError:
            return float("nan"), float("nan")

    def _auroc(self, member: Member, raw: torch.Tensor) -> float:
        """How often an odd image's excess is above an untouched one's (Mann and Whitney 1947)."""
        from lossproof.lower import function

        assert self.odd is not None
        noise = torch.zeros(len(self.odd), member.model.latent)
        with torch.inference_mode():
            odd_raw, _, _ = member.model(self.odd, noise)
            scores = []
            for target, logits in ((self.targets, raw), (self.odd, odd_raw)):
                values = member.criterion.values(target, logits).double().flatten(1).sum(1).numpy()
                floor = np.zeros(len(target))
                if member.loss is not None:
                    floor = (
                        function(member.loss).floor(target.double().numpy()).reshape(len(target), -1).sum(1)
                    )
                scores.append(values - (floor if np.isfinite(floor).all() else 0.0))
        usual, odd = scores
        above = (odd[:, None] > usual).mean() + 0.5 * (odd[:, None] == usual).mean()
        return float(above)

    def _neighbours(self, member: Member, codes: torch.Tensor) -> float:
        """Share of held-out images whose label is not that of most of the nearest training codes."""
        train_labels, labels = self.images.train_labels, self.images.test_labels
        assert train_labels is not None
        assert labels is not None
        with torch.inference_mode():
            known, _ = member.model.encode(torch.from_numpy(self.images.train))
            near = torch.cdist(codes, known).topk(min(NEIGHBOURS, len(known)), largest=False).indices.numpy()
        votes = train_labels[near]
        classes = int(max(train_labels.max(), labels.max())) + 1
        counts = np.stack([np.bincount(row, minlength=classes) for row in votes])
        return float((counts.argmax(axis=1) != labels).mean())

    def _hidden(self, member: Member) -> tuple[float, float]:
        """Squared and absolute error at pixels that the model is not shown: noise cannot be copied there.

        Where noise has no direction, or is black and white by chance and taken off, these are the errors to the clean
        picture, plus a constant (Batson and Royer, Noise2Self, arXiv 1901.11365).
        """
        squared = absolute = 0.0
        for shown, places in self.masks:
            with torch.inference_mode():
                raw, _, _ = member.model(shown, torch.zeros(len(shown), member.model.latent))
                picture = member.criterion.picture(raw)[..., places]
            of_squares, of_distances = self.errors(picture, self.asked[..., places])
            squared += of_squares / len(self.masks)
            absolute += of_distances / len(self.masks)
        return squared, absolute

    def _moved(self, member: Member, codes: torch.Tensor) -> float:
        """Share of held-out images whose code, once moved by a pixel, is nearer to another image's than to its own."""
        moved = moved_by_a_pixel(self.targets)
        with torch.inference_mode():
            near = torch.cdist(member.model.encode(moved)[0], codes).argmin(1)
        return float((near != torch.arange(len(codes))).double().mean())


def moved_by_a_pixel(images: torch.Tensor) -> torch.Tensor:
    """Each image moved to the right and down by a pixel; what comes in is the border's own colour."""
    down = torch.cat([images[..., :1, :], images[..., :-1, :]], dim=-2)
    return torch.cat([down[..., :1], down[..., :-1]], dim=-1)


def hidden(images: torch.Tensor, corner: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The images with every fourth pixel of every fourth row replaced by the mean of those beside it; and which (h, w)."""
    h, w = images.shape[-2:]
    places = torch.zeros(h, w, dtype=torch.bool)
    places[corner[0] % h :: 4, corner[1] % w :: 4] = True
    beside = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], dtype=images.dtype)
    totals = conv2d(images.reshape(-1, 1, h, w), beside[None, None], padding=1)
    count = conv2d(torch.ones(1, 1, h, w, dtype=images.dtype), beside[None, None], padding=1).clamp(min=1)
    return torch.where(places, (totals / count).view_as(images), images), places


def energy_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """The energy distance of two samples (n, d), unbiased: 2 E|A - B| - E|A - A'| - E|B - B'|; 0 for equal laws.

    Szekely and Rizzo, DOI 10.1016/j.jspi.2013.03.018.
    """

    def apart(x: torch.Tensor) -> float:
        return float(torch.cdist(x, x).double().sum()) / max(1, len(x) * (len(x) - 1))

    return 2 * float(torch.cdist(a, b).double().mean()) - apart(a) - apart(b)


def patched(images: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Each image with a patch of another one, from another place (Li et al., CutPaste, arXiv 2104.04015)."""
    n, _, h, w = images.shape
    out = images.copy()
    ph, pw = max(1, round(h * PATCH)), max(1, round(w * PATCH))
    donors = np.roll(np.arange(n), 1)
    for i in range(n):
        a, b, c, d = (int(rng.integers(0, side)) for side in (h - ph + 1, w - pw + 1) * 2)
        out[i, :, a : a + ph, b : b + pw] = images[donors[i], :, c : c + ph, d : d + pw]
    return out
