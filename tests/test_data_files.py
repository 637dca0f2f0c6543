"""Files of data sets: images of every mode, depth and orientation, those that are refused, and lists."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ganseg.data import flowers
from ganseg.data.files import is_image, list_files, read_list
from ganseg.data.images import MAX_PIXELS, open_checked, open_rgb, read_any_mask, read_mask, squash
from ganseg.files import UserError

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")  # Pillow's own, lower


def bomb(path: Path, width: int, height: int) -> Path:
    """The header of an image, which states its size, without the pixels."""
    path.write_text(f"P6 {width} {height} 255\n")
    return path


@pytest.mark.parametrize("read", [read_mask, flowers.read_mask, read_any_mask, open_rgb])
def test_images_and_masks_above_the_limit_are_refused_before_they_are_decoded(tmp_path, read):
    with pytest.raises(ValueError, match="10001 x 10000 pixels is above the limit of 100,000,000 pixels"):
        read(bomb(tmp_path / "mask.png", 10_001, MAX_PIXELS // 10_000), 16)


def test_an_image_at_the_limit_is_opened(tmp_path):
    with open_checked(bomb(tmp_path / "image.png", 10_000, MAX_PIXELS // 10_000)) as image:
        assert image.size == (10_000, 10_000)


def test_a_file_that_would_start_a_program_is_not_opened(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.png")
    with pytest.raises(OSError, match="cannot identify"), open_checked(tmp_path / "image.png"):
        pass


def test_listing_takes_suffixes_in_any_case_and_leaves_the_rest(tmp_path):
    for name in "b.JPG a.Jpeg z/c.PNG z/y/d.webp e.bmp f.txt ._g.jpg .h/i.jpg z/@eaDir/c.PNG jpg".split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "itself.jpg").symlink_to(tmp_path / "itself.jpg")
    images = [name for name in list_files(tmp_path) if is_image(tmp_path / name)]
    assert images == ["a.Jpeg", "b.JPG", "e.bmp", "z/c.PNG", "z/y/d.webp"]


ROWS = ["a.jpg  1 -2", "b.jpg 3 4.5", "", "a.jpg 1 -2"]  # one comes twice


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("heading", [[], ["2", "name x y"], ["name x y"]])
def test_lists_are_read_with_any_line_ends_and_with_or_without_a_heading(tmp_path, heading, end):
    (tmp_path / "a.txt").write_bytes(end.join([*heading, *ROWS]).encode("utf-8-sig"))
    table = read_list(tmp_path / "a.txt", "name x y", "name")
    assert table.index.tolist() == ["a.jpg", "b.jpg"] and table.to_numpy().tolist() == [[1, -2], [3, 4.5]]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([*ROWS, "c.jpg 1"], r"1 rows of \S*a.txt are damaged or .* \(row 4\). A row is name, x, y"),
        ([*ROWS, "c.jpg 1 2 3"], r"\(row 4\)"),
        ([*ROWS, "c.jpg 1 left"], r"\(row 4\)"),
        ([*ROWS, "c.jpg 1 inf"], r"\(row 4\)"),
        ([*ROWS, "c.jpg 1 2 3 4"], "a.txt is missing or cannot be read"),
        ([*ROWS, "b.jpg 3 5"], r"contradict an earlier one \(b.jpg\)"),
        (["a", "b", "c", *ROWS], r"3 rows of .* \(row 1, row 2, row 3\)"),
        ([], "a.txt is missing or cannot be read"),
        (["", " "], "a.txt is missing or cannot be read"),
        (None, "a.txt is missing or cannot be read"),
    ],
)
def test_lists_that_are_missing_damaged_or_contradict_themselves_are_refused(tmp_path, lines, said):
    if lines is not None:
        (tmp_path / "a.txt").write_text("\n".join(lines))
    with pytest.raises(UserError, match=said):
        read_list(tmp_path / "a.txt", "name x y", "name")


RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(corners=(RED, GREEN, BLUE, WHITE), size=(40, 24)) -> Image.Image:
    """An image without symmetry: one colour a quarter, in reading order."""
    small = np.array(corners, np.uint8).reshape(2, 2, 3)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST)


def corners(array: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middle of the quarters, in reading order."""
    a, b = array.shape[0] // 4, 3 * array.shape[0] // 4
    return [tuple(int(v) for v in array[y, x]) for y in (a, b) for x in (a, b)]


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
    assert array.shape == (16, 16, 3) and array.dtype == np.uint8
    np.testing.assert_allclose(corners(array), expected, atol=12)


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
