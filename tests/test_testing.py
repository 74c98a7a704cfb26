"""``lossproof.testing.assert_certified``: what a user's own test suite calls."""

import numpy as np
import pytest

from lossproof.formula import LossproofError
from lossproof.testing import assert_certified


def test_a_loss_that_holds_passes():
    found = assert_certified("(y - p)**2", "minimum", "unique", "mean", "convex", budget=30)
    assert found.holds("minimum") == "holds"
    assert "lipschitz" not in found.lines  # only what was asked for, and what that needs


def test_a_function_of_the_users_own():
    def loss(y, p, scale=2.0):
        return scale * np.abs(y - p)

    assert_certified(loss, budget=30)
    assert_certified(loss, "median", budget=30, scale=3)


def test_a_loss_that_does_not_hold_fails_with_its_witness():
    with pytest.raises(AssertionError) as error:
        assert_certified("-(3*xlogy(y, p) + xlogy(1 - y, 1 - p))", "minimum", "convex", budget=30)
    text = str(error.value)
    assert "expected minimum, convex to hold for y in [0, 1], p in (0, 1):" in text
    assert (
        "minimum: refuted - p = y is a global minimiser of p -> loss(y, p): refuted at y = 1/2, p = " in text
    )
    assert "convex: refuted" not in text


def test_an_unknown_fails_with_its_reason():
    with pytest.raises(AssertionError, match=r"(?s)minimum: unknown - .*(time limit of 5 s|is not shown)"):
        # far too much to prove in this time, and true
        assert_certified("+".join(f"(y - p)**{2 * i}*exp(-{i}*p*y)" for i in range(1, 60)), budget=5)


def test_wrong_names_are_said_before_any_work():
    with pytest.raises(LossproofError, match="got 'minimun'; did you mean minimum"):
        assert_certified("no formula at all", "minimun")
