"""Two processes under DistributedDataParallel learn what one process learns from the whole batch."""

import importlib.util
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent / "ddp_step.py"


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each of the two processes printed."""
    meet = tmp_path_factory.mktemp("ddp") / "meet"
    with ExitStack() as stack:
        started = []
        for rank in range(2):
            process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(rank), str(meet)], stdout=subprocess.PIPE
            )
            stack.enter_context(process)
            stack.callback(process.kill)  # one alone would wait for the other for ever
            started.append(process)
        outputs = [process.communicate(timeout=120)[0].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("ddp_step", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed")
@pytest.mark.parametrize("name", ["bce", "huber(delta=0.25)", "continuous_bernoulli"])
def test_two_processes_learn_what_one_does(answers, program, name):
    assert name in program.LOSSES
    alone = program.train(program.WithLoss(name), program.batches())
    for kind in ("gradients", "weights"):
        for ours, first, second in zip(alone[kind], *(a[name][kind] for a in answers), strict=True):
            assert first == second
            assert first == pytest.approx(ours, rel=1e-5, abs=1e-6)
    both = [
        (a[0] + b[0]) / 2 for a, b in zip(answers[0][name]["losses"], answers[1][name]["losses"], strict=True)
    ]
    assert answers[0][name]["losses"] != answers[1][name]["losses"]  # each saw its own half
    assert both == pytest.approx([v[0] for v in alone["losses"]], rel=1e-5)
