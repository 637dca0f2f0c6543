"""`folder`: anyone's images, in nested folders, with labels to evaluate on where there are some.

    data_dir/**/*.jpg, .jpeg, .png, .webp, .bmp    images of any size, mode and depth; suffixes in any case
    data_dir/masks/NAME.png       the mask of image NAME.jpg (NAME.jpg.png, where NAME.png is an image, too)
    data_dir/keypoints.csv        name,x,y or name,point,x,y or name,point,x,y,visible

NAME is relative to data_dir, with its folders. A mask has the shape of its image: 0 background, above 127 foreground
(or 0 and 1). `name` is the image's with its suffix; x (right) and y (down) are pixels of that image, the first pixel's
centre being (0, 0); a point that has no row, or `visible` 0, is not there. Both refer to the upright image: as viewers
show a photograph, turned as its EXIF data say. Images without labels are left out of what those would measure.

A tenth is held out for testing, decided by each image's relative name alone: adding one moves no other.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from os.path import splitext
from pathlib import Path

import numpy as np
import pandas as pd

from ganseg.data.files import SUFFIXES, headers, list_files, list_images, points_of, told
from ganseg.data.sets import DataSet, Listing, Sample, outside
from ganseg.files import UserError

MASKS, KEYPOINTS = "masks", "keypoints.csv"
UNREAD = tuple(".gif .tif .tiff .heic .heif .avif .svg .psd .cr2 .nef .arw .dng .jp2 .jxl".split())
MINIMUM, ADVISED = 64, 5000  # images; the latter is what the paper asks for (section 5)
HELD_OUT = 0.1
FEW = (
    f"The paper asks for more than {ADVISED:,} (section 5): with fewer, the discriminator can learn them by heart and "
    "parts come out coarser or not at all. Add images where you can, and judge a run by the held-out ones."
)


def is_held_out(name: str) -> bool:
    """Whether an image belongs to the test split: decided by its relative name alone."""
    start = hashlib.sha256(os.fsencode(name)).digest()[:8]
    return int.from_bytes(start, "big") < HELD_OUT * 2**64


def list_folder(data_dir: Path) -> Listing:
    """The images and their labels."""
    names = [name for name in list_images(data_dir) if not name.startswith(f"{MASKS}/")]
    spare = len(names) - MINIMUM
    listing = Listing({"train": [], "test": []}, upright=True, spare={"train": spare, "test": spare})
    if spare < 0:
        suffixes = ", ".join(SUFFIXES)
        listing.faults.append(f"found {len(names)} images; at least {MINIMUM} are needed ({suffixes}, in any folder).")
    elif len(names) < ADVISED:
        listing.oddities.append(f"{len(names):,} images are few. {FEW}")
    others = [name for name in list_files(data_dir) if name.lower().endswith(UNREAD)]
    convert = "They are not used; convert them to jpg or png."
    listing.oddities += told("images are in formats that are not read", others, convert)
    masks = _masks(data_dir, names, listing)
    points = _points(data_dir / KEYPOINTS, names, listing)
    _check_labels(data_dir, masks, points, listing)
    for name in names:
        sample = Sample(name, data_dir / name, masks.get(name), points.get(name))
        listing.splits["test" if is_held_out(name) else "train"].append(sample)
    return listing


def _masks(data_dir: Path, names: list[str], listing: Listing) -> dict[str, Path]:
    """Image name -> its mask: of the same name, with or without the image's own suffix."""
    files = list_images(data_dir / MASKS)
    stems = {splitext(file)[0]: data_dir / MASKS / file for file in files}
    found = {name: stems.get(name) or stems.get(splitext(name)[0]) for name in names}
    masks = {name: path for name, path in found.items() if path}
    users = Counter(masks.values())
    shared = [name for name, path in masks.items() if users[path] > 1]
    remedy = "Call the masks by the images' full names: a.jpg.png and a.png.png."
    listing.faults += told("images share a mask with another", shared, remedy)
    unused = [file for file in files if data_dir / MASKS / file not in users]
    remedy = "They are not used; a mask is called as its image, ending in .png."
    listing.oddities += told(f"files in {MASKS}/ belong to no image", unused, remedy)
    return masks


