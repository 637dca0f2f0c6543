"""Files of a data set: found, known by what they hold, read as lists, and told of where they are left out."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ganseg.files import UserError, reading

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")
EXAMPLES = 3
HIDDEN = (".", "__MACOSX", "@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN")  # thumbnails, what was thrown away
AHEAD = 256  # images decoded before the first of them is used
HEADING, TEXTS = 2, ("name", "point")  # of a list: lines that may stand above its rows; columns that are no numbers
AGAIN = "Mend it, or get it from its publisher again."


def told(what: str, names: Iterable[object], remedy: str) -> list[str]:
    """One sentence that counts `names`, shows the first of them and says what to do; none where there are no names."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
    return [f"{len(names):,} {what} ({shown}). {remedy}"] if names else []


def refuse(what: str, names: Iterable[object], remedy: str) -> None:
    """UserError of the sentence that `told` makes, where there are names."""
    for sentence in told(what, names, remedy):
        raise UserError(sentence)


def digest(*values: object) -> str:
    """16 hex digits that stand for JSON-like values."""
    return hashlib.sha256(json.dumps(values, default=list, sort_keys=True).encode()).hexdigest()[:16]


def _ask(memory: Path, words: str, rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """What the SQLite file `memory` answers to `words` for each of `rows`; nothing where it is damaged, locked, ..."""
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(memory)) as base, base:
            base.execute("PRAGMA synchronous = OFF")  # what is lost is read again
            base.execute("CREATE TABLE IF NOT EXISTS held (path TEXT PRIMARY KEY, state TEXT, content TEXT)")
            return [answer for row in rows for answer in base.execute(words, row)]
    except (OSError, sqlite3.Error) as error:
        if type(error) is sqlite3.DatabaseError:  # the file is no database any more
            memory.unlink(missing_ok=True)
        return []


def contents(paths: Sequence[Path], memory: Path) -> list[str]:
    """16 hex digits for what each file holds; empty for one that cannot be read.

    `memory`, a SQLite file, remembers them with their size and times, so that no file is read again before it changes.
    """
    names = [(str(path.absolute()),) for path in paths]
    known = {row[0]: row for row in _ask(memory, "SELECT path, state, content FROM held WHERE path = ?", names)}

    def held(path: Path) -> tuple[str, ...]:
        about = path.stat()
        name, state = str(path.absolute()), f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
        if known.get(name, ())[:2] == (name, state):
            return known[name]
        with path.open("rb") as file:
            return name, state, hashlib.file_digest(file, "sha256").hexdigest()[:16]

    rows = [("", "", "") if isinstance(row, Exception) else row for row in each(held, paths)]
    if new := [row for row in rows if row[0] and known.get(row[0]) != row]:
        _ask(memory, "INSERT OR REPLACE INTO held (path, state, content) VALUES (?, ?, ?)", new)
    return [row[2] for row in rows]


def list_files(root: Path) -> list[str]:
    """Sorted names, relative to `root` and with forward slashes, of the files in and below it but hidden ones.

    OSError for a folder that cannot be read.
    """
    files, folders, seen = [], [root], set()
    for folder in folders:
        if (real := folder.resolve()) in seen:  # a link back to where we were
            continue
        seen.add(real)
        for path in folder.iterdir():
            if not path.name.startswith(HIDDEN):
                (folders if path.is_dir() else files).append(path)
    return sorted(file.relative_to(root).as_posix() for file in files)


def is_image(path: Path) -> bool:
    """Whether it is a file with the suffix of an image."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """What `function` makes of each item, or the exception that it raises; concurrently, as Pillow frees the GIL."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), AHEAD):
            for future in [pool.submit(function, item) for item in items[start : start + AHEAD]]:
                yield future.exception() or future.result()


def points_of(table: pd.DataFrame, names: Iterable[object], points: Iterable[object]) -> dict[object, np.ndarray]:
    """(J, 3) of x, y, visible by name, from a table of them by (name, point); a point without a row is not visible."""
    names, points = list(names), list(points)
    rows = table.reindex(pd.MultiIndex.from_product([names, points]), fill_value=0).to_numpy(float, copy=True)
    return dict(zip(names, rows.reshape(len(names), len(points), 3), strict=True))


def read_list(
    path: Path, columns: str, key: str | list[str] = "name", names: pd.Index | None = None, *,
    sep: str = r"\s+", heading: int = HEADING,
) -> pd.DataFrame:  # fmt: skip
    """The rows of a text list, by `key`: `columns` separated by `sep`, all but TEXTS numbers; those of `names`.

    Equal rows count once; up to `heading` lines above the rows are passed over. UserError where the list is missing,
    or its rows are damaged or contradict one another, or some of `names` have none.
    """
    every = columns.split()
    numbers = [name for name in every if name not in TEXTS]
    with reading(path, AGAIN), path.open(encoding="utf-8-sig", errors="replace") as file:  # any line ends
        table = pd.read_csv(file, sep=sep, names=[*every, "more"], dtype=str, skipinitialspace=True)
        if table.empty:
            raise ValueError("it is empty")
        table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    good = table[every].notna().all(axis=1) & np.isfinite(table[numbers]).all(axis=1) & table["more"].isna()
    above = ~good.cummax()
    table = table[~above] if above.sum() <= heading else table
    wrong = [f"row {i + 1}" for i in table.index[~good[table.index]]]
    table = table[every].drop_duplicates().set_index(key)
    wrong += table.index[table.index.duplicated()].tolist()
    form = f"A row is {', '.join(every)}. {AGAIN}"
    refuse(f"rows of {path} are damaged or contradict an earlier one", wrong, form)
    if names is None:
        return table
    refuse(f"images have no row in {path.name}", names.difference(table.index), AGAIN)
    return table.reindex(names)
