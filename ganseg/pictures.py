"""Colours of parts, overlays and contact sheets: one part has one colour in every picture of the book.

Images are uint8 (N, H, W, 3), label maps integers (N, H, W) with background 0. NumPy in, NumPy or Pillow out.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganseg.data import Split
from ganseg.files import UserError, atomic_path

BACKGROUND = "#4e4e52"  # darker than every part, so that figure and ground differ in lightness too
# The first seven are Okabe and Ito's (2008), for all kinds of colour vision; the others keep away from them.
PARTS = ("#d55e00", "#56b4e9", "#f0e442", "#009e73", "#cc79a7", "#0072b2", "#e69f00",
         "#6fe3e8", "#9e77dc", "#a9d46a", "#94507c", "#d9c4a0")  # fmt: skip
UNKNOWN = "#a09080"  # pixels that ground truth leaves out (255)
IGNORE = 255
SHOWN = 144  # pixels that a small image is enlarged to, about
GAP, HEAD = 4, 24  # pixels between the pictures of a sheet, and above them
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
        along, marked = np.swapaxes(labels, axis, -1), np.swapaxes(border, axis, -1)  # views
        rest = max(1, along.shape[-1] - width)
        differs = along[..., -rest:] != along[..., :rest]
        marked[..., -rest:] |= differs
        marked[..., :rest] |= differs
    return border & (labels > 0)


def overlay(images: np.ndarray, labels: np.ndarray, alpha: float = 0.55, contour: int = 1) -> np.ndarray:
    """Images (N, H, W, 3) under the colours of their parts (N, H, W), with outlines; uint8 (N, H, W, 3).

    `alpha`: 0 shows the image, 1 the colours; `contour`: width of the outlines in pixels, 0 for none. The background
    stays as it is. One image (H, W, 3) with one label map works as well.
    """
    mixed, labels = np.array(images), np.asarray(labels)
    if mixed.shape[:-1] != labels.shape:
        raise UserError(f"images have shape {mixed.shape} and labels {labels.shape}; both must be of the same N, H, W")
    inside, edge = labels > 0, outlines(labels, contour)
    colours = _palette()[labels[inside]].astype(np.float64)  # (M, 3)
    mixed[inside] = np.rint((1 - alpha) * mixed[inside] + alpha * colours)
    mixed[edge] = _palette()[labels[edge]]
    return mixed


def enlarge(arrays: np.ndarray, factor: int) -> np.ndarray:
    """Repeat each pixel `factor` times along H and W of (N, H, W) or (N, H, W, 3)."""
    return np.asarray(arrays).repeat(factor, axis=1).repeat(factor, axis=2)


def enlargement(size: int, shown: int = SHOWN) -> int:
    """The whole number by which images of `size` pixels are enlarged to be seen."""
    return max(1, round(shown / size))


def sheet(rows: Mapping[str, np.ndarray], columns: int = 8) -> Image.Image:
    """A contact sheet: rows of images (N, H, W, 3) under each other, by title, column i showing the i-th of each.

    More than `columns` images continue in a further block of rows. Gaps are transparent, so that the sheet suits light
    and dark pages; titles name the rows above the first block.
    """
    if len({row.shape for row in rows.values()}) > 1:
        raise UserError(f"the rows of a sheet must have one shape; they have {[row.shape for row in rows.values()]}")
    count, height, width = next(iter(rows.values())).shape[:3]
    blocks = -(-count // columns)
    columns = -(-count // blocks)  # blocks of equal length, as far as it goes
    tall = len(rows) * (height + GAP) + 2 * GAP  # of a block
    canvas = Image.new("RGBA", (columns * (width + GAP) - GAP, HEAD + blocks * tall - 3 * GAP), (0, 0, 0, 0))
    for r, row in enumerate(rows.values()):
        for i, picture in enumerate(row):
            block, column = divmod(i, columns)
            place = column * (width + GAP), HEAD + block * tall + r * (height + GAP)
            canvas.paste(Image.fromarray(picture), place)
    caption = "from top to bottom: " + ", ".join(rows)
    size = min(15.0, max(6.0, 15.0 * canvas.width / ImageFont.load_default(15).getlength(caption)))  # so that it fits
    ImageDraw.Draw(canvas).text((0, 0), caption, fill=GREY, font=ImageFont.load_default(size))
    return canvas


def sample_sheet(images: np.ndarray, labels: np.ndarray, path: str | Path) -> Path:
    """Write generated images (N, H, W, 3), their masks (N, H, W) and both together as a PNG sheet."""
    return save(sheet(_rows(images, labels, ("generated images", "their masks", "both"))), path)


def segmentation_sheet(images: np.ndarray, labels: np.ndarray, truth: np.ndarray | None, path: str | Path) -> Path:
    """Write real images (N, H, W, 3), their predicted parts (N, H, W) and both together as a PNG sheet.

    `truth` (N, H, W): the foreground, 0, 1 and 255 where it is unknown; it becomes a fourth row.
    """
    rows = _rows(images, labels, ("images", "predicted parts", "both"))
    if truth is not None:
        colours = np.array([_rgb(BACKGROUND), (255, 255, 255), _rgb(UNKNOWN)], np.uint8)
        rows["true foreground"] = colours[np.minimum(enlarge(truth, enlargement(images.shape[1])), 2)]
    return save(sheet(rows), path)


def _rows(images: np.ndarray, labels: np.ndarray, titles: Sequence[str]) -> dict[str, np.ndarray]:
    """Images, their parts, and both together, enlarged to be seen."""
    large, masks = (enlarge(arrays, enlargement(images.shape[1])) for arrays in (images, labels))
    both = overlay(large, masks, contour=max(1, round(large.shape[1] / 100)))
    return dict(zip(titles, (large, colour_labels(masks), both), strict=True))


def data_sheet(split: Split, path: str | Path) -> Path:
    """Write all images of a split as a PNG: as they are, with their masks, and with their visible keypoints."""
    factor = enlargement(split.size, 192)
    rows = {"images": enlarge(split.images, factor)}
    title, masks = ("foreground", split.foreground) if split.parts is None else ("parts", split.parts)
    if masks is not None:
        rows[title] = overlay(rows["images"], enlarge(masks, factor), contour=2)
    if split.keypoints is not None:
        rows["keypoints"] = draw_keypoints(rows["images"], (split.keypoints + 0.5) * factor - 0.5, split.visible)
    return save(sheet(rows), path)


def draw_keypoints(images: np.ndarray, points: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    """Images (N, H, W, 3) with their visible points (N, J, 2), (x, y) in their pixels, numbered from 1.

    Dots have their parts' colours; numbers stand on the outer side of the figure.
    """
    shown, font = np.isfinite(points).all(-1) if visible is None else visible, ImageFont.load_default(11)
    drawn = [Image.fromarray(image) for image in images]
    for canvas, places, flags in zip(drawn, points, shown, strict=True):
        draw, chosen = ImageDraw.Draw(canvas), np.flatnonzero(flags)
        for j in chosen:
            x, y = places[j].tolist()
            right = places[chosen, 0].mean() <= x < canvas.width - 20 or x < 20  # there is room for a number
            draw.text((x + (6 if right else -6), y), str(j + 1), fill="white", anchor="lm" if right else "rm",
                      font=font, stroke_width=1, stroke_fill="black")  # fmt: skip
        for (x, y), colour in zip(places[chosen].tolist(), part_colours(len(places))[1:][chosen].tolist(), strict=True):
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tuple(colour), outline="black")
    return np.stack([np.asarray(canvas) for canvas in drawn])


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
