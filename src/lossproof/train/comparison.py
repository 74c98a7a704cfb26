"""`compare`: one model, one data set, several losses, several seeds; one run directory."""

from __future__ import annotations

import hashlib
import io
import math
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lossproof.data import Images, load
from lossproof.data.mapped import counted
from lossproof.data.scan import blocks
from lossproof.formula.errors import LossproofError
from lossproof.likelihood.exchange import record, thinned
from lossproof.models import build
from lossproof.train.adam import Adam
from lossproof.train.arm import Arm, arm_of, reference
from lossproof.train.engines import engine_of, train_elsewhere
from lossproof.train.feed import pixels_of
from lossproof.train.interrupt import Interrupt
from lossproof.train.lanes import LANES
from lossproof.train.likelihood import describe as describe_likelihood
from lossproof.train.likelihood import likelihood_rows
from lossproof.train.loop import train
from lossproof.train.measure import Measurer
from lossproof.train.member import Member, Row
from lossproof.train.pictures import latent_map, write_pictures
from lossproof.train.progress import Progress, standing
from lossproof.train.randomness import generator
from lossproof.train.settings import DEFAULT_LOSSES, Settings, differences, settle, slug, slugs
from lossproof.train.stack_choose import choose, resumed
from lossproof.train.store import (
    CHECKPOINTS,
    CONFIG,
    EVENTS,
    EXCHANGE,
    TEMPORARY,
    open_directory,
    read_config,
    write_bytes,
    write_json,
)
from lossproof.train.table import COLUMNS, RESULTS

if TYPE_CHECKING:
    import pandas as pd

    from lossproof.catalogue.decoder import Decoder
    from lossproof.formula.loss import Loss
    from lossproof.likelihood.integrand import Of
    from lossproof.likelihood.temperature import Per
    from lossproof.models.base import AutoEncoder
    from lossproof.torch.calibrated import How
    from lossproof.torch.criterion import Criterion

# Multiplications in a step below which one thread serves best. Measured with 784-400-20, batch 128 (2.5e8), on two
# cores: a second thread wins a tenth when the machine is idle and makes it four times slower when it is not.
SMALL_STEP = 1e9


@dataclass(frozen=True)
class Comparison:
    """A finished (or interrupted) comparison: its table, where its files are, and one line on each member."""

    table: pd.DataFrame = field(repr=False)
    directory: Path
    report: Path | None
    events: list[dict[str, Any]]
    summary: list[str]
    interrupted: bool


