"""Data sets: `load(name, split, size)` gives a `Split`, decoded once and then memory-mapped from the cache.

A new data set is a file with a `DataSet`, and an entry here.
"""

import logging
import os
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from platformdirs import user_cache_dir

from ganseg.data.batches import Batches
from ganseg.data.celeba import CELEBA_ALIGNED, CELEBA_WILD
from ganseg.data.creatures import DRAWN
from ganseg.data.cub import CUB
from ganseg.data.files import contents, digest, told
from ganseg.data.flowers import FLOWERS
from ganseg.data.folder import FOLDER
from ganseg.data.sets import DataSet, Listing, Sample, Split
from ganseg.data.taichi import TAICHI
from ganseg.files import UserError, atomic_path, locked, place, read_json, sweep, write_json

__all__ = ["DATASETS", "Batches", "DataSet", "Listing", "Sample", "Split", "check", "describe", "fingerprint", "load"]
log = logging.getLogger(__name__)
warn_once = cache(log.warning)

SETS = (*DRAWN, CELEBA_WILD, CELEBA_ALIGNED, CUB, FLOWERS, TAICHI, FOLDER)
DATASETS: dict[str, DataSet] = {"synthetic": DRAWN[0]} | {data.name: data for data in SETS}
Place = str | Path | None
SMALLEST = 16  # pixels of a side
FORMAT, META, CONTENTS = 7, "meta.json", "hashes.sqlite"  # of the cache


def load(name: str, split: str, size: int, *, data_dir: Place = None, limit: int | None = None) -> Split:
    """One split of a data set at `size` x `size` pixels: decoded on the first call, memory-mapped afterwards.

    `limit`: at most so many images, evenly spaced over the split. What was left out or may surprise is told once a
    process. UserError for an unknown name or split, a size below 16, a missing, wrong or faulty `data_dir`.
    """
    data = describe(name)
    if split not in data.splits:
        raise UserError(f"the data set {data.name} has no split {split!r}; it has {', '.join(data.splits)}.")
    if size < SMALLEST:
        raise UserError(f"images of {size} pixels are too small; the size must be {SMALLEST} or more.")
    loaded = cached(_listed(data, data_dir, split, limit), f"{data.name}-{split}", size)
    for sentence in loaded.oddities:
        warn_once(f"{data.name}, {split}: {sentence}")
    return loaded


def describe(name: str) -> DataSet:
    """The entry of a data set; UserError with the known names for an unknown one."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}.")
    return DATASETS[name]


def check(name: str, data_dir: Place) -> Listing:
    """What a folder holds of the data set and what is wrong with it; every image is read.

    UserError for an unknown name, a missing `data_dir`, or a data set that has no folder to look at.
    """
    data = describe(name)
    folder = _existing(data, data_dir)
    try:
        listing = data.list(folder)
    except UserError as error:
        return Listing(faults=[str(error)])
    listing.oddities += _copies(data, listing)
    if not listing.samples:
        listing.faults.append(f"no split has an image. {data.how_to_get}")
    for split in filter(listing.splits.get, listing.splits):
        try:
            found = listing.limited(split).decode(SMALLEST, split).oddities
            listing.oddities += [*_unlike(data, listing, split), *(f"{split}: {sentence}" for sentence in found)]
        except UserError as error:
            listing.faults.append(str(error))
    return listing


def fingerprint(name: str, data_dir: Place = None) -> str:
    """What the images and labels of all splits are, as 16 hex digits; empty where the folder they need is not given.

    UserError as by `load`.
    """
    data = describe(name)
    if data.needs_dir and not data_dir:
        return ""
    listing = _listed(data, data_dir, None if data.needs_dir else "train")  # a drawing's name tells of all splits
    for sentence in _copies(data, listing):
        warn_once(f"{data.name}: {sentence}")
    return digest(*listing.identity(cache_root() / CONTENTS))


def _copies(data: DataSet, listing: Listing) -> list[str]:
    """Which images hold, byte for byte, what an earlier one holds; of published sets, which are as they are, none."""
    images = {} if data.counts else {sample.name: sample.image for sample in listing.samples}
    held = pd.Series(contents([*images.values()], cache_root() / CONTENTS), [*images], dtype=str)
    again = held.index[held.duplicated() & (held != "")]
    return told("images are copies of others", again, "Where one is held out, the other is trained on: remove them.")


def cache_root() -> Path:
    """$GANSEG_CACHE, else `ganseg` in the platform's folder for caches."""
    return place(os.environ.get("GANSEG_CACHE") or user_cache_dir("ganseg", appauthor=False))


