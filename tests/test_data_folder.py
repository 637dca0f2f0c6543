"""A folder of anyone's images: every mode, depth and orientation; broken files; too few images."""

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from ganseg.data import check, load, warn_once
from ganseg.data.folder import is_held_out
from ganseg.data.images import open_rgb, squash
from ganseg.files import UserError

pytestmark = pytest.mark.usefixtures("cache")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(corners=(RED, GREEN, BLUE, WHITE), size=(40, 24)) -> Image.Image:
    """An image without symmetry: one colour a quarter, in reading order."""
    small = np.array(corners, np.uint8).reshape(2, 2, 3)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST)


def corners(array: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middle of the quarters, in reading order."""
    a, b = array.shape[0] // 4, 3 * array.shape[0] // 4
    return [tuple(int(v) for v in array[y, x]) for y in (a, b) for x in (a, b)]


def close(got, expected) -> bool:
    return np.abs(np.array(got) - np.array(expected)).max() <= 12


@pytest.fixture
def many(tmp_path):
    """A folder with 100 readable images, some nested."""
    root = tmp_path / "photos"
    (root / "deep" / "er").mkdir(parents=True)
    for i in range(100):
        quarters(((2 * i, 0, 0), GREEN, BLUE, WHITE)).save(root / ("deep/er" if i % 3 else "") / f"p{i:03d}.png")
    return root


def both_splits(root, size=20):
    return [load("folder", split, size, data_dir=root) for split in ("train", "test")]


def lying_with(orientation):
    """So that viewers turn it: by 6 clockwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"quality": 100, "exif": exif}


def see_through(mode):
    """Its first quarter is transparent."""
    image = quarters(CUT)
    image.putalpha(Image.fromarray(np.uint8([[0, 255], [255, 255]])).resize(image.size, Image.Resampling.NEAREST))
    return image.convert(mode)


COLOURS, BEST, WIDE, BLACK = (RED, GREEN, BLUE, WHITE), {"quality": 100}, quarters(size=(90, 30)), (0, 0, 0)
CUT, GREYS, LAID = (BLACK, GREEN, BLUE, BLACK), (BLACK, WHITE, WHITE, BLACK), (WHITE, GREEN, BLUE, WHITE)
NUMBERS = quarters(CUT).quantize(4)
SHADES = [(v, v, v) for v in (0, 60, 128, 255)]


def deep(kind, *values) -> Image.Image:
    """Four shades of grey in numbers of this kind."""
    return Image.fromarray(np.kron(np.reshape(values, (2, 2)), np.ones((8, 8))).astype(kind))


DEEP = deep(np.uint16, 0, 257 * 60, 257 * 128, 65535)
IMAGES = {
    "png": (WIDE, "png", {}, COLOURS),
    "bmp": (WIDE, "bmp", {}, COLOURS),
    "webp": (WIDE, "webp", BEST, COLOURS),
    "jpg": (WIDE, "jpg", BEST, COLOURS),
    "grey": (quarters(GREYS).convert("L"), "png", {}, GREYS),
    "one bit": (quarters(GREYS).convert("1"), "png", {}, GREYS),
    "palette": (quarters().convert("P"), "png", {}, COLOURS),
    "CMYK": (quarters().convert("CMYK"), "jpg", BEST, COLOURS),
    "16 bits are scaled, not clipped": (DEEP, "png", {}, SHADES),
    "12 bits in 16": (deep(np.uint16, 0, 964, 2056, 4095), "png", {}, SHADES),
    "10 bits in 16": (deep(np.uint16, 0, 241, 514, 1023), "png", {}, SHADES),
    "32 bits": (deep(np.int32, 0, 257 * 60, 257 * 128, 65535), "tif", {}, SHADES),
    "fractions": (deep(np.float32, 0, 0.235, 0.502, 1), "tif", {}, SHADES),
    "real numbers of 8 bits": (deep(np.float32, 0, 60, 128, 255), "tif", {}, SHADES),
    "transparency over white": (see_through("RGBA"), "png", {}, (WHITE, GREEN, BLUE, BLACK)),
    "grey over white": (see_through("LA"), "png", {}, (WHITE, (150,) * 3, (29,) * 3, BLACK)),
    "a transparent number": (NUMBERS, "png", {"transparency": NUMBERS.getpixel((0, 0))}, LAID),
    "a transparent colour": (quarters(CUT), "png", {"transparency": BLACK}, LAID),
    "upright": (quarters(size=(400, 240)), "jpg", lying_with(1), COLOURS),
    "mirrored": (quarters(size=(400, 240)), "jpg", lying_with(2), (GREEN, RED, WHITE, BLUE)),
    "head over": (quarters(size=(400, 240)), "jpg", lying_with(3), (WHITE, BLUE, GREEN, RED)),
    "on its right": (quarters(size=(400, 240)), "jpg", lying_with(6), (BLUE, RED, WHITE, GREEN)),
    "on its left": (quarters(size=(400, 240)), "jpg", lying_with(8), (GREEN, WHITE, RED, BLUE)),
}