def compare(
    data: str | Path | Images,
    losses: Sequence[str | Loss | Decoder | Callable[..., Any] | Arm] = DEFAULT_LOSSES,
    *,
    model: str = "vae",
    latent: int | None = None,
    hidden: Sequence[int] | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float = 1e-3,
    beta: float | Sequence[float] = 1.0,
    seeds: int | Sequence[int] = 3,
    device: str = "auto",
    out: str | Path | None = None,
    resume: bool = False,
    calibrate: How | None = None,
    measure: str = "levels",
    of: Of = "loss",
    per: Per = "all",
    likelihood: bool = False,
    samples: int = 64,
    engine: str = "local",
    workers: int | None = None,
    stack: str = "auto",
    precision: str = "float32",
    progress: bool | None = None,
    report: Callable[[Path], Path] | None = None,
    checkpoint_seconds: float = 5.0,
    command: str | None = None,
    load_options: dict[str, Any] | None = None,
) -> Comparison:
    """Train `model` under each loss from each seed, side by side, and write table, images and report.

    Members of one seed share initial weights, batch order and noise, bit for bit. The objective is the
    reconstruction loss summed over pixels and channels plus `beta` times the KL divergence summed over the
    code (no such term in an autoencoder), both averaged over the batch: nats per image. Adam, learning rate
    `lr`. Several betas train each loss once with each of them, for its rate-distortion curve.

    `data` is a name or path for `lossproof.data.load` (with `load_options`), or `Images` (`load_options` then says in
    `config.json` how they were loaded). `losses` holds
    catalogue ids, `id(param=...)`, formulas, `module:function`, `Loss` records or `Arm`s. `latent`, `hidden`,
    `epochs` and `batch_size` follow from the size of the data when left out. `seeds` is a count or the seeds
    themselves. `out` defaults to a new folder below ./lossproof-runs. `resume` goes on with the run in `out`;
    its results are those of an uninterrupted run (bit for bit on the CPU, seconds excepted). `progress` None
    shows a live table on a terminal only. `report` is called with the run directory once its files are whole,
    and returns the path of the page it wrote: the command passes `lossproof.report.write`.

    `calibrate` ("learned" or "solved") trains each loss as a likelihood: over a temperature, one for `per` "all"
    values, or for each "channel", "pixel" or "image" (solved for the image as it comes, and paid for), plus log Z on
    `measure`, the data's grey "levels" or the "interval" [0, 1]; `of` says whether the "loss" or its "excess" is
    normalised. `likelihood` measures every member as one after training,
    with `samples` samples for the importance-weighted bound.

    `engine` says where members are trained: "local" in this process, or in `workers` processes of this machine;
    "ray" or "ray:ADDRESS" on `workers` workers of a Ray cluster. The table is the same, and so is what `resume`
    takes up. An interrupted run of several workers has no table yet: its members stand at different epochs.

    `stack` "on" trains members with the same layers as one model, the products of their matrices batched, "off" one
    by one; the numbers differ by float32's rounding, and so they may from engine to engine, which stack other members
    together. "auto" takes the faster after a few steps of both, and "off" where the run is short; `config.json` says
    which was taken, and a resumed run keeps to it.

    `precision` "bfloat16" rounds what goes into matrix products and convolutions in training; weights, their averages
    in Adam, losses, rates and all that is measured stay float32. It is for devices that compute in bfloat16.

    A first SIGINT ends the run after the current epoch with `interrupted` true; a loss that stops being
    finite stops its member alone, with an entry in `events`.

    Raises `LossproofError` for a wrong option, an unknown loss, data a loss does not allow, or a folder that
    cannot be used.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = compare("digits", ["bce", "mse"], model="ae", epochs=1, seeds=1, out=folder, progress=False)
    >>> sorted(run.table.loss.unique()), run.table.epoch.max() == 1, run.events
    (['bce', 'mse'], np.True_, [])
    """
    chosen = engine_of(engine, workers)
    images = data if isinstance(data, Images) else load(data, **({"stream": "auto"} | (load_options or {})))
    settings = settle(
        images,
        model=model,
        latent=latent,
        hidden=hidden,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        beta=beta,
        seeds=seeds,
        device=choose_device(device),
        threads=chosen.threads(torch.get_num_threads()),
        calibrate=calibrate,
        measure=measure,
        of=of,
        per=per,
        samples=samples_of(likelihood, samples),
        precision=precision,
    )
    arms = resolve_all(losses, images, settings)
    members = make_members(arms, images, settings)
    directory = Path(out) if out is not None else fresh_directory(images.name)
    config = describe(images, arms, settings, members[0], command) | chosen.describe() | loaded(load_options)
    if open_directory(directory, resume=resume):
        earlier = read_config(directory)
        if differing := differences(earlier, config):
            raise LossproofError(
                f"resume: expected the configuration in {directory / CONFIG}, got another one: "
                f"{'; '.join(differing)}. Give the same options, or a new --out."
            )
        config = earlier
        used = resumed(stack, config)
    else:
        most = min(settings.threads, useful_threads(config["parameters"] * len(members), settings.batch_size))
        some = sorted({config["threads"], most})
        pixels = pixels_of(images.train, settings.device)
        config["stack"], config["threads"] = choose(
            stack, chosen.sample(members), pixels, settings, threads=some, lanes=min(LANES, settings.threads)
        )
        del pixels  # where others train, it is of no more use here
        used = config["stack"]["used"]
        write_json(directory / CONFIG, config)
        plain = [arm.loss for arm in arms if arm.loss is not None]
        if members[0].model.variational and plain and len(images.train) > 1:
            write_json(directory / EXCHANGE, exchange_rates(plain, images))
    settings = replace(settings, stack=used, lanes=config.get("stack", {}).get("lanes", 1))
    (directory / CHECKPOINTS).mkdir(exist_ok=True)
    for member in members:
        member.checkpoint = directory / CHECKPOINTS / member.checkpoint.name
        member.load()

    with intra_op_threads(config["threads"]):
        measurer = Measurer(images, arms, settings)
        with Progress(members, settings.epochs, measurer.baselines, shown=progress) as display:
            with Interrupt(chosen.notifier(display.notify)) as interrupt:
                if chosen.here:
                    done = train(
                        members,
                        pixels_of(images.train, settings.device),
                        settings,
                        measure=measurer,
                        checkpoint_seconds=checkpoint_seconds,
                        after_member=lambda member, epoch: display.update(),
                        stop=lambda: interrupt.requested,
                    )
                else:
                    done = train_elsewhere(
                        chosen,
                        members,
                        images,
                        losses,
                        arms,
                        settings,
                        threads=config["threads"],
                        checkpoints=directory / CHECKPOINTS,
                        checkpoint_seconds=checkpoint_seconds,
                        update=display.update,
                        notify=display.notify,
                        stop=lambda: interrupt.requested,
                    )
            interrupted = done < settings.epochs
            whole = (
                chosen.here or not interrupted
            )  # else members stand at different epochs: nothing to compare
            more = {}
            if settings.samples and not interrupted:
                more = {m.name: likelihood_rows(m, measurer, images, settings) for m in members}
            table = write_results(directory, images, members, settings, done, more) if whole else no_results()
            events = [member.event for member in members if member.event is not None]
            partial = [{"interrupted": True, "epoch": done, "epochs": settings.epochs}] if interrupted else []
            write_json(directory / EVENTS, events + partial)
            sweep(directory)
        page = report(directory) if report and whole else None
    summary = [f"{member.name}: {standing(member, measurer.baselines)}" for member in members]
    return Comparison(table, directory, page, events, summary, interrupted)


