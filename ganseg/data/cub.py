"""`cub`: CUB-200-2011 (Wah et al. 2011) in the publisher's layout.

    data_dir/images.txt, images/            "id path" of 11,788 photographs
    data_dir/parts/part_locs.txt            optional: "id part x y visible", 15 parts named in parts/parts.txt
    data_dir/train_test_split.txt           optional: the publisher's own split, for `official-test`
    data_dir/bounding_boxes.txt             optional, only checked
    data_dir/segmentations/                 optional, also beside data_dir: grey, foreground above 127

data_dir is CUB_200_2011 or the folder that it was unpacked in. A set whose images.txt lists only some of the
images is read as it is. Splits `train`, `val` and `test` (10,000, 788 and 1,000) are those of ReDO (Chen et
al. 2019), distributed with GANSeg, by image id; cub_split.txt beside this file holds them. The paper prints
778 for 788.

Coordinates are taken as pixels from 0 with centres at integers, since the bounding boxes begin at 0; the
publisher does not say. They are those of the stored pixels: EXIF orientation is not applied. Keypoints are
visible as flagged.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ganseg.data.cub_lists import AGAIN, SPLITS, Survey, survey
from ganseg.data.decode import open_checked, read_rgb
from ganseg.data.labels import GREY, decode_or_refuse, headers, read_mask, squash_points
from ganseg.data.report import Report
from ganseg.data.source import Chunk, Source, digest, file_stamps
from ganseg.files import UserError

__all__ = ["SPLITS", "inspect", "open_cub"]


def open_cub(split: str, data_dir: Path) -> Source:
    """One of the paper's splits or "official-test"; UserError that names what is missing or contradictory."""
    found = survey(data_dir)
    found.report().refuse()
    ids = found.ids(split)
    if not ids:
        unknown = split == "official-test" and found.official is None
        why = "there is no train_test_split.txt" if unknown else "no image in images.txt belongs to it"
        raise UserError(f"{found.root}: the split {split} is empty, because {why}. {AGAIN}")
    images, masks, points = [found.path(i) for i in ids], found.masks, found.keypoints
    sizes, times = file_stamps(images + [masks[i] for i in ids if masks])

    def read_one(position: int, size: int) -> dict[str, np.ndarray]:
        number, path = ids[position], images[position]
        arrays = {"images": read_rgb(path, size, upright=False)}
        if masks:
            arrays["foreground"] = read_mask(masks[number], size)
        if points is not None:
            arrays["keypoints"] = squash_points(points[number][:, :2], _extent(path), size)
            arrays["visible"] = points[number][:, 2] > 0
        return arrays

    def read(positions: np.ndarray, size: int) -> Chunk:
        return decode_or_refuse(positions, images, lambda position: read_one(position, size))

    annotations = digest([points[i].tolist() for i in ids]) if points is not None else None
    identity = ("cub", sizes, bool(masks), annotations)
    names = () if points is None else found.keypoint_names
    return Source(tuple(found.names[i] for i in ids), identity, read, stamp=times, keypoint_names=names)


def inspect(data_dir: Path) -> Report:
    """What `data_dir` holds and what is wrong with it; opens every image's header, but decodes none."""
    found = survey(data_dir)
    if not any(p.fatal for p in found.problems):
        _look_inside(found)
    return found.report()


def _look_inside(found: Survey) -> None:
    """Headers of all images and masks: kinds of pixels, boxes and keypoints outside, unreadable files."""
    names = found.names
    images = _headers(found, {number: found.path(number) for number in names})
    masks = _headers(found, found.masks)
    grey = [names[i] for i, (mode, _) in images.items() if mode in GREY]
    found.note("images are grey", grey, "They are converted to RGB.")
    coloured = [names[i] for i, (mode, _) in masks.items() if mode not in GREY]
    found.note("segmentations are not grey", coloured, "Their first channel is used.")
    other = [names[i] for i, (_, size) in masks.items() if i in images and images[i][1] != size]
    found.note("segmentations differ in size from their image", other, "Both are squashed to one square.")
    outside = [names[i] for i, box in found.boxes.items() if i in images and _reaches_out(box, images[i][1])]
    found.note("boxes reach outside their image", outside, "Boxes are not used.")
    points = found.keypoints or {}
    lost = [names[i] for i, (_, size) in images.items() if points and _any_outside(points[i], size)]
    found.note("images with a visible keypoint outside them", lost, "These keypoints count as published.")


def _headers(found: Survey, paths: dict[int, Path]) -> dict[int, tuple[str, tuple[int, int]]]:
    """Mode and (width, height) by image id; unreadable files become a problem."""
    read = dict(zip(paths, headers(paths.values()), strict=True))
    broken = [paths[number].name for number, header in read.items() if header is None]
    found.note("files cannot be read as images", broken, "Unpack their archive again.", True)
    return {number: header for number, header in read.items() if header is not None}


def _extent(path: Path) -> tuple[int, int]:
    """(width, height) of the stored pixels."""
    with open_checked(path) as image:
        return image.size


def _reaches_out(box: tuple[float, ...], size: tuple[int, int]) -> bool:
    x, y, width, height = box
    return x < 0 or y < 0 or x + width > size[0] or y + height > size[1]


def _any_outside(points: np.ndarray, size: tuple[int, int]) -> bool:
    xy = points[points[:, 2] > 0, :2]
    return bool(((xy < -0.5) | (xy > np.array(size) - 0.5)).any())
