"""Decode picture files through PIL into one array: grey or RGB, 1, 8 or 16 bits or float, one size."""

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lossproof.data.images import Array
from lossproof.formula.errors import LossproofError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

T = TypeVar("T")
GREY_MODES = ("1", "L", "LA", "La", "I", "F")
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap height and width
ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Source:
    """One picture, not yet read: its name for messages and its path or bytes, or what fetches them."""

    name: str
    data: "Path | bytes | Callable[[], Path | bytes]"

    def read(self, use: "Callable[[Picture], T]") -> T:
        """Open the picture and hand it to a function; ``LossproofError`` for a damaged or huge file."""
        from PIL import Image

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PIL warns of odd metadata; the pixels are checked below
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                data = self.data() if callable(self.data) else self.data
                with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data) as picture:
                    return use(picture)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
            raise LossproofError(
                f"{self.name}: expected a small picture, got a huge one ({e}). Resize it first."
            ) from e
        except (OSError, SyntaxError, ValueError, EOFError) as e:
            if isinstance(e, LossproofError):
                raise
            raise LossproofError(
                f"{self.name}: expected a picture, got damaged or unknown data ({e}). "
                "Remove the file or save it again."
            ) from e


@dataclass(frozen=True, slots=True)
class Header:
    """What a picture's header says: height, width, grey or not, kind of values, and what will be lost."""

    size: tuple[int, int]
    grey: bool
    kind: str  # "bool", "uint8", "uint16" or "float"
    alpha: bool
    reduced: bool  # 16 bits a channel, of which PIL keeps 8
    frames: int


def header(picture: "Picture") -> Header:
    """Read the header only: PNG's own ``getexif`` would decode the pixels, so the base class's is called."""
    from PIL import Image

    mode, (w, h) = picture.mode, picture.size
    if Image.Image.getexif(picture).get(ORIENTATION) in SIDEWAYS:
        w, h = h, w
    grey = mode in GREY_MODES or mode.startswith("I;")
    if mode in ("P", "PA"):
        colours = np.reshape(picture.getpalette("RGB") or [], (-1, 3))
        grey = bool((colours == colours[:, :1]).all())
    kind = {"1": "bool", "F": "float"}.get(mode, "uint16" if mode.startswith("I") else "uint8")
    alpha = kind == "uint8" and (mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info)
    reduced = kind == "uint8" and any("16" in str(tile[3]) for tile in getattr(picture, "tile", []))
    return Header((h, w), grey, kind, alpha, reduced, getattr(picture, "n_frames", 1))


def stack(
    sources: Sequence[Source], *, size: int | None, grey: bool | None, where: str
) -> tuple[Array, tuple[str, ...]]:
    """Decode pictures into one array (n, c, h, w) of bool, uint8, uint16 or float32; also say what was done.

    Without ``grey`` the result is grey if every picture is. Transparent pictures are laid on white. ``size``
    scales the shorter side and cuts the centre square. Raises ``LossproofError`` for mixed sizes without
    ``size``.
    """
    if size is not None and size < 1:
        raise LossproofError(f"{where}: expected a size of at least 1 pixel, got {size}. Try 32.")
    headers = [source.read(header) for source in sources]
    sizes: dict[tuple[int, int], str] = {}
    for source, head in zip(sources, headers, strict=True):
        sizes.setdefault(head.size, source.name)
    if len(sizes) > 1 and size is None:
        some = ", ".join(f"{h}x{w} ({name})" for (h, w), name in list(sizes.items())[:3])
        shortest = min(min(s) for s in sizes)
        raise LossproofError(
            f"{where}: expected pictures of one size, got {len(sizes)} sizes: {some}. "
            f"Give a size: --size {shortest} (or size={shortest})."
        )
    grey = all(h.grey for h in headers) if grey is None else grey
    resized = size is not None and set(sizes) != {(size, size)}
    dtype = _dtype({h.kind for h in headers}, resized, where)
    h, w = (size, size) if size is not None else next(iter(sizes))
    out = np.empty((len(sources), 1 if grey else 3, h, w), dtype)
    for i, source in enumerate(sources):
        decode = partial(
            _decode, grey=grey, dtype=dtype, size=(h, w), resize=size is not None, name=source.name
        )
        out[i] = source.read(decode)
    return out, _notes(headers, out, grey, size if resized else None)


def _dtype(kinds: set[str], resized: bool, where: str) -> "np.dtype[Any]":
    if "float" in kinds and len(kinds) > 1:
        raise LossproofError(
            f"{where}: expected all pictures as whole numbers or all as floats, got {sorted(kinds)}. "
            "Save the float pictures as 16 bit."
        )
    if kinds == {"bool"} and not resized:
        return np.dtype(bool)
    return np.dtype(np.float32 if "float" in kinds else np.uint16 if "uint16" in kinds else np.uint8)


def _notes(headers: list[Header], out: Array, grey: bool, size: int | None) -> tuple[str, ...]:
    notes = _header_notes(headers, grey, size)
    if not grey and bool((out[:, 0] == out[:, 1]).all() and (out[:, 0] == out[:, 2]).all()):
        notes += ("the three channels are equal everywhere: --grey would store one",)
    return notes


def _header_notes(headers: Sequence[Header], grey: bool, size: int | None) -> tuple[str, ...]:
    notes = []
    if size is not None:
        notes.append(
            f"pictures were scaled to {size} pixels on the shorter side and cut to the centre square"
        )
    if n := sum(h.alpha for h in headers):
        notes.append(f"{n} of {len(headers)} pictures have an alpha channel: laid on white")
    if n := sum(h.frames > 1 for h in headers):
        notes.append(f"{n} of {len(headers)} pictures have several frames: the first was taken")
    if n := sum(h.reduced for h in headers):
        notes.append(f"{n} of {len(headers)} pictures have 16 bits a channel in colour: read with 8 bits")
    if grey and not all(h.grey for h in headers):
        notes.append("colour was turned into grey (ITU-R BT.601 weights)")
    return tuple(notes)


def _decode(
    picture: "Picture", *, grey: bool, dtype: "np.dtype[Any]", size: tuple[int, int], resize: bool, name: str
) -> Array:
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.size != size[::-1] and not resize:  # turned by a tag that stands after the pixels
        message = f"{name}: expected {size[0]}x{size[1]} pixels, got {picture.height}x{picture.width}."
        raise LossproofError(f"{message} Give a size: --size {min(size)}.")
    deep = picture.mode.startswith("I") or picture.mode == "F"
    if deep:
        values = np.asarray(picture)
        if picture.mode != "F" and not (values.min() >= 0 and values.max() <= 65535):
            raise LossproofError(
                f"{name}: expected at most 16 bits a pixel, got values {values.min()}..{values.max()}. "
                "Save it as 16-bit PNG."
            )
        if values.shape != size:
            fitted = ImageOps.fit(
                Image.fromarray(values.astype(np.float32)), size[::-1], Image.Resampling.BILINEAR
            )
            values = np.asarray(fitted) if dtype.kind == "f" else np.rint(np.asarray(fitted))
        array = values.astype(dtype)[None]
        return array if grey else np.repeat(array, 3, axis=0)
    if "transparency" in picture.info or picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        flat = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat).convert("RGB")
    picture = picture.convert("L" if grey else "RGB")
    if picture.size != size[::-1]:
        picture = ImageOps.fit(picture, size[::-1], Image.Resampling.BILINEAR)
    values = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)
    if dtype.kind == "b":
        return values > 0
    scaled: Array = values.astype(dtype) * dtype.type(257 if dtype == np.uint16 else 1)  # 255 * 257 = 65535
    return scaled
