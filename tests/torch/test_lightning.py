"""The Lightning callback: what it logs against a Monitor by hand, and its two ways to the logits."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lossproof.formula import LossproofError
from lossproof.torch import ReconstructionLoss
from lossproof.torch.monitor import Monitor

lightning = pytest.importorskip("lightning")
MonitorCallback = pytest.importorskip("lossproof.torch.lightning").MonitorCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.:DeprecationWarning"),
]

IMAGES = torch.rand(10, 6, generator=torch.Generator().manual_seed(0))


class Module(lightning.LightningModule):
    """A constant logit each pixel, and a learning rate of 0: the numbers of an epoch are known."""

    def __init__(self, returns="logits", own=False):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.linspace(-3, 3, 6))
        self.loss = ReconstructionLoss("bce")
        self.returns = returns
        if own:
            self.monitor = Monitor(self.loss)

    def training_step(self, batch, index):
        images = batch[0] if isinstance(batch, list) else batch
        logits = self.bias.expand_as(images)
        if hasattr(self, "monitor"):
            self.monitor(logits, images)
        loss = self.loss(logits, images)
        return {"loss": loss, self.returns: logits} if self.returns else loss

    def validation_step(self, batch, index):
        images = batch[0] if isinstance(batch, list) else batch
        return {self.returns: self.bias.expand_as(images)} if self.returns else None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def fit(module, callback, data=IMAGES, validation=IMAGES[:4], **options):
    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data, batch_size=4), DataLoader(validation, batch_size=4))
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def by_hand(images):
    monitor = Monitor("bce")
    monitor(torch.linspace(-3, 3, 6).expand_as(images), images)
    found = monitor.compute()
    return {
        name: found[key]
        for name, key in [("nats_per_image", "loss"), ("excess", "excess"), ("floor", "floor"),
                          ("dead_pixels", "dead_pixels"), ("non_finite", "non_finite")]
    }  # fmt: skip


def test_logs_training_and_validation_from_what_the_step_returns():
    logged = fit(Module(), MonitorCallback("bce"))
    expected = {f"{stage}_{name}": value for stage, images in (("train", IMAGES), ("val", IMAGES[:4]))
                for name, value in by_hand(images).items()}  # fmt: skip
    assert logged == pytest.approx(expected, rel=1e-6)


def test_the_batch_and_the_outputs_as_functions():
    pairs = TensorDataset(IMAGES, torch.arange(10))
    callback = MonitorCallback("bce", target=lambda batch: batch[0], outputs=lambda found: found["z"])
    logged = fit(Module(returns="z"), callback, pairs, pairs)
    assert logged["train_excess"] == pytest.approx(by_hand(IMAGES)["excess"], rel=1e-6)
    named = fit(Module(returns="z"), MonitorCallback("bce", outputs="z"), pairs, pairs)
    assert named == logged


def test_the_module_calls_its_own_monitor():
    module = Module(returns=None, own=True)
    logged = fit(module, MonitorCallback())
    expected = {f"train_{name}": value for name, value in by_hand(IMAGES).items()}
    assert logged == pytest.approx(expected, rel=1e-6)
    assert module.monitor.steps == 6  # two epochs of three, the second not mixed with the first
    assert module.monitor.compute()["images"] == 0


def test_without_a_way_to_the_logits():
    with pytest.raises(LossproofError, match="a dict with a tensor 'logits', got a dict of loss, z"):
        fit(Module(returns="z"), MonitorCallback("bce"))
    with pytest.raises(
        LossproofError, match=r"expected a loss, or Module.monitor as a Monitor, got NoneType"
    ):
        fit(Module(), MonitorCallback())


def test_alarm_goes_through():
    bad = IMAGES.clone()
    module = Module()
    module.bias.data[2] = float("nan")
    with pytest.raises(LossproofError, match="not finite first at step 1: the logit is nan"):
        fit(module, MonitorCallback("bce", alarm="raise"), bad, num_sanity_val_steps=0)
