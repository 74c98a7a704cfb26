"""Images of a comparison: originals, reconstructions, samples, and the two-dimensional map of the codes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lossproof.train.member import Member
from lossproof.train.randomness import generator
from lossproof.train.settings import Settings
from lossproof.train.store import write_bytes, write_json

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from lossproof.data import Images

SHOWN, MAPPED, CHUNK = 10, 2000, 500


def write_pictures(directory: Path, images: Images, members: Sequence[Member], settings: Settings) -> None:
    """Write the image strips of all members, below images/, with an index."""
    folder = directory / "images"
    folder.mkdir(exist_ok=True)
    chosen = shown(images.test_labels, len(images.test))
    originals = images.test[chosen]
    write_bytes(folder / "originals.png", strip(originals))
    noise = torch.randn(len(chosen), settings.latent, generator=generator(0, "samples")).to(settings.device)
    target = torch.from_numpy(originals).to(settings.device)
    written: dict[str, Any] = {}
    for member in members:
        place = folder / member.name
        place.mkdir(exist_ok=True)
        member.model.eval()
        with torch.inference_mode():
            mean, _ = member.model.encode(target)
            write_bytes(place / "reconstructions.png", strip(pixels(member, mean)))
            written[member.name] = {"reconstructions": f"{member.name}/reconstructions.png"}
            if member.model.variational:
                write_bytes(place / "samples.png", strip(pixels(member, noise)))
                written[member.name]["samples"] = f"{member.name}/samples.png"
    index = {
        "count": len(chosen),
        "shape": list(originals.shape[1:]),
        "indices": [int(i) for i in chosen],
        "members": written,
    }
    write_json(folder / "index.json", index)


def pixels(member: Member, code: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = member.criterion.picture(member.model.decode(code)).cpu().numpy()
    return array


def shown(labels: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    """Which test images are shown: the first of each label, then the first ones that are left.

    >>> shown(np.array([1, 1, 0, 1]), 4).tolist()
    [2, 0, 1, 3]
    """
    first = np.unique(labels, return_index=True)[1][:SHOWN] if labels is not None else np.empty(0, np.int64)
    rest = np.setdiff1d(np.arange(count), first)[: max(0, SHOWN - len(first))]
    return np.concatenate([first, rest]).astype(np.int64)


def strip(images: NDArray[np.float32]) -> bytes:
    """Images (n, c, h, w) side by side as one PNG, a white pixel column between them; NaN is shown black."""
    count, channels, height, width = images.shape
    values = (np.nan_to_num(images).clip(0, 1) * 255).round().astype(np.uint8)
    if channels not in (1, 3):  # no colour space is known for other counts: show their mean
        values = values.mean(1, keepdims=True).round().astype(np.uint8)
    canvas = np.full((height, count * (width + 1) - 1, values.shape[1]), 255, np.uint8)
    for place, image in enumerate(values):
        canvas[:, place * (width + 1) : place * (width + 1) + width] = image.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(canvas[:, :, 0] if values.shape[1] == 1 else canvas).save(
        file, format="PNG", optimize=True
    )
    return file.getvalue()


def latent_map(images: Images, members: Sequence[Member], settings: Settings) -> pd.DataFrame:
    """Codes of test images in two dimensions: itself if it has two, else its principal components."""
    import pandas as pd

    count = min(MAPPED, len(images.test))
    labels = pd.array(
        images.test_labels[:count] if images.test_labels is not None else [None] * count, dtype="Int64"
    )
    parts = []
    for member in members:
        member.model.eval()
        with torch.inference_mode():
            codes = torch.cat(
                [
                    member.model.encode(torch.from_numpy(part).to(settings.device))[0].cpu()
                    for part in np.array_split(images.test[:count], max(1, -(-count // CHUNK)))
                ]
            ).numpy()
        place = plane(codes.astype(np.float64))
        parts.append(
            pd.DataFrame(
                {
                    "member": member.name,
                    "loss": member.label,
                    "seed": member.seed,
                    "index": np.arange(count),
                    "label": labels,
                    "x": place[:, 0],
                    "y": place[:, 1],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def plane(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Codes (n, latent) as points (n, 2): themselves, or their first two principal components."""
    width = codes.shape[1]
    if width == 2:
        return codes
    if width == 1:
        return np.column_stack([codes, np.zeros(len(codes))])
    centred = codes - codes.mean(0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    # a component's sign is arbitrary: fix it, so that a run repeats exactly
    signs = np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    projected: NDArray[np.float64] = centred @ (axes * signs)
    return projected
