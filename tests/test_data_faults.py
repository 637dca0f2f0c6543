"""What is wrong with a published data set is refused with the file, how many, and what would be right."""

import re
import shutil

import numpy as np
import published as of
import pytest
import scipy.io
from PIL import Image
from published import ALIGNED, WILD, bird, face

from ganseg.data import check, load
from ganseg.files import UserError

pytestmark = pytest.mark.usefixtures("cache")


def gone(*paths):
    return lambda root: [shutil.rmtree(root / p) if (root / p).is_dir() else (root / p).unlink() for p in paths]


def holds(path, *lines):
    return lambda root: of.write(root / path, *lines)


def lacks(path, *starts):
    def spoil(root):
        rows = (root / path).read_text().splitlines()
        (root / path).write_text("\n".join(row for row in rows if not row.startswith(starts)))

    return spoil


def sized(path, *size):
    return lambda root: Image.new("RGB", size).save(root / path)


def numbered(*ids):
    return lambda root: scipy.io.savemat(root / "setid.mat", dict(zip(("tstid", "trnid", "valid"), ids, strict=True)))


def table(*values, names=("005.png", "005.png")):
    return lambda root: of.write_points(root, list(names), list(values))


def objects(root):
    path = root / "landmark" / "taichi_test_gt.npz"
    np.savez(path, file_name=np.array(["a.png"], object), value=np.zeros((1, 18, 2)))


def masks(*numbers):
    return lambda root: of.bird_masks(root / "segmentations", *numbers)


FIRST, BIRD, FRAMES = face(1), bird(1), "eval_images/taichi-256"
POINTS = [of.landmarks("taichi", i) for i in (5, 6)]
EMPTY = "is missing or cannot be read"


def bomb(root):
    np.savez_compressed(root / "landmark/taichi_test_gt.npz", file_name=np.zeros(2), value=np.zeros(20_000_000))


