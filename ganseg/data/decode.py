"""Image files to RGB arrays, whatever their mode, depth and orientation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ganseg.data.source import Chunk

MAX_PIXELS = 100_000_000  # larger images are refused before they are decoded
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS would start a program; MPO is JPEG


@contextmanager
def open_checked(path: str | Path) -> Iterator[Image.Image]:
    """An image or mask as Pillow opens it, not yet decoded: every reader opens its files through this.

    ValueError above MAX_PIXELS; an exception of any type where the file is broken or of another format.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            pixels = f"{image.width} x {image.height} pixels"
            raise ValueError(f"{pixels} is above the limit of {MAX_PIXELS:,} pixels")
        yield image


def read_rgb(path: str | Path, size: int, upright: bool = True) -> np.ndarray:
    """(S, S, 3) uint8: upright by its EXIF data, over white where transparent, squashed to a square.

    Bilinear with antialiasing. `upright`: False for annotated images, whose coordinates are those of the
    stored pixels. Raises an exception of any type where the file is broken or too large.
    """
    image = open_rgb(path, draft=4 * size, upright=upright)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def open_rgb(path: str | Path, draft: int | None = None, upright: bool = True) -> Image.Image:
    """The image in `path`: RGB, upright by its EXIF data unless `upright` is False.

    `draft`: a side in pixels that is enough, where decoding less is faster.
    Raises an exception of any type where the file is broken or too large.
    """
    with open_checked(path) as image:
        if draft:
            image.draft(None, (draft, draft))  # lets a large JPEG decode at a fraction of its size
        image.load()
        return to_rgb(_upright(image) if upright else image)


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data say nothing about the pixels
        return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to RGB: 16-bit grey is scaled by 255 / 65535, transparency is laid over white."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64) * (255.0 / 65535.0)
        return Image.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", coloured.size, "white")
        return Image.alpha_composite(white, coloured).convert("RGB")
    return image.convert("RGB")


def decode_all(items: Iterable[Any], read: Callable[[Any], dict[str, np.ndarray]]) -> Chunk:
    """Apply `read` to each item in a pool of threads (Pillow frees the GIL) and stack what it returns."""

    def attempt(item: Any) -> dict[str, np.ndarray] | str:
        try:
            return read(item)
        except Exception as error:  # decoders fail in many ways; each means that this file is unreadable
            return str(error) or type(error).__name__

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(attempt, items))
    good = [result for result in results if not isinstance(result, str)]
    broken = tuple((i, result) for i, result in enumerate(results) if isinstance(result, str))
    return Chunk({name: np.stack([one[name] for one in good]) for name in (good[0] if good else ())}, broken)
