"""Colours of parts, overlays and contact sheets: one part has one colour in every picture of the book.

Images are uint8 (N, H, W, 3), label maps integers (N, H, W) with background 0. NumPy in, NumPy or Pillow out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont
from scipy.ndimage import find_objects, label, morphological_gradient
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from ganseg.data import Split
from ganseg.files import atomic_path

BACKGROUND = "#4e4e52"  # darker than every part, so that figure and ground differ in lightness too
# The first seven are Okabe and Ito's (2008), for all kinds of colour vision; the others keep away from them.
PARTS = ("#d55e00", "#56b4e9", "#f0e442", "#009e73", "#cc79a7", "#0072b2", "#e69f00",
         "#6fe3e8", "#9e77dc", "#a9d46a", "#94507c", "#d9c4a0")  # fmt: skip
MORE = [f"hsl({222.4922 * k % 360:.2f}, 60%, {50 + 10 * (k % 4)}%)" for k in range(12, 254)]  # golden turns of the hue
UNKNOWN = "#a09080"  # pixels that ground truth leaves out (255)
FOREGROUND = "#f4f1ea"  # of a truth that knows no parts, whose colours would mean something else
COLOURS = np.array([ImageColor.getrgb(name) for name in (BACKGROUND, *PARTS, *MORE, UNKNOWN)], np.uint8)  # of labels
GAP, HEAD = 4, 24  # pixels between the pictures of a sheet, and above them
GREY = (128, 128, 128, 255)  # of captions: readable on white and on black


def to_pictures(images: Any) -> np.ndarray:
    """A tensor (N, 3, H, W) in [-1, 1] -> uint8 (N, H, W, 3)."""
    return ((images.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def colour_labels(labels: np.ndarray) -> np.ndarray:
    """Label maps (N, H, W) or (H, W) as colours, uint8 with a last axis of 3; 255 means unknown."""
    return COLOURS[np.asarray(labels)]


def colour_truth(truth: np.ndarray, found: np.ndarray | None = None) -> np.ndarray:
    """As `colour_labels`, a true part (N, H, W) in the colour of the part of `found` that it shares most pixels with,
    one to one. Foreground alone (0, 1, and 255 for unknown) has no part's colour, and needs no `found`."""
    if np.isin(truth, (0, 1, 255)).all():
        return np.where(np.asarray(truth)[..., None] == 1, np.uint8(ImageColor.getrgb(FOREGROUND)), COLOURS[truth])
    parts = range(1, 1 + max(found.max(), truth[truth != 255].max()))
    shared = [[np.sum((truth == one) & (found == other)) for other in parts] for one in parts]
    numbers = np.arange(256)
    numbers[1 : 1 + len(parts)] = linear_sum_assignment(shared, maximize=True)[1] + 1
    return COLOURS[numbers[truth]]


def labels_of(colours: np.ndarray) -> np.ndarray:
    """The label maps (N, H, W), uint8, that `colour_labels` painted (N, H, W, 3); 1 for a colour of no label."""
    apart, found = KDTree(COLOURS).query(colours)
    return np.where(apart == 0, found, 1).astype(np.uint8)


def overlay(images: np.ndarray, labels: np.ndarray, alpha: float = 0.55, contour: int = 1) -> np.ndarray:
    """Images (N, H, W, 3), or one (H, W, 3), under the colours of their parts (N, H, W), with outlines; uint8.

    `alpha`: 0 shows the image, 1 the colours; `contour`: width of the outlines in pixels, 0 for none: they are the
    pixels of a part with another label that near. The background stays as it is.
    """
    mixed, inside, near = np.array(images), labels > 0, [1] * (labels.ndim - 2) + [2 * contour + 1] * 2
    edge = inside & (morphological_gradient(labels, near) > 0)
    mixed[inside] = np.rint((1 - alpha) * mixed[inside] + alpha * COLOURS[labels[inside]])
    mixed[edge] = COLOURS[labels[edge]]
    return mixed


def sheet(rows: Mapping[str, np.ndarray], columns: int = 8) -> Image.Image:
    """A contact sheet: rows of images (N, H, W, 3) under each other, by title, column i showing the i-th of each.

    More than `columns` images continue in a further block of rows. Gaps are transparent, so that the sheet suits light
    and dark pages; titles name the rows above the first block.
    """
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


def part_rows(images: np.ndarray, labels: np.ndarray, truth: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Rows: images (N, H, W, 3), their parts (N, H, W), both together, and `colour_truth` where there is one."""
    rows = {"image": images, "parts": colour_labels(labels), "both": overlay(images, labels, contour=0)}
    return rows if truth is None else rows | {"truth": colour_truth(truth, labels)}


def enlarge(images: np.ndarray, shown: int = 144) -> np.ndarray:
    """Images (N, H, W, 3), each pixel repeated so that they are about `shown` pixels high."""
    factor = max(1, round(shown / images.shape[1]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def sample_sheet(images: np.ndarray, labels: np.ndarray, path: str | Path, truth: np.ndarray | None = None) -> Path:
    """Write the `part_rows` of images as a PNG sheet."""
    return save(sheet({title: enlarge(row) for title, row in part_rows(images, labels, truth).items()}), path)


def read_sheet(path: str | Path) -> list[np.ndarray]:
    """The rows (N, H, W, 3) of a sheet, enlarged: of a `sample_sheet` images, parts, both, and any truth."""
    canvas = np.asarray(Image.open(path).convert("RGBA"))[HEAD:]
    found = find_objects(label(canvas[..., 3] > 0)[0])  # pictures, row by row: gaps are transparent
    tops, strips = np.unique([place[0].start for place in found], return_inverse=True)
    last = np.append(np.diff(tops) > found[0][0].stop + GAP, True)  # of a block: more space follows
    rows = strips % (1 + last.argmax())  # of each picture
    return [np.stack([canvas[found[i]][..., :3] for i in np.flatnonzero(rows == row)]) for row in np.unique(rows)]


def data_sheet(split: Split, path: str | Path) -> Path:
    """Write all images of a split as a PNG: as they are, with their masks, and with their visible keypoints."""
    rows = {"images": split.images}
    kind = "foreground" if split.parts is None else "parts"
    if (labels := getattr(split, kind)) is not None:
        rows[kind] = overlay(split.images, labels, contour=0)
    rows = {title: enlarge(row, 192) for title, row in rows.items()}
    if split.keypoints is not None:
        factor = rows["images"].shape[1] // split.size
        rows["keypoints"] = draw_keypoints(rows["images"], (split.keypoints + 0.5) * factor - 0.5, split.visible)
    return save(sheet(rows), path)


def draw_keypoints(images: np.ndarray, points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) with their `visible` (N, J) points (N, J, 2), (x, y) in their pixels, numbered from 1."""
    drawn, text = [Image.fromarray(image) for image in images], {"stroke_width": 1, "stroke_fill": "black"}
    for n, j in np.argwhere(visible):
        draw, (x, y) = ImageDraw.Draw(drawn[n]), points[n, j].tolist()
        draw.text((x + 6, y), str(j + 1), "white", ImageFont.load_default(11), "lm", **text)
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tuple(COLOURS[j + 1].tolist()), outline="black")
    return np.stack([np.asarray(canvas) for canvas in drawn])


def save(image: Image.Image, path: str | Path, **options: Any) -> Path:
    """Write a picture, whole or not at all; its suffix says in which format, `options` are that format's."""
    with atomic_path(path) as temporary:
        image.save(temporary, **options)
    return Path(path)
