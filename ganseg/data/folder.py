"""`folder`: anyone's images, in nested folders, with labels to evaluate on where there are some.

    data_dir/**/*.jpg, .jpeg, .jfif, .png, .webp, .bmp    images of any size, mode and depth; suffixes in any case
    data_dir/masks/NAME.png       the mask of image NAME.jpg (NAME.jpg.png, where NAME.png is an image, too)
    data_dir/keypoints.csv        name,x,y or name,point,x,y or name,point,x,y,visible

NAME is relative to data_dir, with its folders. Masks are also found where images/NAME.jpg lies beside masks/NAME.png,
and NAME_mask.png beside NAME.jpg. Other folders of labels, and what GANSeg wrote, are left out.

A mask has the shape of its image. Understood are: 0 and one other value; 0 and numbers of parts below 64, 255 being
unknown; black and white with soft edges; numbers with a palette, and a few colours on black, as those of Pascal VOC;
masks that `ganseg segment` wrote. Others are refused with what was found.

`name` is the image's with its suffix; x (right) and y (down) are pixels of that image, the first pixel's centre being
(0, 0); a point that has no row, or `visible` 0, is not there. Masks and points refer to the upright image: as viewers
show a photograph, turned as its EXIF data say. Images without labels are left out of what those would measure.

A tenth is held out for testing, decided by each image's relative name alone: adding one moves no other.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from ganseg.data.files import SUFFIXES, TEXTS, each, extent_of, points_of, read_list, refuse, told
from ganseg.data.layout import photographs, plain, read_mask, subject
from ganseg.data.sets import DataSet, Listing, Sample
from ganseg.files import UserError

KEYPOINTS = "keypoints.csv"
MINIMUM, ADVISED = 64, 5000  # images; the latter is what the paper asks for (section 5)
HELD_OUT = 0.1
FEW = (
    f"The paper asks for more than {ADVISED:,} (section 5): with fewer, the discriminator can learn them by heart and "
    "parts come out coarser or not at all. Add images where you can, and judge a run by the held-out ones."
)


def is_held_out(name: str) -> bool:
    """Whether an image belongs to the test split: decided by its relative name alone."""
    start = hashlib.sha256(os.fsencode(name)).digest()[:8]
    return int.from_bytes(start, "big") < HELD_OUT * 2**64


def list_folder(data_dir: Path) -> Listing:
    """The images and their labels."""
    files, labels, lost = photographs(data_dir, [KEYPOINTS])
    images = {plain(file): data_dir / file for file in files}  # by name
    spare = len(images) - MINIMUM
    if spare < 0:
        few = f"found {len(images)} images; at least {MINIMUM} are needed ({', '.join(SUFFIXES)}, anywhere)."
        raise UserError(" ".join([few, *lost, *told("files look like labels", labels, "They are no photographs.")]))
    splits, spares = {"train": [], "test": []}, {"train": spare, "test": spare}
    listing = Listing(splits, [], lost, read_mask=read_mask, upright=True, spare=spares)
    if len(images) < ADVISED:
        listing.oddities.append(f"{len(images):,} images are few. {FEW}")
    masks = _masks(data_dir, images, labels, listing)
    points = _points(data_dir / KEYPOINTS, [*images], listing)
    for name, path in images.items():
        sample = Sample(name, path, masks.get(name), points.get(name))
        splits["test" if is_held_out(name) else "train"].append(sample)
    return listing


def _masks(data_dir: Path, images: dict[str, Path], labels: list[str], listing: Listing) -> dict[str, Path]:
    """Image name -> its mask: of the same name, with or without the image's own suffix. Opens headers."""
    stems = {subject(file): file for file in labels if "mask" in file.casefold()}
    found = {name: stems.get(subject(f"{name}.png")) or stems.get(subject(name)) for name in images}
    users = Counter(filter(None, found.values()))
    remedy = "Call the masks by the images' full names: a.jpg.png and a.png.png."
    refuse("images share a mask with another", [name for name in images if users[found[name]] > 1], remedy)
    unused = [file for file in labels if not users[file]]
    remedy = "They are not used; a mask lies in masks/ and is called as its image, ending in .png."
    listing.oddities += told("files look like labels and belong to no image", unused, remedy)
    masks = {name: data_dir / file for name, file in found.items() if file}
    extent = partial(extent_of, upright=True)
    sizes = zip(masks, each(extent, [images[name] for name in masks]), each(extent, [*masks.values()]), strict=True)
    wrong = [f"{name}: {image}, mask: {mask}" for name, image, mask in sizes if not _fit(image, mask)]
    what = "masks cannot be opened or have another shape (width, height) than their image"
    refuse(what, wrong, "Make them of the upright image.")
    return masks


def _fit(image: tuple[int, int] | Exception, mask: tuple[int, int] | Exception) -> bool:
    """Whether sizes (W, H) have one ratio of sides, but for rounding; broken images are left out later."""
    if isinstance(image, Exception) or isinstance(mask, Exception):
        return isinstance(image, Exception)
    return abs(mask[0] * image[1] - mask[1] * image[0]) <= max(*mask, *image)


def _points(path: Path, names: list[str], listing: Listing) -> dict[str, np.ndarray]:
    """Image name -> (J, 3) of x, y, visible; sets the names of the points."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        columns = file.readline().replace(",", " ").split()
    if not {"name", "x", "y"} <= {*columns}:
        raise UserError(f"{path} must begin with the line name,x,y or name,point,x,y or name,point,x,y,visible.")
    key = [name for name in TEXTS if name in columns]
    table = read_list(path, " ".join(columns), key, sep=",", heading=1).reset_index()
    table = table.assign(point=table.get("point", "point"), visible=table.get("visible", 1.0))
    table["name"] = table["name"].str.replace("\\", "/").map(plain)
    wrong = table["name"][~table["visible"].isin([0, 1])]
    refuse(f"rows of {path.name} have a visible that is neither 0 nor 1", wrong, "1: it can be seen; 0: it cannot.")
    known = table["name"].isin(names)
    remedy = "They are not used; a name has its folders and its suffix, as in birds/a.jpg."
    strangers = f"names in {path.name} are no image of the folder", table["name"][~known].unique(), remedy
    if not known.any():
        refuse(*strangers)
    listing.oddities += told(*strangers)
    listing.keypoint_names = tuple(table["point"].unique())
    rows = table.set_index(["name", "point"])[["x", "y", "visible"]]
    return points_of(rows, table["name"][known].unique(), listing.keypoint_names)


FOLDER = DataSet(
    "folder", "A folder of images", ("train", "test"), "flip", list=list_folder, normaliser="edge",
    needs=f"Any folder of at least {MINIMUM} jpg, png, webp or bmp images, also in folders below; to be evaluated, "
    "with masks/NAME.png and keypoints.csv.",
)  # fmt: skip
