"""All experiments, by name."""

from __future__ import annotations

from lossproof.reproduce import (
    beta_binomial,
    continuous_bernoulli,
    keras_ae,
    linear_vae,
    pytorch_vae,
    sigma_vae,
)
from lossproof.reproduce.record import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (linear_vae, pytorch_vae, keras_ae, continuous_bernoulli, beta_binomial, sigma_vae)
}
