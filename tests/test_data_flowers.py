"""Flowers-102 in the publisher's layout: a fixture in the genuine format, and the real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
from PIL import Image

from ganseg.data import check, load
from ganseg.data.flowers import read_mask

IDS = {"tstid": [7, 3, 1], "trnid": [2, 5], "valid": [6, 4]}
BLUE = (0, 0, 254)


def photograph(number: int) -> np.ndarray:
    """(30, 50, 3): grey that tells the number, the left fifth white."""
    array = np.full((30, 50, 3), 20 * number, np.uint8)
    array[:, :10] = 255
    return array


def build(folder):
    root = folder / "flowers"
    (root / "jpg").mkdir(parents=True)
    tables = {key: np.array([ids], np.uint16) for key, ids in IDS.items()}
    scipy.io.savemat(root / "setid.mat", tables)
    for number in range(1, 8):
        Image.fromarray(photograph(number)).save(root / "jpg" / f"image_{number:05d}.jpg", quality=100)
    return root


@pytest.fixture
def flowers(tmp_path):
    return build(tmp_path)


@pytest.fixture
def opened(flowers):
    return lambda split: load("flowers", split, 16, data_dir=flowers, cache_dir=flowers.parent / "cache")


def add_segmim(root, numbers) -> None:
    """Paint everything but the upper left quarter blue."""
    (root / "segmim").mkdir()
    for number in numbers:
        array = np.full((32, 48, 3), BLUE, np.uint8)
        array[:16, :24] = (200, 90, 60)
        Image.fromarray(array).save(root / "segmim" / f"segmim_{number:05d}.jpg", quality=100, subsampling=0)


def add_trimaps(root, numbers) -> None:
    """Upper half flower, a band of 255, the rest background."""
    (root / "trimaps").mkdir()
    for number in numbers:
        array = np.zeros((32, 32), np.uint8)
        array[:12], array[12:16] = 1, 255
        Image.fromarray(array).save(root / "trimaps" / f"image_{number:05d}.png")


def test_splits_hold_the_publishers_images_in_its_order(flowers, opened):
    expected = {"train": [7, 3, 1], "test": [2, 5], "val": [6, 4], "test+val": [2, 5, 6, 4]}
    for split, ids in expected.items():
        data = opened(split)
        assert data.names == tuple(f"image_{i:05d}.jpg" for i in ids)
        np.testing.assert_allclose(data.images[:, 8, 12, 0], [20 * i for i in ids], atol=3)
        assert (data.images[:, 8, 0] > 250).all() and data.foreground is None


def test_segmim_is_what_is_not_blue(flowers, opened):
    add_segmim(flowers, range(1, 8))
    expected = np.zeros((16, 16), np.uint8)
    expected[:8, :8] = 1
    masks = opened("test").foreground
    assert masks.shape == (2, 16, 16) and (masks != expected).mean() < 0.02
    found = check("flowers", flowers)
    assert found.counts == {"train": 3, "test": 2, "val": 2, "test+val": 4} and not found.faults
    assert found.labels == {"keypoints": 0, "foreground masks": 7, "visible keypoints": 0}
    assert "where the paper's protocol has 6,149" in "".join(found.oddities)


def test_each_background_rule_of_segmim_counts(tmp_path):
    array = np.full((16, 16, 3), (200, 90, 60), np.uint8)
    array[:4, :, 0], array[4:8, :, 1], array[8:12, :, 2] = 0, 0, 254
    Image.fromarray(array).save(tmp_path / "segmim_00001.png")  # without loss
    mask = read_mask(tmp_path / "segmim_00001.png", 16)
    assert not mask[:12].any() and mask[12:].all()


def test_trimaps_keep_255_and_images_without_one_are_ignored(flowers, opened):
    assert opened("test").foreground is None
    add_trimaps(flowers, [5])
    without, mask = opened("test").foreground  # of the images 2 and 5; not those in the cache
    assert (without == 255).all() and (mask[:6] == 1).all() and (mask[6:8] == 255).all() and not mask[8:].any()


def test_a_resized_trimap_takes_the_commonest_value(tmp_path):
    trimap = np.array([[1, 1, 0, 0], [1, 255, 255, 0], [255, 255, 1, 1], [255, 0, 1, 1]], np.uint8)
    path = tmp_path / "trimaps" / "t.png"
    path.parent.mkdir()
    Image.fromarray(trimap).save(path)
    np.testing.assert_array_equal(read_mask(path, 2), [[1, 0], [255, 1]])
    np.testing.assert_array_equal(read_mask(path, 4), trimap)


def test_the_publishers_segmentation_is_preferred(flowers, opened):
    add_segmim(flowers, [2])
    add_trimaps(flowers, [2, 5])
    data = opened("test")
    assert not (data.foreground[0] == 255).any() and (data.foreground[1] == 255).any()


def test_grey_photographs_become_rgb(flowers, opened):
    Image.fromarray(photograph(5)[..., 0]).save(flowers / "jpg" / "image_00005.jpg")
    image = opened("test").images[1]
    assert (image[..., :1] == image).all()


def test_the_real_flowers_have_the_papers_counts(shared, tmp_path):
    root = shared / "data" / "flowers-102"
    if not root.is_dir():
        pytest.skip(f"no photographs at {root}")
    found = check("flowers", root)
    assert not found.faults and not found.oddities and found.labels["foreground masks"] == 466
    assert found.counts == {"train": 6149, "test": 1020, "val": 1020, "test+val": 2040}
    both = load("flowers", "test+val", 16, data_dir=root, cache_dir=tmp_path)
    labelled = (both.foreground != 255).any((1, 2))
    assert labelled.sum() == 142
    known = both.foreground[labelled]
    assert 0.2 < (known == 1).sum() / (known != 255).sum() < 0.7
    front, back = (both.images[labelled][known == v].mean(0) for v in (1, 0))
    assert np.abs(front - back).max() > 20  # the masks lie on the flowers