def _points(path: Path, names: list[str], listing: Listing) -> dict[str, np.ndarray]:
    """Image name -> (J, 3) of x, y, visible; sets the names of the points."""
    if not path.is_file():
        return {}
    try:
        texts = {"name": str, "point": str}
        table = pd.read_csv(path, dtype=texts, encoding="utf-8-sig", skipinitialspace=True, keep_default_na=False)
        table = table.assign(point=table.get("point", "point"), visible=table.get("visible", 1))
        table["name"] = table["name"].str.replace("\\", "/")
        numbers = table[["x", "y", "visible"]].apply(pd.to_numeric, errors="coerce").astype(float)
    except (ValueError, KeyError, OSError) as error:  # pandas' errors of parsing and decoding are ValueErrors
        form = "It begins with the line name,x,y or name,point,x,y,visible."
        raise UserError(f"{path} cannot be read, or a column is missing ({error}). {form}") from error
    placed = np.isfinite(numbers[["x", "y"]]).all(axis=1) | (numbers["visible"] == 0)
    wrong = ~placed | ~numbers["visible"].isin([0, 1]) | table.duplicated(["name", "point"])
    lines = [f"line {i + 2}" for i in table.index[wrong]]
    what = f"lines of {path.name} hold no numbers x, y, or a visible that is not 0 or 1, or name a point again"
    listing.faults += told(what, lines, "Mend them.")
    known = table["name"].isin(names)
    remedy = "They are not used; a name has its folders and its suffix, as in birds/a.jpg."
    strangers = told(f"names in {path.name} are no image of the folder", table["name"][~known].unique(), remedy)
    (listing.oddities if known.any() else listing.faults).extend(strangers)
    listing.keypoint_names = tuple(table["point"].unique())
    rows = numbers.fillna(0).set_index([table["name"], table["point"]])[~wrong.to_numpy()]
    return points_of(rows, table["name"][known].unique(), listing.keypoint_names)


def _check_labels(data_dir: Path, masks: dict[str, Path], points: dict[str, np.ndarray], listing: Listing) -> None:
    """A mask must have the shape of its image; points outside their image become invisible. Opens headers."""
    labelled = list(masks | points)
    found = zip(labelled, headers([data_dir / name for name in labelled], upright=True), strict=True)
    extents = {name: header[1] for name, header in found if header}
    wrong, out = [], []
    for name, header in zip(masks, headers(masks.values(), upright=True), strict=True):
        if name in extents and not (header and _same_shape(header[1], extents[name])):
            wrong.append(f"{name}: {extents[name]}, mask: {header[1] if header else 'broken'}")
    what = "masks cannot be opened or have another shape (width, height) than their image"
    listing.faults += told(what, wrong, "Make them of the upright image.")
    for name, rows in points.items():
        beyond = outside(rows, extents[name]) if name in extents else np.zeros(len(rows), bool)
        rows[beyond, 2] = 0
        out += [f"{name}: {listing.keypoint_names[j]}" for j in np.flatnonzero(beyond)]
    remedy = "They count as not visible; coordinates are pixels from 0."
    listing.oddities += told("keypoints lie outside their (upright) image", out, remedy)


def _same_shape(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether sizes (W, H) have one ratio of sides, but for rounding: a mask of twice the size fits."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(*a, *b)


FOLDER = DataSet(
    "folder", "A folder of images", ("train", "test"), "flip", list=list_folder, normaliser="edge",
    needs=f"Any folder of at least {MINIMUM} jpg, png, webp or bmp images, also in folders below; to be evaluated, "
    "with masks/NAME.png and keypoints.csv.",
)  # fmt: skip
