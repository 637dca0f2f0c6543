"""`celeba-wild` and `celeba-aligned`: CelebA (Liu et al. 2015) with MAFL (Zhang et al. 2014), as published.

    data_dir/img_celeba/000001.jpg              wild: the originals, 202,599 photographs of any size
    data_dir/list_landmarks_celeba.txt          five points a face, in pixels of the original
    data_dir/list_bbox_celeba.txt               x_1 y_1 width height
    data_dir/list_imsize_celeba.txt             height width; optional (made by SCOPS)
    data_dir/img_align_celeba/000001.jpg        aligned: 178 x 218 pixels
    data_dir/list_landmarks_align_celeba.txt
    data_dir/list_eval_partition.txt            0 training, 1 validation, 2 test; optional
    data_dir/MAFL/{training,testing}.txt        19,000 and 1,000 names

Lists and images may also lie in the publisher's folders `Anno`, `Eval` and `Img`.

Splits: "train", for the GAN, is CelebA's training partition without MAFL's test images: 161,962 names, the
list that the released code reads (so MAFL's training images are in it, unlabelled) and the paper's "160k".
Without list_eval_partition.txt that partition is images 1 to 162,770, which is what the file says.
"regression" and "test", with landmarks, are MAFL's. Of the wild images those whose face box covers less than
30 % are left out (section 4.1).

Landmarks: the publisher does not say where its pixels start; 0-based with centres at integers is assumed. If
they were 1-based, all would lie S / W of a pixel to the right of the truth, and S / H below. They refer to
stored pixels, so EXIF orientation is not applied. `visible` is True for all five, also for the few outside
their image: in the paper's protocol all count.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import numpy as np

from ganseg.data.celeba_survey import SPLITS, UNPACK, Kind, Survey, survey
from ganseg.data.decode import open_checked, read_rgb
from ganseg.data.labels import GREY, decode_or_refuse, headers, squash_points
from ganseg.data.report import Report, differing_counts
from ganseg.data.source import Chunk, Source, file_stamps

__all__ = ["SPLITS", "inspect_aligned", "inspect_wild", "open_aligned", "open_wild"]
log = logging.getLogger(__name__)
KEYPOINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
COUNTS = {"train": 45_609, "regression": 5_379, "test": 283}
COUNTS_ALIGNED = {"train": 161_962, "regression": 19_000, "test": 1_000}
WILD = Kind("celeba-wild", "img_celeba", "list_landmarks_celeba.txt", COUNTS)
ALIGNED = Kind("celeba-aligned", "img_align_celeba", "list_landmarks_align_celeba.txt", COUNTS_ALIGNED, (178, 218))


def open_celeba(kind: Kind, split: str, data_dir: Path) -> Source:
    """One split; UserError for what makes its counts or labels wrong, a warning for what does not."""
    found = survey(kind, data_dir)
    found.report().refuse()
    names, folder = found.names[split], found.folder
    differing = differing_counts({split: len(names)}, {split: kind.expected[split]})
    for problem in (*found.problems, *differing):
        log.warning("%s: %s", kind.name, problem)
    paths = [folder / name for name in names]
    points = np.array([found.landmarks[name] for name in names], np.float64).reshape(-1, 5, 2)
    sizes = [found.sizes[name] for name in names]
    labelled = split != "train"

    def read_one(position: int, side: int) -> dict[str, np.ndarray]:
        _refuse_other_size(paths[position], sizes[position])
        arrays = {"images": read_rgb(paths[position], side, upright=False)}
        if not labelled:
            return arrays
        keypoints = squash_points(points[position], sizes[position], side)
        return arrays | {"keypoints": keypoints, "visible": np.ones(len(KEYPOINTS), bool)}

    def read(positions: np.ndarray, side: int) -> Chunk:
        return decode_or_refuse(positions, paths, lambda position: read_one(position, side))

    file_sizes, times = file_stamps(paths)
    identity = (kind.name, file_sizes, points.ravel().tolist() if labelled else None)
    return Source(tuple(names), identity, read, times, keypoint_names=KEYPOINTS if labelled else ())


def inspect(kind: Kind, data_dir: Path) -> Report:
    """What a folder holds and what is wrong with it; opens the header of every image that is used."""
    found = survey(kind, data_dir)
    if any(problem.fatal for problem in found.problems):
        return found.report()
    _check_headers(found)
    return found.report()


def _check_headers(found: Survey) -> None:
    """Grey, unreadable and wrongly sized images among those in use."""
    folder, used = found.folder, found.used
    read = dict(zip(used, headers(folder / name for name in used), strict=True))
    found.note("images cannot be opened", [n for n, header in read.items() if not header], UNPACK, True)
    known = {name: header for name, header in read.items() if header}
    grey = [name for name, (mode, _) in known.items() if mode in GREY]
    found.note("images are grey", grey, "They are used, with three equal channels.")
    other = [name for name, (_, size) in known.items() if size != found.sizes[name]]
    found.note("images have another size than their lists say", other, UNPACK, True)


def _refuse_other_size(path: Path, size: tuple[int, int]) -> None:
    with open_checked(path) as image:
        if image.size != size:
            (width, height), (listed_width, listed_height) = image.size, size
            listed = f"its landmarks are for {listed_width} x {listed_height}"
            raise ValueError(f"it is {width} x {height} pixels, {listed}")


open_wild, open_aligned = partial(open_celeba, WILD), partial(open_celeba, ALIGNED)
inspect_wild, inspect_aligned = partial(inspect, WILD), partial(inspect, ALIGNED)
