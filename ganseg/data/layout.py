"""Anyone's folder: which files are photographs, which are labels, what is left out, and what a mask says."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from os.path import splitext
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ganseg.data.files import IGNORE, commonest, is_image, list_files, open_checked, to_bytes, told
from ganseg.files import UserError

OWN = {"samples.npz", "parts.json"}  # what tells a folder of a run, and one of segmented photographs
LABEL = r"(?:mask|label|annotation|annot|segmentation(?:class|object)?|trimap|gt|ground[-_ ]?truth)s?"
IMAGE = r"(?:(?:jpeg)?images?|imgs?|im|rgb|photos?|originals?)"
ENDS = r"(?:^|[-_. ]){}(?=$|[-_. ])"  # of words
LABELLED, KIND = (re.compile(ENDS.format(word), re.IGNORECASE) for word in (LABEL, f"(?:{LABEL}|{IMAGE})"))
VOID = 0xE0E0C0  # what Pascal VOC paints the unknown
LOSSY = ("JPEG", "WEBP", "MPO")  # whose values are not those that were written
CONVERT = "They are not used; convert images among them to jpg or png."


def photographs(root: Path, needless: Sequence[str] = ()) -> tuple[list[str], list[str], list[str]]:
    """Names in `root` of photographs, and of what looks like their labels; sentences on what is left out.

    Labels lie in a folder called so (masks, annotations, ...), or are called as a photograph and so: a_mask.png beside
    a.jpg. What GANSeg wrote below `root` is no photograph. `needless`: names that need no mention.
    """
    files = sorted({*list_files(root)} - {*needless})
    marks = [name.rpartition("/")[0] for name in files if "/" in name and name.rpartition("/")[2] in OWN]
    results = tuple(f"{mark.rpartition('/runs/')[0] or mark}/" for mark in marks)
    made = {name for name in files if name.startswith(results)}
    images = [name for name in files if name not in made and is_image(root / name)]
    subjects = {subject(name) for name in images if not LABELLED.search(_parts(name)[-1])}
    labels = [name for name in images if _is_label(name, subjects)]
    lost = told("files are no images of a kind that is read", sorted({*files} - {*made, *images}), CONVERT)
    lost += told("files are what GANSeg wrote", sorted(made), "They are not taken for photographs.")
    return sorted({*images} - {*labels}), labels, lost


def subject(name: str) -> str:
    """What an image and its mask have alike: images/a.jpg, masks/a.png and a_mask.png are of a."""
    *folders, stem = ((part, KIND.sub("", part).strip("-_. ")) for part in _parts(plain(name)))
    return "/".join([*(rest for _, rest in folders if rest), stem[1] or stem[0]])


def _is_label(name: str, subjects: set[str]) -> bool:
    """By its folder, or by its name beside one of `subjects`."""
    *folders, stem = _parts(name)
    alike = {subject(name), subject(f"{LABELLED.split(name)[0]}.")}  # a_mask.png or mask_a.png, a_mask_2.png
    return any(map(LABELLED.search, folders)) or (bool(LABELLED.search(stem)) and bool(alike & subjects))


def _parts(name: str) -> list[str]:
    return splitext(name)[0].split("/")


def plain(name: str) -> str:
    """A file's name in one Unicode normalisation: disks and archives differ in it."""
    return unicodedata.normalize("NFC", name)


def read_mask(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8: 0 background, 1 foreground, 255 unknown; UserError unless as `ganseg.data.folder` says."""
    with open_checked(path) as image:
        return commonest(_kinds(ImageOps.exif_transpose(image), image.format in LOSSY), size, (1, 0, IGNORE))


def _kinds(image: Image.Image, lossy: bool) -> np.ndarray:
    """(H, W) uint8 0, 1 and 255 of a mask in any mode of Pillow."""
    if image.mode == "P":
        numbers, colours = np.asarray(image), np.reshape(image.getpalette(), (-1, 3))
        if np.ptp(colours[used := np.unique(numbers)], axis=1).any():  # not grey
            if (colours[used[used > 0]].sum(axis=1) <= colours[0].sum()).any():
                raise UserError("a palette whose number 0 is not its darkest colour")
            return _numbered(numbers, IGNORE)
    if image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema() != (255, 255):
        raise UserError("it is transparent in places")
    if image.mode == "1" or image.mode[0] in "LIF":
        return _of_greys(np.asarray(image.convert("L") if image.mode == "LA" else image), lossy)
    rgb = np.asarray(image.convert("RGB"))
    if (rgb == rgb[..., :1]).all():
        return _of_greys(rgb[..., 0], lossy)
    numbers = rgb.astype(int) @ (1 << 16, 1 << 8, 1)
    found = np.unique(numbers)
    if found[0] or len(found) > 256 or lossy:
        raise UserError(f"{len(found)} colours{' without black' if found[0] else ''}")
    return _numbered(numbers, VOID)


def _numbered(numbers: np.ndarray, unknown: int) -> np.ndarray:
    """0 is background, `unknown` is left out, any other number a part."""
    return np.select([numbers == 0, numbers == unknown], [0, IGNORE], 1)


def _of_greys(values: np.ndarray, lossy: bool) -> np.ndarray:
    """`_kinds` of (H, W) numbers: two values, numbers of parts, or black and white with soft edges."""
    found = np.unique(values)
    if not lossy and (len(found) == 1 or (found[0] == 0 and len(found) == 2)):
        return (values > 0).astype(np.uint8)
    if not lossy and found[0] == 0 and found[found != IGNORE][-1] < 64 and not (found % 1).any():
        return _numbered(values, IGNORE)
    values = values if values.dtype == np.uint8 else to_bytes(values)
    dark, bright = values <= 16, values >= 239
    soft = (dark | bright).mean() >= 0.8 and 2 * bright.sum() >= (~dark).sum()
    if soft and (lossy or (bright.any() and (len(found) > 16 or (dark | bright).all()))):
        return (values > 127).astype(np.uint8)
    raise UserError(f"values {', '.join(map(str, found[:6]))}{', ...' if len(found) > 6 else ''}")
