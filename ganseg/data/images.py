"""Images and masks of data sets: opened with care, turned upright, brought to RGB and to their size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ganseg.files import UserError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # EPS would start a program; MPO is JPEG
LOSSY = ("JPEG", "WEBP", "MPO")  # whose values are not those that were written
MAX_PIXELS = 100_000_000  # larger images are refused before they are decoded
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # of EXIF: its number, and the values that exchange width and height
IGNORE = 255  # in a mask: neither foreground nor background
VOID = 0xE0E0C0  # what Pascal VOC paints the unknown


def open_checked(path: str | Path) -> Image.Image:
    """An image or mask as Pillow opens it, not yet decoded: every reader opens its files through this.

    ValueError above MAX_PIXELS; an exception of any type where the file is broken or of another format.
    """
    image = Image.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels is above the limit of {MAX_PIXELS:,} pixels")
    return image


def extent_of(path: Path, upright: bool = False) -> tuple[int, int]:
    """(W, H) of an image, not decoded; `upright`: as viewers turn it. Errors as of `open_checked`."""
    with open_checked(path) as image:
        return image.size[::-1] if upright and _orientation(image) in TURNED else image.size


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data say nothing about the pixels
        return None


def open_rgb(path: str | Path, draft: int | None = None, upright: bool = True) -> Image.Image:
    """The image in `path` in RGB: deep grey scaled by its depth, transparency laid over white.

    `draft`: a side in pixels that is enough, where decoding less is faster. `upright`: turned by its EXIF data;
    False for annotated images, whose coordinates are those of the stored pixels. Errors as of `open_checked`.
    """
    with open_checked(path) as image:
        if draft:
            image.draft(None, (draft, draft))  # lets a large JPEG decode at a fraction of its size
        if image.format == "TIFF" and image.n_frames > 1:
            raise ValueError(f"it holds {image.n_frames} images; store each in a file of its own")
        deep = "16" in str(image.tile) and image.mode[:2] in ("RG", "LA")  # of which Pillow keeps the upper 8 bits
        image.load()
        if deep and max(high for _, high in image.convert("RGB").getextrema()) < 64:
            raise ValueError("its 16-bit colours are almost black: they seem to have fewer bits; store them in 8")
        image = ImageOps.exif_transpose(image) if upright and _orientation(image) else image
    if image.mode[0] in "IF":
        return Image.fromarray(to_bytes(np.asarray(image))).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured)
    return image.convert("RGB")


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Numbers to uint8 by their depth: fractions of 1, or integers of 8, 10, 12, ... bits; ValueError for others."""
    low, high, real = float(values.min()), float(values.max()), values.dtype.kind == "f"
    if not (low >= 0 and high < 2**32) or (real and 1 < high < 32):
        raise ValueError(f"its values go from {low:g} to {high:g}: neither fractions of 1 nor whole numbers from 0")
    bits = max(8, int(high).bit_length())
    top = 1 if real and high <= 1 else 2 ** (bits + bits % 2) - 1
    return np.rint(values * (255.0 / top)).astype(np.uint8)


def squash(image: Image.Image, size: int) -> np.ndarray:
    """(S, S, 3) uint8 of an image in RGB: squashed to a square, bilinear with antialiasing."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def read_mask(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8 foreground: above 127 in the first channel at full resolution, then resized by majority.

    A mask that only holds 0 and 1 is taken as it is.
    """
    with open_checked(path) as image:
        values = np.asarray(image.convert("RGB"))[..., 0]
    return commonest(values > (127 if values.max() > 1 else 0), size, (1, 0))


def commonest(values: np.ndarray, size: int, among: Sequence[int]) -> np.ndarray:
    """(S, S) uint8: which of the values `among` covers most of each new pixel of (H, W); of equal ones the first."""
    masks = (Image.fromarray((values == value).astype(np.float32)) for value in among)
    shares = [np.asarray(mask.resize((size, size), Image.Resampling.BOX)) for mask in masks]
    return np.array(among, np.uint8)[np.argmax(shares, axis=0)]


def read_any_mask(path: Path, size: int) -> np.ndarray:
    """(S, S) uint8: 0 background, 1 foreground, 255 unknown; UserError unless as `ganseg.data.folder` says."""
    with open_checked(path) as image:
        return commonest(_kinds(ImageOps.exif_transpose(image), image.format in LOSSY), size, (1, 0, IGNORE))


def _kinds(image: Image.Image, lossy: bool) -> np.ndarray:
    """(H, W) uint8 0, 1 and 255 of a mask in any mode of Pillow."""
    if image.mode == "P":
        numbers, colours = np.asarray(image), np.reshape(image.getpalette(), (-1, 3))
        if np.ptp(colours[used := np.unique(numbers)], axis=1).any():  # not grey
            if (colours[used[used > 0]].sum(axis=1) <= colours[0].sum()).any():
                raise UserError("a palette whose number 0 is not its darkest colour")
            return _numbered(numbers, IGNORE)
    if image.mode in ("RGBA", "LA", "PA") and image.getchannel("A").getextrema() != (255, 255):
        raise UserError("it is transparent in places")
    if image.mode[0] in "IF":
        return _of_greys(np.asarray(image), lossy)
    rgb = np.asarray(image.convert("RGB"))
    if (rgb == rgb[..., :1]).all():
        return _of_greys(rgb[..., 0], lossy)
    numbers = rgb.astype(int) @ (1 << 16, 1 << 8, 1)
    found = np.unique(numbers)
    if found[0] or len(found) > 256 or lossy:
        raise UserError(f"{len(found)} colours{' without black' if found[0] else ''}")
    return _numbered(numbers, VOID)


def _numbered(numbers: np.ndarray, unknown: int) -> np.ndarray:
    """0 is background, `unknown` is left out, any other number a part."""
    return np.select([numbers == 0, numbers == unknown], [0, IGNORE], 1)


def _of_greys(values: np.ndarray, lossy: bool) -> np.ndarray:
    """`_kinds` of (H, W) numbers: two values, numbers of parts, or black and white with soft edges."""
    found = np.unique(values)
    if not lossy and (len(found) == 1 or (found[0] == 0 and len(found) == 2)):
        return (values > 0).astype(np.uint8)
    if not lossy and found[0] == 0 and found[found != IGNORE][-1] < 64 and not (found % 1).any():
        return _numbered(values, IGNORE)
    values = values if values.dtype == np.uint8 else to_bytes(values)
    dark, bright = values <= 16, values >= 239
    soft = (dark | bright).mean() >= 0.8 and 2 * bright.sum() >= (~dark).sum()
    if soft and (lossy or (bright.any() and (len(found) > 16 or (dark | bright).all()))):
        return (values > 127).astype(np.uint8)
    raise UserError(f"values {', '.join(map(str, found[:6]))}{', ...' if len(found) > 6 else ''}")
