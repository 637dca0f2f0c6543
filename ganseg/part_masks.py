"""What the segmentation network's probabilities say of a photograph at its own size: labels, and where each part is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from ganseg.metrics import SPECK, part_centres
from ganseg.pictures import colour_labels


def full_size_labels(probabilities: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Most likely labels, uint8 (height, width), of probabilities (K + 1, S, S) resized bilinearly to `size`.

    `size` is (width, height).
    """
    maps = torch.from_numpy(np.ascontiguousarray(probabilities, np.float32))[None]  # (1, K + 1, S, S)
    resized = F.interpolate(maps, size=size[::-1], mode="bilinear", align_corners=False)
    return resized[0].argmax(dim=0).to(torch.uint8).numpy()


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
