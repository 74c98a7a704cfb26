"""Every name of the tracing tables, against the function of that name in numpy, scipy.special or torch."""

import numpy as np
import pytest
import scipy.special
import torch

from lossproof.formula import trace_torch
from lossproof.formula.errors import LossproofError
from lossproof.formula.trace import agreement, trace
from lossproof.formula.trace_names import TABLES

torch.set_num_threads(1)

UFUNCS = sorted(
    name
    for name in TABLES["numpy"]
    if isinstance(getattr(np, name, getattr(scipy.special, name, None)), np.ufunc) and name != "loggamma"
)


@pytest.mark.parametrize("name", UFUNCS)
def test_every_ufunc_of_the_table_is_numpys_or_scipys(name):
    ufunc = getattr(np, name, None) or getattr(scipy.special, name)
    truth = name.startswith(("logical", "bitwise", "invert"))

    def loss(y, p):
        args = (y > 0.5, p > y)[: ufunc.nin] if truth else (y, p)[: ufunc.nin]
        # comparisons and signs count as well
        return ufunc(*args) * (1 + p)

    assert agreement(loss, trace(loss, check=False)) < 1e-12


OTHER_ARGUMENTS = {"where", "full_like", "logit", "lerp", "clip", "clamp", "clamp_min", "clamp_max", "select"}
TORCH_NAMES = sorted(
    name
    for name in set(TABLES["torch"]) - set(trace_torch.FUNCTIONS) - OTHER_ARGUMENTS
    if callable(getattr(torch, name, getattr(torch.special, name, None)))
)


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_every_elementwise_name_of_the_table_is_torchs(name):
    function = getattr(torch, name, None) or getattr(torch.special, name)
    truth = name.startswith(("logical", "bitwise"))

    def loss(y, p):
        args = (y > 0.5, p > y) if truth else (p, y)
        if name == "polygamma":  # its order is a constant
            args = (1, p)
        try:
            result = function(*args)
        except (TypeError, LossproofError):  # one argument
            result = function(args[0])
        return result * (1 + p)

    assert agreement(loss, trace(loss, check=False)) < (1e-8 if name == "polygamma" else 1e-12)


def test_the_tables_reach_most_names():
    assert len(UFUNCS) > 60
    assert len(TORCH_NAMES) > 60
