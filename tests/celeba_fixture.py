"""A small CelebA in the publisher's format: asymmetrical images with a coloured block at each landmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
FORMS = {
    "celeba-wild": ("img_celeba", "list_landmarks_celeba.txt"),
    "celeba-aligned": ("img_align_celeba", "list_landmarks_align_celeba.txt"),
}
POINTS = "lefteye righteye nose leftmouth rightmouth".split()
FIRST = 162_764  # image 1 of ours: image 7 is the last of the training partition
MAFL = {"training": (2, 4, 8), "testing": (3, 9)}
TRAIN = (1, 2, 4, 5, 6, 7)  # the training partition without MAFL's test images


def name(number: int) -> str:
    return f"{FIRST - 1 + number:06d}.jpg"


def size_of(form: str, number: int) -> tuple[int, int]:
    """(width, height)."""
    return (178, 218) if form == "celeba-aligned" else (120 + 10 * number, 200 - 5 * number)


def landmarks_of(form: str, number: int) -> np.ndarray:
    """(5, 2): at different fractions of the image's width and height, and shifted from image to image."""
    fractions = np.array([[0.25, 0.2], [0.6, 0.3], [0.5, 0.45], [0.3, 0.7], [0.75, 0.6]])
    return np.round(fractions * size_of(form, number)).astype(int) + number


def photograph(form: str, number: int) -> np.ndarray:
    """Grey, darker to the right, with a block of 11 x 11 pixels around each landmark."""
    width, height = size_of(form, number)
    array = np.zeros((height, width, 3), np.uint8) + np.linspace(150, 90, width).astype(np.uint8)[:, None]
    for (x, y), colour in zip(landmarks_of(form, number), COLOURS, strict=True):
        array[y - 5 : y + 6, x - 5 : x + 6] = colour
    return array


def boxes(form: str) -> dict[int, tuple[int, int, int, int]]:
    """A box over just more than 30 % of each image."""
    sizes = {n: size_of(form, n) for n in range(1, 11)}
    return {n: (2, 3, int(0.6 * w), int(0.55 * h)) for n, (w, h) in sizes.items()}


def write_list(path: Path, header: str, rows: dict[int, str]) -> None:
    path.write_text("\n".join([str(len(rows)), header, *(f"{name(n)} {row}" for n, row in rows.items()), ""]))


def write_boxes(root: Path, table: dict[int, tuple[int, int, int, int]]) -> None:
    rows = {n: f"{x:5d} {y:4d} {w:4d} {h:4d}" for n, (x, y, w, h) in table.items()}
    write_list(root / "list_bbox_celeba.txt", "image_id x_1 y_1 width height", rows)


def write_landmarks(root: Path, form: str, change: dict[int, str] | None = None) -> None:
    """`change`: other values for some images, as text."""
    rows = {n: "  ".join(map(str, landmarks_of(form, n).ravel())) for n in range(1, 11)} | (change or {})
    header = " ".join(f"{point}_{axis}" for point in POINTS for axis in "xy")
    write_list(root / FORMS[form][1], header, rows)


def write_names(path: Path, numbers: tuple[int, ...], end: str = "\n") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(end.join([*map(name, numbers), ""]).encode())


def build(root: Path, form: str) -> Path:
    """Ten images, all lists; MAFL's with CR LF."""
    folder = root / FORMS[form][0]
    folder.mkdir(parents=True)
    for number in range(1, 11):
        Image.fromarray(photograph(form, number)).save(folder / name(number), quality=98, subsampling=0)
    write_landmarks(root, form)
    write_boxes(root, boxes(form))
    sizes = [f"{name(n)} {size_of(form, n)[1]} {size_of(form, n)[0]}\n" for n in range(1, 11)]
    (root / "list_imsize_celeba.txt").write_text("".join(sizes))
    for list_name, numbers in MAFL.items():
        write_names(root / "MAFL" / f"{list_name}.txt", numbers, "\r\n")
    return root
