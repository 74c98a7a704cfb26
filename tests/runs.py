"""What tests of resumed runs share: a stop without a signal, and whether two runs are the same bit for bit."""

import torch
from safetensors.torch import load_file

from lossproof.train import interrupt
from lossproof.train.table import read


def without_seconds(table):
    return table.loc[table.measure != "seconds"].reset_index(drop=True)


def same_runs(one, two):
    a, b = without_seconds(read(one)), without_seconds(read(two))
    assert a.equals(b), "the tables differ"  # bit for bit; NaN equals NaN
    for path in sorted((one / "checkpoints").iterdir()):
        left, right = load_file(path), load_file(two / "checkpoints" / path.name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), path.name
    for path in sorted((one / "images").rglob("*.png")):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes(), path.name
    assert (one / "latent.parquet").read_bytes() == (two / "latent.parquet").read_bytes()
    assert (one / "events.json").read_bytes() == (two / "events.json").read_bytes()


class StopAfter(interrupt.Interrupt):
    """SIGINT in the round given, without a signal."""

    rounds = 0
    asked = 0

    @property
    def requested(self):
        type(self).asked += 1
        return self.asked > self.rounds

    @requested.setter
    def requested(self, value):
        pass
