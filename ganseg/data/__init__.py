"""Data sets: `load(name, split, size)` gives a `Split`, decoded once and then memory-mapped from the cache.

A new data set is a file with a `DataSet`, and an entry here.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from pathlib import Path

import numpy as np
from filelock import FileLock
from platformdirs import user_cache_dir
from tqdm.auto import tqdm

from ganseg.data.batches import Batches
from ganseg.data.celeba import CELEBA_ALIGNED, CELEBA_WILD
from ganseg.data.creatures import SYNTHETIC_BIRD, SYNTHETIC_CAMOUFLAGE, SYNTHETIC_FACE, SYNTHETIC_TURNED
from ganseg.data.cub import CUB
from ganseg.data.files import digest, told
from ganseg.data.flowers import FLOWERS
from ganseg.data.folder import FOLDER
from ganseg.data.sets import DataSet, Listing, Source, Split
from ganseg.data.taichi import TAICHI
from ganseg.files import UserError, atomic_path, read_json, write_json

__all__ = ["DATASETS", "Batches", "DataSet", "Listing", "Source", "Split", "check", "describe", "fingerprint", "load"]
log = logging.getLogger(__name__)

DRAWN = (SYNTHETIC_BIRD, SYNTHETIC_CAMOUFLAGE, SYNTHETIC_TURNED, SYNTHETIC_FACE)
SETS = (*DRAWN, CELEBA_WILD, CELEBA_ALIGNED, CUB, FLOWERS, TAICHI, FOLDER)
DATASETS: dict[str, DataSet] = {"synthetic": SYNTHETIC_BIRD} | {data.name: data for data in SETS}
warn_once = cache(log.warning)
SMALLEST = 16
FORMAT, META = 2, "meta.json"  # of the cache
CHUNK = 256  # images decoded at a time


def load(
    name: str,
    split: str,
    size: int,
    *,
    data_dir: str | Path | None = None,
    cache_dir: str | Path | None = None,
    limit: int | None = None,
) -> Split:
    """One split of a data set at `size` x `size` pixels: decoded on the first call, memory-mapped afterwards.

    `limit`: at most so many images, evenly spaced over the split. UserError for an unknown name or split,
    a size below 16, a missing, wrong or faulty `data_dir`.
    """
    data = describe(name)
    if split not in data.splits:
        raise UserError(f"the data set {data.name} has no split {split!r}; it has {', '.join(data.splits)}.")
    if size < SMALLEST:
        raise UserError(f"images of {size} pixels are too small; the size must be {SMALLEST} or more.")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} images leaves nothing; it must be 1 or more.")
    return cached(_source(data, split, data_dir).limited(limit), f"{data.name}-{split}", size, cache_dir)


def describe(name: str) -> DataSet:
    """The entry of a data set; UserError with the known names for an unknown one."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}.")
    return DATASETS[name]


def check(name: str, data_dir: str | Path | None) -> Listing:
    """What a folder holds of the data set and what is wrong with it; opens every image's header, but decodes none.

    UserError for an unknown name, a missing `data_dir`, or a data set that has no folder to look at.
    """
    data = describe(name)
    folder = _existing(data, data_dir)
    try:
        listing = data.list(folder)
    except UserError as error:
        return Listing(faults=[str(error)])
    if not listing.samples:
        listing.faults.append(f"no split has an image. {data.how_to_get}")
    listing.look()
    listing.oddities += _unlike(data, listing, *listing.splits)
    return listing


def fingerprint(name: str, data_dir: str | Path | None = None) -> str:
    """Which images there are to learn from, as 16 hex digits; empty where the folder they need is not given.

    UserError as by `load`. What a user labels in a folder of images makes no difference.
    """
    data = describe(name)
    if data.needs_dir and not data_dir:
        return ""
    if data.name != "folder":
        return _published(data, data_dir)
    samples = data.list(_existing(data, data_dir)).samples
    return digest([(sample.name, sample.image.stat().st_size) for sample in samples])


@cache
def _published(data: DataSet, data_dir: str | Path | None) -> str:
    """As `Split.fingerprint` of all training images: they do not change while we look."""
    return _source(data, "train", data_dir).fingerprint


def _source(data: DataSet, split: str, data_dir: str | Path | None) -> Source:
    """A split that is drawn, or lies in a folder, whose oddities are told once a process."""
    if data.draw:
        return data.draw(split)
    listing = data.list(_existing(data, data_dir))
    if faults := listing.faults + listing.missing(split):
        raise UserError("\n  ".join([f"{data.name} cannot be read from {data_dir}:", *faults]))
    if not listing.splits[split]:
        raise UserError(f"{data.name}: the split {split} is empty in {data_dir}. {data.how_to_get}")
    for oddity in (*listing.oddities, *_unlike(data, listing, split)):
        warn_once(f"{data.name}: {oddity}")
    return listing.source(split)