def samples_of(likelihood: bool, samples: int) -> int:
    """How many samples the importance-weighted bound takes; 0 where no likelihood is asked for."""
    if samples < 1:
        raise LossproofError(f"samples: expected at least 1, got {samples}.")
    return samples if likelihood else 0


def resolve_all(
    losses: Sequence[str | Loss | Decoder | Callable[..., Any] | Arm],
    images: Images,
    settings: Settings | None = None,
) -> list[Arm]:
    """The arms, all different, each loss allowing every target value of the data."""
    if isinstance(losses, str):
        losses = [losses]
    if not losses:
        raise LossproofError("losses: expected at least one, got none.")
    for split, array in (("train", images.train), ("test", images.test)):
        if array.ndim != 4 or len(array) == 0 or array.dtype != np.float32:
            raise LossproofError(
                f"{images.name}: expected {split} images as float32 (n, c, h, w) with n >= 1, "
                f"got {array.dtype} {array.shape}."
            )
    parts = {"train": images.train, "test": images.test}
    distinct = {split: counted(part, images.levels)[0] for split, part in parts.items()}
    arms = [arm_of(loss, images, settings, distinct) for loss in losses]
    if settings is not None and settings.samples:
        reference(images, settings.measure, distinct)
    labels = [arm.label for arm in arms]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise LossproofError(f"losses: expected different ones, got {', '.join(twice)} more than once.")
    for split, values in distinct.items():
        for loss in (arm.loss for arm in arms if arm.loss is not None):
            allowed = np.asarray(loss.target.contains(values))
            if not allowed.all():
                wrong = values[~allowed]
                raise LossproofError(
                    f"{loss.label}: expected target in {loss.target}, got {len(wrong)} of {len(values)} "
                    f"distinct values of {images.name} ({split}) outside, first {wrong[0]:g}. "
                    "See `lossproof check` for the losses this data allows."
                )
    return arms


def make_members(arms: Sequence[Arm], images: Images, settings: Settings) -> list[Member]:
    """One member an arm, beta and seed. Those of a seed start from the same weights."""
    members = []
    shape = (int(images.train.shape[1]), int(images.train.shape[2]), int(images.train.shape[3]))
    named = zip(arms, slugs([arm.label for arm in arms]), strict=True)
    for (arm, slugged), beta in product(named, settings.betas or (settings.beta,)):
        name = f"{slugged}-b{beta:g}" if settings.betas else slugged
        for seed in settings.seeds:
            criterion = arm.make().to(settings.device)
            network = build(
                settings.model,
                shape,
                hidden=settings.hidden,
                latent=settings.latent,
                generator=generator(seed, "weights"),
                outputs=criterion.outputs,
            ).to(settings.device)
            members.append(
                Member(
                    name=f"{name}-s{seed}",
                    arm=arm,
                    seed=seed,
                    beta=beta,
                    model=network,
                    optimiser=optimiser_of(network, criterion, settings.lr),
                    criterion=criterion,
                    checkpoint=Path(f"{name}-s{seed}.safetensors"),
                )
            )
    return members


def optimiser_of(model: AutoEncoder, criterion: Criterion, lr: float) -> Adam:
    """Adam over the weights, and over the criterion's own parameters at their own pace."""
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    if criterion.parameters:
        groups.append({"params": list(criterion.parameters.values()), "lr": lr * criterion.pace})
    return Adam(groups, lr)


