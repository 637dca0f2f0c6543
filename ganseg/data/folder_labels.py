"""Labels of a folder of anyone's images: for evaluation, never for training.

    data_dir/masks/NAME.png       the mask of image NAME.jpg (NAME.jpg.png, where NAME.png is an image, too)
    data_dir/keypoints.csv        name,x,y or name,point,x,y or name,point,x,y,visible

NAME is relative to data_dir, with its folders. A mask has the shape of its image: 0 background, above 127
foreground (or 0 and 1). `name` is the image's with its suffix; x (right) and y (down) are pixels of that
image, the first pixel's centre being (0, 0); a point that has no row, or `visible` 0, is not there. Both
refer to the upright image: as viewers show a photograph, turned as its EXIF data say. Images without labels
are left out of what those labels would measure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ganseg.data.decode import open_checked
from ganseg.data.labels import IGNORE, read_mask, squash_points
from ganseg.data.report import Problem, problem

MASKS, KEYPOINTS = "masks", "keypoints.csv"
TURNED = (5, 6, 7, 8)  # values of EXIF's orientation that exchange width and height
TRUE, FALSE = ("1", "true", "yes", "1.0"), ("0", "false", "no", "0.0")


@dataclass(frozen=True)
class FolderLabels:
    """Masks and keypoints by image name; `problems` that are fatal mean that they must not be used."""

    masks: dict[str, Path]
    points: dict[str, np.ndarray]  # (J, 3): x, y in pixels of the upright image, 1 where it is visible
    point_names: tuple[str, ...]
    extents: dict[str, tuple[int, int]]  # (W, H) of the labelled images, upright
    problems: tuple[Problem, ...]

    def read(self, name: str, size: int) -> dict[str, np.ndarray]:
        """foreground (S, S), keypoints (J, 2), visible (J,) of an image, as in `Split`.

        A kind of label that no image has is absent.
        """
        arrays = {}
        if self.masks:
            mask = self.masks.get(name)
            arrays["foreground"] = read_mask(mask, size) if mask else np.full((size, size), IGNORE, np.uint8)
        if self.points:
            points = self.points.get(name, np.zeros((len(self.point_names), 3)))
            arrays["keypoints"] = squash_points(points[:, :2], self.extents.get(name, (size, size)), size)
            arrays["visible"] = points[:, 2] > 0
        return arrays

    @property
    def counts(self) -> dict[str, int]:
        """How many images have a mask and keypoints, and how many keypoints are visible."""
        visible = [int((points[:, 2] > 0).sum()) for points in self.points.values()]
        return {
            "foreground masks": len(self.masks),
            "keypoints": sum(n > 0 for n in visible),
            "visible keypoints": sum(visible),
        }


def find_labels(data_dir: Path, names: list[str], mask_files: list[str]) -> FolderLabels:
    """Labels of the images `names`; `mask_files`: those below masks/. Opens labelled images' headers."""
    masks, problems = match_masks(data_dir, names, mask_files)
    points, point_names, more = read_keypoints(data_dir / KEYPOINTS, set(names))
    extents = {name: size for name in {*masks, *points} if (size := upright_extent(data_dir / name))}
    problems += more + _shapes(masks, extents) + _outside(points, point_names, extents)
    return FolderLabels(masks, points, point_names, extents, problems)


def match_masks(data_dir: Path, names: list[str], files: list[str]) -> tuple[dict[str, Path], tuple[Problem, ...]]:
    """Image name -> its mask, and what is wrong with the pairing."""
    stems = {Path(file).with_suffix("").as_posix(): data_dir / MASKS / file for file in files}
    found = {name: stems.get(name) or stems.get(Path(name).with_suffix("").as_posix()) for name in names}
    masks = {name: path for name, path in found.items() if path}
    users = Counter(masks.values())
    shared = [name for name, path in masks.items() if users[path] > 1]
    unused = [file for file in files if data_dir / MASKS / file not in users]
    return masks, (
        *problem(
            "images share a mask with another",
            shared,
            "Call the masks by the images' full names: a.jpg.png and a.png.png.",
            True,
        ),
        *problem(
            f"files in {MASKS}/ belong to no image",
            unused,
            "They are not used; a mask is called as its image, ending in .png.",
        ),
    )


