"""`cub`: CUB-200-2011 (Wah et al. 2011) in the publisher's layout.

    data_dir/images.txt, images/            "id path" of 11,788 photographs
    data_dir/parts/part_locs.txt            optional: "id part x y visible", 15 parts
    data_dir/train_test_split.txt           optional: the publisher's own split, for `official-test`
    data_dir/segmentations/                 optional, also beside data_dir: grey, foreground above 127

data_dir is CUB_200_2011 or the folder that it was unpacked in. A set whose images.txt lists only some of the
images is read as it is. Splits `train`, `val` and `test` (10,000, 788 and 1,000) are those of ReDO (Chen et
al. 2019), distributed with GANSeg, by image id; cub_split.txt beside this file holds them. The paper prints
778 for 788.

Coordinates are taken as pixels from 0 with centres at integers, since the publisher's bounding boxes begin at 0; the
publisher does not say. They are those of the stored pixels: EXIF orientation is not applied. Keypoints are
visible as flagged.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd

from ganseg.data.download import RemoteFile
from ganseg.data.files import list_files, read_list, told
from ganseg.data.sets import DataSet, Listing, Sample
from ganseg.files import UserError

KEYPOINTS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing", "nape",
    "right eye", "right leg", "right wing", "tail", "throat",
)  # fmt: skip
COUNTS = {"train": 10_000, "val": 788, "test": 1_000, "official-test": 5_794}
AGAIN = "Unpack CUB_200_2011.tgz again."
RECORDS = "https://data.caltech.edu/records"


def paper_split() -> dict[int, str]:
    """Split by image id, from the package's file."""
    lines = files("ganseg.data").joinpath("cub_split.txt").read_text().splitlines()
    digits = "".join(line for line in lines if not line.startswith("#"))
    return {number: tuple(COUNTS)[int(digit)] for number, digit in enumerate(digits, 1)}


def list_cub(data_dir: Path) -> Listing:
    """All images have a mask or none is used: a half-unpacked archive would change the mean IoU unnoticed."""
    places = (data_dir, data_dir / "CUB_200_2011")
    root = next((place for place in places if (place / "images.txt").is_file()), None)
    if root is None:
        raise UserError(f"images.txt is missing in {data_dir}. Name the folder that holds it and images/. {AGAIN}")
    listing = Listing(keypoint_names=KEYPOINTS)
    names = read_list(root / "images.txt", "id name", "id")["name"].sort_index()
    listing.faults += told("images are in images.txt under two ids", names[names.duplicated()], AGAIN)
    listing.compare(names, list_files(root / "images"), "images", AGAIN)
    masks, points = _masks(root, names, listing), _points(root, names, listing)
    samples = {
        number: Sample(name, root / "images" / name, masks.get(number), points.get(number))
        for number, name in names.items()
    }
    ids = paper_split()
    for split in ("train", "val", "test"):
        listing.splits[split] = [sample for number, sample in samples.items() if ids.get(number) == split]
    if (root / "train_test_split.txt").is_file():
        training = read_list(root / "train_test_split.txt", "id training", "id")["training"]
        absent = names[~names.index.isin(training.index)]
        listing.faults += told("images have no row in train_test_split.txt", absent, AGAIN)
        listing.splits["official-test"] = [s for number, s in samples.items() if training.get(number) == 0]
    else:
        listing.oddities += told("file is missing", ["train_test_split.txt"], "official-test cannot be used.")
    return listing


def _masks(root: Path, names: pd.Series, listing: Listing) -> dict[int, Path]:
    """The segmentation by image id."""
    folder = next(
        (place / "segmentations" for place in (root, root.parent) if (place / "segmentations").is_dir()), None
    )
    if folder is None:
        remedy = "IoU cannot be evaluated; unpack segmentations.tgz into this folder for it."
        listing.oddities += told("folder is missing", ["segmentations"], remedy)
        return {}
    masks = {number: (folder / name).with_suffix(".png") for number, name in names.items()}
    missing = [path.name for path in masks.values() if not path.is_file()]
    remedy = f"Unpack segmentations.tgz again, or move {folder} away to go without masks."
    listing.faults += told(f"segmentations are missing of the {len(masks):,} images", missing, remedy)
    return masks


def _points(root: Path, names: pd.Series, listing: Listing) -> dict[int, np.ndarray]:
    """(15, 3) of x, y, visible by image id; a point without a row is not visible."""
    path = root / "parts" / "part_locs.txt"
    if not path.is_file():
        listing.oddities += told("file is missing", ["parts/part_locs.txt"], "Keypoints cannot be evaluated.")
        return {}
    rows = read_list(path, "id part x y visible", ["id", "part"])
    every = pd.MultiIndex.from_product([names.index, range(1, len(KEYPOINTS) + 1)])
    points = (
        rows.reindex(every, fill_value=0).to_numpy(float).reshape(-1, len(KEYPOINTS), 3)
    )  # (N * 15, 3) -> (N, 15, 3)
    return dict(zip(names.index, points, strict=True))


CUB = DataSet(
    "cub",
    "Caltech-UCSD Birds-200-2011",
    tuple(COUNTS),
    "Unpack CUB_200_2011.tgz and put segmentations/ of segmentations.tgz beside its images/; both are at "
    "www.vision.caltech.edu/datasets/cub_200_2011.",
    "crop_flip",
    list=list_cub,
    counts=COUNTS,
    parts=(8,),
    normaliser="edge",
    licence="For non-commercial research and education only.",
    homepage="https://www.vision.caltech.edu/datasets/cub_200_2011",
    files=(
        RemoteFile("CUB_200_2011.tgz", f"{RECORDS}/65de6-vp158/files/CUB_200_2011.tgz?download=1", 1_150_585_339,
                   "97eceeb196236b17998738112f37df78", "CUB_200_2011", "images"),
        RemoteFile("segmentations.tgz", f"{RECORDS}/w9d68-gec53/files/segmentations.tgz?download=1", 39_272_883,
                   "4d47ba1228eae64f2fa547c47bc65255", ".", "segmentations"),
    ),
    redistributable=False,
)  # fmt: skip
