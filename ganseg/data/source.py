"""What a reader of a data set hands to the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Chunk:
    """Decoded images: arrays as in `Split`, and (position within the request, reason) of unreadable ones."""

    arrays: dict[str, np.ndarray]
    broken: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Source:
    """One split of a data set before decoding.

    `read(positions, size)` decodes the images at `positions` (n,) into a `Chunk` without the unreadable ones.
    `identity` says what the data are; `stamp` holds what only this disk knows (times of change).
    `check(readable, broken)` may refuse the split once all is decoded.
    """

    names: tuple[str, ...]
    identity: tuple
    read: Callable[[np.ndarray, int], Chunk]
    stamp: tuple = ()
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    check: Callable[[int, int], None] = field(default=lambda readable, broken: None)

    def limited(self, limit: int | None) -> Source:
        """`limit` of the images, evenly spaced over the split (all of them where there are no more)."""
        if limit is None or limit >= len(self.names):
            return self
        chosen = np.arange(limit) * len(self.names) // limit
        read = lambda positions, size: self.read(chosen[positions], size)
        return replace(self, names=tuple(self.names[i] for i in chosen), read=read)

    def fingerprint(self) -> str:
        """Names and identity as 16 hex digits; the same on every machine that has the same data."""
        return digest(self.names, self.identity)


def digest(*values: object) -> str:
    """16 hex digits that stand for JSON-like values."""
    return hashlib.sha256(json.dumps(values, default=list).encode()).hexdigest()[:16]


def file_stamps(paths: list[Path]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Sizes in bytes and times of change in ns of existing files."""
    stats = [path.stat() for path in paths]
    return tuple(s.st_size for s in stats), tuple(s.st_mtime_ns for s in stats)
