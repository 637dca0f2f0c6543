"""`taichi`: Taichi frames of 256 x 256 pixels (Siarohin et al. 2019) with the annotations of Table 3.

    data_dir/taichi-256/train/VIDEO/*.png               frames for the GAN; also taichi/train or train
    data_dir/eval_images/taichi-256/{train,test}/*.png  5,000 and 300 annotated frames
    data_dir/landmark/taichi_{train,test}_gt.pkl        pandas frames: file_name, value (18 x 2, missing -1)
    data_dir/taichi-test-masks/*.png                    optional: foreground above 127, of the 300 test frames

Splits: `train`, the GAN's frames; `regression` and `test`, annotated. A set that lacks the files of one split
can be used for the others. A table may also be a .npz (arrays file_name and value) or a .csv (file_name and
36 numbers).

Landmarks are 0-based pixels (x, y) of a 256-pixel frame (their values are 0 to 255), centres at integers, and
are scaled with the image. Missing landmarks are not visible and keep the value -1. EXIF orientation is not
applied to annotated frames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ganseg.data.decode import decode_all, read_rgb
from ganseg.data.folder import list_images
from ganseg.data.labels import decode_or_refuse, read_mask, squash_points
from ganseg.data.report import Problem, Report, differing_counts, problem
from ganseg.data.source import Chunk, Source, digest, file_stamps
from ganseg.data.taichi_lists import LANDMARKS, MISSING, SUFFIXES, Table, find_table, read_table
from ganseg.files import UserError

SPLITS = ("train", "regression", "test")
FOLDERS = {"regression": "train", "test": "test"}  # what the publisher calls them
EXPECTED = {"regression": 5_000, "test": 300}
FRAMES = ("taichi-256/train", "taichi/train", "train")
KEYPOINTS = tuple(f"landmark {j}" for j in range(1, LANDMARKS + 1))
SIDE = 256  # of the frames that the landmarks were marked in
UNPACK = "Unpack the archive again."


@dataclass
class Survey:
    """The files of each split that is there, its landmarks and masks, and what is wrong."""

    data_dir: Path
    images: dict[str, list[Path]] = field(default_factory=dict)
    points: dict[str, np.ndarray] = field(default_factory=dict)  # (N, 18, 2) in 256-pixel frames
    masks: list[Path] = field(default_factory=list)  # of the test frames, or none
    problems: list[Problem] = field(default_factory=list)

    def note(self, what: str, names: Iterable[str], remedy: str, fatal: bool = False) -> None:
        """Add a problem, if any name has it."""
        self.problems += problem(what, names, remedy, fatal)

    def report(self) -> Report:
        """Counts, labels and problems."""
        counts = {split: len(paths) for split, paths in self.images.items()}
        visible = [is_visible(points) for points in self.points.values()]
        labels = {
            "keypoints": sum(len(seen) for seen in visible),
            "visible keypoints": sum(int(seen.sum()) for seen in visible),
            "foreground masks": len(self.masks),
        }
        problems = (*self.problems, *differing_counts(counts, EXPECTED))
        return Report("taichi", self.data_dir, counts, dict(EXPECTED), labels, problems)


def is_visible(points: np.ndarray) -> np.ndarray:
    """(..., 2) -> (...) bool: neither coordinate is missing."""
    return (points != MISSING).all(axis=-1)


def open_taichi(split: str, data_dir: Path) -> Source:
    """One split; UserError that names what is missing."""
    found = survey(data_dir, (split,))
    if split not in found.images:
        raise UserError(f"taichi: the split {split} cannot be read. " + " ".join(map(str, found.problems)))
    found.report().refuse()
    images = found.images[split]
    masks = found.masks if split == "test" else []
    sizes, times = file_stamps(images + masks)
    if split == "train":
        root = _frames_folder(data_dir)
        names = tuple(path.relative_to(root).as_posix() for path in images)
        return Source(names, ("taichi", sizes), _reader_of_frames(images), stamp=times)
    points = found.points[split]

    def read_one(position: int, size: int) -> dict[str, np.ndarray]:
        visible = is_visible(points[position])
        squashed = squash_points(points[position], (SIDE, SIDE), size)
        arrays = {"images": read_rgb(images[position], size, upright=False)}
        arrays |= {"keypoints": np.where(visible[:, None], squashed, np.float32(MISSING)), "visible": visible}
        return arrays | ({"foreground": read_mask(masks[position], size)} if masks else {})

    def read_labelled(positions: np.ndarray, size: int) -> Chunk:
        return decode_or_refuse(positions, images, lambda position: read_one(position, size))

    identity = ("taichi", sizes, bool(masks), digest(points.tolist()))
    names = tuple(path.name for path in images)
    return Source(names, identity, read_labelled, stamp=times, keypoint_names=KEYPOINTS)


def _reader_of_frames(images: list[Path]) -> Callable[[np.ndarray, int], Chunk]:
    """Unreadable frames among the many are skipped, and listed."""
    return lambda positions, size: decode_all(positions, lambda i: {"images": read_rgb(images[i], size)})


def inspect(data_dir: Path) -> Report:
    """What `data_dir` holds and what is wrong with it; no image is opened."""
    return survey(data_dir).report()


def survey(data_dir: Path, splits: Iterable[str] = SPLITS) -> Survey:
    """Look for the files of some splits. A split of which nothing can be used is absent from `images`."""
    found = Survey(data_dir)
    for split in splits:
        (_find_frames if split == "train" else _find_labelled)(found, split)
    if "test" in found.images:
        _find_masks(found)
    if not found.images:
        found.note("splits, all that were looked for, are absent", splits, "See the files named above.", True)
    return found


def _frames_folder(data_dir: Path) -> Path | None:
    return next((data_dir / name for name in FRAMES if (data_dir / name).is_dir()), None)


def _find_frames(found: Survey, split: str) -> None:
    folder = _frames_folder(found.data_dir)
    images = [folder / name for name in list_images(folder)] if folder else []
    if images:
        found.images[split] = images
    else:
        remedy = "The GAN cannot be trained; put folders of frames, one a video, into taichi-256/train."
        found.note("folder of frames missing or empty", [FRAMES[0]], remedy)


def _find_labelled(found: Survey, split: str) -> None:
    """Landmark table and frames of an annotated split."""
    name = FOLDERS[split]
    folder = found.data_dir / "eval_images" / "taichi-256" / name
    path = find_table(found.data_dir / "landmark" / f"taichi_{name}_gt")
    absent = [] if folder.is_dir() else [f"eval_images/taichi-256/{name}"]
    absent += [] if path else [f"landmark/taichi_{name}_gt{{{','.join(SUFFIXES)}}}"]
    if absent:
        found.note(f"files or folders missing of the split {split}", absent, "MAE needs regression and test.")
        return
    try:
        table = _unique(found, read_table(path))
    except UserError as error:
        found.note("landmark table cannot be read", [path.name], str(error), True)
        return
    by_stem = {image.stem: image for image in sorted(folder.iterdir()) if not image.name.startswith(".")}
    paths = [by_stem.get(Path(row).stem) for row in table.names]
    missing = [row for row, image in zip(table.names, paths, strict=True) if image is None]
    found.note(f"images are missing of the {len(paths):,} in {path.name}", missing, UNPACK, True)
    extra = sorted(image.name for image in set(by_stem.values()) - set(paths))
    found.note(f"files in {folder.name}/ that {path.name} does not name", extra, "They are not used.")
    found.images[split] = [image for image in paths if image is not None]
    found.points[split] = table.values[[image is not None for image in paths]]
    _check_values(found, table)


def _unique(found: Survey, table: Table) -> Table:
    """The table with one row a name; rows of a name that differ are fatal."""
    first = {name: i for i, name in reversed(list(enumerate(table.names)))}
    if len(first) == len(table.names):
        return table
    twice = [name for name, count in Counter(table.names).items() if count > 1]
    pairs = zip(table.names, table.values, strict=True)
    differ = {name for name, row in pairs if (row != table.values[first[name]]).any()}
    same = [name for name in twice if name not in differ]
    found.note(f"names twice in {table.path.name}", same, "Each counts once.")
    found.note(f"names twice in {table.path.name}, with different values", sorted(differ), UNPACK, True)
    kept = sorted(first.values())
    return Table(table.path, tuple(table.names[i] for i in kept), table.values[kept])


def _check_values(found: Survey, table: Table) -> None:
    outside = ((table.values < MISSING) | (table.values > SIDE - 1)).any(axis=(1, 2))
    names = [name for name, out in zip(table.names, outside, strict=True) if out]
    found.note(f"rows of {table.path.name} with values beyond 0 to 255", names, "They count as published.")


def _find_masks(found: Survey) -> None:
    """All test frames have a mask or none is used."""
    folder = found.data_dir / "taichi-test-masks"
    if not folder.is_dir():
        found.note("folder missing", [folder.name], "IoU cannot be evaluated, only MAE.")
        return
    paths = [folder / f"{image.stem}.png" for image in found.images["test"]]
    missing = [path.name for path in paths if not path.is_file()]
    remedy = f"{UNPACK} Or move {folder.name} away to go without masks."
    found.note(f"masks are missing of the {len(paths):,} test frames", missing, remedy, True)
    found.masks = [] if missing else paths
