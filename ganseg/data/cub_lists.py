"""The text lists of CUB-200-2011: what they say, which files are there, and what is wrong with them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ganseg.data.report import Problem, Report, differing_counts, problem

EXPECTED = {"train": 10_000, "val": 788, "test": 1_000, "official-test": 5_794}
SPLITS = tuple(EXPECTED)
KEYPOINTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape",
    "right eye", "right leg", "right wing", "tail", "throat",
)  # fmt: skip
AGAIN = "Unpack CUB_200_2011.tgz again."


@dataclass
class Survey:
    """What the lists say and which files are there, before any image is opened."""

    data_dir: Path
    root: Path  # the folder with images.txt
    names: dict[int, str] = field(default_factory=dict)  # image id -> path below images/
    masks: dict[int, Path] = field(default_factory=dict)
    keypoints: dict[int, np.ndarray] | None = None  # image id -> (15, 3): x, y, visible
    keypoint_names: tuple[str, ...] = KEYPOINTS
    official: dict[int, int] | None = None  # image id -> 1 train, 0 test
    boxes: dict[int, tuple[float, ...]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def note(self, what: str, names: Iterable[Any], remedy: str, fatal: bool = False) -> None:
        """Add a problem, if any name has it."""
        self.problems += problem(what, map(str, names), remedy, fatal)

    def path(self, number: int) -> Path:
        """The image with an id."""
        return self.root / "images" / self.names[number]

    def ids(self, split: str) -> list[int]:
        """Image ids of a split, ascending."""
        if split == "official-test":
            return sorted(i for i in self.names if (self.official or {}).get(i) == 0)
        return sorted(i for i in self.names if paper_split().get(i) == split)

    def report(self) -> Report:
        """Counts, labels and problems."""
        counts = {split: len(self.ids(split)) for split in SPLITS}
        if self.official is None:
            del counts["official-test"]
        points = list((self.keypoints or {}).values())
        labels = {
            "keypoints": sum(bool((p[:, 2] > 0).any()) for p in points),
            "visible keypoints": int(sum((p[:, 2] > 0).sum() for p in points)),
            "foreground masks": len(self.masks),
        }
        problems = (*self.problems, *differing_counts(counts, EXPECTED))
        return Report("cub", self.data_dir, counts, dict(EXPECTED), labels, problems)


def survey(data_dir: Path) -> Survey:
    """Read the lists and compare them with the files."""
    unpacked = data_dir / "CUB_200_2011"
    inside = not (data_dir / "images.txt").is_file() and (unpacked / "images.txt").is_file()
    found = Survey(data_dir, unpacked if inside else data_dir)
    if not (found.root / "images.txt").is_file():
        remedy = f"Name the folder that holds it and images/. {AGAIN}"
        found.note("file missing", ["images.txt"], remedy, True)
        return found
    rows = _table(found, "images.txt", 1, _one_name)
    found.names = {number: name for (number,), name in rows.items()}
    twice = sorted(n for n, k in Counter(found.names.values()).items() if k > 1)
    found.note("images in images.txt under two ids", twice, AGAIN, True)
    strangers = [name for number, name in found.names.items() if number not in paper_split()]
    found.note("images whose id is not in the paper's split", strangers, "They are in no split of the paper.")
    _compare_images(found)
    _find_masks(found)
    _read_annotations(found)
    return found


def _compare_images(found: Survey) -> None:
    there, listed = _files_below(found.root / "images"), set(found.names.values())
    missing = sorted(listed - there)
    remedy = f"Their extraction was cut short, or images.txt is of another set. {AGAIN}"
    found.note(f"images are missing of the {len(listed):,} in images.txt", missing, remedy, True)
    found.note("files in images/ that images.txt does not list", sorted(there - listed), "They are not used.")


def _find_masks(found: Survey) -> None:
    """All images have a mask or none is used: a half-unpacked archive would change the mean IoU unnoticed."""
    places = (found.root / "segmentations", found.root.parent / "segmentations")
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        remedy = "IoU cannot be evaluated; unpack segmentations.tgz into this folder for it."
        found.problems.append(Problem("folder missing: segmentations", 1, (), remedy, False))
        return
    there = _files_below(folder)
    wanted = {number: str(Path(name).with_suffix(".png").as_posix()) for number, name in found.names.items()}
    missing = sorted(name for name in wanted.values() if name not in there)
    remedy = f"Unpack segmentations.tgz again, or move {folder} away to go without masks."
    found.note(f"segmentations are missing of the {len(wanted):,} images", missing, remedy, True)
    found.masks = {number: folder / name for number, name in wanted.items() if name in there}


def _read_annotations(found: Survey) -> None:
    """Keypoints, the official split and boxes, where their files are."""
    if (found.root / "parts" / "part_locs.txt").is_file():
        _read_keypoints(found)
    else:
        found.note("file missing", ["parts/part_locs.txt"], "Keypoints cannot be evaluated.")
    if (found.root / "train_test_split.txt").is_file():
        rows = _table(found, "train_test_split.txt", 1, _numbers(1))
        found.official = {number: int(value) for (number,), (value,) in rows.items()}
        absent = [name for number, name in found.names.items() if number not in found.official]
        found.note("images without a row in train_test_split.txt", absent, AGAIN, True)
    else:
        found.note("file missing", ["train_test_split.txt"], "The split official-test cannot be used.")
    if (found.root / "bounding_boxes.txt").is_file():
        rows = _table(found, "bounding_boxes.txt", 1, _numbers(4))
        found.boxes = {number: box for (number,), box in rows.items()}


def _read_keypoints(found: Survey) -> None:
    rows = _table(found, "parts/part_locs.txt", 2, _numbers(3))
    if (found.root / "parts" / "parts.txt").is_file():
        parts = {number: name for (number,), name in _table(found, "parts/parts.txt", 1, " ".join).items()}
        found.keypoint_names = tuple(parts.get(j, name) for j, name in enumerate(KEYPOINTS, 1))
    found.keypoints = {number: np.zeros((len(KEYPOINTS), 3)) for number in found.names}
    counted, strangers = dict.fromkeys(found.names, 0), []
    for (number, part), values in rows.items():
        if number in counted and 1 <= part <= len(KEYPOINTS):
            found.keypoints[number][part - 1] = values
            counted[number] += 1
        else:
            strangers.append(f"image {number} part {part}")
    found.note("rows in part_locs.txt of no listed image or known part", strangers, "They are not used.")
    fewer = [found.names[number] for number, count in counted.items() if count < len(KEYPOINTS)]
    found.note("images without all 15 rows in part_locs.txt", fewer, "The absent keypoints are not visible.")


def _table(found: Survey, name: str, keys: int, parse: Callable[[list[str]], Any]) -> dict[tuple[int, ...], Any]:
    """Rows of a list by their first `keys` integers; line ends may be LF, CR LF or CR.

    Damaged and contradictory rows become fatal problems; of equal rows one counts.
    """
    rows, damaged, twice, contradictory = {}, [], [], []
    for number, line in enumerate((found.root / name).read_text("utf-8-sig", "replace").splitlines(), 1):
        tokens = line.split()
        try:
            key, value = tuple(map(int, tokens[:keys])), parse(tokens[keys:])
        except ValueError:
            damaged += [f"line {number}"] if tokens else []
            continue
        if key in rows:
            (twice if rows[key] == value else contradictory).append(f"line {number}")
        rows.setdefault(key, value)
    found.note(f"damaged rows in {name}", damaged, AGAIN, True)
    found.note(f"rows in {name} with the id of an earlier row and other values", contradictory, AGAIN, True)
    found.note(f"rows twice in {name}", twice, "Each counts once.")
    return rows


def _numbers(count: int) -> Callable[[list[str]], tuple[float, ...]]:
    """A parser of exactly `count` finite numbers."""

    def parse(tokens: list[str]) -> tuple[float, ...]:
        values = tuple(map(float, tokens))
        if len(values) != count or not np.isfinite(values).all():
            raise ValueError
        return values

    return parse


def _one_name(tokens: list[str]) -> str:
    if not tokens:
        raise ValueError
    return " ".join(tokens)


def _files_below(folder: Path) -> set[str]:
    """Names relative to `folder` of all files in and below it but hidden ones."""
    found = set()
    for place, _, names in os.walk(folder):
        start = Path(place).relative_to(folder)
        found |= {(start / name).as_posix() for name in names if not name.startswith(".")}
    return found


@cache
def paper_split() -> dict[int, str]:
    """Split by image id, from the package's file."""
    lines = files("ganseg.data").joinpath("cub_split.txt").read_text().splitlines()
    digits = "".join(line for line in lines if not line.startswith("#"))
    return {number: SPLITS[int(digit)] for number, digit in enumerate(digits, 1)}
