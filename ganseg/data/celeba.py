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
30 % are left out (section 4.1): its width * height as printed, not clipped.

Landmarks: the publisher does not say where its pixels start; 0-based with centres at integers is assumed. If
they were 1-based, all would lie S / W of a pixel to the right of the truth, and S / H below. They refer to
stored pixels, so EXIF orientation is not applied. `visible` is True for all five, also for the few outside
their image: in the paper's protocol all count.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ganseg.data.download import RemoteFile
from ganseg.data.files import headers, list_files, read_list, told
from ganseg.data.sets import DataSet, Listing, Sample
from ganseg.files import UserError

SPLITS = ("train", "regression", "test")
KEYPOINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
BOXES, SIZES, PARTITION = "list_bbox_celeba.txt", "list_imsize_celeba.txt", "list_eval_partition.txt"
ALIGNED = (178, 218)  # (W, H)
LAST_TRAINING_IMAGE = 162_770
HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
AGAIN = "Unpack the whole archive again: it holds 202,599 images."


def locate(data_dir: Path, name: str) -> Path:
    """Where `name` (a list or a folder) lies below `data_dir`; directly in it where it lies nowhere."""
    places = [data_dir / folder / name for folder in ("", "Anno", "Eval", "Img")]
    return next((path for path in places if path.exists()), places[0])


def list_celeba(images: str, landmarks: str, wild: bool, data_dir: Path) -> Listing:
    """The three splits of the images in the folder `images`, with `landmarks` but for training."""
    needed = (images, landmarks, "MAFL/training.txt", "MAFL/testing.txt", *([BOXES] if wild else []))
    missing = [name for name in needed if not locate(data_dir, name).exists()]
    if missing:
        remedy = "Put them into this folder, or keep the publisher's Anno, Eval and Img in it."
        raise UserError(" ".join(told(f"needed files or folders are missing in {data_dir}", missing, remedy)))
    listing, folder = Listing(keypoint_names=KEYPOINTS, exact=True), locate(data_dir, images)
    points = read_list(locate(data_dir, landmarks), "name x1 y1 x2 y2 x3 y3 x4 y4 x5 y5", "name")
    listing.compare(points.index, list_files(folder), images, AGAIN)
    splits = _splits(data_dir, points.index, listing)
    used = list(dict.fromkeys(name for names in splits.values() for name in names))
    extents = _large_faces(data_dir, folder, used, listing) if wild else dict.fromkeys(used, ALIGNED)
    rows = np.insert(points.to_numpy(float).reshape(-1, 5, 2), 2, 1, axis=2)  # (N, 10) -> (N, 5, 2) -> (N, 5, 3)
    labels = dict(zip(points.index, rows, strict=True))
    for split, names in splits.items():
        listing.splits[split] = [
            Sample(name, folder / name, None, labels[name] if split != "train" else None, extents[name])
            for name in names
            if name in extents
        ]
    return listing


def _splits(data_dir: Path, known: pd.Index, listing: Listing) -> dict[str, list[str]]:
    """Names by split: what is in MAFL's test list is in no other."""
    regression, test = (
        read_list(locate(data_dir, f"MAFL/{name}.txt"), "name", "name").index for name in ("training", "testing")
    )
    unknown = [name for name in (*regression, *test) if name not in known]
    listing.oddities += told("images of MAFL are in no list of landmarks", unknown, "They are left out.")
    both = regression.intersection(test)
    listing.oddities += told("images are in both lists of MAFL", both, "They are used for the test alone.")
    if locate(data_dir, PARTITION).exists():
        partition = read_list(locate(data_dir, PARTITION), "name part", "name")["part"].reindex(known)
        absent = known[partition.isna()]
        listing.faults += told(f"images have no row in {PARTITION}", absent, "Get it from its publisher again.")
        training = known[partition == 0]
    else:
        remedy = f"Images 1 to {LAST_TRAINING_IMAGE:,} are taken for training, which is what it says."
        listing.oddities += told("list is missing", [PARTITION], remedy)
        number = pd.to_numeric(known.str.removesuffix(".jpg"), errors="coerce")
        training = known[number <= LAST_TRAINING_IMAGE]
    rest = {"train": training[~training.isin(test)], "regression": regression[~regression.isin(test)]}
    return {split: list(names[names.isin(known)]) for split, names in (rest | {"test": test}).items()}


