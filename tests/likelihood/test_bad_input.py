"""What is refused, with the message that says why and what to do."""

import numpy as np
import pytest

from lossproof.formula import LossproofError
from lossproof.likelihood import Levels, Normaliser, UnitInterval, likelihood
from lossproof.likelihood.measures import measure_of


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "hot", None])
def test_a_temperature_that_is_not_above_zero(temperature):
    with pytest.raises(LossproofError, match="mse: expected a finite temperature T > 0, got"):
        likelihood("mse", temperature)


@pytest.mark.parametrize("temperature", [1e-13, 1e-300, 5e-324])
def test_a_temperature_that_underflows(temperature):
    with pytest.raises(LossproofError, match="loses all digits there.*bound T from below"):
        likelihood("mse", temperature)


def test_the_smallest_temperature_still_works():
    assert np.exp(likelihood("mse", 1e-10).log_prob(0.2, 0.2)) == pytest.approx(1.0)
    assert likelihood("mse", 1e-10, "line").cdf(0.3, 0.3) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("loss", "temperature", "reason"),
    [("barron(alpha=-100)", 1.0, "does not grow without bound"),  # Welsch's and Geman-McClure's losses are bounded
     ("barron(alpha=-2)", 0.01, "does not grow without bound"),
     ("1 - exp(-(y - p)**2)", 1.0, "does not grow without bound"),
     ("maximum(y - p, 0)", 1.0, "does not grow without bound on both sides"),
     ("-y*p", 1.0, "does not grow without bound"),
     ("barron(alpha=0)", 2.0, "falls only like"),  # Cauchy: |y|^(-2/T)
     ("log(1 + abs(y - p))", 1.0, "Take T below 0.93"),
     ("-(y - p)**2/p", 1.0, "does not grow with the square of the target"),
     ("bce", 1.0, r"inside the loss's targets \[0, 1\], got the real line")],
)  # fmt: skip
def test_what_cannot_be_normalised_on_the_line(loss, temperature, reason):
    with pytest.raises(LossproofError, match=reason):
        likelihood(loss, temperature, "line").log_prob(0.5, 0.5)


def test_the_cauchy_loss_is_normalisable_below_its_border():
    law = likelihood("barron(alpha=0)", 0.9, "line")  # |y|^-2.2: a law without a variance
    assert law.cdf(0.0, 0.0) == pytest.approx(0.5)
    with pytest.raises(LossproofError, match="expected a finite variance, the tails fall only like"):
        law.variance(0.0)
    with pytest.raises(LossproofError, match="expected a finite mean"):
        likelihood("barron(alpha=0)", 1.5, "line").mean(0.0)


def test_what_cannot_be_normalised_on_the_interval():
    with pytest.raises(LossproofError, match=r"grows like \|y - 0\|\^-2 towards y = 0"):
        likelihood("2*log(y) + (y - p)**2", 1.0, "interval").log_prob(0.5, 0.5)
    assert likelihood("0.5*log(y) + (y - p)**2", 1.0, "interval").cdf(1.0, 0.5) == pytest.approx(1.0)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_corner_has_mass_on_levels_and_no_density(p):
    assert likelihood("bce").log_prob(p, p) == 0.0
    with pytest.raises(LossproofError, match="all mass sits at one point. Keep p inside"):
        likelihood("bce", 1.0, "interval").log_prob(p, p)


def test_a_loss_infinite_at_every_level():
    with pytest.raises(LossproofError, match="infinite at every level"):
        likelihood("smoothed_bce", of="excess").log_prob(0.2, 0.0)
    with pytest.raises(LossproofError, match="-inf or NaN at a level"):
        likelihood("log(p) + sqrt(abs(y - p))").log_prob(0.2, 0.0)


def test_values_between_levels():
    with pytest.raises(
        LossproofError, match=r"bce: expected targets on 2 grey levels k/1, got 1 of 2 .*first 0.3 at \[1\]"
    ):
        likelihood("bce", 1.0, 2).log_prob([1.0, 0.3], [0.5, 0.5])
    noise = np.random.default_rng(0).random(50)
    with pytest.raises(
        LossproofError, match="Levels.of.data. for the data's own levels, or measure='interval'"
    ):
        likelihood("mse").bits_per_pixel(noise, noise)


def test_bytes_given_where_levels_are_expected():
    with pytest.raises(LossproofError, match=r"first 51 at \[0\]. Divide by 255\?"):
        likelihood("mse").log_prob(np.array([51], dtype=np.uint8), [0.2])
    with pytest.raises(LossproofError, match="Divide by 255"):
        likelihood("mse").log_prob([51.0], [0.2])


def test_floats_that_carry_bytes_are_on_the_levels_and_halves_say_what_to_do():
    as32 = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float32)
    assert Levels(256).index(as32).tolist() == list(range(256))
    with pytest.raises(LossproofError, match="float16 cannot hold 256 levels apart"):
        Levels(256).index(as32.astype(np.float16))


def test_a_density_has_no_bits():
    for measure in ("interval", "line"):
        with pytest.raises(LossproofError, match="a density is no mass"):
            likelihood("mse", 1.0, measure).bits_per_pixel([0.5], [0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: Levels(1), "expected a count from 2"),
     (lambda: Levels(2.5), "expected a count"),
     (lambda: Levels.of([1.0, 1.0]), "2 to 65536 distinct values, got 1"),
     (lambda: Levels.of([1.0, np.nan]), "expected finite data"),
     (lambda: measure_of("circle"), "expected levels, interval, line"),
     (lambda: likelihood("mse", of="surplus"), "expected of='loss' or of='excess'"),
     (lambda: likelihood("bce", measure=Levels.of([0.0, 2.0])), "Scale the levels"),
     (lambda: likelihood("mse").log_prob([0.2], [0.2, 0.3]), "equal shape"),
     (lambda: likelihood("mse").log_prob(0.2), "either p or logits=, got both or neither"),
     (lambda: likelihood("mse").log_prob(0.2, np.nan), "expected finite p, got 1 of 1"),
     (lambda: likelihood("bce").log_prob(0.2, 1.5), "expected prediction in"),
     (lambda: likelihood("mse", 1.0, "interval").log_prob(1.5, 0.5), "expected target in"),
     (lambda: likelihood("mse").quantile(1.0, 0.5), "expected shares between 0 and 1"),
     (lambda: likelihood("mse").cdf([0.1, 0.2], [0.5]), "equal shape"),
     (lambda: likelihood("nonsense"), "did you mean|known|expected a catalogue id")],
)  # fmt: skip
def test_other_guards(call, message):
    with pytest.raises(LossproofError, match=message):
        call()


def test_an_integral_that_does_not_settle_is_not_given():
    with pytest.raises(LossproofError, match="expected an integral that settles"):
        Normaliser("abs(sin(100000*y)) + (y - p)**2", 0.01, UnitInterval()).log_z(0.3)
