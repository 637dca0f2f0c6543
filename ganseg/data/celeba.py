"""`celeba-wild` and `celeba-aligned`: CelebA (Liu et al. 2015) with MAFL (Zhang et al. 2014), as published.

    data_dir/img_celeba/000001.jpg              wild: the originals, 202,599 photographs of any size
    data_dir/list_landmarks_celeba.txt          five points a face, in pixels of the original
    data_dir/list_bbox_celeba.txt               x_1 y_1 width height
    data_dir/list_imsize_celeba.txt             height width; optional (made by SCOPS)
    data_dir/img_align_celeba/000001.jpg        aligned: 178 x 218 pixels
    data_dir/list_landmarks_align_celeba.txt
    data_dir/MAFL/{training,testing}.txt        19,000 and 1,000 names

Lists and images may also lie in the publisher's folders `Anno` and `Img`.

Splits: "train", for the GAN, is CelebA's training partition (images 1 to 162,770, which is all that its list says)
without MAFL's test images: 161,962 names, the list that the released code reads and the paper's "160k"; MAFL's training
images are in it, unlabelled. "regression" and "test", with landmarks, are MAFL's. Of the wild images those whose face
box covers less than 30 % are left out (section 4.1): its width * height as printed, not clipped.

Landmarks: the publisher does not say where its pixels start; 0-based with centres at integers is assumed. They refer
to stored pixels, so EXIF orientation is not applied. `visible` is True for all five, also for the few outside their
image: in the paper's protocol all count.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ganseg.data.files import AGAIN, each, read_list, refuse
from ganseg.data.images import extent_of
from ganseg.data.sets import DataSet, Listing, RemoteFile, Sample

KEYPOINTS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
BOXES, SIZES = "list_bbox_celeba.txt", "list_imsize_celeba.txt"
ALIGNED = (178, 218)  # (W, H)
LAST_TRAINING_IMAGE = 162_770
HOME = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"


def list_celeba(images: str, landmarks: str, wild: bool, data_dir: Path) -> Listing:
    """The three splits of the images in the folder `images`, with `landmarks` but for training."""
    needed = (images, landmarks, "MAFL/training.txt", "MAFL/testing.txt", *([BOXES] if wild else []))
    places = [(name, data_dir / inner / name) for inner in ("Img", "Anno", "") for name in (*needed, SIZES)]
    at = {name: path for name, path in places if path.exists()}
    remedy = "Put them into this folder, or keep the publisher's Anno and Img in it."
    refuse(f"needed files or folders are missing in {data_dir}", [one for one in needed if one not in at], remedy)
    listing, folder = Listing(keypoint_names=KEYPOINTS), at[images]
    points = read_list(at[landmarks], "name x1 y1 x2 y2 x3 y3 x4 y4 x5 y5")
    regression, test = (read_list(at[name], "name").index for name in needed[2:4])
    known, numbers = points.index, pd.to_numeric(points.index.str.removesuffix(".jpg"), errors="coerce")
    training = known[numbers <= LAST_TRAINING_IMAGE].difference(test, sort=False)
    splits = {"train": training, "regression": regression.difference(test, sort=False), "test": test}
    used = known[known.isin(np.concatenate(list(splits.values())))]
    extents = _large_faces(at, folder, used, listing) if wild else dict.fromkeys(used, ALIGNED)
    rows = np.insert(points.to_numpy(float).reshape(-1, 5, 2), 2, 1, axis=2)  # (N, 10) -> (N, 5, 2) -> (N, 5, 3)
    labels = dict(zip(known, rows, strict=True))
    for split, names in splits.items():
        given = {} if split == "train" else labels
        kept = [name for name in names if name in extents]
        listing.splits[split] = [Sample(one, folder / one, None, given.get(one), extents[one]) for one in kept]
    return listing


def _large_faces(at: dict[str, Path], folder: Path, names: pd.Index, listing: Listing) -> dict[str, tuple[int, int]]:
    """(W, H) of the images whose box covers 30 % or more; without the list of sizes, from their headers."""
    boxes = read_list(at[BOXES], "name x y width height", names=names)
    if SIZES in at:
        sizes = read_list(at[SIZES], "name height width", names=names)[["width", "height"]].astype(int)
    else:
        listing.oddities.append(f"{SIZES} is missing: sizes are read from the images at every opening, which is slow.")
        found = dict(zip(names, each(extent_of, [folder / name for name in names]), strict=True))
        refuse("images cannot be read", [name for name in names if isinstance(found[name], Exception)], AGAIN)
        sizes = pd.DataFrame.from_dict(found, "index", columns=["width", "height"])
    sizes = sizes[10 * boxes["width"] * boxes["height"] >= 3 * sizes["width"] * sizes["height"]]
    return dict(zip(sizes.index, sizes.itertuples(index=False, name=None), strict=True))


ANNO, MAFL = f"From Anno of the folder that {HOME} links to.", "https://github.com/zhzhanp/TCDCN-face-alignment"
LISTS = [RemoteFile(f"MAFL/{part}.txt", how=f"From the folder MAFL of {MAFL}.") for part in ("training", "testing")]
CELEBA_WILD = DataSet(
    "celeba-wild", "CelebA in the wild", ("train", "regression", "test"), "flip", parts=(4, 8),
    list=partial(list_celeba, "img_celeba", "list_landmarks_celeba.txt", True),
    counts={"train": 45_609, "regression": 5_379, "test": 283}, regression="regression", normaliser="inter-ocular",
    licence="For non-commercial research only, as its authors' agreement says.", homepage=HOME, redistributable=False,
    files=(
        RemoteFile("img_celeba", how="The In-The-Wild Images: all parts of img_celeba.7z in Img of the folder that "
                   f"{HOME} links to, unpacked together with 7-Zip: 202,599 images."),
        RemoteFile("list_landmarks_celeba.txt", how=ANNO),
        RemoteFile(BOXES, how=ANNO),
        *LISTS,
        RemoteFile(SIZES, how="From data/celeba_wild_raw of https://github.com/xingzhehe/GANSeg; without it every "
                   "opening reads the sizes from the images, which is slow.", optional=True),
    ),
)  # fmt: skip
CELEBA_ALIGNED = replace(
    CELEBA_WILD, name="celeba-aligned", title="CelebA, aligned", parts=(10,),
    list=partial(list_celeba, "img_align_celeba", "list_landmarks_align_celeba.txt", False),
    counts={"train": 161_962, "regression": 19_000, "test": 1_000},
    files=(
        RemoteFile("img_align_celeba.zip", "", 0, "00d2c5bc6d35e252742224ab0c1e8fcb", "img_align_celeba",
                   f"The Align&Cropped Images: from Img of the folder that {HOME} links to."),
        RemoteFile("list_landmarks_align_celeba.txt", how=ANNO),
        *LISTS,
    ),
)  # fmt: skip
