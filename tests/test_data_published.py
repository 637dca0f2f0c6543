"""Published data sets in their publishers' layouts: splits, landmarks, masks, oddities; small copies and real ones."""

import shutil
from collections import Counter
from functools import partial

import numpy as np
import published as of
import pytest
from conftest import centre_of_block
from PIL import Image
from published import ALIGNED, MAFL, SEEN, WILD, bird, face

from ganseg.data import check, fingerprint, load, warn_once
from ganseg.data.cub import paper_split
from ganseg.data.flowers import read_mask

pytestmark = pytest.mark.usefixtures("cache")
TRAIN = (1, 2, 4, 5, 6, 7)  # CelebA's training partition without MAFL's test images


@pytest.fixture
def built(tmp_path):
    """`built(name)`: the folder of a small copy."""
    return lambda name: of.build(name, tmp_path / "data")


def read(root, name, split, size=32):
    return load(name, split, size, data_dir=root)


def faces(*numbers):
    return [face(n) for n in numbers]


def birds(*numbers):
    return [bird(n) for n in numbers]


def flowers(*numbers):
    return [f"image_{n:05d}.jpg" for n in numbers]


CELEBA = {"train": faces(*TRAIN), "regression": faces(*MAFL["training"]), "test": faces(*MAFL["testing"])}
SPLITS = {
    WILD: CELEBA,
    ALIGNED: CELEBA,
    "cub": {
        "train": birds(1, 2, 3), "val": birds(10), "test": birds(12, 19), "official-test": birds(3, 10, 12, 19),
    },
    "flowers": {"train": flowers(7, 3, 1), "test": flowers(2, 5), "val": flowers(6, 4),
                "test+val": flowers(2, 5, 6, 4)},
    "taichi": {
        "train": ["one.mp4/0000000.png", "two.mp4/0000000.png", "two.mp4/0000001.png"],
        "regression": [f"{i:03d}.png" for i in range(5)], "test": ["005.png", "006.png"],
    },
}  # fmt: skip
LABELS = {WILD: (0, 5, 25), ALIGNED: (0, 5, 25), "cub": (0, 6, 18), "flowers": (0, 0, 0), "taichi": (2, 7, 7 * 16)}


@pytest.mark.parametrize("name", SPLITS)
def test_splits_hold_their_images_in_the_publishers_order_and_with_its_labels(built, name):
    root = built(name)
    for split, names in SPLITS[name].items():
        data = read(root, name, split)
        assert data.names == tuple(names)
        labelled = name == "cub" or (name != "flowers" and split != "train")
        assert (data.keypoints is not None) == labelled == bool(data.keypoint_names and data.visible is not None)
    shades = {"cub": [6, 20, 24, 38], "taichi": [50, 60], "flowers": [40, 100, 120, 80]}.get(name)
    if shades:  # each image is under its own name
        np.testing.assert_allclose(data.images[:, -1, -2, 0], shades, atol=3)
    report = check(name, root)
    assert report.counts == {split: len(names) for split, names in SPLITS[name].items()} and not report.faults
    kinds = ("foreground masks", "keypoints", "visible keypoints")
    assert report.labels == dict(zip(kinds, LABELS[name], strict=True))


def points_of(name, image):
    """(3, 2) of the landmarks SEEN, and (W, H)."""
    number = int(image[-7:-4].split("_")[-1])
    if name == "cub":
        return of.bird_points(number), of.SIZES[number]
    number -= 763 if name in of.FOLDERS else 0
    return of.landmarks(name, number)[SEEN[name]], (256, 256) if name == "taichi" else of.face_size(name, number)


@pytest.mark.parametrize("size", [32, 100])
@pytest.mark.parametrize("name", SEEN)
def test_landmarks_lie_on_their_pixels_at_every_size(built, name, size):
    data = read(built(name), name, "official-test" if name == "cub" else "regression", size)
    assert data.keypoints.dtype == np.float32 and data.images.shape[1:] == (size, size, 3)
    for image, points, seen, of_image in zip(data.images, data.keypoints, data.visible, data.names, strict=True):
        expected, sides = points_of(name, of_image)
        np.testing.assert_allclose(points[SEEN[name]], (expected + 0.5) * size / np.array(sides) - 0.5, atol=1e-4)
        centres = [centre_of_block(image, channel) for channel in range(3)]
        np.testing.assert_allclose(points[SEEN[name]], centres, atol=0.2 + size / 300)
        missing = {"cub": sorted({*range(15)} - {*SEEN["cub"]}), "taichi": [1, 2]}.get(name, [])
        assert np.flatnonzero(~seen).tolist() == missing
        assert name != "taichi" or ((points[missing] == -1).all() and (points[3:] > -0.6).all())


