"""CUB-200-2011 in the publisher's layout: a fixture in the genuine format, and the real photographs."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import centre_of_block
from PIL import Image

from ganseg.data import check, load
from ganseg.data.cub import KEYPOINTS, paper_split

IDS = {1: "train", 2: "train", 3: "train", 10: "val", 12: "test", 19: "test"}  # of the paper's split
SIZES = {1: (120, 80), 2: (80, 120), 3: (64, 64), 10: (90, 30), 12: (120, 80), 19: (50, 100)}
SEEN = [1, 6, 13]  # beak, left eye, tail: places in KEYPOINTS that are visible


def name(number: int) -> str:
    return f"{number:03d}.Some_Bird/Some_Bird_{number:04d}_{number}.jpg"


def keypoints(number: int) -> np.ndarray:
    """(3, 2) pixels of the photograph, without symmetry."""
    return np.round(np.array([[0.25, 0.3], [0.8, 0.4], [0.45, 0.75]]) * SIZES[number])


def photograph(number: int) -> Image.Image:
    """Dark, with a bright block about each visible keypoint, a channel each."""
    width, height = SIZES[number]
    array = np.full((height, width, 3), 2 * number, np.uint8)
    for channel, (x, y) in enumerate(keypoints(number).astype(int)):
        array[y - 4 : y + 5, x - 4 : x + 5, channel] = 255
    return Image.fromarray(array)


def write(path, lines) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def build(folder):
    root, exif, rows = folder / "CUB_200_2011", Image.Exif(), []
    exif[0x0112] = 6  # not applied: keypoints are of the stored pixels
    for number in IDS:
        path = root / "images" / name(number)
        path.parent.mkdir(parents=True)
        photograph(number).save(path, quality=100, subsampling=0, exif=exif)
        points = dict(zip(SEEN, keypoints(number), strict=True))
        for j in range(15):
            x, y = points.get(j, (0.0, 0.0))
            rows.append(f"{number} {j + 1} {x:.1f} {y:.1f} {int(j in points)}")
    write(root / "images.txt", [f"{i} {name(i)}" for i in IDS])
    write(root / "parts" / "part_locs.txt", rows)
    write(root / "train_test_split.txt", [f"{i} {int(i < 3)}" for i in IDS])
    return root


@pytest.fixture
def cub(tmp_path):
    return build(tmp_path)


def add_masks(folder, numbers=tuple(IDS)) -> None:
    """Annotators' votes: above 127 in the upper left quarter, 102 on the right; the mask of 19 is RGB."""
    for number in numbers:
        votes = np.kron(np.uint8([[153 if number % 2 else 255, 102], [0, 102]]), np.ones((20, 20), np.uint8))
        mask = Image.fromarray(np.stack([votes, 255 - votes, 255 - votes], axis=-1) if number == 19 else votes)
        path = (folder / name(number)).with_suffix(".png")
        path.parent.mkdir(parents=True)
        mask.resize(SIZES[number], Image.Resampling.NEAREST).save(path)


def opened(root, split, size=64, **more):
    return load("cub", split, size, data_dir=root, cache_dir=root.parent / "cache", **more)


def said(root) -> str:
    """All faults and oddities."""
    found = check("cub", root)
    return "\n".join(found.faults + found.oddities)


def test_the_package_holds_the_papers_split():
    split_of = paper_split()
    assert Counter(split_of.values()) == {"train": 10_000, "val": 788, "test": 1_000}
    assert list(split_of) == list(range(1, 11_789)) and {number: split_of[number] for number in IDS} == IDS


def test_the_packages_split_is_the_published_file(shared):
    path = shared / "reference" / "cub_train_val_test_split.txt"
    if not path.is_file():
        pytest.skip(f"no split file at {path}")
    published = dict(line.split() for line in path.read_text().splitlines())
    digits = {"train": "0", "val": "1", "test": "2"}
    assert published == {str(number): digits[split] for number, split in paper_split().items()}


def test_splits_hold_the_images_of_their_ids(cub):
    for split in ("train", "val", "test"):
        assert opened(cub, split).names == tuple(name(i) for i in IDS if IDS[i] == split)
    data = opened(cub, "official-test")
    assert data.names == tuple(name(i) for i in IDS if i >= 3)
    np.testing.assert_allclose(data.images[:, -1, -1, 0], [2 * i for i in IDS if i >= 3], atol=3)