def _listed(data: DataSet, data_dir: Place, split: str | None = None, limit: int | None = None) -> Listing:
    """What is drawn, or lies in a folder; one split of it alone, at most `limit` images."""
    if not data.needs_dir:
        return data.list().limited(split, limit)
    folder = _existing(data, data_dir)
    try:
        listing = data.list(folder)
        if split is None:
            return listing
        if not listing.splits[split]:
            raise UserError(f"the split {split} is empty. {data.how_to_get}")
        for sentence in listing.oddities + _unlike(data, listing, split):
            warn_once(f"{data.name}: {sentence}")
        return listing.limited(split, limit)
    except UserError as error:
        raise UserError(f"{data.name} cannot be read from {folder}: {error}") from error


def _existing(data: DataSet, data_dir: Place) -> Path:
    """The folder of a data set; UserError where there is none."""
    if not data.needs_dir:
        raise UserError(f"there is nothing to check of the data set {data.name}. {data.how_to_get}")
    if not data_dir:
        where = "(--data-dir; data_dir in notebooks)"
        raise UserError(f"the data set {data.name} needs its folder {where}. {data.how_to_get}")
    path = place(data_dir)
    if not path.is_dir():
        raise UserError(f"{path} is {'not a folder' if path.exists() else 'missing'}. {data.how_to_get}")
    return path


def _unlike(data: DataSet, listing: Listing, split: str) -> list[str]:
    """Whether the split has another number of images than in the paper."""
    found = listing.counts[split]
    expected = data.counts.get(split, found)
    unlike = f"where the paper's protocol has {expected:,}: results are not comparable."
    return [f"{found:,} images in split {split}, {unlike}"] if found != expected else []


def cached(listing: Listing, label: str, size: int) -> Split:
    """Open the decoded form of `listing` at `size` pixels, decoding it first where it is missing or damaged.

    `label` begins the name of its folder in `cache_root`. Several processes may do this at once: one decodes, the
    others wait.
    """
    folder = cache_root()
    try:
        names = listing.part_names, listing.keypoint_names, [one.box for one in listing.samples]
        key = digest(FORMAT, listing.identity(folder / CONTENTS), *names)
        folder /= f"{label}-{size}-{key}"
        if split := _open(folder):
            return split
        with locked(folder / ".lock", f"decoding {label}"):
            return _open(folder) or _keep(listing.decode(size, label), folder)
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {folder}: {error.strerror or error}. "
            "Free some space there, or name another folder in the environment variable GANSEG_CACHE."
        ) from error


def _open(folder: Path) -> Split | None:
    """A finished folder; None where it is missing or damaged."""
    if not (folder / META).exists():
        return None
    try:
        meta = read_json(folder / META)
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in meta.pop("arrays")}
        return Split(**arrays, **{name: tuple(values) for name, values in meta.items()})
    except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
        log.warning("the cache %s is damaged (%s) and is made anew", folder, error)
        return None


def _keep(split: Split, folder: Path) -> Split:
    """Write one .npy file an array and, last, what says that all are there; open the split from them."""
    sweep(folder)
    arrays = {name: value for name, value in vars(split).items() if isinstance(value, np.ndarray)}
    for name, array in arrays.items():
        with atomic_path(folder / f"{name}.npy") as path:
            np.save(path, array)
    about = {name: value for name, value in vars(split).items() if isinstance(value, tuple)}
    write_json(folder / META, about | {"arrays": list(arrays)})
    return _open(folder)
