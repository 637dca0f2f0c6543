"""Decoded splits as memory-mapped .npy files: written once, whole or not at all, checked on every opening."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import uuid
import zlib
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ganseg.data.npy import RowWriter
from ganseg.data.source import Source, digest
from ganseg.data.split import Split
from ganseg.files import UserError, read_json, write_json

log = logging.getLogger(__name__)
FORMAT = 1
CHUNK = 256  # images decoded at a time


def default_cache_dir() -> Path:
    """$GANSEG_CACHE, or `ganseg` in the platform's folder for caches."""
    if os.environ.get("GANSEG_CACHE"):
        return Path(os.environ["GANSEG_CACHE"]).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "ganseg"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "ganseg" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganseg"


def cached(source: Source, label: str, size: int, cache_dir: str | Path | None = None) -> Split:
    """Open the decoded form of `source` at `size` pixels, decoding it first where it is missing or damaged.

    `label` begins the name of its folder. Several processes may do this at once: the first to finish wins.
    """
    root = Path(cache_dir).expanduser() if cache_dir else default_cache_dir()
    key = digest(FORMAT, source.names, source.identity, source.stamp, source.part_names, source.keypoint_names)
    folder = root / f"{label}-{size}-{key}"
    split = _open_or_discard(folder, source, size)
    if split is None:
        _build(folder, source, label, size)
        split = _open(folder, source, size)
    if split.skipped:
        shown = "".join(f"\n  {name}: {reason}" for name, reason in split.skipped[:5])
        more = "\n  ..." if len(split.skipped) > 5 else ""
        log.warning("%s: skipped %d unreadable images:%s%s", label, len(split.skipped), shown, more)
    return split


def _open_or_discard(folder: Path, source: Source, size: int) -> Split | None:
    if not folder.exists():
        return None
    try:
        return _open(folder, source, size)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        log.warning("the cache %s is damaged (%s) and is made anew", folder, error)
        _discard(folder)
        return None


def _open(folder: Path, source: Source, size: int) -> Split:
    """Open and check a finished folder; ValueError, KeyError or OSError where it is not as it was written."""
    meta = read_json(folder / "meta.json")
    arrays = {}
    for name, checksum in meta["checksums"].items():
        if _checksum(folder / f"{name}.npy") != checksum:
            raise ValueError(f"checksum of {name}.npy")
        arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    if arrays["images"].shape != (len(meta["names"]), size, size, 3):
        raise ValueError("shape of images.npy")
    return Split(
        **arrays,
        names=tuple(meta["names"]),
        part_names=source.part_names,
        keypoint_names=source.keypoint_names,
        fingerprint=source.fingerprint(),
        skipped=tuple((name, reason) for name, reason in meta["skipped"]),
    )


def _build(folder: Path, source: Source, label: str, size: int) -> None:
    """Decode into a temporary folder and rename it, unless another process has done so meanwhile."""
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        _remove_abandoned(folder.parent)
        _decode(temporary, source, label, size)
        try:
            temporary.rename(folder)
        except OSError:
            if not (folder / "meta.json").exists():
                raise
    except OSError as error:
        raise UserError(
            f"cannot write the image cache {folder}: {error.strerror or error}. "
            "Free some space there, or name another folder in the environment variable GANSEG_CACHE."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _decode(folder: Path, source: Source, label: str, size: int) -> None:
    """Write one .npy file an array and, last, meta.json."""
    writers: dict[str, RowWriter] = {}
    complete = False
    try:
        names, skipped = _decode_rows(folder, source, label, size, writers)
        complete = True
    finally:
        for writer in writers.values():
            writer.close(complete)
    source.check(len(names), len(skipped))
    if not names:
        raise UserError(f"{label}: none of the {len(skipped)} images can be read; the first: {': '.join(skipped[0])}")
    checksums = {name: _checksum(folder / f"{name}.npy") for name in writers}
    write_json(folder / "meta.json", {"names": names, "skipped": skipped, "checksums": checksums})


def _decode_rows(folder: Path, source: Source, label: str, size: int, writers: dict[str, RowWriter]):
    """Decode all into `writers`; returns the names of the readable and (name, reason) of the others."""
    count = len(source.names)
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    with tqdm(total=count, desc=f"decoding {label}", unit="img", delay=5.0, mininterval=0.5, leave=False) as bar:
        for positions in np.array_split(np.arange(count), -(-count // CHUNK)):
            chunk = source.read(positions, size)
            broken = dict(chunk.broken)
            names += [source.names[p] for i, p in enumerate(positions) if i not in broken]
            skipped += [(source.names[positions[i]], reason) for i, reason in broken.items()]
            for name, array in chunk.arrays.items():
                if name not in writers:
                    writers[name] = RowWriter(folder / f"{name}.npy", array.shape[1:], array.dtype)
                writers[name].append(array)
            bar.update(len(positions))
    return names, skipped


def _remove_abandoned(root: Path, older_than_s: float = 86_400.0) -> None:
    """Remove temporary folders that a killed process left behind a day ago or more."""
    for path in root.glob(".*.tmp"):
        if time.time() - path.stat().st_mtime > older_than_s:
            shutil.rmtree(path, ignore_errors=True)


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            total = zlib.crc32(block, total)
    return total


def _discard(folder: Path) -> None:
    """Remove a damaged folder; renamed first, so that nobody opens what is half gone."""
    away = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        folder.rename(away)
    except FileNotFoundError:  # another process was faster
        return
    shutil.rmtree(away, ignore_errors=True)
