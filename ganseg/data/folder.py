"""`folder`: anyone's images, in nested folders, without labels."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from ganseg.data.decode import decode_all, read_rgb
from ganseg.data.source import Chunk, Source, file_stamps
from ganseg.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MINIMUM = 64
HELD_OUT = 0.1


def list_images(root: str | Path) -> list[str]:
    """Sorted names, relative to `root` and with forward slashes, of all images under it but hidden ones."""
    names, seen = [], set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        images = [f for f in files if f.lower().endswith(SUFFIXES) and not f.startswith(".")]
        names += [(Path(place) / name).relative_to(root).as_posix() for name in images]
    return sorted(name for name in names if (Path(root) / name).is_file())


def is_held_out(name: str) -> bool:
    """Whether an image belongs to the test split: decided by its relative name alone."""
    start = hashlib.sha256(os.fsencode(name)).digest()[:8]
    return int.from_bytes(start, "big") < HELD_OUT * 2**64


def open_folder(split: str, data_dir: Path) -> Source:
    """The images of `data_dir` in `split` ("train" or "test"); UserError where there are too few."""
    everything = list_images(data_dir)
    _refuse_few(data_dir, len(everything), 0)
    names = [name for name in everything if is_held_out(name) == (split == "test")]
    if not names:
        raise UserError(
            f"{data_dir}: none of its {len(everything)} images falls into the {split} split; add images."
        )
    paths = [data_dir / name for name in names]
    sizes, times = file_stamps(paths)

    def read(positions: np.ndarray, size: int) -> Chunk:
        return decode_all(positions, lambda position: {"images": read_rgb(paths[position], size)})

    def check(readable: int, broken: int) -> None:
        _refuse_few(data_dir, len(everything), broken)

    return Source(tuple(names), ("folder", sizes), read, stamp=times, check=check)


def _refuse_few(data_dir: Path, found: int, broken: int) -> None:
    if found - broken >= MINIMUM:
        return
    unreadable = f", {broken} of them unreadable" if broken else ""
    raise UserError(
        f"{data_dir}: found {found} images{unreadable}; at least {MINIMUM} readable ones are needed "
        f"({', '.join(SUFFIXES)}, also in folders below)."
    )
