"""What the segmentation network's probabilities say of a photograph at its own size: labels, and where each part is."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ganseg.metrics import SPECK, part_centres
from ganseg.pictures import colour_labels

STRIP = 64  # rows of a mask made at a time


def full_size_labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely labels, uint8 (height, width), of probabilities (K + 1, S, S) resized bilinearly to `size`.

    `size` is (width, height). A strip of rows at a time, so that a large photograph needs little memory.
    """
    import torch

    from ganseg.resampling import bilinear_matrix

    (width, height), lines = size, probabilities.shape[1]
    maps = torch.from_numpy(np.ascontiguousarray(probabilities, np.float32))  # (K + 1, S, S)
    across = (maps @ bilinear_matrix(maps.shape[2], width).T).numpy()  # (K + 1, S, width)
    rows = ((np.arange(height) + 0.5) * (lines / height) - 0.5).clip(0, lines - 1)
    strips = [_most_likely(across, rows[start : start + STRIP]) for start in range(0, height, STRIP)]
    return np.concatenate(strips)


def _most_likely(maps: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Labels (R, W) of maps (K + 1, S, W) interpolated at `rows` (R,), map by map: a strip stays in the cache."""
    above = rows.astype(int)
    below, weight = np.minimum(above + 1, maps.shape[1] - 1), (rows - above).astype(np.float32)[:, None]
    labels, best = np.zeros((len(rows), maps.shape[2]), np.uint8), None
    for k, each in enumerate(maps):
        upper, values = each[above], each[below]
        values -= upper
        values *= weight
        values += upper
        if best is None:
            best = values
        else:
            np.copyto(labels, np.uint8(k), where=values > best)
            np.maximum(best, values, out=best)
    return labels


def measure_parts(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, Any]]:
    """Centre (x, y) in pixels of `labels` (height, width), area and visibility of each part, as `ABOUT` says.

    The centre is that of the part's soft mask in `probabilities` (K + 1, S, S), as in section 4.1.
    """
    scale = np.array(labels.shape[::-1]) / probabilities.shape[-1]
    centres = (part_centres(probabilities[None, 1:])[0] + 0.5) * scale - 0.5  # (K, 2)
    areas = np.bincount(labels.ravel(), minlength=len(probabilities))[1:] / labels.size  # (K,)
    parts = []
    for k, (centre, area) in enumerate(zip(centres.tolist(), areas.tolist(), strict=True), start=1):
        visible = area >= SPECK
        place = [round(v, 2) for v in centre] if visible else None
        parts.append({"part": k, "centre": place, "area": round(area, 6), "visible": visible})
    return parts


def indexed(labels: np.ndarray) -> Image.Image:
    """A picture in mode "P": its values are the labels (H, W), its palette the colours of the parts."""
    image = Image.fromarray(np.asarray(labels, np.uint8))
    image.putpalette(colour_labels(np.arange(256)).tobytes())
    return image
