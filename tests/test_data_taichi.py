"""Taichi in the published layout: a fixture in the genuine format, with landmarks that can be seen."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import centre_of_block
from PIL import Image

from ganseg.data import check, load

SEEN = [0, 3, 17]  # the landmarks whose blocks are drawn; 1 and 2 are missing


def landmarks(i: int) -> np.ndarray:
    """(18, 2) integers of frame i, without symmetry; landmarks 1 and 2 are missing."""
    points = np.stack([(37 * np.arange(18) + 60 * i) % 256, (91 * np.arange(18) + 20 * i) % 256], axis=1)
    points[SEEN] = [[40, 200], [200 + i, 50], [100, 120 + i]]
    points[[1, 2]] = -1
    return points


def photograph(i: int) -> Image.Image:
    """A dark frame with a bright block about each of the landmarks SEEN, a channel each."""
    array = np.full((256, 256, 3), 10 * i, np.uint8)
    for channel, (x, y) in enumerate(landmarks(i)[SEEN]):
        array[y - 8 : y + 9, x - 8 : x + 9, channel] = 255
    return Image.fromarray(array)


def build(folder):
    """Five annotated frames to fit on, two to test, three to train on; one test mask is RGB."""
    root = folder / "taichi"
    for name in ("landmark", "taichi-test-masks", "taichi-256/train/one.mp4", "taichi-256/train/two.mp4"):
        (root / name).mkdir(parents=True)
    for name, numbers in (("train", range(5)), ("test", range(5, 7))):
        folder = root / "eval_images" / "taichi-256" / name
        folder.mkdir(parents=True)
        for i in numbers:
            photograph(i).save(folder / f"{i:03d}.png")
        table = {"file_name": [f"{i:03d}.png" for i in numbers], "value": [landmarks(i) for i in numbers]}
        pd.DataFrame(table).to_pickle(root / "landmark" / f"taichi_{name}_gt.pkl")
    for i, mode in ((5, "L"), (6, "RGB")):
        mask = np.zeros((256, 256), np.uint8)
        mask[:128, :64], mask[128:, 64:] = 255, 127
        array = mask if mode == "L" else np.stack([mask, 255 - mask, mask * 0], axis=-1)
        Image.fromarray(array).save(root / "taichi-test-masks" / f"{i:03d}.png")
    for i, name in enumerate(("one.mp4/0000000.png", "two.mp4/0000000.png", "two.mp4/0000001.png")):
        photograph(i).save(root / "taichi-256" / "train" / name)
    return root


@pytest.fixture
def taichi(tmp_path):
    return build(tmp_path)


def opened(root, split, size=64):
    return load("taichi", split, size, data_dir=root, cache_dir=root.parent / "cache")


@pytest.mark.parametrize("size", [32, 128, 256])
def test_landmarks_lie_on_their_pixels_at_every_size(taichi, size):
    data = opened(taichi, "regression", size)
    assert data.images.shape == (5, size, size, 3) and data.keypoints.shape == (5, 18, 2)
    for image, points in zip(data.images, data.keypoints, strict=True):
        for channel, j in enumerate(SEEN):
            np.testing.assert_allclose(points[j], centre_of_block(image, channel), atol=0.15 + size / 600)


def test_missing_landmarks_are_not_visible_and_stay_minus_one(taichi):
    data = opened(taichi, "test")
    assert not data.visible[:, [1, 2]].any() and data.visible.sum() == 2 * 16
    assert (data.keypoints[:, [1, 2]] == -1).all() and (data.keypoints[:, 3:] > -0.6).all()


def test_splits_hold_their_frames(taichi):
    assert opened(taichi, "regression").names == tuple(f"{i:03d}.png" for i in range(5))
    train = opened(taichi, "train")
    assert train.names == ("one.mp4/0000000.png", "two.mp4/0000000.png", "two.mp4/0000001.png")
    assert train.keypoints is None and train.images[:, -1, 0, 0].tolist() == [0, 10, 20]


def test_masks_are_foreground_above_127_in_the_first_channel_and_optional(taichi):
    expected = np.zeros((32, 32), np.uint8)
    expected[:16, :8] = 1
    np.testing.assert_array_equal(opened(taichi, "test", 32).foreground, [expected, expected])
    found = check("taichi", taichi)
    assert found.counts == {"train": 3, "regression": 5, "test": 2} and not found.faults
    assert found.labels == {"keypoints": 7, "visible keypoints": 7 * 16, "foreground masks": 2}
    shutil.rmtree(taichi / "taichi-test-masks")
    assert opened(taichi, "test").foreground is None and not check("taichi", taichi).faults


def test_a_converted_table_is_read_alike_and_preferred(taichi):
    before = opened(taichi, "test").keypoints
    pickled = taichi / "landmark" / "taichi_test_gt.pkl"
    values = np.stack([landmarks(5), landmarks(6)])
    np.savez(pickled.with_suffix(".npz"), file_name=["005.png", "006.png"], value=values)
    pickled.write_bytes(b"damaged")
    np.testing.assert_array_equal(opened(taichi, "test").keypoints, before)


def write_test_table(taichi, names, values) -> None:
    table = {"file_name": names, "value": values}
    pd.DataFrame(table).to_pickle(taichi / "landmark" / "taichi_test_gt.pkl")


def test_the_tables_order_and_values_count_and_equal_rows_once(taichi):
    opened(taichi, "test", 256)  # into the cache
    write_test_table(taichi, ["006.png", "005.png", "005.png"], [landmarks(5), landmarks(6), landmarks(6)])
    data = opened(taichi, "test", 256)
    assert data.names == ("006.png", "005.png")
    np.testing.assert_allclose(data.keypoints, [landmarks(5), landmarks(6)], atol=1e-4)


def test_a_split_whose_files_are_absent_leaves_the_others(taichi):
    shutil.rmtree(taichi / "taichi-256")
    assert len(opened(taichi, "test")) == 2
    shutil.rmtree(taichi / "landmark")
    assert "no split has an image" in "".join(check("taichi", taichi).faults)


def test_an_unreadable_frame_to_train_on_is_left_out(taichi):
    (taichi / "taichi-256" / "train" / "two.mp4" / "0000000.png").write_bytes(b"broken")
    train = opened(taichi, "train")
    assert len(train) == 2 and train.skipped[0][0] == "two.mp4/0000000.png"
