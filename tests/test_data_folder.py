"""A folder of anyone's images: every mode, depth and orientation; broken files; too few images."""

from __future__ import annotations

import logging
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ganseg.data import decode, load
from ganseg.data.decode import read_rgb
from ganseg.data.folder import is_held_out, list_images
from ganseg.errors import UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(corners=(RED, GREEN, BLUE, WHITE), size=(40, 24)) -> Image.Image:
    """An image without symmetry: one colour a quarter, in reading order."""
    small = np.array(corners, np.uint8).reshape(2, 2, 3)
    return Image.fromarray(small).resize(size, Image.Resampling.NEAREST)


def corners(array: np.ndarray) -> list[tuple[int, ...]]:
    """The colours in the middle of the quarters, in reading order."""
    a, b = array.shape[0] // 4, 3 * array.shape[0] // 4
    return [tuple(int(v) for v in array[y, x]) for y in (a, b) for x in (a, b)]


def close(got, expected, tolerance=12) -> bool:
    return np.abs(np.array(got) - np.array(expected)).max() <= tolerance


def png16(path, values: np.ndarray) -> None:
    """Write a 16-bit PNG by hand: grey for (H, W), RGB for (H, W, 3)."""

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = block(b"IHDR", header) + block(b"IDAT", zlib.compress(rows)) + block(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.fixture
def many(tmp_path):
    """A folder with 100 readable images, some nested."""
    root = tmp_path / "photos"
    for i in range(100):
        place = root / ("deep/er" if i % 3 else "")
        place.mkdir(parents=True, exist_ok=True)
        quarters(((2 * i, 0, 0), GREEN, BLUE, WHITE)).save(place / f"p{i:03d}.png")
    return root


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "jpg"])
def test_formats_keep_colours_and_orientation(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    quarters().save(path, **({} if suffix in ("png", "bmp") else {"quality": 100}))
    assert close(corners(read_rgb(path, 16)), (RED, GREEN, BLUE, WHITE))


def test_images_are_squashed_to_a_square_not_cropped(tmp_path):
    quarters(size=(90, 10)).save(tmp_path / "a.png")
    array = read_rgb(tmp_path / "a.png", 16)
    assert array.shape == (16, 16, 3) and array.dtype == np.uint8
    assert corners(array) == [RED, GREEN, BLUE, WHITE]


def test_reduction_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert np.abs(read_rgb(tmp_path / "a.png", 16).astype(int) - 127.5).max() < 10


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK"])
def test_modes_are_converted(tmp_path, mode):
    colours = ((0, 0, 0), WHITE, WHITE, (0, 0, 0)) if mode in ("L", "1") else (RED, GREEN, BLUE, WHITE)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    quarters(colours).convert(mode).save(path, **({"quality": 100} if mode == "CMYK" else {}))
    with Image.open(path) as image:
        assert image.mode == mode
    assert close(corners(read_rgb(path, 16)), colours)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    image = quarters(((0, 0, 0), GREEN, BLUE, (0, 0, 0)))
    if mode in ("RGBA", "LA"):
        alpha = Image.fromarray(np.uint8([[0, 255], [255, 255]])).resize(image.size, Image.Resampling.NEAREST)
        image.putalpha(alpha)
        image.convert(mode).save(tmp_path / "a.png")
    elif mode == "P":
        indexed = image.quantize(4)
        indexed.save(tmp_path / "a.png", transparency=indexed.getpixel((0, 0)))
    else:
        image.save(tmp_path / "a.png", transparency=(0, 0, 0))
    got = corners(read_rgb(tmp_path / "a.png", 16))
    assert got[0] == WHITE
    assert got[3] == (WHITE if mode in ("P", "RGB") else (0, 0, 0))


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, (RED, GREEN, BLUE, WHITE)),
        (2, (GREEN, RED, WHITE, BLUE)),
        (3, (WHITE, BLUE, GREEN, RED)),
        (6, (BLUE, RED, WHITE, GREEN)),
        (8, (GREEN, WHITE, RED, BLUE)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters(size=(400, 240)).save(tmp_path / "a.jpg", quality=100, exif=exif)
    assert close(corners(read_rgb(tmp_path / "a.jpg", 16)), expected)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.repeat(np.repeat(np.array([[0, 257 * 60], [257 * 128, 65535]]), 8, 0), 8, 1)
    png16(tmp_path / "a.png", values)
    assert [c[0] for c in corners(read_rgb(tmp_path / "a.png", 16))] == [0, 60, 128, 255]


def test_16_bit_colour_is_scaled(tmp_path):
    png16(tmp_path / "a.png", np.tile(np.array([65535, 257 * 100, 0]), (16, 16, 1)))
    assert corners(read_rgb(tmp_path / "a.png", 16))[0] == (255, 100, 0)


def test_an_image_above_the_pixel_limit_is_refused_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    quarters().save(path)
    monkeypatch.setattr(decode, "MAX_PIXELS", 900)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("was decoded"))
    with pytest.raises(ValueError, match="40 x 24 pixels is above the limit of 900"):
        read_rgb(path, 16)