def _large_faces(data_dir: Path, folder: Path, names: list[str], listing: Listing) -> dict[str, tuple[int, int]]:
    """(W, H) of the images whose box covers 30 % or more, from a list or, where it has no row, from their headers."""
    sizes = {}
    if locate(data_dir, SIZES).exists():
        rows = read_list(locate(data_dir, SIZES), "name height width", "name").astype(int)
        sizes = dict(zip(rows.index, zip(rows["width"], rows["height"], strict=True), strict=True))
    unlisted = [name for name in names if name not in sizes]
    slow = "Their sizes are read from the images at every opening, which is slow."
    listing.oddities += told(f"images have no row in {SIZES}", unlisted, slow)
    read = dict(zip(unlisted, headers([folder / name for name in unlisted]), strict=True))
    listing.faults += told("files cannot be read as images", [name for name, h in read.items() if not h], AGAIN)
    sizes |= {name: header[1] for name, header in read.items() if header}
    boxes = read_list(locate(data_dir, BOXES), "name x y width height", "name")
    absent = [name for name in names if name not in boxes.index]
    listing.faults += told(f"images have no row in {BOXES}", absent, "Get it from its publisher again.")
    area = (boxes["width"] * boxes["height"]).to_dict()
    known = {name: sizes[name] for name in names if name in sizes and name in area}
    return {name: (w, h) for name, (w, h) in known.items() if 10 * area[name] >= 3 * w * h}


def _by_hand(name: str, how: str, optional: bool = False) -> RemoteFile:
    return RemoteFile(name, how=how, optional=optional)


ANNO, MAFL = f"From Anno of the folder that {HOME} links to.", "https://github.com/zhzhanp/TCDCN-face-alignment"
LISTS = (
    _by_hand("MAFL/training.txt", f"From the folder MAFL of {MAFL}."),
    _by_hand("MAFL/testing.txt", f"From the folder MAFL of {MAFL}."),
    _by_hand(PARTITION, f"From Eval of the folder that {HOME} links to.", optional=True),
)
COMMON = {
    "augment": "flip",
    "regression": "regression",
    "normaliser": "inter-ocular",
    "licence": "For non-commercial research only, as its authors' agreement says.",
    "homepage": HOME,
    "redistributable": False,
}
CELEBA_WILD = DataSet(
    "celeba-wild",
    "CelebA in the wild",
    SPLITS,
    "Put img_celeba/, list_landmarks_celeba.txt, list_bbox_celeba.txt, list_imsize_celeba.txt, list_eval_partition.txt, "
    "MAFL/training.txt and MAFL/testing.txt into one folder; `ganseg data download celeba-wild` says where each is.",
    list=partial(list_celeba, "img_celeba", "list_landmarks_celeba.txt", True),
    counts={"train": 45_609, "regression": 5_379, "test": 283},
    parts=(4, 8),
    files=(
        _by_hand("img_celeba", f"The In-The-Wild Images: all parts of img_celeba.7z in Img of the folder that {HOME} "
                 "links to, unpacked together with 7-Zip: 202,599 images."),
        _by_hand("list_landmarks_celeba.txt", ANNO),
        _by_hand(BOXES, ANNO),
        *LISTS,
        _by_hand(SIZES, "From data/celeba_wild_raw of https://github.com/xingzhehe/GANSeg; without it every opening "
                 "reads the sizes from the images, which is slow.", optional=True),
    ),
    **COMMON,
)  # fmt: skip
CELEBA_ALIGNED = DataSet(
    "celeba-aligned",
    "CelebA, aligned",
    SPLITS,
    "Put img_align_celeba/, list_landmarks_align_celeba.txt, list_eval_partition.txt, MAFL/training.txt and "
    "MAFL/testing.txt into one folder; `ganseg data download celeba-aligned` says where each is.",
    list=partial(list_celeba, "img_align_celeba", "list_landmarks_align_celeba.txt", False),
    counts={"train": 161_962, "regression": 19_000, "test": 1_000},
    parts=(10,),
    files=(
        RemoteFile("img_align_celeba.zip", "", None, "00d2c5bc6d35e252742224ab0c1e8fcb", ".", "img_align_celeba",
                   f"The Align&Cropped Images: from Img of the folder that {HOME} links to."),
        _by_hand("list_landmarks_align_celeba.txt", ANNO),
        *LISTS,
    ),
    **COMMON,
)  # fmt: skip