def read_keypoints(path: Path, names: set[str]) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[Problem, ...]]:
    """Points (J, 3) of x, y, visible by image name, the points' names, and what is wrong with the file."""
    if not path.is_file():
        return {}, (), ()
    try:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", skipinitialspace=True, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas' errors of parsing and decoding are ValueErrors
        return (
            {},
            (),
            problem(f"file cannot be read ({error})", [path.name], "Save it as CSV in UTF-8.", True),
        )
    lacking = [column for column in ("name", "x", "y") if column not in table]
    if lacking:
        return (
            {},
            (),
            problem(
                f"columns are missing in {path.name}",
                lacking,
                "It begins with the line name,x,y or name,point,x,y,visible.",
                True,
            ),
        )
    table = table.assign(
        name=table["name"].str.replace("\\", "/"),
        point=table.get("point", "point"),
        line=range(2, len(table) + 2),
    )
    return _points(table, path.name, names)


def _points(
    table: pd.DataFrame, file: str, names: set[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[Problem, ...]]:
    """As `read_keypoints`, of a table of text with the columns name, point, x, y and perhaps visible."""
    flags = table["visible"].str.strip().str.lower() if "visible" in table else pd.Series("1", table.index)
    seen, xy = flags.isin(TRUE), table[["x", "y"]].apply(pd.to_numeric, errors="coerce")
    wrong = (seen & ~np.isfinite(xy).all(axis=1)) | ~flags.isin(TRUE + FALSE)
    twice, strangers = table.duplicated(["name", "point"]), sorted(set(table["name"]) - names)
    remedy = "They are not used; a name has its folders and its suffix, as in birds/a.jpg."
    none = not set(table["name"]) & names
    no_numbers = f"lines of {file} hold no numbers x, y, or a visible that is not 0 or 1"
    problems = (
        *problem(no_numbers, _lines(table, wrong), "Mend them.", True),
        *problem(f"lines of {file} name a point again", _lines(table, twice), "Leave one of them.", True),
        *problem(f"names in {file} are no image of the folder", strangers, remedy, none),
    )
    point_names = tuple(dict.fromkeys(table["point"]))
    points: dict[str, np.ndarray] = {name: np.zeros((len(point_names), 3)) for name in table["name"] if name in names}
    for name, point, (x, y), visible in zip(table["name"], table["point"], xy.fillna(0).to_numpy(), seen, strict=True):
        if name in points:
            points[name][point_names.index(point)] = x, y, visible
    return points, point_names, problems


def upright_extent(path: Path) -> tuple[int, int] | None:
    """(W, H) of an image as viewers show it, from its header; None where it cannot be opened."""
    try:
        with open_checked(path) as image:
            try:
                turned = image.getexif().get(0x0112) in TURNED
            except Exception:  # damaged EXIF data say nothing about the pixels
                turned = False
            return image.size[::-1] if turned else image.size
    except Exception:  # broken files fail in many ways; the reader lists them
        return None


def _shapes(masks: dict[str, Path], extents: dict[str, tuple[int, int]]) -> tuple[Problem, ...]:
    """Masks that cannot be opened, or are of another shape than their image; its double is the same shape."""
    found = {name: upright_extent(path) for name, path in masks.items()}
    broken = [f"{MASKS}/{masks[name].name}" for name, extent in found.items() if not extent]
    pairs = ((name, *extent, *extents[name]) for name, extent in found.items() if extent and name in extents)
    other = [f"{name}: {w} x {h}, mask {a} x {b}" for name, a, b, w, h in pairs if abs(a * h - b * w) > max(a, b, w, h)]
    return (
        *problem("masks cannot be opened", broken, "Save them again as PNG, or remove them.", True),
        *problem(
            "masks have another shape than their image",
            other,
            "Make them of the upright image, at its size.",
            True,
        ),
    )


def _outside(
    points: dict[str, np.ndarray], point_names: Iterable[str], extents: dict[str, tuple[int, int]]
) -> tuple[Problem, ...]:
    """Visible points outside their image become invisible."""
    out = []
    for name, extent in extents.items():
        if name in points:
            rows = points[name]
            beyond = (rows[:, 2] > 0) & ((rows[:, :2] < -0.5) | (rows[:, :2] >= np.array(extent) - 0.5)).any(axis=1)
            rows[beyond, 2] = 0
            out += [f"{name}: {point}" for point, is_out in zip(point_names, beyond, strict=True) if is_out]
    return problem(
        "keypoints lie outside their (upright) image",
        sorted(out),
        "They count as not visible; coordinates are pixels from 0.",
    )


def _lines(table: pd.DataFrame, chosen: pd.Series) -> list[str]:
    return [f"line {line}" for line in table["line"][chosen]]