@pytest.mark.parametrize("case", IMAGES)
def test_any_image_becomes_an_upright_square_of_rgb_that_is_squashed_and_not_cropped(tmp_path, case):
    image, suffix, options, expected = IMAGES[case]
    image.save(tmp_path / f"a.{suffix}", **options)
    array = squash(open_rgb(tmp_path / f"a.{suffix}", 64), 16)
    assert array.shape == (16, 16, 3) and array.dtype == np.uint8 and close(corners(array), expected)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (deep(np.float32, 0, 0.5, 1, np.nan), "values go from nan to nan"),
        (deep(np.float32, -1, 0, 0.5, 1), "values go from -1 to 1"),
        (deep(np.float32, 0, 1, 2, 3), "values go from 0 to 3"),
        (deep(np.int32, -5, 1, 2, 3), "values go from -5 to 3"),
    ],
)
def test_numbers_of_no_known_depth_are_refused_with_their_range(tmp_path, image, said):
    image.save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=said):
        open_rgb(tmp_path / "a.tif")


def test_colours_of_12_bits_in_16_are_refused_and_those_of_16_read(tmp_path):
    for top, name in ((4095, "a.png"), (65535, "b.png")):
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), top, np.uint16))
    with pytest.raises(ValueError, match="fewer bits"):
        open_rgb(tmp_path / "a.png")
    assert open_rgb(tmp_path / "b.png").getextrema() == ((255, 255),) * 3


def test_a_stack_of_images_is_refused(tmp_path):
    DEEP.save(tmp_path / "a.tif", save_all=True, append_images=[DEEP, DEEP])
    with pytest.raises(ValueError, match="it holds 3 images; store each in a file of its own"):
        open_rgb(tmp_path / "a.tif")


def test_reduction_is_antialiased(tmp_path):
    Image.fromarray(np.tile(np.uint8([0, 255]), (64, 32))).save(tmp_path / "a.png")  # stripes
    assert np.abs(squash(open_rgb(tmp_path / "a.png"), 16).astype(int) - 127.5).max() < 10


def test_train_and_test_share_few_images_which_is_told_once_and_adding_a_file_moves_no_other(many, caplog):
    warn_once.cache_clear()
    train, test = both_splits(many, 16)
    assert caplog.text.count("100 images are few. The paper asks for more than 5,000") == 1
    assert not set(train.names) & set(test.names) and len(train) + len(test) == 100
    assert train.foreground is None and train.keypoints is None
    quarters().save(many / "000-first.png")
    again = load("folder", "test", 16, data_dir=many)
    assert set(again.names) - {"000-first.png"} == set(test.names)
    for name, image in zip(train.names, train.images, strict=True):  # each under its own name
        assert corners(image)[0] == (2 * int(name[-7:-4]), 0, 0)


