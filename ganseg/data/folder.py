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

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ganseg.data.files import SUFFIXES, TEXTS, is_image, list_files, points_of, read_list, refuse, told
from ganseg.data.images import read_any_mask
from ganseg.data.sets import DataSet, Listing, Sample
from ganseg.files import UserError

KEYPOINTS = "keypoints.csv"
MINIMUM, ADVISED = 64, 5000  # images; the latter is what the paper asks for (section 5)
HELD_OUT = 0.1
FEW = (
    f"The paper asks for more than {ADVISED:,} (section 5): with fewer, the discriminator can learn them by heart and "
    "parts come out coarser or not at all. Add images where you can, and judge a run by the held-out ones."
)
OWN = {"samples.npz", "parts.json"}  # what tells a folder of a run, and one of segmented photographs
LABEL = (
    r"(?:mask|label|annot(?:ation)?|seg(?:mentation\w*)?|silhouette|trimap|matte|gt|ground[-_ ]?truth|thumb(?:nail)?)s?"
)
IMAGE = r"(?:(?:jpeg)?images?|imgs?|im|rgb|photos?|originals?)"
ENDS = r"(?:^|[-_. ]|(?<=\d)){}(?=$|[-_. ])"  # of words
LABELLED, KIND = (re.compile(ENDS.format(word), re.IGNORECASE) for word in (LABEL, f"(?:{LABEL}|{IMAGE})"))
plain = partial(unicodedata.normalize, "NFC")  # a file's name: disks and archives differ in its form
CONVERT = "They are not used; convert images among them to jpg or png."


def photographs(root: Path, needless: Sequence[str] = ()) -> tuple[list[str], list[str], list[str]]:
    """Names in `root` of photographs, and of what looks like their labels; sentences on what is left out.

    Labels lie in a folder called so (masks, annotations, ...), or are called as a photograph and so: a_mask.png beside
    a.jpg. What GANSeg wrote below `root` is no photograph. `needless`: names that need no mention.
    """
    files = sorted({*list_files(root)} - {*needless})
    marks = [folder for folder, _, name in (file.rpartition("/") for file in files) if folder and name in OWN]
    marks += ["masks", "overlays"] if "parts.json" in files and (root / "overlays").is_dir() else []
    made = {file for file in files if file.startswith(tuple(f"{m.rpartition('/runs/')[0] or m}/" for m in marks))}
    images = [file for file in files if file not in made and is_image(root / file)]
    subjects = {subject(file) for file in images if not LABELLED.search(Path(file).stem)}
    labels = [file for file in images if _is_label(file, subjects)]
    lost = told("files are no images of a kind that is read", sorted({*files} - {*made, *images}), CONVERT)
    lost += told("files are what GANSeg wrote", sorted(made), "They are not taken for photographs.")
    return sorted({*images} - {*labels}), labels, lost


def subject(name: str) -> str:
    """What an image and its mask have alike: images/a.jpg, masks/a.png and a_mask.png are of a."""
    *folders, stem = os.path.splitext(plain(name))[0].split("/")
    bare = [KIND.sub("", part).strip("-_. ") for part in (*folders, stem)]
    return "/".join([*filter(None, bare[:-1]), bare[-1] or stem])


def _is_label(name: str, subjects: set[str]) -> bool:
    """By its folder, or by its name beside one of `subjects`."""
    path = Path(name)
    alike = {subject(name), subject(f"{LABELLED.split(name)[0]}.")}  # a_mask.png or mask_a.png, a_mask_2.png
    called = LABELLED.search(path.stem) and alike & subjects
    return bool(called) or any(map(LABELLED.search, path.parent.parts))


def is_held_out(name: str) -> bool:
    """Whether an image belongs to the test split: decided by its relative name alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(name)).digest()[:8], "big") < HELD_OUT * 2**64


def list_folder(data_dir: Path) -> Listing:
    """The images and their labels."""
    files, labels, lost = photographs(data_dir, [KEYPOINTS])
    images = {plain(file): data_dir / file for file in files}  # by name
    alike = [name for name, count in Counter(map(plain, files)).items() if count > 1]
    refuse("images have the name of another, in another Unicode normalisation", alike, "Rename or remove one of each.")
    if len(images) < MINIMUM:
        few = f"found {len(images)} images; at least {MINIMUM} are needed ({', '.join(SUFFIXES)}, anywhere)."
        raise UserError(" ".join([few, *lost, *told("files look like labels", labels, "They are no photographs.")]))
    spare = dict.fromkeys(FOLDER.splits, len(images) - MINIMUM)
    listing = Listing({"train": [], "test": []}, [], lost, read_mask=read_any_mask, upright=True, spare=spare)
    if len(images) < ADVISED:
        listing.oddities.append(f"{len(images):,} images are few. {FEW}")
    masks = _masks(data_dir, images, labels, listing)
    points = _points(data_dir / KEYPOINTS, [*images], listing)
    for name, path in images.items():
        sample = Sample(name, path, masks.get(name), points.get(name))
        listing.splits["test" if is_held_out(name) else "train"].append(sample)
    return listing


def _masks(data_dir: Path, images: dict[str, Path], labels: list[str], listing: Listing) -> dict[str, Path]:
    """Image name -> its mask: of the same name, with or without the image's own suffix."""
    stems = {subject(file): file for file in labels if "mask" in file.casefold()}
    found = {name: stems.get(subject(f"{name}.png")) or stems.get(subject(name)) for name in images}
    users = Counter(filter(None, found.values()))
    remedy = "Call the masks by the images' full names: a.jpg.png and a.png.png."
    refuse("images share a mask with another", [name for name in images if users[found[name]] > 1], remedy)
    unused = [file for file in labels if not users[file]]
    remedy = "They are not used; a mask lies in masks/ and is called as its image, ending in .png."
    listing.oddities += told("files look like labels and belong to no image", unused, remedy)
    return {name: data_dir / file for name, file in found.items() if file}


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
