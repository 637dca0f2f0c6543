"""One split of a data set, decoded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """N images of S x S pixels and the labels there are; arrays are read-only and memory-mapped.

    Keypoints are (x, y) in pixels, x right and y down, pixel centres at integers; some lie outside the image.
    """

    images: np.ndarray  # (N, S, S, 3) uint8, RGB
    names: tuple[str, ...]
    foreground: np.ndarray | None = None  # (N, S, S) uint8: 0 background, 1 foreground, 255 ignore
    parts: np.ndarray | None = None  # (N, S, S) uint8: 0 background, 1..P the parts in the order of part_names
    keypoints: np.ndarray | None = None  # (N, J, 2) float32
    visible: np.ndarray | None = None  # (N, J) bool: inside the image and not occluded
    part_names: tuple[str, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    fingerprint: str = ""  # of the source, the same on every machine that has the same data
    skipped: tuple[tuple[str, str], ...] = ()  # (name, reason) of the unreadable images

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """S, the side of the images in pixels."""
        return self.images.shape[1]