def test_a_tenth_is_held_out():
    share = np.mean([is_held_out(f"images/{i}.jpg") for i in range(5000)])
    assert 0.085 < share < 0.115


def test_broken_files_are_listed_counted_and_skipped(many, tmp_path, caplog):
    quarters(size=(400, 400)).save(tmp_path / "whole.jpg")
    half = (tmp_path / "whole.jpg").read_bytes()[:1000]
    broken = {"cut.jpg": half, "empty.png": b"", "text.webp": b"no image", "cut2.JPG": half[:40]}
    for name, content in broken.items():
        (many / name).write_bytes(content)
    for _ in range(2):  # again, from the cache
        caplog.clear()
        warn_once.cache_clear()
        splits = both_splits(many)
        assert "4 unreadable images are left out (cut.jpg: image file is truncated" in caplog.text
        assert caplog.text.count("104 images are few. The paper asks for more than 5,000") == 1  # of both splits
    assert sum(map(len, splits)) == 100
    assert {said.split(":")[0] for split in splits for said in split.skipped} == set(broken)


# Labels: masks/ and keypoints.csv.


@pytest.fixture
def labelled(tmp_path):
    """70 images of 40 x 24 pixels: 00 to 09 have a mask of the right upper quarter, 00 to 04 two keypoints."""
    root = tmp_path / "labelled"
    (root / "masks" / "deep").mkdir(parents=True)
    (root / "deep").mkdir()
    mask = Image.fromarray(np.uint8([[0, 255], [0, 0]])).resize((40, 24), Image.Resampling.NEAREST)
    names = [f"{'deep/' if i % 2 else ''}{i:02d}.png" for i in range(70)]
    for name in names:
        quarters().save(root / name)
    for name in names[:10]:
        mask.save(root / "masks" / name)
    rows = [f"{name},top right,39,0,1\n{name},bottom left,0,23,{int(name != '02.png')}" for name in names[:5]]
    (root / "keypoints.csv").write_text("name,point,x,y,visible\n" + "\n".join(rows) + "\n")
    return root


def test_keypoints_follow_their_image_and_the_others_have_none(labelled):
    train, test = both_splits(labelled)
    assert train.keypoint_names == test.keypoint_names == ("top right", "bottom left")
    seen = {n: (k, v) for s in (train, test) for n, k, v in zip(s.names, s.keypoints, s.visible, strict=True)}
    np.testing.assert_allclose(seen["00.png"][0], [[19.25, -1 / 12], [-0.25, 23.5 * 20 / 24 - 0.5]], atol=1e-4)
    assert [seen[name][1].tolist() for name in ("00.png", "02.png", "10.png")] == [[1, 1], [1, 0], [0, 0]]
    first = load("folder", "train", 20, data_dir=labelled, limit=1)
    (labelled / "keypoints.csv").write_text(f"name,x,y\n{train.names[-1]},1,2\n")
    alone = load("folder", "train", 20, data_dir=labelled, limit=1)
    assert first.names == alone.names and not alone.visible.any()


def test_labels_refer_to_the_upright_image(tmp_path):
    """Photographs of 24 x 40 pixels that are stored lying on their side; one has a mask and a keypoint."""
    root = tmp_path / "photos"
    (root / "masks").mkdir(parents=True)
    for i in range(70):
        quarters(size=(24, 40)).rotate(90, expand=True).save(root / f"{i}.JPG", **lying_with(6))
    mask = Image.fromarray(np.uint8([[0, 255], [0, 0]]))
    mask.resize((24, 40), Image.Resampling.NEAREST).save(root / "masks" / "0.png")
    (root / "keypoints.csv").write_text("name,x,y\n0.JPG,23,0\n")
    ((split, i),) = [(s, s.names.index("0.JPG")) for s in both_splits(root, 16) if "0.JPG" in s.names]
    np.testing.assert_allclose(split.keypoints[i, 0], [23.5 * 16 / 24 - 0.5, 0.5 * 16 / 40 - 0.5], atol=1e-4)
    assert close(split.images[i][0, 15], GREEN) and split.visible[i].all()
    assert split.foreground[i][:8, 8:].all() and split.foreground[i].sum() == 64
    Image.new("L", (40, 24)).save(root / "masks" / "3.png")
    with pytest.raises(UserError, match=r"shape .* \(3.JPG: \(24, 40\), mask: \(40, 24\)\). Make them of the upright"):
        both_splits(root)


