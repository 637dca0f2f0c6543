"""`folder`: anyone's images, in nested folders, with labels to evaluate on where there are some.

    data_dir/**/*.jpg, .jpeg, .png, .webp, .bmp    images of any size, mode and depth; suffixes in any case
    data_dir/masks/, data_dir/keypoints.csv        optional, see `ganseg.data.folder_labels`

A tenth is held out for testing, decided by each image's relative name alone: adding one moves no other.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from pathlib import Path

import numpy as np

from ganseg.data.decode import decode_all, read_rgb
from ganseg.data.folder_labels import KEYPOINTS, MASKS, FolderLabels, find_labels, upright_extent
from ganseg.data.report import Problem, Report, problem
from ganseg.data.source import Chunk, Source, digest, file_stamps
from ganseg.files import UserError

log = logging.getLogger(__name__)
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
UNREAD = (
    ".gif",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
    ".svg",
    ".psd",
    ".cr2",
    ".nef",
    ".arw",
    ".dng",
    ".jp2",
    ".jxl",
)
MINIMUM, ADVISED = 64, 5000  # images; the latter is what the paper asks for (section 5)
SMALL, LONG = 32, 3  # pixels of a side; sides to one another
HELD_OUT = 0.1
SPLITS = ("train", "test")
FEW = (
    f"The paper asks for more than {ADVISED:,} (section 5): with fewer, the discriminator can learn them by "
    "heart and parts come out coarser or not at all. Add images where you can, and judge a run by the "
    "held-out ones."
)


def list_images(root: str | Path) -> list[str]:
    """Sorted names, relative to `root` and with forward slashes, of all images under it but hidden ones."""
    return _list(root, SUFFIXES)


def list_photographs(data_dir: str | Path) -> list[str]:
    """As `list_images`, without the masks: what is learned from."""
    return [name for name in list_images(data_dir) if not name.startswith(f"{MASKS}/")]


def _list(root: str | Path, suffixes: tuple[str, ...]) -> list[str]:
    names, seen = [], set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we were
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        images = [f for f in files if f.lower().endswith(suffixes) and not f.startswith(".")]
        names += [(Path(place) / name).relative_to(root).as_posix() for name in images]
    return sorted(name for name in names if (Path(root) / name).is_file())


def is_held_out(name: str) -> bool:
    """Whether an image belongs to the test split: decided by its relative name alone."""
    start = hashlib.sha256(os.fsencode(name)).digest()[:8]
    return int.from_bytes(start, "big") < HELD_OUT * 2**64


def open_folder(split: str, data_dir: Path) -> Source:
    """The images of `data_dir` in `split` ("train" or "test"); UserError for too few, or wrong labels."""
    everything = list_photographs(data_dir)
    _refuse_few(data_dir, len(everything), 0)
    if split == "train":
        _advise(data_dir, len(everything))
    names = [name for name in everything if is_held_out(name) == (split == "test")]
    if not names:
        raise UserError(f"{data_dir}: none of its {len(everything)} images falls into the {split} split; add images.")
    labels = labels_of(data_dir, everything)
    _report(data_dir, everything, labels, ()).refuse()
    paths, masks = (
        [data_dir / name for name in names],
        [labels.masks[name] for name in names if name in labels.masks],
    )
    sizes, times = file_stamps(paths + masks)

    def read_one(position: int, size: int) -> dict[str, np.ndarray]:
        return {"images": read_rgb(paths[position], size)} | labels.read(names[position], size)

    def read(positions: np.ndarray, size: int) -> Chunk:
        return decode_all(positions, lambda position: read_one(position, size))

    def check(readable: int, broken: int) -> None:
        _refuse_few(data_dir, len(everything), broken)

    identity = ("folder", sizes) + _label_identity(names, labels)
    return Source(tuple(names), identity, read, stamp=times, keypoint_names=labels.point_names, check=check)


def inspect(data_dir: Path) -> Report:
    """What `data_dir` holds and what is wrong with it; opens every image's header, but decodes none."""
    names = list_photographs(data_dir)
    known = {name: extent for name in names if (extent := upright_extent(data_dir / name))}
    broken = [name for name in names if name not in known]
    small = [name for name, extent in known.items() if min(extent) < SMALL]
    long = [name for name, extent in known.items() if max(extent) > LONG * min(extent)]
    others, convert = _list(data_dir, UNREAD), "They are not used; convert them to jpg or png."
    squashed = "Images are squashed to a square, which distorts these much; crop them."
    problems = (
        *problem("images cannot be opened", broken, "They are skipped."),
        *problem("images are in formats that are not read", others, convert),
        *problem(f"images have a side below {SMALL} pixels", small, "They are enlarged."),
        *problem(f"images are more than {LONG} times as long as wide", long, squashed),
    )
    if 0 < len(names) < ADVISED:
        problems += (Problem("images are few", len(names), (), FEW, False),)
    if len(known) < MINIMUM:
        problems += (
            Problem(
                "images can be read",
                len(known),
                (),
                f"At least {MINIMUM} are needed ({', '.join(SUFFIXES)}).",
                True,
            ),
        )
    return _report(data_dir, names, labels_of(data_dir, names), problems)


def labels_of(data_dir: Path, names: list[str]) -> FolderLabels:
    """Masks and keypoints of the images `names` of `data_dir`."""
    return find_labels(data_dir, names, list_images(data_dir / MASKS))


def content_key(data_dir: str | Path) -> str:
    """Names and sizes in bytes of the images in `data_dir`, without their labels, as 16 hex digits."""
    root = Path(data_dir).expanduser()
    names = list_photographs(root)
    return digest(names, file_stamps([root / name for name in names])[0])


def _report(data_dir: Path, names: list[str], labels: FolderLabels, problems: tuple[Problem, ...]) -> Report:
    held_out = sum(map(is_held_out, names))
    counts = {"train": len(names) - held_out, "test": held_out}
    return Report("folder", data_dir, counts, {}, labels.counts, (*problems, *labels.problems))


def _label_identity(names: list[str], labels: FolderLabels) -> tuple[object, ...]:
    """What the labels add to a split's identity; nothing where there are none."""
    masked = [name in labels.masks for name in names]
    points = [labels.points[name].tolist() if name in labels.points else None for name in names]
    return ((masked,) if labels.masks else ()) + ((KEYPOINTS, digest(points)) if labels.points else ())


def _refuse_few(data_dir: Path, found: int, broken: int) -> None:
    if found - broken >= MINIMUM:
        return
    unreadable = f", {broken} of them unreadable" if broken else ""
    raise UserError(
        f"{data_dir}: found {found} images{unreadable}; at least {MINIMUM} readable ones are needed "
        f"({', '.join(SUFFIXES)}, also in folders below)."
    )


@functools.cache
def _advise(data_dir: Path, found: int) -> None:
    """Warn, once a process, where there are few images to learn from."""
    if found < ADVISED:
        log.warning("%s: %s images are few. %s", data_dir, f"{found:,}", FEW)
