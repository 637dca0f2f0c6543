"""Files of a data set: found, read as images, masks and lists, and told of where they are left out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from ganseg.files import UserError, read_json, reading, write_json

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS would start a program; MPO is JPEG
MAX_PIXELS = 100_000_000  # larger images are refused before they are decoded
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: its number, and the values that exchange width and height
IGNORE = 255  # in a mask: neither foreground nor background
EXAMPLES = 3
HIDDEN = (".", "__MACOSX", "@eaDir")  # folders that hold thumbnails and the like
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
    return hashlib.sha256(json.dumps(values, default=list).encode()).hexdigest()[:16]


def contents(paths: Sequence[Path], memory: Path) -> list[str]:
    """16 hex digits for what each file holds; empty for one that cannot be read.

    `memory`, a file, remembers them by path, size and times, so that no file is read again before it changes.
    """
    known = {}
    with suppress(UserError):
        known = read_json(memory, dict)

    def content(path: str) -> list:
        about, kept = os.stat(path), known.get(path)
        stamp = [about.st_size, about.st_mtime_ns, about.st_ctime_ns]
        if not isinstance(kept, list) or kept[:-1] != stamp:
            with open(path, "rb") as file:
                kept = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()[:16]]
        return kept

    names = [str(path.absolute()) for path in paths]
    distinct = [*dict.fromkeys(names)]
    found = {name: kept for name, kept in zip(distinct, each(content, distinct), strict=True) if isinstance(kept, list)}
    with suppress(OSError):  # they are read again the next time
        if any(known.get(name) != kept for name, kept in found.items()):
            write_json(memory, known | found)
    return [found[name][-1] if name in found else "" for name in names]


def list_files(root: Path) -> list[str]:
    """Sorted names, relative to `root` and with forward slashes, of the files in and below it but hidden ones.

    OSError for a folder that cannot be read.
    """
    names, seen = [], set()
    for place, folders, files in os.walk(root, onerror=_stop, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(HIDDEN)]
        names += [Path(place, name).relative_to(root).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)


def _stop(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # no folder has no files
        raise error


def list_images(root: str | Path) -> list[str]:
    """As `list_files`, of images: by their suffix, in any case."""
    return [name for name in list_files(Path(root)) if is_image(Path(root, name))]


def is_image(path: Path) -> bool:
    """Whether it is a file with the suffix of an image."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


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


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """What `function` makes of each item, or the exception that it raises; concurrently, as Pillow frees the GIL."""

    def attempt(item: Any) -> Any:
        try:
            return function(item)
        except Exception as error:  # decoders fail in many ways
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), AHEAD):
            yield from pool.map(attempt, items[start : start + AHEAD])


def extent_of(path: Path, upright: bool = False) -> tuple[int, int]:
    """(W, H) of an image, not decoded; `upright`: as viewers turn it. Errors as of `open_checked`."""
    with open_checked(path) as image:
        return image.size[::-1] if upright and _orientation(image) in TURNED else image.size


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data say nothing about the pixels
        return None


