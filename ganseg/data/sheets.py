"""Contact sheets of a data set: its images, their masks, their keypoints, and what the colours mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganseg import pictures
from ganseg.data.sets import Split

SHOWN = 192  # pixels that a small image is enlarged to, about
LINE = 22  # height of a line of the legend
TEXT = 13.0
ROOM = 20  # for a number between its dot and the edge of the image
Entries = list[tuple[str, str]]  # a colour (empty: none) and its label


def data_sheet(split: Split, path: str | Path, columns: int = 8) -> Path:
    """Write all images of a split as a PNG: as they are, with their masks, and with their visible keypoints.

    Parts and keypoints are labelled below, in their colours; keypoints bear their numbers, too.
    """
    factor = pictures.enlargement(split.size, SHOWN)
    images = pictures.enlarge(np.asarray(split.images), factor)
    rows, titles, legend = [images], ["images"], []  # of the legend: one list of entries a line
    masks = split.parts if split.parts is not None else split.foreground
    if masks is not None:
        rows.append(pictures.overlay(images, pictures.enlarge(masks, factor), contour=2))
        titles.append("parts" if split.parts is not None else "foreground")
        legend.append(_mask_entries(split))
    if split.keypoints is not None:
        rows.append(draw_keypoints(images, (split.keypoints + 0.5) * factor - 0.5, split.visible))
        titles.append("keypoints")
        legend.append(_keypoint_entries(split))
    sheet = pictures.sheet(rows, titles, min(columns, len(split)))
    return pictures.save(_with_legend(sheet, legend), path)


def draw_keypoints(images: np.ndarray, points: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    """Images (N, H, W, 3) with their visible points (N, J, 2), (x, y) in their pixels, numbered from 1."""
    shown = np.isfinite(points).all(-1) if visible is None else np.asarray(visible, bool)
    drawn = [Image.fromarray(image) for image in images]
    for canvas, places, flags in zip(drawn, points, shown, strict=True):
        _draw_points(canvas, places, np.flatnonzero(flags))
    return np.stack([np.asarray(canvas) for canvas in drawn])


def _draw_points(canvas: Image.Image, places: np.ndarray, chosen: np.ndarray) -> None:
    """Dots in their colours over numbers, which stand on the outer side of the figure."""
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    colours, middle = pictures.part_colours(len(places))[1:], places[chosen, 0].mean() if len(chosen) else 0
    for j in chosen:
        x, y = map(float, places[j])
        right = middle <= x < canvas.width - ROOM or x < ROOM
        draw.text(
            (x + 6 if right else x - 6, y), str(j + 1), fill="white", anchor="lm" if right else "rm",
            font=font, stroke_width=1, stroke_fill="black",
        )  # fmt: skip
    for j in chosen:
        x, y = map(float, places[j])
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=tuple(colours[j]), outline="black")


def _mask_entries(split: Split) -> Entries:
    """The values of the masks."""
    masks = split.foreground if split.parts is None else split.parts
    names = ("foreground",) if split.parts is None else split.part_names
    count = max(len(names), int(masks[masks < pictures.IGNORE].max(initial=0)))
    labels = [*names, *(f"part {k + 1}" for k in range(len(names), count))]
    entries = [(_hex(c), label) for c, label in zip(pictures.part_colours(count)[1:], labels, strict=True)]
    unknown = [(pictures.UNKNOWN, "unknown")] if (masks == pictures.IGNORE).any() else []
    return [("", "Masks:"), *entries, *unknown]


def _keypoint_entries(split: Split) -> Entries:
    """The keypoints, each with its number and how many of the images show it."""
    count = split.keypoints.shape[1]
    names = split.keypoint_names or [f"keypoint {j + 1}" for j in range(count)]
    seen = np.full(count, len(split)) if split.visible is None else np.asarray(split.visible).sum(0)
    colours = pictures.part_colours(count)[1:]
    entries = [(_hex(colours[j]), f"{j + 1} {names[j]} ({seen[j]})") for j in range(count)]
    return [("", "Keypoints (and in how many images they are seen):"), *entries]


def _with_legend(sheet: Image.Image, lines: list[Entries]) -> Image.Image:
    """The sheet with the legend below; a line that is too long goes on in the next."""
    font, placed, y = ImageFont.load_default(TEXT), [], sheet.height + (pictures.GAP if lines else 0)
    for entries in lines:
        x = 0.0
        for colour, label in entries:
            width = font.getlength(label) + (32 if colour else 12)
            if x and x + width > sheet.width:
                x, y = 0.0, y + LINE
            placed.append((x, y, colour, label))
            x += width
        y += LINE
    canvas = Image.new("RGBA", (sheet.width, y), (0, 0, 0, 0))
    canvas.paste(sheet, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for x, y, colour, label in placed:
        if colour:
            draw.ellipse((x + 4, y + 4, x + 16, y + 16), fill=colour, outline=pictures.GREY)
        draw.text((x + 20 if colour else x + 4, y + 10), label, fill=pictures.GREY, font=font, anchor="lm")
    return canvas


def _hex(colour: np.ndarray) -> str:
    return f"#{bytes(colour.tolist()).hex()}"
