"""A loss as a law inside Pyro; in a process of its own, since importing Pyro patches torch's distributions."""

import importlib.util
import json
import subprocess
import sys

import pytest

PROGRAM = """
import json
import pyro, torch
import pyro.distributions as dist
from pyro.infer import SVI, Trace_ELBO
from lossproof.torch import LossDistribution

pyro.set_rng_seed(0)
images = ((0.2 * torch.rand(32, 12) + 0.7 * (torch.arange(32) % 2)[:, None]) * 255).round() / 255
encoder, decoder = torch.nn.Linear(12, 2), torch.nn.Linear(1, 12)

def law(code):
    heat = pyro.param("T", torch.tensor(0.1), constraint=dist.constraints.positive)
    return LossDistribution("bce", logits=decoder(code), temperature=heat)

def model(images):
    pyro.module("decoder", decoder)
    with pyro.plate("images", len(images)):
        code = pyro.sample("code", dist.Normal(torch.zeros(len(images), 1), 1.0).to_event(1))
        return pyro.sample("pixels", dist.Independent(law(code), 1), obs=images)

def guide(images):
    pyro.module("encoder", encoder)
    with pyro.plate("images", len(images)):
        mean, log_scale = encoder(images).chunk(2, -1)
        pyro.sample("code", dist.Normal(mean, log_scale.exp()).to_event(1))

steps = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
losses = [steps.step(images) for _ in range(60)]
trace = pyro.poutine.trace(model).get_trace(images)
trace.compute_log_prob()
code = trace.nodes["code"]["value"]
drawn = pyro.poutine.uncondition(model)(images)
levels = (drawn * 255).round() / 255
print(json.dumps({
    "first": sum(losses[:5]) / 5, "last": sum(losses[-5:]) / 5, "T": pyro.param("T").item(),
    "pixels": trace.nodes["pixels"]["log_prob_sum"].item(), "own": law(code).log_prob(images).sum().item(),
    "shape": list(drawn.shape), "off": (drawn - levels).abs().max().item(),
}))
"""


@pytest.mark.skipif(importlib.util.find_spec("pyro") is None, reason="pyro-ppl is not installed")
def test_a_vae_trains_in_pyro_with_a_learned_temperature():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["last"] < 0.95 * found["first"]
    assert found["T"] != pytest.approx(0.1, rel=0.02)  # its gradient reaches Pyro's optimiser
    assert found["pixels"] == pytest.approx(found["own"], rel=1e-5)
    assert found["shape"] == [32, 12]
    assert found["off"] < 1e-6