@pytest.mark.parametrize("size", [32, 64, 128])
def test_keypoints_lie_on_their_pixels_at_every_size(cub, size):
    data = opened(cub, "official-test", size)
    assert data.keypoints.shape == (4, 15, 2) and data.keypoint_names == KEYPOINTS
    for image, points, visible in zip(data.images, data.keypoints, data.visible, strict=True):
        assert np.flatnonzero(visible).tolist() == SEEN
        for channel, j in enumerate(SEEN):
            np.testing.assert_allclose(points[j], centre_of_block(image, channel), atol=0.2 + size / 300)


@pytest.mark.parametrize("place", ["inside", "beside"])
def test_masks_are_read_inside_the_folder_or_beside_it(cub, place):
    add_masks((cub if place == "inside" else cub.parent) / "segmentations")
    data = opened(cub, "test", 32)
    expected = np.zeros((32, 32), np.uint8)
    expected[:16, :16] = 1
    np.testing.assert_array_equal(data.foreground, [expected, expected])  # grey, and RGB: its first channel
    assert check("cub", cub).labels["foreground masks"] == 6


def test_a_mask_is_binarised_before_it_is_resized(cub):
    add_masks(cub / "segmentations")
    stripes = np.zeros((80, 120), np.uint8)
    stripes[:, ::4] = 255
    stripes[:40, 2::4] = 153  # 1/2 of the upper half votes, 1/4 of the lower
    Image.fromarray(stripes).save((cub / "segmentations" / name(12)).with_suffix(".png"))
    mask = opened(cub, "test", 20).foreground[0]  # a new pixel is 6 x 4 old ones
    assert mask[:10].mean() > 0.4 and not mask[10:].any()


def test_a_set_that_lists_only_some_images_is_read_as_it_is(cub):
    write(cub / "images.txt", [f"{i} {name(i)}" for i in (1, 12)])
    shutil.rmtree(cub / "images" / "019.Some_Bird")
    report = check("cub", cub)
    assert report.counts == {"train": 1, "val": 0, "test": 1, "official-test": 1} and not report.faults
    assert opened(cub, "test").names == (name(12),)


def test_the_folder_above_the_unpacked_one_may_be_named(cub):
    assert opened(cub.parent, "test").names == (name(12), name(19))


def test_only_images_are_needed(cub):
    assert check("cub", cub).labels == {"keypoints": 6, "visible keypoints": 18, "foreground masks": 0}
    shutil.rmtree(cub / "parts")
    (cub / "train_test_split.txt").unlink()
    data = opened(cub, "test")
    assert len(data) == 2 and data.keypoints is None and data.keypoint_names == ()


def test_points_outside_and_points_without_a_row_are_coped_with(cub):
    rows = (cub / "parts" / "part_locs.txt").read_text().splitlines()
    rows = [row for row in rows if not row.startswith("19 7 ")] + ["77 1 5 5 1", rows[0]]
    write(cub / "parts" / "part_locs.txt", [row.replace("12 2 30.0 ", "12 2 130.0 ") for row in rows])
    assert f"1 images have a visible keypoint outside them ({name(12)})" in said(cub)
    assert opened(cub, "test").visible.sum(1).tolist() == [3, 2]


def test_new_keypoints_are_noticed_by_the_cache(cub):
    before = opened(cub, "test").keypoints
    write(cub / "parts" / "part_locs.txt", ["12 2 9 9 1"])
    assert not np.array_equal(opened(cub, "test").keypoints, before)


def test_the_real_birds_of_50_classes_have_their_counts(shared, tmp_path):
    root = shared / "data" / "cub-200-2011-classes-1-50"
    if not root.is_dir():
        pytest.skip(f"no photographs at {root}")
    report = check("cub", root)
    assert report.labels == {"keypoints": 2889, "visible keypoints": 33_701, "foreground masks": 0}
    assert report.counts == {"train": 2478, "val": 184, "test": 227, "official-test": 1389} and not report.faults
    data = load("cub", "test", 32, data_dir=root, cache_dir=tmp_path, limit=60)
    assert len(data) == 60 and data.foreground is None
    beak, tail = KEYPOINTS.index("beak"), KEYPOINTS.index("tail")
    both = data.visible[:, beak] & data.visible[:, tail]
    gaps = np.linalg.norm(data.keypoints[both, beak] - data.keypoints[both, tail], axis=1)
    assert 8 < gaps.mean() < 28  # a bird fills most of its image