def open_rgb(path: str | Path, draft: int | None = None, upright: bool = True) -> Image.Image:
    """The image in `path` in RGB: deep grey scaled by its depth, transparency laid over white.

    `draft`: a side in pixels that is enough, where decoding less is faster. `upright`: turned by its EXIF data;
    False for annotated images, whose coordinates are those of the stored pixels. Errors as of `open_checked`.
    """
    with open_checked(path) as image:
        if draft:
            image.draft(None, (draft, draft))  # lets a large JPEG decode at a fraction of its size
        deep = "16" in str(image.tile) and image.mode[:2] in ("RG", "LA")  # of which Pillow keeps the upper 8 bits
        image.load()
        if deep and max(high for _, high in image.convert("RGB").getextrema()) < 64:
            raise ValueError("its 16-bit colours are almost black: they seem to have fewer bits; store them in 8")
        return _to_rgb(ImageOps.exif_transpose(image) if upright and _orientation(image) else image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow to RGB."""
    if image.mode[0] in "IF":
        return Image.fromarray(to_bytes(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers to uint8 by their depth: fractions of 1, or integers of 8, 10, 12, ... bits; ValueError for others."""
    low, high, real = float(values.min()), float(values.max()), values.dtype.kind == "f"
    if not (low >= 0 and high < 2**32) or (real and 1 < high < 32):
        raise ValueError(f"its values go from {low:g} to {high:g}: neither fractions of 1 nor whole numbers from 0")
    bits = max(8, int(high).bit_length())
    top = 1 if real and high <= 1 else 2 ** (bits + bits % 2) - 1
    return np.rint(values * (255.0 / top)).astype(np.uint8)


def read_rgb(path: str | Path, size: int, upright: bool = True) -> np.ndarray:
    """(S, S, 3) uint8: as `open_rgb`, squashed to a square, bilinear with antialiasing."""
    image = open_rgb(path, draft=4 * size, upright=upright)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def read_mask(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 foreground: above 127 in the first channel at full resolution, then resized by majority.

    A mask that only holds 0 and 1 is taken as it is.
    """
    with open_checked(path) as image:
        values = np.asarray(image.convert("RGB"))[..., 0]
    return commonest(values > (127 if values.max() > 1 else 0), size, (1, 0))


def commonest(values: np.ndarray, size: int, among: Sequence[int]) -> np.ndarray:
    """(S, S) uint8: which of the values `among` covers most of each new pixel of (H, W); of equal ones the first."""
    masks = (Image.fromarray((values == value).astype(np.float32)) for value in among)
    shares = [np.asarray(mask.resize((size, size), Image.Resampling.BOX)) for mask in masks]
    return np.array(among, np.uint8)[np.argmax(shares, axis=0)]


def points_of(table: pd.DataFrame, names: Iterable[object], points: Iterable[object]) -> dict[object, np.ndarray]:
    """(J, 3) of x, y, visible by name, from a table of them by (name, point); a point without a row is not visible."""
    names, points = list(names), list(points)
    rows = table.reindex(pd.MultiIndex.from_product([names, points]), fill_value=0).to_numpy(float, copy=True)
    return dict(zip(names, rows.reshape(len(names), len(points), 3), strict=True))


def read_list(
    path: Path, columns: str, key: str | list[str], sep: str = r"\s+", heading: int = HEADING
) -> pd.DataFrame:
    """The rows of a text list, by `key`: `columns` separated by `sep`, all but TEXTS numbers.

    Equal rows count once; up to `heading` lines above the rows are passed over. UserError where the list is missing,
    or its rows are damaged or contradict one another.
    """
    names = columns.split()
    numbers = [name for name in names if name not in TEXTS]
    with reading(path, AGAIN), path.open(encoding="utf-8-sig", errors="replace") as file:  # any line ends
        table = pd.read_csv(file, sep=sep, names=[*names, "more"], dtype=str, skipinitialspace=True)
        if table.empty:
            raise ValueError("it is empty")
        table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    good = table[names].notna().all(axis=1) & np.isfinite(table[numbers]).all(axis=1) & table["more"].isna()
    above = ~good.cummax()
    table = table[~above] if above.sum() <= heading else table
    wrong = [f"row {i + 1}" for i in table.index[~good[table.index]]]
    table = table[names].drop_duplicates().set_index(key)
    wrong += table.index[table.index.duplicated()].tolist()
    form = f"A row is {', '.join(names)}. {AGAIN}"
    refuse(f"rows of {path} are damaged or contradict an earlier one", wrong, form)
    return table


def rows_of(names: pd.Index, path: Path, columns: str) -> pd.DataFrame:
    """As `read_list`, the rows of `names` in their order; UserError where some have none."""
    table = read_list(path, columns, columns.split()[0])
    refuse(f"images have no row in {path.name}", names.difference(table.index), AGAIN)
    return table.reindex(names)
