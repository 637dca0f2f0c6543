"""Colours of parts, overlays and contact sheets: one part has one colour in every picture of the book.

Images are uint8 (N, H, W, 3), label maps integers (N, H, W) with background 0. NumPy in, NumPy or Pillow out.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganseg.files import UserError, atomic_path

BACKGROUND = "#4e4e52"  # darker than every part, so that figure and ground differ in lightness too
# The first seven are Okabe and Ito's (2008), for all kinds of colour vision; the others keep away from them.
PARTS = ("#d55e00", "#56b4e9", "#f0e442", "#009e73", "#cc79a7", "#0072b2", "#e69f00",
         "#6fe3e8", "#9e77dc", "#a9d46a", "#94507c", "#d9c4a0")  # fmt: skip
UNKNOWN = "#a09080"  # pixels that ground truth leaves out (255)
IGNORE = 255
SHOWN = 144  # pixels that a small image is enlarged to, about
GAP = 4
GREY = (128, 128, 128, 255)  # of captions: readable on white and on black


def to_pictures(images: Any) -> np.ndarray:
    """A tensor (N, 3, H, W) in [-1, 1] -> uint8 (N, H, W, 3)."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def part_colours(parts: int) -> np.ndarray:
    """RGB uint8 (parts + 1, 3): the background's colour, then one for each part; hues turn after 12 parts."""
    hues = [BACKGROUND, *(_turned(PARTS[k % len(PARTS)], k // len(PARTS)) for k in range(parts))]
    return np.array([_rgb(colour) for colour in hues], np.uint8)


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """Label maps (N, H, W) or (H, W) as colours, uint8 with a last axis of 3; 255 means unknown."""
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() <= IGNORE:
        raise UserError(f"labels run from {labels.min()} to {labels.max()}; there are colours for 0 to {IGNORE}")
    return _palette()[labels]


def outlines(labels: np.ndarray, width: int = 1) -> np.ndarray:
    """Boolean (N, H, W): pixels of a part that are within `width` pixels, along an axis, of another label."""
    labels = np.asarray(labels)
    border = np.zeros(labels.shape, bool)
    for axis in (-2, -1):
        width_here = min(width, labels.shape[axis] - 1)
        ahead, behind = _cut(labels, axis, width_here, None), _cut(labels, axis, None, -width_here or None)
        differs = ahead != behind
        _cut(border, axis, width_here, None)[differs] = True
        _cut(border, axis, None, -width_here or None)[differs] = True
    return border & (labels > 0)


def overlay(images: np.ndarray, labels: np.ndarray, alpha: float = 0.55, contour: int = 1) -> np.ndarray:
    """Images (N, H, W, 3) under the colours of their parts (N, H, W), with outlines; uint8 (N, H, W, 3).

    `alpha`: 0 shows the image, 1 the colours; `contour`: width of the outlines in pixels, 0 for none.
    The background stays as it is. One image (H, W, 3) with one label map works as well.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.shape[:-1] != labels.shape:
        raise UserError(f"images have shape {images.shape} and labels {labels.shape}; both must be of the same N, H, W")
    mixtures = _mixtures(_palette()[: int(labels.max(initial=0)) + 1], alpha)
    place, mixed = labels.astype(np.intp) * 256, np.empty_like(images)
    for c in range(3):
        mixed[..., c] = mixtures[c].take(place + images[..., c], mode="clip")
    if contour:
        edge = outlines(labels, contour)
        mixed[edge] = _palette()[labels[edge]]
    return mixed


def _mixtures(colours: np.ndarray, alpha: float) -> np.ndarray:
    """(3, labels, 256) uint8: what each value of a channel becomes under each label; label 0 changes nothing."""
    values = np.arange(256)
    mixed = np.rint((1 - alpha) * values + alpha * colours.T[..., None].astype(np.float64)).astype(np.uint8)
    mixed[:, 0] = values
    return mixed


def enlarge(arrays: np.ndarray, factor: int) -> np.ndarray:
    """Repeat each pixel `factor` times along H and W of (N, H, W) or (N, H, W, 3)."""
    return np.asarray(arrays).repeat(factor, axis=1).repeat(factor, axis=2)


def enlargement(size: int, shown: int = SHOWN) -> int:
    """The whole number by which images of `size` pixels are enlarged to be seen."""
    return max(1, round(shown / size))


def sheet(rows: Sequence[np.ndarray], titles: Sequence[str] = (), columns: int = 8, gap: int = GAP) -> Image.Image:
    """A contact sheet: `rows` of images (N, H, W, 3) under each other, column i showing the i-th of each.

    More than `columns` images continue in a further block of rows. Gaps are transparent, so that the sheet
    suits light and dark pages; `titles` name the rows above the first block.
    """
    count, height, width = rows[0].shape[:3]
    if any(row.shape != rows[0].shape for row in rows):
        raise UserError(f"the rows of a sheet must have one shape; they have {[row.shape for row in rows]}")
    blocks = -(-count // columns)
    columns = -(-count // blocks)  # blocks of equal length, as far as it goes
    head = _title_height(titles)
    tall = len(rows) * (height + gap) + 2 * gap  # of a block
    canvas = Image.new("RGBA", (columns * (width + gap) - gap, head + blocks * tall - 3 * gap), (0, 0, 0, 0))
    for r, row in enumerate(rows):
        for i, picture in enumerate(row):
            block, column = divmod(i, columns)
            canvas.paste(Image.fromarray(picture), (column * (width + gap), head + block * tall + r * (height + gap)))
    if titles:
        caption = "from top to bottom: " + ", ".join(titles)
        ImageDraw.Draw(canvas).text(
            (0, 0), caption, fill=GREY, font=ImageFont.load_default(_font_size(canvas.width, caption))
        )
    return canvas


def sample_sheet(images: np.ndarray, labels: np.ndarray, path: str | Path, columns: int = 8) -> Path:
    """Write generated images (N, H, W, 3), their masks (N, H, W) and both together as a PNG sheet."""
    factor = enlargement(images.shape[1])
    large, masks = enlarge(images, factor), enlarge(labels, factor)
    rows = [large, colour_labels(masks), overlay(large, masks, contour=_contour(large))]
    return save(sheet(rows, ("generated images", "their masks", "both"), columns), path)


def segmentation_sheet(
    images: np.ndarray, labels: np.ndarray, truth: np.ndarray | None, path: str | Path, columns: int = 8
) -> Path:
    """Write real images (N, H, W, 3), their predicted parts (N, H, W) and both together as a PNG sheet.

    `truth` (N, H, W): the foreground, 0, 1 and 255 where it is unknown; it becomes a fourth row.
    """
    factor = enlargement(images.shape[1])
    large, masks = enlarge(images, factor), enlarge(labels, factor)
    rows = [large, colour_labels(masks), overlay(large, masks, contour=_contour(large))]
    titles = ["images", "predicted parts", "both"]
    if truth is not None:
        rows.append(_foreground(enlarge(truth, factor)))
        titles.append("true foreground")
    return save(sheet(rows, titles, columns), path)


def save(image: Image.Image, path: str | Path, **options: Any) -> Path:
    """Write a picture, whole or not at all; its suffix says in which format, `options` are that format's."""
    with atomic_path(path) as temporary:
        image.save(temporary, **options)
    return Path(path)


@functools.cache
def _palette() -> np.ndarray:
    """Colours of the labels 0 to 255, uint8 (256, 3)."""
    return np.vstack([part_colours(IGNORE - 1), [_rgb(UNKNOWN)]]).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(colour[1:]))


def _turned(colour: str, times: int) -> str:
    """`colour` after `times` golden-ratio turns of its hue: never the same again."""
    if not times:
        return colour
    hue, lightness, saturation = colorsys.rgb_to_hls(*(v / 255 for v in _rgb(colour)))
    red, green, blue = colorsys.hls_to_rgb(
        (hue + 0.618034 * times) % 1, min(0.85, max(0.5, lightness)), max(0.4, saturation)
    )
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _cut(array: np.ndarray, axis: int, start: int | None, stop: int | None) -> np.ndarray:
    """A view of `array` from `start` to `stop` along `axis` (-2 or -1)."""
    return array[..., start:stop, :] if axis == -2 else array[..., start:stop]


def _foreground(truth: np.ndarray) -> np.ndarray:
    """Colours (N, H, W, 3) of a foreground mask: white on the background's grey."""
    table = np.full((256, 3), 255, np.uint8)
    table[0], table[IGNORE] = _rgb(BACKGROUND), _rgb(UNKNOWN)
    return table[truth]


def _contour(images: np.ndarray) -> int:
    return max(1, round(images.shape[1] / 100))


def _title_height(titles: Sequence[str]) -> int:
    return 24 if titles else 0


def _font_size(width: int, text: str) -> float:
    """The largest size up to 15 px at which `text` fits into `width`."""
    return min(15.0, max(6.0, 15.0 * width / max(1.0, ImageFont.load_default(15).getlength(text))))
