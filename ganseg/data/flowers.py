"""`flowers`: Oxford Flowers-102 (Nilsback and Zisserman 2008) in the publisher's layout.

    data_dir/jpg/image_00001.jpg        8,189 photographs
    data_dir/setid.mat                  the official split: tstid, trnid, valid
    data_dir/segmim/segmim_00001.jpg    optional: the flower, its background painted blue
    data_dir/trimaps/image_00001.png    optional: 0 background, 1 flower, 255 ignore; for some images only

The paper trains on `tstid` (6,149 images) and tests on `trnid` (1,020).
"""

from pathlib import Path

import numpy as np
import pandas as pd
import scipy.io

from ganseg.data.files import refuse
from ganseg.data.images import IGNORE, commonest, open_checked
from ganseg.data.sets import DataSet, Listing, RemoteFile, Sample
from ganseg.files import reading

KEYS = {"train": ("tstid",), "test": ("trnid",), "val": ("valid",), "test+val": ("trnid", "valid")}
HOME = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102"


def read_mask(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 foreground, decided at full resolution: a trimap's commonest value, or what is not painted blue."""
    with open_checked(path) as image:
        if path.parent.name == "trimaps":
            return commonest(np.asarray(image), size, (0, 1, IGNORE))
        rgb = np.asarray(image.convert("RGB"))
    return commonest((rgb[..., 0] > 0) & (rgb[..., 1] > 0) & (rgb[..., 2] != 254), size, (1, 0))


def list_flowers(data_dir: Path) -> Listing:
    """Trimaps are used where images have one; all images have the publisher's segmentation, or none has."""
    path = data_dir / "setid.mat"
    with reading(path, f"Download it again. It needs jpg/image_00001.jpg ... and setid.mat, as {HOME} gives them."):
        table = scipy.io.loadmat(path, appendmat=False)
        ids = {split: np.concatenate([table[key].ravel() for key in keys]).tolist() for split, keys in KEYS.items()}
    every = pd.Index(ids["train"] + ids["test+val"])
    refuse("image numbers come twice in setid.mat", every[every.duplicated()], "Download it again.")
    samples = {split: [_sample(data_dir, number) for number in ids[split]] for split in KEYS}
    return Listing(samples, read_mask=read_mask)


def _sample(data_dir: Path, number: int) -> Sample:
    name = f"image_{number:05d}"
    segmim, trimap = data_dir / f"segmim/segmim_{number:05d}.jpg", data_dir / f"trimaps/{name}.png"
    whole = segmim.parent.is_dir() and not trimap.parent.is_dir()
    mask = segmim if whole or segmim.is_file() else trimap if trimap.is_file() else None
    return Sample(f"{name}.jpg", data_dir / f"jpg/{name}.jpg", mask)


FLOWERS = DataSet(
    "flowers", "Oxford Flowers-102", tuple(KEYS), "crop_flip", list=list_flowers, parts=(8,),
    counts={"train": 6_149, "test": 1_020, "val": 1_020},
    licence="None is stated; the photographs are from the web, collected for research.", homepage=HOME,
    files=(
        RemoteFile("102flowers.tgz", f"{HOME}/102flowers.tgz", 344_862_509, "52808999861908f626f3c1f4e79d11fa", "jpg"),
        RemoteFile("102segmentations.tgz", f"{HOME}/102segmentations.tgz", 203_577_493,
                   "51375996b6c4f367a4b9f4492d7ecef5", "segmim"),
        RemoteFile("setid.mat", f"{HOME}/setid.mat", 14_989, "a5357ecc9cb78c4bef273ce3793fc85c"),
    ),
)  # fmt: skip