def test_larger_masks_of_the_same_shape_fit_and_a_mask_may_have_the_images_full_name(labelled):
    Image.new("L", (80, 48), 255).save(labelled / "masks" / "01.png")
    quarters().save(labelled / "00.jpg")
    (labelled / "masks" / "00.png").rename(labelled / "masks" / "00.png.png")
    report = check("folder", labelled)
    assert not report.faults and report.labels["foreground masks"] == 10


DAMAGED = "damaged or contradict an earlier one"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("00.jpg", "", "2 images share a mask with another (00.jpg, 00.png)"),
        ("masks/20.png", "no image", "another shape (width, height) than their image (20.png: (40, 24), mask: cannot"),
        ("keypoints.csv", "", "must begin with the line name,x,y"),
        ("keypoints.csv", "image,x,y\n00.png,1,2\n", "must begin with the line name,x,y"),
        ("keypoints.csv", "name,x,y\n00.png,1,left\n", f"rows of ROOT/keypoints.csv are {DAMAGED} (row 1, row 2)"),
        ("keypoints.csv", "name,x,y\n00.png,1,2\n02.png,1,\n", "(row 3). A row is name, x, y"),
        ("keypoints.csv", "name,x,y,visible\n00.png,1,2,maybe\n", "row 2)"),
        ("keypoints.csv", "name,x,y,visible\n00.png,1,2,3\n", "neither 0 nor 1 (00.png)"),
        ("keypoints.csv", "name,x,y\n00.png,1,2\n00.png,1,3\n", "contradict an earlier one (00.png)"),
        ("keypoints.csv", "name,x,y\nz.png,1,2\n", "1 names in keypoints.csv are no image of the folder (z.png)"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labelled, file, content, said):
    (labelled / file).write_text(content)
    said = said.replace("ROOT", str(labelled))
    with pytest.raises(UserError, match=re.escape(said)):
        both_splits(labelled)
    assert said in check("folder", labelled).faults[0]


def test_broken_images_are_not_counted_among_those_that_are_needed(tmp_path):
    for i in range(70):
        (tmp_path / f"{i}.png").write_bytes(b"broken")
    said = r"[56]\d images of folder-train or their masks cannot be read \(\d+.png: cannot .*; 6 of .. can be left out"
    with pytest.raises(UserError, match=said):
        both_splits(tmp_path)
    assert "6 of" in check("folder", tmp_path).faults[0]


def test_the_report_counts_labels_and_tells_of_what_may_surprise(labelled):
    (labelled / "cut.jpg").write_bytes(b"no image")
    quarters(size=(400, 90)).save(labelled / "wide.png")
    with (labelled / "keypoints.csv").open("a") as file:
        file.write("06.png,top right,40,0,1\nelse.png,top right,4,0,1\n")
    report = check("folder", labelled)
    assert sum(report.counts.values()) == 72 and set(report.counts) == {"train", "test"} and not report.faults
    assert report.labels == {"foreground masks": 10, "keypoints": 6, "visible keypoints": 10}
    said = "\n".join(report.oddities)
    for words in (
        "1 unreadable images are left out (cut.jpg: ",
        "as long as wide (wide.png)",
        "1 images have a visible keypoint outside them (06.png)",
        "no image of the folder (else.png)",
    ):
        assert words in said
