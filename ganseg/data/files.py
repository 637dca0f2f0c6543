"""Files of a data set: found, read as images, masks and lists, and told of where they are left out."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from ganseg.files import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS would start a program; MPO is JPEG
MAX_PIXELS = 100_000_000  # larger images are refused before they are decoded
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: its number, and the values that exchange width and height
IGNORE = 255  # in a mask: neither foreground nor background
EXAMPLES = 3
HEADING = 2  # lines that may stand above the rows of a list
AGAIN = "Get it from its publisher again."


def told(what: str, names: Iterable[object], remedy: str) -> list[str]:
    """One sentence that counts `names`, shows the first of them and says what to do; none where there are no names."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
    return [f"{len(names):,} {what} ({shown}). {remedy}"] if names else []


def digest(*values: object) -> str:
    """16 hex digits that stand for JSON-like values."""
    return hashlib.sha256(json.dumps(values, default=list).encode()).hexdigest()[:16]


def list_files(root: Path) -> list[str]:
    """Sorted names, relative to `root` and with forward slashes, of the files in and below it but hidden ones."""
    names, seen = [], set()
    for place, folders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(place)) in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        names += [path.relative_to(root).as_posix() for path in paths if path.is_file()]
    return sorted(names)


def list_images(root: str | Path) -> list[str]:
    """As `list_files`, of images: by their suffix, in any case."""
    return [name for name in list_files(Path(root)) if name.lower().endswith(SUFFIXES)]


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


def headers(paths: Iterable[Path], upright: bool = False) -> list[tuple[str, tuple[int, int]] | None]:
    """Pillow's mode and (W, H) of images, not decoded; `upright`: as viewers turn them; None where that fails."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_header, upright=upright), paths))


def _header(path: Path, upright: bool) -> tuple[str, tuple[int, int]] | None:
    try:
        with open_checked(path) as image:
            turned = upright and _orientation(image) in TURNED
            return image.mode, image.size[::-1] if turned else image.size
    except Exception:  # decoders fail in many ways
        return None


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data say nothing about the pixels
        return None


def open_rgb(path: str | Path, draft: int | None = None, upright: bool = True) -> Image.Image:
    """The image in `path` in RGB: 16-bit grey scaled by 255 / 65535, transparency laid over white.

    `draft`: a side in pixels that is enough, where decoding less is faster. `upright`: turned by its EXIF data;
    False for annotated images, whose coordinates are those of the stored pixels. Errors as of `open_checked`.
    """
    with open_checked(path) as image:
        if draft:
            image.draft(None, (draft, draft))  # lets a large JPEG decode at a fraction of its size
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image) if upright and _orientation(image) else image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode of Pillow to RGB."""
    if image.mode.startswith("I"):
        grey = np.rint(np.asarray(image) * (255.0 / 65535.0))
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    return image.convert("RGB")


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
    return majority(values > (127 if values.max() > 1 else 0), size)


def majority(mask: np.ndarray, size: int) -> np.ndarray:
    """(S, S) uint8: 1 where at least half of the new pixel is true in the boolean mask (H, W)."""
    return (share(mask, size) >= 0.5).astype(np.uint8)


def share(mask: np.ndarray, size: int) -> np.ndarray:
    """(S, S) float32: what fraction of each new pixel is true in a boolean mask (H, W)."""
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX))


def squash_points(points: np.ndarray, extent: tuple[int, int], size: int) -> np.ndarray:
    """Points (J, 2) in pixels of an image of `extent` = (W, H), in those of its S x S form, as float32.

    Pixel centres are at integers from 0: x' = (x + 1/2) S / W - 1/2.
    """
    return ((np.asarray(points, np.float64) + 0.5) * (size / np.array(extent)) - 0.5).astype(np.float32)


def points_of(table: pd.DataFrame, names: Iterable[object], points: Iterable[object]) -> dict[object, np.ndarray]:
    """(J, 3) of x, y, visible by name, from a table of them by (name, point); a point without a row is not visible."""
    names, points = list(names), list(points)
    rows = table.reindex(pd.MultiIndex.from_product([names, points]), fill_value=0).to_numpy(float, copy=True)
    return dict(zip(names, rows.reshape(len(names), len(points), 3), strict=True))


def read_list(path: Path, columns: str, key: str | list[str]) -> pd.DataFrame:
    """The rows of a text list, by `key`: `columns` separated by white space, all but "name" numbers.

    Equal rows count once; up to two lines above the rows are passed over. UserError where the list is missing,
    or its rows are damaged or contradict one another.
    """
    names = columns.split()
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:  # any line ends
            table = pd.read_csv(file, sep=r"\s+", names=[*names, "more"], dtype=str, quoting=csv.QUOTE_NONE)
        if table.empty:
            raise ValueError("it is empty")
    except (OSError, ValueError) as error:  # pandas' errors of parsing are ValueErrors
        raise UserError(f"{path} cannot be read as a list ({error}). {AGAIN}") from error
    numbers = [name for name in names if name != "name"]
    table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
    good = table[names].notna().all(axis=1) & np.isfinite(table[numbers]).all(axis=1) & table["more"].isna()
    first = int(good.argmax())
    table, good = (table[first:], good[first:]) if first <= HEADING else (table, good)
    wrong = [f"row {i + 1}" for i in good.index[~good]]
    table = table[names].drop_duplicates().set_index(key)
    wrong += table.index[table.index.duplicated()].tolist()
    form = f"A row is {columns.replace(' ', ', ')}. {AGAIN}"
    if faults := told(f"rows of {path} are damaged or contradict an earlier one", wrong, form):
        raise UserError(faults[0])
    return table


def rows_of(names: pd.Index, path: Path, columns: str, faults: list[str]) -> pd.DataFrame:
    """As `read_list`, the rows of `names` in their order; that some have none joins the faults."""
    table = read_list(path, columns, columns.split()[0])
    faults += told(f"images have no row in {path.name}", names.difference(table.index), AGAIN)
    return table.reindex(names)