SPLIT, UNREAD = "images and masks of the split", "1 images of SPLIT or their masks cannot be read"
OTHER = "pixels, its labels are for"
NEEDED = "needed files or folders are missing in"
SIZES = "list_imsize_celeba.txt"
TWICE = "damaged or contradict an earlier one"
FAULTS = [
    (WILD, "train", gone("MAFL/training.txt", "list_landmarks_celeba.txt"), f"2 {NEEDED} ROOT (list_landmarks_celeba"),
    (WILD, "train", holds("list_landmarks_celeba.txt", ""), f"list_landmarks_celeba.txt {EMPTY}"),
    (WILD, "train", lacks("list_bbox_celeba.txt", face(4), face(9)), "2 images have no row in list_bbox"),
    (WILD, "train", lacks(SIZES, face(4)), f"1 images have no row in {SIZES} ({face(4)})"),
    (WILD, "test", sized(f"img_celeba/{face(3)}", 50, 60), f"50 x 60 {OTHER} 150 x 185"),
    (ALIGNED, "test", sized(f"img_align_celeba/{face(3)}", 218, 178), f"218 x 178 {OTHER} 178 x 218"),
    (WILD, "test", gone(f"img_celeba/{face(3)}"), f"1 of 2 {SPLIT} test are missing ({face(3)})"),
    (WILD, "train", lambda root: [gone(SIZES)(root), holds(f"img_celeba/{FIRST}")(root)],
     f"1 images cannot be read ({FIRST})"),
    ("cub", "test", gone("images.txt"), "images.txt is missing"),
    ("cub", "train", holds("images.txt", f"1 {BIRD}", f"99 {BIRD}"), "1 images are in images.txt under two ids"),
    ("cub", "train", holds("images.txt", f"1 {BIRD}", f"1 {bird(2)}"), f"{TWICE} (1)"),
    ("cub", "train", holds("parts/part_locs.txt", "1 2 3 4 1", "1 2 3 5 1"), f"part_locs.txt are {TWICE} ((1, 2))"),
    ("cub", "train", holds("parts/part_locs.txt", "1 2 3 4", "1 3 3 4 1"), "1 rows of ROOT/parts/part_locs.txt are"),
    ("cub", "train", holds("bounding_boxes.txt", "1 2 3 4 5", "1 2 3 4 6"), f"bounding_boxes.txt are {TWICE} (1)"),
    ("cub", "train", holds("train_test_split.txt", "1 1", "2 1"), "4 images have no row in train_test_split.txt"),
    ("cub", "test", gone(f"images/{bird(19)}"), f"1 of 2 {SPLIT} test are missing ({bird(19)[14:]})"),
    ("cub", "test", masks(1, 12), f"1 of 4 {SPLIT} test are missing"),
    ("flowers", "train", gone("setid.mat"), f"setid.mat {EMPTY}"),
    ("flowers", "train", holds("setid.mat", "damaged"), f"setid.mat {EMPTY}"),
    ("flowers", "test", numbered([1, 4], [2], [6, 4]), "1 image numbers come twice in setid.mat (4)"),
    ("flowers", "train", gone("jpg/image_00003.jpg"), f"1 of 3 {SPLIT} train are missing (image_00003.jpg)"),
    ("flowers", "test", holds("jpg/image_00005.jpg", "broken"), f"{UNREAD} (image_00005.jpg"),
    ("flowers", "test", lambda root: of.segmim(root, 2), f"1 of 4 {SPLIT} test are missing (segmim_00005"),
    ("taichi", "test", objects, f"taichi_test_gt.npz {EMPTY}"),
    ("taichi", "test", bomb, f"taichi_test_gt.npz {EMPTY} (it would fill the memory)"),
    ("taichi", "test", table(POINTS[0], "none"), "it holds 2 names of images and 1 arrays"),
    ("taichi", "test", table(*np.zeros((2, 17, 2))), "shape (2, 17, 2)). It must hold file_name and value, 18"),
    ("taichi", "test", table(*np.full((2, 18, 2), np.nan)), f"{TWICE} (005.png"),
    ("taichi", "test", table(*POINTS), f"taichi_test_gt.pkl are {TWICE} (005.png)"),
    ("taichi", "regression", gone(f"{FRAMES}/train/003.png"), f"1 of 5 {SPLIT} regression are missing (003.png)"),
    ("taichi", "test", gone("taichi-test-masks/006.png"), f"1 of 4 {SPLIT} test are missing (006.png)"),
    ("taichi", "test", holds(f"{FRAMES}/test/005.png", "broken"), f"{UNREAD} (005.png"),
    ("taichi", "test", sized(f"{FRAMES}/test/005.png", 100, 100), f"100 x 100 {OTHER} 256 x 256"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "split", "spoil", "said"), FAULTS)
def test_a_fault_is_refused_by_load_and_found_by_check(tmp_path, name, split, spoil, said):
    root = of.build(name, tmp_path / "data")
    assert load(name, split, 16, data_dir=root) and not check(name, root).faults
    spoil(root)
    expected = said.replace("ROOT", str(root))
    with pytest.raises(UserError, match=re.escape(expected.replace("SPLIT", f"{name}-{split}"))):
        load(name, split, 16, data_dir=root)
    assert expected.replace("SPLIT", split) in "\n".join(check(name, root).faults)


@pytest.mark.parametrize(
    ("name", "paths", "splits"),
    [
        ("cub", ["train_test_split.txt"], ["official-test"]),
        ("taichi", ["taichi-256"], ["train"]),
        ("taichi", ["landmark"], ["regression", "test"]),
    ],
)
def test_what_lacks_one_split_can_be_used_for_the_others(tmp_path, name, paths, splits):
    root = of.build(name, tmp_path / "data")
    gone(*paths)(root)
    found = check(name, root)
    assert not found.faults and [split for split, count in found.counts.items() if not count] == splits
    for split in splits:
        with pytest.raises(UserError, match=f"the split {split} is empty. Put .* into one folder"):
            load(name, split, 16, data_dir=root)


def test_a_folder_without_any_image_is_refused(tmp_path):
    (fault,) = check("taichi", tmp_path).faults
    assert fault.startswith("no split has an image. Put taichi-256/train, eval_images/taichi-256")