def moved(root):
    """CelebA in the publisher's folders."""
    for folder, pattern in {"Img": "img_celeba", "Anno": "list_*.txt"}.items():
        inside = list(root.glob(pattern))
        (root / folder).mkdir()
        for item in inside:
            item.rename(root / folder / item.name)


def some_birds(root):
    of.write(root / "images.txt", *(f"{i} {bird(i)}" for i in (1, 12)))
    shutil.rmtree(root / "images" / "019.Some_Bird")


def no_labels(root):
    shutil.rmtree(root / "parts")
    (root / "train_test_split.txt").unlink()


def large_faces(root):
    table = {n: (0, 0, 10, 10) for n in (2, 3)}
    area = {n: of.face_size(WILD, n)[0] * of.face_size(WILD, n)[1] for n in (5, 6)}
    assert 3 * area[6] % 10 == 0
    table[6] = (-5, 190, 3 * area[6] // 10, 1)  # exactly 30 %, as printed, wherever it lies: stays
    table[5] = (0, 0, 3 * area[5] // 10 - 1, 1)  # just less: goes
    of.write_boxes(root, table)


def no_sizes(root):
    (root / "list_imsize_celeba.txt").unlink()
    of.write_boxes(root, {7: (0, 0, 5, 5)})


def other_mafl(root):
    of.write_names(root, "training", (2, 4, 8, 5_000))  # an image that CelebA lacks
    of.write_names(root, "testing", (3, 9, 4))


def other_points(root):
    """The order and values of the table count, and equal rows once."""
    points = [of.landmarks("taichi", i) for i in (5, 6)]
    of.write_points(root, ["006.png", "005.png", "005.png"], [points[0], points[1], points[1]])


def broken_frame(root):
    (root / "taichi-256" / "train" / "two.mp4" / "0000000.png").write_bytes(b"broken")


@pytest.mark.parametrize(
    ("name", "change", "split", "names"),
    [
        (WILD, moved, "train", faces(*TRAIN)),
        (WILD, large_faces, "train", faces(1, 4, 6, 7)),
        (WILD, large_faces, "regression", faces(4, 8)),
        (WILD, large_faces, "test", faces(9)),
        (WILD, no_sizes, "train", faces(*TRAIN[:-1])),
        (WILD, other_mafl, "train", faces(1, 2, 5, 6, 7)),
        (WILD, other_mafl, "regression", faces(2, 8)),
        (WILD, other_mafl, "test", faces(3, 9, 4)),
        ("cub", some_birds, "test", birds(12)),
        ("cub", some_birds, "official-test", birds(12)),
        ("cub", no_labels, "test", birds(12, 19)),
        ("taichi", other_points, "test", ["006.png", "005.png"]),
        ("taichi", broken_frame, "train", ["one.mp4/0000000.png", "two.mp4/0000001.png"]),
    ],
)
def test_other_files_give_other_splits(built, name, change, split, names):
    root = built(name)
    read(root, name, split)  # into the cache
    change(root)
    data = read(root, name, split)
    assert data.names == tuple(names) and not check(name, root).faults
    if change is other_points:
        np.testing.assert_allclose(read(root, name, split, 256).keypoints[0], of.landmarks(name, 5), atol=1e-4)
    assert change is not no_labels or (data.keypoints is None and data.keypoint_names == ())
    assert change is not broken_frame or data.skipped[0].startswith("two.mp4/0000000.png: ")


def test_boxes_of_cub_scale_with_the_image_and_may_be_absent(built):
    root = built("cub")
    assert read(root, "cub", "test", 20).boxes.tolist() == [[0, 0, 10, 5]] * 2
    (root / "bounding_boxes.txt").unlink()
    assert read(root, "cub", "test", 20).boxes is None


def test_cub_may_be_named_by_the_folder_above(built):
    assert read(built("cub").parent, "cub", "test").names == tuple(birds(12, 19))


def test_a_converted_table_is_read_alike_and_preferred(built):
    root = built("taichi")
    before = read(root, "taichi", "test").keypoints
    values = np.stack([of.landmarks("taichi", i) for i in (5, 6)])
    np.savez((root / of.POINTS).with_suffix(".npz"), file_name=["005.png", "006.png"], value=values)
    (root / of.POINTS).write_bytes(b"damaged")
    np.testing.assert_array_equal(read(root, "taichi", "test").keypoints, before)


def test_new_keypoints_are_noticed_by_the_cache_and_points_without_a_row_are_not_visible(built):
    root = built("cub")
    before = read(root, "cub", "test").visible
    of.write(root / "parts" / "part_locs.txt", "12 2 9 9 1", "12 2 9 9 1", "77 1 5 5 1")
    assert before.sum(1).tolist() == [3, 3] and read(root, "cub", "test").visible.sum(1).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["cub", "flowers", ALIGNED, "taichi"])
def test_a_set_is_known_by_what_its_files_hold(built, name):
    root = built(name)
    known = fingerprint(name, root)
    images = (path for path in sorted(root.rglob("*")) if path.suffix in (".jpg", ".png"))
    image = next(path for path in images if "mask" not in str(path))
    content = bytearray(image.read_bytes())
    content[-3] ^= 1
    image.write_bytes(content)
    assert known and fingerprint(name, root) != known


QUARTER = np.kron(np.uint8([[1, 0], [0, 0]]), np.ones((16, 16), np.uint8))
MASKS = {
    "inside": ("cub", lambda root: of.bird_masks(root / "segmentations", *of.BIRDS), 6),
    "beside": ("cub", lambda root: of.bird_masks(root.parent / "segmentations", *of.BIRDS), 6),
    "segmim": ("flowers", lambda root: of.segmim(root, *range(1, 8)), 7),
    "taichi": ("taichi", lambda root: None, 2),
}


@pytest.mark.parametrize("case", MASKS)
def test_masks_are_found_and_grey_or_rgb_their_first_channel_counts(built, case):
    name, add, count = MASKS[case]
    root = built(name)
    add(root)
    masks = read(root, name, "test").foreground
    assert masks.shape == (2, 32, 32) and (masks != QUARTER).mean() < (0.02 if case == "segmim" else 1e-9)
    report = check(name, root)
    assert report.labels["foreground masks"] == count and not report.faults


def test_masks_of_taichi_can_be_done_without(built):
    root = built("taichi")
    shutil.rmtree(root / "taichi-test-masks")
    assert read(root, "taichi", "test").foreground is None and not check("taichi", root).faults


def test_a_mask_is_binarised_before_it_is_resized(built):
    root = built("cub")
    of.bird_masks(root / "segmentations", *of.BIRDS)
    stripes = np.zeros((80, 120), np.uint8)
    stripes[:, ::4] = 255
    stripes[:40, 2::4] = 153  # 1/2 of the upper half votes, 1/4 of the lower
    Image.fromarray(stripes).save((root / "segmentations" / bird(12)).with_suffix(".png"))
    mask = read(root, "cub", "test", 20).foreground[0]  # a new pixel is 6 x 4 old ones
    assert mask[:10].mean() > 0.4 and not mask[10:].any()


def test_each_background_rule_of_segmim_counts(tmp_path):
    array = np.full((16, 16, 3), (200, 90, 60), np.uint8)
    array[:4, :, 0], array[4:8, :, 1], array[8:12, :, 2] = 0, 0, 254
    Image.fromarray(array).save(tmp_path / "segmim_00001.png")  # without loss
    mask = read_mask(tmp_path / "segmim_00001.png", 16)
    assert not mask[:12].any() and mask[12:].all()


def test_trimaps_keep_255_images_without_one_are_ignored_and_the_publishers_segmentation_is_preferred(built):
    root = built("flowers")
    assert read(root, "flowers", "test").foreground is None
    of.trimaps(root, 5)
    without, mask = read(root, "flowers", "test").foreground  # of the images 2 and 5; not those in the cache
    assert (without == 255).all() and (mask[:12] == 1).all() and (mask[12:16] == 255).all() and not mask[16:].any()
    of.segmim(root, 2)
    assert [(m == 255).any() for m in read(root, "flowers", "test").foreground] == [False, True]


def test_a_resized_trimap_takes_the_commonest_value(tmp_path):
    trimap = np.array([[1, 1, 0, 0], [1, 255, 255, 0], [255, 255, 1, 1], [255, 0, 1, 1]], np.uint8)
    path = tmp_path / "trimaps" / "t.png"
    path.parent.mkdir()
    Image.fromarray(trimap).save(path)
    np.testing.assert_array_equal(read_mask(path, 2), [[1, 0], [255, 1]])
    np.testing.assert_array_equal(read_mask(path, 4), trimap)


def test_oddities_are_told_and_coped_with(built, caplog):
    root = built(WILD)
    change = {n: of.landmarks(WILD, n) for n in range(1, 11)} | {9: (-3, 5, 600, 7, 20, 30, 30, 40, 50, 60)}
    of.write_list(root / "list_landmarks_celeba.txt", "a header", change)
    (root / "list_imsize_celeba.txt").unlink()
    warn_once.cache_clear()
    data = read(root, WILD, "test")
    assert data.visible.all() and data.keypoints[1, 0, 0] < 0 and data.keypoints[1, 1, 0] > 32
    told = "\n".join(check(WILD, root).oddities)
    for words in (
        "list_imsize_celeba.txt is missing: sizes are read from the images",
        "2 images in split test, where the paper's protocol has 283",
    ):
        assert words in told and words in caplog.text


def test_the_papers_split_of_cub_is_known():
    split_of = paper_split()
    assert Counter(split_of.values()) == {"train": 10_000, "val": 788, "test": 1_000}
    assert list(split_of) == list(range(1, 11_789)) and {number: split_of[number] for number in of.BIRDS} == of.BIRDS


def test_the_packages_split_is_the_published_file(shared):
    published = (shared / "reference" / "cub_train_val_test_split.txt").read_text().splitlines()
    digits = {"train": "0", "val": "1", "test": "2"}
    assert published == [f"{number} {digits[split]}" for number, split in paper_split().items()]


@pytest.fixture
def photographs(shared):
    """`photographs(folder)`: where real photographs lie, and how to load some of them."""

    def found(folder, name):
        root = shared / "data" / folder
        if not root.is_dir():
            pytest.skip(f"no photographs at {root}")
        return check(name, root), partial(load, name, data_dir=root)

    return found


def test_the_real_birds_of_50_classes_have_their_counts_and_boxes_that_hold_their_keypoints(photographs):
    report, opened = photographs("cub-200-2011-classes-1-50", "cub")
    assert report.labels == {"keypoints": 2889, "visible keypoints": 33_701, "foreground masks": 0}
    assert report.counts == {"train": 2478, "val": 184, "test": 227, "official-test": 1389} and not report.faults
    data = opened("test", 32, limit=60)
    assert len(data) == 60 and data.foreground is None
    beak, tail = map(data.keypoint_names.index, ("beak", "tail"))
    both = data.visible[:, beak] & data.visible[:, tail]
    gaps = np.linalg.norm(data.keypoints[both, beak] - data.keypoints[both, tail], axis=1)
    assert 8 < gaps.mean() < 28  # a bird fills most of its image
    low, high = data.boxes[:, None, :2] - 1, data.boxes[:, None, 2:] + 1
    inside = ((data.keypoints > low) & (data.keypoints < high)).all(axis=2)[data.visible]
    assert inside.mean() > 0.98 and 0.2 < (high - low).prod(axis=2).mean() / 32**2 < 0.6


def test_the_real_flowers_have_the_papers_counts(photographs):
    report, opened = photographs("flowers-102", "flowers")
    assert not report.faults and all("of their pixels are foreground" in one for one in report.oddities)
    assert report.labels["foreground masks"] == 466
    assert report.counts == {"train": 6149, "test": 1020, "val": 1020, "test+val": 2040}
    both = opened("test+val", 16)
    labelled = (both.foreground != 255).any((1, 2))
    assert labelled.sum() == 142
    known = both.foreground[labelled]
    assert 0.2 < (known == 1).sum() / (known != 255).sum() < 0.7
    front, back = (both.images[labelled][known == v].mean(0) for v in (1, 0))
    assert np.abs(front - back).max() > 20  # the masks lie on the flowers
