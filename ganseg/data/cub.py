"""`cub`: CUB-200-2011 (Wah et al. 2011) in the publisher's layout.

    data_dir/images.txt, images/            "id path" of 11,788 photographs
    data_dir/parts/part_locs.txt            optional: "id part x y visible", 15 parts
    data_dir/bounding_boxes.txt             optional: "id x y width height"
    data_dir/train_test_split.txt           optional: the publisher's own split, for `official-test`
    data_dir/segmentations/                 optional, also beside data_dir: grey, foreground above 127

data_dir is CUB_200_2011 or the folder that it was unpacked in; images.txt may list only some of the images. Splits
`train`, `val` and `test` (10,000, 788 and 1,000; the paper prints 778) are those of ReDO (Chen et al. 2019),
distributed with GANSeg, by image id; cub_split.txt beside this file holds them.

Coordinates are taken as pixels from 0 with centres at integers, since the publisher's bounding boxes begin at 0; the
publisher does not say. They are those of the stored pixels: EXIF orientation is not applied.
"""

from importlib.resources import files
from pathlib import Path

import pandas as pd

from ganseg.data.files import points_of, read_list, refuse
from ganseg.data.sets import DataSet, Listing, RemoteFile, Sample
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
    root = next((path for path in (data_dir, data_dir / "CUB_200_2011") if (path / "images.txt").is_file()), None)
    if root is None:
        raise UserError(f"images.txt is missing in {data_dir}. Name the folder that holds it and images/. {AGAIN}")
    names = read_list(root / "images.txt", "id name", "id", heading=0)["name"].sort_index()
    ids, folder = names.index, root / "images"
    refuse("images are in images.txt under two ids", names[names.duplicated()], AGAIN)
    masks = next((path for path in (root / "segmentations", root.parent / "segmentations") if path.is_dir()), None)
    points, boxes = {}, {}
    if (path := root / "parts" / "part_locs.txt").is_file():
        table = read_list(path, "id part x y visible", ["id", "part"], heading=0)
        points = points_of(table, ids, range(1, len(KEYPOINTS) + 1))
    if (path := root / "bounding_boxes.txt").is_file():
        table = read_list(path, "id x y width height", "id", ids, heading=0)
        boxes = dict(zip(ids, table.itertuples(index=False, name=None), strict=True))
    split_of = pd.Series(paper_split()).reindex(ids)
    members = {split: ids[split_of == split] for split in ("train", "val", "test")} | {"official-test": ids[:0]}
    if (path := root / "train_test_split.txt").is_file():
        members["official-test"] = ids[read_list(path, "id training", "id", ids)["training"] == 0]
    samples = {
        i: Sample(name, folder / name, masks and (masks / name).with_suffix(".png"), points.get(i), box=boxes.get(i))
        for i, name in names.items()
    }
    splits = {split: [samples[i] for i in numbers] for split, numbers in members.items()}
    return Listing(splits, keypoint_names=KEYPOINTS)


CUB = DataSet(
    "cub", "Caltech-UCSD Birds-200-2011", tuple(COUNTS), "crop_flip", list=list_cub, counts=COUNTS, parts=(8,),
    normaliser="edge", licence="For non-commercial research and education only.", redistributable=False,
    homepage="https://www.vision.caltech.edu/datasets/cub_200_2011",
    files=(
        RemoteFile("CUB_200_2011.tgz", f"{RECORDS}/65de6-vp158/files/CUB_200_2011.tgz?download=1", 1_150_585_339,
                   "97eceeb196236b17998738112f37df78", "images"),
        RemoteFile("segmentations.tgz", f"{RECORDS}/w9d68-gec53/files/segmentations.tgz?download=1", 39_272_883,
                   "4d47ba1228eae64f2fa547c47bc65255", "segmentations"),
    ),
)  # fmt: skip
