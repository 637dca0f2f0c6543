"""Which images of a CelebA folder belong to which split, and what is wrong with the folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ganseg.data.celeba_lists import AGAIN, locate, read_list
from ganseg.data.labels import headers
from ganseg.data.report import Problem, Report, differing_counts, problem

SPLITS = ("train", "regression", "test")
BOXES, SIZES, PARTITION = "list_bbox_celeba.txt", "list_imsize_celeba.txt", "list_eval_partition.txt"
LAST_TRAINING_IMAGE = 162_770
UNPACK = "Unpack the whole archive again: it holds 202,599 images."


@dataclass(frozen=True)
class Kind:
    """What differs between CelebA's two forms. `size`: (width, height) of all images, where it is one."""

    name: str
    folder: str
    landmarks: str
    expected: dict[str, int]
    size: tuple[int, int] | None = None


@dataclass
class Survey:
    """Each split's names, landmarks and (width, height) by name, and the problems found so far."""

    kind: Kind
    data_dir: Path
    names: dict[str, list[str]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    landmarks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return locate(self.data_dir, self.kind.folder)

    @property
    def used(self) -> list[str]:
        """The images of all splits, each once."""
        return list({name: None for names in self.names.values() for name in names})

    def rows(self, name: str, columns: int) -> dict[str, tuple[int, ...]]:
        """The rows of one list; its problems become the survey's."""
        listing = read_list(locate(self.data_dir, name), columns)
        self.problems += listing.problems
        return listing.rows

    def note(self, what: str, names: Iterable[str], remedy: str, fatal: bool = False) -> None:
        """Add a problem about `names`, if there are any."""
        self.problems += problem(what, names, remedy, fatal)

    def report(self) -> Report:
        counts = {split: len(names) for split, names in self.names.items()}
        labelled = counts["regression"] + counts["test"]
        labels = {"keypoints": labelled, "visible keypoints": 5 * labelled, "foreground masks": 0}
        problems = (*self.problems, *differing_counts(counts, self.kind.expected))
        return Report(self.kind.name, self.data_dir, counts, dict(self.kind.expected), labels, problems)


def survey(kind: Kind, data_dir: Path) -> Survey:
    """Read the lists and the image folder's names; images are opened only where no list gives their size."""
    found = Survey(kind, data_dir)
    needed = [kind.folder, kind.landmarks, "MAFL/training.txt", "MAFL/testing.txt"]
    needed += [] if kind.size else [BOXES]
    missing = [name for name in needed if not locate(data_dir, name).exists()]
    if missing:
        remedy = "Put them into this folder, or keep the publisher's Anno, Eval and Img in it."
        found.note("needed files or folders are missing", missing, remedy, True)
        return found
    found.landmarks = found.rows(kind.landmarks, 10)
    on_disk = _compare_folder(found)
    _make_splits(found)
    if kind.size:
        found.sizes = dict.fromkeys(found.landmarks, kind.size)
    else:
        _leave_out_small_faces(found, on_disk)
    _check_landmarks(found)
    empty = [split for split, names in found.names.items() if not names]
    found.note("splits have no images", empty, "The lists and the images do not belong together.", True)
    return found


def _compare_folder(found: Survey) -> set[str]:
    """Compare the image folder with the list of landmarks; returns the names in the folder."""
    folder, listed = found.folder.name, found.landmarks
    on_disk = {path.name for path in found.folder.iterdir() if not path.name.startswith(".")}
    missing = [name for name in listed if name not in on_disk]
    found.note(f"of {len(listed):,} images are missing in {folder}", missing, UNPACK, True)
    extra = sorted(on_disk - listed.keys())
    found.note(f"files in {folder} are in no list", extra, "They are not used.")
    return on_disk


def _make_splits(found: Survey) -> None:
    """CelebA's training partition and MAFL's two lists; what is in MAFL's test list is in no other."""
    training, regression = _training_partition(found), list(found.rows("MAFL/training.txt", 0))
    test = list(found.rows("MAFL/testing.txt", 0))
    unknown = [name for name in regression + test if name not in found.landmarks]
    found.note(f"images of MAFL are not in {found.kind.landmarks}", unknown, "They are left out.")
    held_out = set(test)
    both = [name for name in regression if name in held_out]
    found.note("images are in both lists of MAFL", both, "They are used for the test alone.")
    rest = [[name for name in names if name not in held_out] for names in (training, regression)]
    for split, names in zip(SPLITS, (*rest, test), strict=True):
        found.names[split] = [name for name in names if name in found.landmarks]


def _training_partition(found: Survey) -> list[str]:
    if not locate(found.data_dir, PARTITION).exists():
        remedy = f"Images 1 to {LAST_TRAINING_IMAGE:,} are taken for training, which is what it says."
        found.problems.append(Problem(f"list is missing: {PARTITION}", 1, (), remedy, False))
        return [n for n in found.landmarks if _number(n) <= LAST_TRAINING_IMAGE]
    partition = found.rows(PARTITION, 1)
    absent = [name for name in found.landmarks if name not in partition]
    found.note(f"images have no row in {PARTITION}", absent, AGAIN, True)
    return [name for name in found.landmarks if partition.get(name) == (0,)]


def _number(name: str) -> float:
    stem = Path(name).stem
    return int(stem) if stem.isdecimal() else float("inf")


def _leave_out_small_faces(found: Survey, on_disk: set[str]) -> None:
    """Keep images whose box covers 30 % or more: its width * height as printed, not clipped."""
    boxes = found.rows(BOXES, 4)
    _collect_sizes(found, [name for name in found.used if name in on_disk])
    found.note(f"images have no row in {BOXES}", [n for n in found.used if n not in boxes], AGAIN, True)
    known = {n: (boxes[n], found.sizes[n]) for n in found.used if n in boxes and n in found.sizes}
    outside = [name for name, (box, size) in known.items() if _reaches_out(box, size)]
    found.note("boxes reach outside their image", outside, "Their area counts as printed, as in the paper.")
    kept = {n for n, ((_, _, w, h), (width, height)) in known.items() if 10 * w * h >= 3 * width * height}
    found.names = {split: [n for n in names if n in kept] for split, names in found.names.items()}


def _reaches_out(box: tuple[int, ...], size: tuple[int, int]) -> bool:
    x, y, width, height = box
    return min(box) < 0 or x + width > size[0] or y + height > size[1]


def _collect_sizes(found: Survey, names: list[str]) -> None:
    """(width, height) of images from list_imsize_celeba.txt, or from their headers where it has no row."""
    if locate(found.data_dir, SIZES).exists():
        found.sizes = {name: (width, height) for name, (height, width) in found.rows(SIZES, 2).items()}
    unlisted = [name for name in names if name not in found.sizes]
    slow = "Their sizes are read from the images at every opening, which is slow."
    found.note(f"images have no row in {SIZES}", unlisted, slow)
    folder = found.folder
    read = dict(zip(unlisted, headers(folder / name for name in unlisted), strict=True))
    found.sizes |= {name: header[1] for name, header in read.items() if header}
    found.note("images cannot be opened", [n for n, header in read.items() if not header], UNPACK, True)


def _check_landmarks(found: Survey) -> None:
    labelled = [n for n in (*found.names["regression"], *found.names["test"]) if n in found.sizes]
    outside = [name for name in labelled if _any_outside(found.landmarks[name], found.sizes[name])]
    found.note("images have landmarks outside them", outside, "They count in the error, as in the paper.")


def _any_outside(landmarks: tuple[int, ...], size: tuple[int, int]) -> bool:
    x, y = landmarks[::2], landmarks[1::2]
    return min(landmarks) < 0 or max(x) >= size[0] or max(y) >= size[1]
