"""Taichi's landmark tables, as the pickled frames they are published in or converted to .npz or .csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganseg.data.frames import read_frame
from ganseg.files import UserError

LANDMARKS = 18
MISSING = -1
SUFFIXES = (".npz", ".csv", ".pkl")  # a converted table is preferred to the pickle it was made from
FORM = f"It must hold file_name and value, {LANDMARKS} pairs (x, y) a row"


@dataclass(frozen=True)
class Table:
    """Rows of a landmark table: file names and (N, 18, 2) points (x, y) in 256-pixel frames, missing -1."""

    path: Path
    names: tuple[str, ...]
    values: np.ndarray


def find_table(stem: Path) -> Path | None:
    """The table called `stem` with any of the known suffixes."""
    paths = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def read_table(path: Path) -> Table:
    """Read a landmark table; UserError where it is damaged, of another form, or asks to run code."""
    try:
        names, values = {".npz": _npz, ".csv": _csv, ".pkl": _pickled}[path.suffix](path)
        points = np.stack([np.asarray(value, np.float64) for value in values])  # (N, 18, 2)
        if points.shape != (len(names), LANDMARKS, 2) or not np.isfinite(points).all():
            raise ValueError(f"its values have the shape {points.shape} or are not finite")
    except UserError:
        raise
    except Exception as error:  # parsers fail in many ways
        raise UserError(f"{path} cannot be read as a table of landmarks ({error}). {FORM}.") from error
    return Table(path, tuple(str(name) for name in names), points)


def _npz(path: Path) -> tuple[Any, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["file_name"], arrays["value"]


def _csv(path: Path) -> tuple[Any, Any]:
    """A header that begins with file_name, then rows of a name and x, y of each landmark."""
    with path.open(newline=None, encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    if header[0] != "file_name" or any(len(row) != 1 + 2 * LANDMARKS for row in rows):
        raise ValueError(f"a row must be file_name and {2 * LANDMARKS} numbers, under a header")
    return [row[0] for row in rows], [np.array(row[1:], np.float64).reshape(LANDMARKS, 2) for row in rows]


def _pickled(path: Path) -> tuple[Any, Any]:
    frame = read_frame(path)
    return frame["file_name"], frame["value"]