def choose_device(device: str) -> str:
    """The device by name, "auto" being CUDA, else Apple's MPS, else the CPU; an error if it is not there."""
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if cuda else "mps" if mps else "cpu"
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = "unknown"
    if not {"cpu": True, "cuda": cuda, "mps": mps}.get(kind, False):
        here = ["auto", "cpu", *["cuda"] * cuda, *["mps"] * mps]
        raise LossproofError(f"device: expected one that is here ({', '.join(here)}), got {device!r}.")
    return device


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Run with this many threads, then put the caller's number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def useful_threads(parameters: int, batch_size: int) -> int:
    """One thread for small models: waking a second one costs more than its share of such a step."""
    return 1 if parameters * batch_size * 3 < SMALL_STEP else torch.get_num_threads()


def fresh_directory(name: str) -> Path:
    """A new folder below ./lossproof-runs, named after the data and the time."""
    root = Path("lossproof-runs")
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path, attempt = root / f"{slug(name)}-{stamp}", 1
    while path.exists():
        attempt += 1
        path = root / f"{slug(name)}-{stamp}-{attempt}"
    return path


def describe(
    images: Images, arms: Sequence[Arm], settings: Settings, member: Member, command: str | None
) -> dict[str, Any]:
    """What goes into config.json: enough to read the table, repeat the run and refuse to resume another."""
    parameters = sum(parameter.numel() for parameter in member.model.parameters())
    digest = hashlib.sha256()
    for array in (images.train, images.test):
        digest.update(str(array.shape).encode())
        for block, _ in blocks(array):
            digest.update(np.ascontiguousarray(block).data)
    return {
        "data": {
            "name": images.name,
            "source": images.source,
            "scaling": images.scaling,
            "notes": list(images.notes),
            "shape": list(images.train.shape[1:]),
            "train": len(images.train),
            "test": len(images.test),
            "levels": images.levels,
            "labels": images.test_labels is not None,
            "sha256": digest.hexdigest(),
        },
        "losses": [arm.describe() for arm in arms],
        **settings.to_dict(),
        **({"likelihood": describe_likelihood(images, settings)} if settings.samples else {}),
        "threads": min(settings.threads, useful_threads(parameters, settings.batch_size))
        if settings.device == "cpu"
        else settings.threads,
        "parameters": parameters,
        "versions": versions(),
        "platform": platform.platform(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command or "",  # a caller of the library has none
    }


def loaded(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """What config.json says of how the data were loaded: options that are not left at their defaults.

    >>> loaded({"size": 28, "grey": None, "stream": "auto"}), loaded(None)
    ({'load_options': {'size': 28}}, {})
    """
    given = {k: v for k, v in (options or {}).items() if v is not None and (k, v) != ("stream", "auto")}
    return {"load_options": given} if given else {}


def exchange_rates(losses: Sequence[Loss], images: Images) -> dict[str, Any]:
    """The exchange rates of losses on the training images; of those that stay on disk, what is looked at is read."""
    few = images.train[thinned(len(images.train), math.prod(images.train.shape[1:]))]
    return record(losses, few, levels=counted(images.train, images.levels))


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    found = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    try:
        found["lossproof"] = version("lossproof")
    except PackageNotFoundError:
        found["lossproof"] = "not installed"
    return found


def write_results(
    directory: Path,
    images: Images,
    members: Sequence[Member],
    settings: Settings,
    done: int,
    more: Mapping[str, Sequence[Row]],
) -> pd.DataFrame:
    """Write table, codes and images; the table holds the epochs that all members finished, and `more` rows by name."""
    import pandas as pd

    rows = [
        (member.name, member.label, member.beta, member.seed, *row)
        for member in members
        for row in (*member.rows, *more.get(member.name, ()))
        if row.epoch <= done
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {"beta": "float64", "seed": "int64", "epoch": "int64", "value": "float64"}
    )
    write_parquet(directory / RESULTS, table)
    write_parquet(directory / "latent.parquet", latent_map(images, members, settings))
    write_pictures(directory, images, members, settings)
    return table


def no_results() -> pd.DataFrame:
    """A table without rows."""
    import pandas as pd

    return pd.DataFrame(columns=list(COLUMNS))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())


def sweep(directory: Path) -> None:
    """Remove what a run that was killed while writing left behind."""
    for left in directory.rglob(f"{TEMPORARY}*"):
        left.unlink(missing_ok=True)