def _existing(data: DataSet, data_dir: str | Path | None) -> Path:
    """The folder of a data set; UserError where there is none."""
    if data.draw:
        raise UserError(f"there is nothing to check of the data set {data.name}. {data.how_to_get}")
    if not data_dir:
        raise UserError(f"the data set {data.name} needs its folder (data_dir). {data.how_to_get}")
    path = Path(data_dir).expanduser()
    if not path.is_dir():
        raise UserError(f"{path} is {'not a folder' if path.exists() else 'missing'}. {data.how_to_get}")
    return path


def _unlike(data: DataSet, listing: Listing, *splits: str) -> list[str]:
    """Which of the splits have another number of images than in the paper."""
    found = [(split, listing.counts[split], data.counts.get(split)) for split in splits]
    message = "{1:,} images in split {0}, where the paper's protocol has {2:,}: results are not comparable."
    return [message.format(*one) for one in found if one[2] not in (None, one[1])]


def cached(source: Source, label: str, size: int, cache_dir: str | Path | None = None) -> Split:
    """Open the decoded form of `source` at `size` pixels, decoding it first where it is missing or damaged.

    `label` begins the name of its folder, in `cache_dir`, $GANSEG_CACHE, or `ganseg` in the platform's folder for
    caches. Several processes may do this at once: one decodes, the others wait.
    """
    root = cache_dir or os.environ.get("GANSEG_CACHE") or user_cache_dir("ganseg", appauthor=False)
    key = digest(FORMAT, source.names, source.identity, source.stamp, source.part_names, source.keypoint_names)
    folder = Path(root).expanduser() / f"{label}-{size}-{key}"
    try:
        split = _open(folder, source, size)
        if not split:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                split = _open(folder, source, size) or _decode(folder, source, label, size)
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {folder}: {error.strerror or error}. "
            "Free some space there, or name another folder in the environment variable GANSEG_CACHE."
        ) from error
    for sentence in told("unreadable images are left out", map(": ".join, split.skipped), "Mend or remove them."):
        log.warning("%s: %s", label, sentence)
    return split


def _open(folder: Path, source: Source, size: int) -> Split | None:
    """A finished folder; None where it is missing, or not as it was written."""
    if not (folder / META).exists():
        return None
    try:
        meta = read_json(folder / META)
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in meta["arrays"]}
        if arrays["images"].shape != (len(meta["names"]), size, size, 3):
            raise ValueError("shape of images.npy")
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        log.warning("the cache %s is damaged (%s) and is made anew", folder, error)
        return None
    names, skipped = tuple(meta["names"]), tuple(map(tuple, meta["skipped"]))
    about = {"part_names": source.part_names, "keypoint_names": source.keypoint_names}
    return Split(**arrays, **about, names=names, skipped=skipped, fingerprint=source.fingerprint)


def _decode(folder: Path, source: Source, label: str, size: int) -> Split:
    """Write one .npy file an array and, last, what says that all are there."""
    (folder / META).unlink(missing_ok=True)
    count, names, skipped, arrays = len(source.names), [], {}, {}
    with tqdm(total=count, desc=f"decoding {label}", unit="img", delay=5.0, mininterval=0.5, leave=False) as bar:
        for positions in np.array_split(np.arange(count), -(-count // CHUNK)):
            rows, broken = source.read(positions, size)
            for name, values in rows.items():
                if name not in arrays:
                    arrays[name] = np.empty((count, *values.shape[1:]), values.dtype)
                arrays[name][len(names) : len(names) + len(values)] = values
            names += [name for name in (source.names[i] for i in positions) if name not in broken]
            skipped |= broken
            if len(skipped) > source.spare:
                remedy = f"Get them again; {source.spare} of {count} can be left out."
                what = told("images or their masks cannot be read", map(": ".join, skipped.items()), remedy)
                raise UserError(f"{label}: {what[0]}")
            bar.update(len(positions))
    for name, array in arrays.items():
        with atomic_path(folder / f"{name}.npy") as path:
            np.save(path, array[: len(names)])
    write_json(folder / META, {"names": names, "skipped": list(skipped.items()), "arrays": list(arrays)})
    return _open(folder, source, size)
