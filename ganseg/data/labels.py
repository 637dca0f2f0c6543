"""Masks and keypoints that follow their image when it is squashed to a square."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ganseg.data.decode import decode_all, open_checked
from ganseg.data.source import Chunk
from ganseg.files import UserError

IGNORE = 255  # neither foreground nor background
GREY = ("1", "L", "LA", "I;16")  # Pillow's modes


def squash_points(points: np.ndarray, extent: tuple[int, int], size: int) -> np.ndarray:
    """Points (J, 2) in pixels of an image of `extent` = (W, H), in those of its S x S form, as float32.

    Pixel centres are at integers from 0: x' = (x + 1/2) S / W - 1/2.
    """
    return ((np.asarray(points, np.float64) + 0.5) * (size / np.array(extent)) - 0.5).astype(np.float32)


def fractions_resized(planes: list[np.ndarray], size: int) -> np.ndarray:
    """(P, S, S) float32: what fraction of each new pixel is true in each of P boolean planes (H, W)."""
    resized = [Image.fromarray(p.astype(np.float32)).resize((size, size), Image.Resampling.BOX) for p in planes]
    return np.stack([np.asarray(plane) for plane in resized])


def majority(mask: np.ndarray, size: int) -> np.ndarray:
    """(S, S) uint8: 1 where at least half of the new pixel is true in the boolean mask (H, W)."""
    return (fractions_resized([mask], size)[0] >= 0.5).astype(np.uint8)


def read_mask(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 foreground: above 127 in the first channel at full resolution, then resized by majority.

    A mask that only holds 0 and 1 is taken as it is.
    """
    with open_checked(path) as image:
        values = np.asarray(image.convert("RGB"))[..., 0]
    return majority(values > (127 if values.max() > 1 else 0), size)


def decode_or_refuse(positions: np.ndarray, images: list[Path], read: Callable[[int], dict[str, np.ndarray]]) -> Chunk:
    """`decode_all` where no image may be left out: UserError that names an unreadable one."""
    chunk = decode_all(positions, read)
    if chunk.broken:
        first, reason = chunk.broken[0]
        name = images[positions[first]]
        raise UserError(f"{name} or its mask cannot be read ({reason}). Unpack the archive again.")
    return chunk


def headers(paths: Iterable[Path]) -> list[tuple[str, tuple[int, int]] | None]:
    """Pillow's mode and (width, height) of each image, not decoded; None where that fails."""

    def header(path: Path) -> tuple[str, tuple[int, int]] | None:
        try:
            with open_checked(path) as image:
                return image.mode, image.size
        except Exception:  # decoders fail in many ways
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(header, paths))
