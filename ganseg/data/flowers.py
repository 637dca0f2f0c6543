"""`flowers`: Oxford Flowers-102 (Nilsback and Zisserman 2008) in the publisher's layout.

    data_dir/jpg/image_00001.jpg        8,189 photographs
    data_dir/setid.mat                  the official split: tstid, trnid, valid
    data_dir/segmim/segmim_00001.jpg    optional: the flower, its background painted blue
    data_dir/trimaps/image_00001.png    optional: 0 background, 1 flower, 255 ignore; for some images only

The paper trains on `tstid` (6,149 images) and tests on `trnid` (1,020).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import scipy.io

from ganseg.data.decode import open_checked, read_rgb
from ganseg.data.labels import GREY, IGNORE, decode_or_refuse, fractions_resized, headers, majority
from ganseg.data.report import Problem, Report, differing_counts, problem
from ganseg.data.source import Chunk, Source, file_stamps
from ganseg.files import UserError

SPLITS = {"train": ("tstid",), "test": ("trnid",), "val": ("valid",), "test+val": ("trnid", "valid")}
EXPECTED = {"train": 6_149, "test": 1_020, "val": 1_020}
AGAIN = "Unpack the archive again."
LAYOUT = "It needs jpg/image_00001.jpg ... and setid.mat, as www.robots.ox.ac.uk/~vgg/data/flowers/102 gives them."


def split_ids(data_dir: Path, split: str) -> np.ndarray:
    """(N,) image numbers of a split in the publisher's order; UserError where setid.mat fails."""
    path = data_dir / "setid.mat"
    if not path.is_file():
        raise UserError(f"{path} is missing. {LAYOUT}")
    try:
        table = scipy.io.loadmat(path)
        return np.concatenate([table[key].ravel() for key in SPLITS[split]]).astype(np.int64)
    except Exception as error:  # scipy raises errors of many types for a damaged file
        raise UserError(f"{path} cannot be read ({error}). Download it again. {LAYOUT}") from error


def read_segmim(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 foreground of a segmim image: binarised at full resolution, then resized by majority."""
    with open_checked(path) as image:
        rgb = np.asarray(image.convert("RGB"))
    background = (rgb[..., 0] == 0) | (rgb[..., 1] == 0) | (rgb[..., 2] == 254)
    return majority(~background, size)


def read_trimap(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 of 0 background, 1 foreground, 255 ignore: the value that most of the new pixel had."""
    with open_checked(path) as image:
        trimap = np.asarray(image)
    values = np.array([0, 1, IGNORE], np.uint8)
    return values[fractions_resized([trimap == value for value in values], size).argmax(0)]


def label_file(data_dir: Path, number: int) -> Path | None:
    """The segmentation of one image: the publisher's where there is one, else a trimap, else None."""
    places = (
        data_dir / "segmim" / f"segmim_{number:05d}.jpg",
        data_dir / "trimaps" / f"image_{number:05d}.png",
    )
    return next((path for path in places if path.is_file()), None)


def read_label(path: Path | None, size: int) -> np.ndarray:
    """(S, S) uint8 foreground; all 255 for an image without a segmentation."""
    if path is None:
        return np.full((size, size), IGNORE, np.uint8)
    return (read_trimap if path.parent.name == "trimaps" else read_segmim)(path, size)


def open_flowers(split: str, data_dir: Path) -> Source:
    """One of the paper's splits, or "test+val"; UserError that names what is missing."""
    ids = split_ids(data_dir, split)
    _report(data_dir, {split: ids}, tuple(_fatal(data_dir, {split: ids}))).refuse()
    images = [_photograph(data_dir, number) for number in ids]
    labelled = any((data_dir / name).is_dir() for name in ("segmim", "trimaps"))
    labels = [label_file(data_dir, number) for number in ids]
    sizes, times = file_stamps(images + [path for path in labels if path])

    def read_one(position: int, size: int) -> dict[str, np.ndarray]:
        arrays = {"images": read_rgb(images[position], size, upright=False)}
        return arrays | ({"foreground": read_label(labels[position], size)} if labelled else {})

    def read(positions: np.ndarray, size: int) -> Chunk:
        return decode_or_refuse(positions, images, lambda position: read_one(position, size))

    identity = ("flowers", sizes, [path.parent.name if path else "" for path in labels])
    return Source(tuple(path.name for path in images), identity, read, stamp=times)


def inspect(data_dir: Path) -> Report:
    """What `data_dir` holds and what is wrong with it; opens every image's header, but decodes none."""
    try:
        splits = {split: split_ids(data_dir, split) for split in EXPECTED}
    except UserError as error:
        return _report(data_dir, {}, problem("file is missing or damaged", ["setid.mat"], str(error), True))
    found = [*_fatal(data_dir, splits), *_oddities(data_dir, splits)]
    return _report(data_dir, splits, tuple(found))


def _report(data_dir: Path, splits: dict[str, np.ndarray], problems: tuple[Problem, ...]) -> Report:
    counts = {split: len(ids) for split, ids in splits.items()}
    files = [label_file(data_dir, number) for ids in splits.values() for number in ids]
    kinds = [path.parent.name for path in files if path]
    labels = {"keypoints": 0, "foreground masks": kinds.count("segmim"), "trimaps": kinds.count("trimaps")}
    differing = differing_counts(counts, EXPECTED) if counts else ()
    return Report("flowers", data_dir, counts, dict(EXPECTED), labels, (*problems, *differing))


def _photograph(data_dir: Path, number: int) -> Path:
    return data_dir / "jpg" / f"image_{number:05d}.jpg"


def _fatal(data_dir: Path, splits: dict[str, np.ndarray]) -> Iterator[Problem]:
    """What the reader refuses: missing images, part of the publisher's masks, an image in two places."""
    for split, ids in splits.items():
        images = [_photograph(data_dir, number) for number in ids]
        missing = [path.name for path in images if not path.is_file()]
        yield from problem(f"of the {len(ids):,} {split} images are missing", missing, LAYOUT, True)
    every = np.concatenate(list(splits.values()))
    values, times = np.unique(every, return_counts=True)
    yield from problem("image numbers twice in setid.mat", map(str, values[times > 1]), AGAIN, True)
    if (data_dir / "segmim").is_dir() and not (data_dir / "trimaps").is_dir():
        bare = [f"segmim_{number:05d}.jpg" for number in every if label_file(data_dir, number) is None]
        remedy = f"{AGAIN} Or move segmim away to go without masks."
        yield from problem(f"masks are missing of the {len(every):,} images", bare, remedy, True)


def _oddities(data_dir: Path, splits: dict[str, np.ndarray]) -> Iterator[Problem]:
    """What the reader copes with, and files that it will stumble over."""
    names = {_photograph(data_dir, number).name for ids in splits.values() for number in ids}
    paths = [path for path in sorted((data_dir / "jpg").glob("[!.]*")) if path.name in names]
    extra = sorted(path.name for path in (data_dir / "jpg").glob("[!.]*") if path.name not in names)
    yield from problem("files in jpg/ that setid.mat does not name", extra, "They are not used.")
    labels = [label_file(data_dir, number) for ids in splits.values() for number in ids]
    paths += [path for path in labels if path]
    read = list(zip(paths, headers(paths), strict=True))
    yield from problem("files cannot be read as images", [p.name for p, h in read if h is None], AGAIN, True)
    grey = [path.name for path, header in read if header and path.parent.name == "jpg" and header[0] in GREY]
    yield from problem("images are grey", grey, "They are converted to RGB.")
    if not any(labels):
        yield Problem("folder missing: segmim", 1, (), "IoU cannot be evaluated.", False)
