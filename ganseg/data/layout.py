"""Which files of anyone's folder are photographs, which are labels of photographs, and what is left out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from os.path import splitext
from pathlib import Path

from ganseg.data.files import is_image, list_files, told

OWN = {"samples.npz", "parts.json"}  # what tells a folder of a run, and one of segmented photographs
LABEL = r"(?:mask|label|annotation|annot|segmentation(?:class|object)?|trimap|gt|ground[-_ ]?truth)s?"
IMAGE = r"(?:(?:jpeg)?images?|imgs?|im|rgb|photos?|originals?)"
ENDS = r"(?:^|[-_. ]){}(?=$|[-_. ])"  # of words
LABELLED, KIND = (re.compile(ENDS.format(word), re.IGNORECASE) for word in (LABEL, f"(?:{LABEL}|{IMAGE})"))
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
    return any(map(LABELLED.search, folders)) or (bool(LABELLED.search(stem)) and subject(name) in subjects)


def _parts(name: str) -> list[str]:
    return splitext(name)[0].split("/")


def plain(name: str) -> str:
    """A file's name in one Unicode normalisation: disks and archives differ in it."""
    return unicodedata.normalize("NFC", name)