def test_listing_takes_suffixes_in_any_case_and_leaves_the_rest(tmp_path):
    for name in ("b.JPG", "a.Jpeg", "z/c.PNG", "z/y/d.webp", "e.bmp", "f.txt", "._g.jpg", ".h/i.jpg", "jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list_images(tmp_path) == ["a.Jpeg", "b.JPG", "e.bmp", "z/c.PNG", "z/y/d.webp"]


def test_train_and_test_share_the_folder_and_adding_a_file_moves_no_other(many, tmp_path):
    train, test = (load("folder", s, 16, data_dir=many, cache_dir=tmp_path) for s in ("train", "test"))
    assert not set(train.names) & set(test.names) and len(train) + len(test) == 100
    assert train.foreground is None and train.keypoints is None
    quarters().save(many / "000-first.png")
    again = load("folder", "test", 16, data_dir=many, cache_dir=tmp_path)
    assert set(again.names) - {"000-first.png"} == set(test.names)
    # each image is under its own name
    for name, image in zip(train.names, train.images):
        assert corners(image)[0] == (2 * int(name[-7:-4]), 0, 0)


def test_a_tenth_is_held_out():
    share = np.mean([is_held_out(f"images/{i}.jpg") for i in range(5000)])
    assert 0.085 < share < 0.115


def test_broken_files_are_listed_counted_and_skipped(many, tmp_path, caplog):
    quarters(size=(400, 400)).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    files = {
        "cut.jpg": data[: len(data) // 2],
        "empty.png": b"",
        "text.webp": b"no image",
        "cut2.JPG": data[:40],
    }
    for name, content in files.items():
        (many / name).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        splits = [load("folder", s, 16, data_dir=many, cache_dir=tmp_path / "c") for s in ("train", "test")]
    assert sum(map(len, splits)) == 100
    assert {name for split in splits for name, _ in split.skipped} == set(files)
    assert all(len(split.images) == len(split.names) for split in splits)
    assert "skipped" in caplog.text and all(name in caplog.text for name in files)
    caplog.clear()
    load("folder", "train", 16, data_dir=many, cache_dir=tmp_path / "c")  # from the cache
    assert "skipped" in caplog.text


def test_an_empty_or_too_small_folder_is_refused_with_the_numbers(tmp_path):
    with pytest.raises(UserError, match="found 0 images; at least 64"):
        load("folder", "train", 16, data_dir=tmp_path, cache_dir=tmp_path / "c")
    for i in range(5):
        quarters().save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="found 5 images; at least 64"):
        load("folder", "train", 16, data_dir=tmp_path, cache_dir=tmp_path / "c")


def test_broken_files_do_not_count_towards_the_minimum(tmp_path):
    for i in range(70):
        (tmp_path / f"{i}.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"found 70 images, \d\d of them unreadable; at least 64"):
        load("folder", "train", 16, data_dir=tmp_path, cache_dir=tmp_path / "c")
    assert not list((tmp_path / "c").iterdir())
