"""CelebA, wild and aligned, as published: landmarks, the 30 % filter, splits, and oddities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganseg.data import DATASETS, check, load, warn_once

WILD, ALIGNED = "celeba-wild", "celeba-aligned"
BOTH = pytest.mark.parametrize("form", [WILD, ALIGNED])
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
FORMS = {
    WILD: ("img_celeba", "list_landmarks_celeba.txt"),
    ALIGNED: ("img_align_celeba", "list_landmarks_align_celeba.txt"),
}
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
    write_list(root / FORMS[form][1], "lefteye_x lefteye_y righteye_x and so on", rows)


def write_names(root: Path, name_of_list: str, numbers: tuple[int, ...]) -> None:
    (root / "MAFL").mkdir(exist_ok=True)
    (root / "MAFL" / f"{name_of_list}.txt").write_bytes(b"".join(f"{name(n)}\r\n".encode() for n in numbers))


def build(root: Path, form: str) -> Path:
    """Ten images, which EXIF data call turned, and all lists."""
    folder, exif = root / FORMS[form][0], Image.Exif()
    exif[0x0112] = 6  # not applied: landmarks are of the stored pixels
    folder.mkdir(parents=True)
    for number in range(1, 11):
        image = Image.fromarray(photograph(form, number))
        image.save(folder / name(number), quality=98, subsampling=0, exif=exif)
    write_landmarks(root, form)
    write_boxes(root, boxes(form))
    sizes = [f"{name(n)} {size_of(form, n)[1]} {size_of(form, n)[0]}\n" for n in range(1, 11)]
    (root / "list_imsize_celeba.txt").write_text("".join(sizes))
    for name_of_list, numbers in MAFL.items():
        write_names(root, name_of_list, numbers)
    return root


@pytest.fixture
def wild(tmp_path):
    return build(tmp_path / "celeba", WILD)


def read(root, split="train", form=WILD, size=64):
    return load(form, split, size, data_dir=root, cache_dir=root.parent / "cache")


def said(root, form=WILD) -> str:
    """All faults and oddities."""
    found = check(form, root)
    return "\n".join(found.faults + found.oddities)


def coloured_centres(image: np.ndarray) -> np.ndarray:
    """(5, 2) centres (x, y) of the pixels that look like each landmark's colour."""
    centres = []
    for colour in COLOURS:
        y, x = np.nonzero(np.abs(image.astype(int) - colour).max(-1) < 110)
        centres.append((x.mean(), y.mean()))
    return np.array(centres)


@BOTH
@pytest.mark.parametrize("size", [64, 100])
def test_landmarks_follow_the_image_through_the_resize(tmp_path, form, size):
    data = read(build(tmp_path / "celeba", form), "regression", form, size)
    assert data.keypoints.shape == (3, 5, 2) and data.keypoints.dtype == np.float32 and data.visible.all()
    for number, image, keypoints in zip(MAFL["training"], data.images, data.keypoints, strict=True):
        np.testing.assert_allclose(coloured_centres(image), keypoints, atol=0.45)
        sides = size_of(form, number)
        expected = (landmarks_of(form, number) + 0.5) * (size / sides[0], size / sides[1]) - 0.5
        np.testing.assert_allclose(keypoints, expected, atol=1e-4)


@BOTH
def test_splits_are_the_training_partition_without_mafl_test_and_the_lists_of_mafl(tmp_path, form):
    root = build(tmp_path / "celeba", form)
    expected = {"train": TRAIN, "regression": MAFL["training"], "test": MAFL["testing"]}
    for split, numbers in expected.items():
        data = read(root, split, form)
        assert data.names == tuple(map(name, numbers))
        assert (data.keypoints is None) == (split == "train") and data.foreground is None
    report = check(form, root)
    assert report.counts == {"train": 6, "regression": 3, "test": 2}
    assert report.labels == {"keypoints": 5, "visible keypoints": 25, "foreground masks": 0}
    assert not report.faults


def test_the_publishers_folders_work_too(wild):
    for folder, inside in {"Img": ["img_celeba"], "Anno": [path.name for path in wild.glob("list_*.txt")]}.items():
        (wild / folder).mkdir()
        for item in inside:
            (wild / item).rename(wild / folder / item)
    assert read(wild).names == tuple(map(name, TRAIN))


def test_faces_under_30_percent_of_the_image_are_left_out_of_every_split(wild):
    table = boxes(WILD)
    area = {n: size_of(WILD, n)[0] * size_of(WILD, n)[1] for n in table}
    assert 3 * area[6] % 10 == 0
    table[6] = (-5, 190, 3 * area[6] // 10, 1)  # exactly 30 %, as printed, wherever it lies: stays
    table[5] = (0, 0, 3 * area[5] // 10 - 1, 1)  # just less: goes
    table[2], table[3] = (0, 0, 10, 10), (0, 0, 10, 10)
    write_boxes(wild, table)
    assert read(wild).names == tuple(map(name, (1, 4, 6, 7)))
    assert read(wild, "regression").names == tuple(map(name, (4, 8)))
    assert read(wild, "test").names == (name(9),)


def test_sizes_are_read_from_the_images_where_no_list_has_them(wild):
    before = read(wild).names
    (wild / "list_imsize_celeba.txt").unlink()
    assert "list_imsize_celeba.txt is missing: sizes are read from the images" in said(wild)
    write_boxes(wild, boxes(WILD) | {7: (0, 0, 5, 5)})
    assert read(wild).names == before[:-1]


def test_images_of_mafl_that_celeba_lacks_are_left_out_and_the_test_list_wins(wild):
    write_names(wild, "training", (2, 4, 8, 5_000))
    write_names(wild, "testing", (3, 9, 4))
    assert read(wild, "regression").names == tuple(map(name, (2, 8)))
    assert name(4) not in read(wild).names and name(4) in read(wild, "test").names


def test_landmarks_outside_their_image_are_counted_and_kept(wild):
    write_landmarks(wild, WILD, {9: "-3 5 600 7 20 30 30 40 50 60"})
    assert f"1 images have a visible keypoint outside them ({name(9)})" in said(wild)
    data = read(wild, "test")
    assert data.visible.all() and data.keypoints[1, 0, 0] < 0 and data.keypoints[1, 1, 0] > 64


def test_other_counts_than_the_papers_are_said_with_both_numbers(wild, caplog):
    warn_once.cache_clear()
    assert DATASETS[WILD].counts == {"train": 45_609, "regression": 5_379, "test": 283}
    assert DATASETS[ALIGNED].counts == {"train": 161_962, "regression": 19_000, "test": 1_000}
    text = "2 images in split test, where the paper's protocol has 283"
    assert text in said(wild)
    read(wild, "test")
    assert text in caplog.text
