"""Colours of the synthetic scenes."""

from __future__ import annotations

import numpy as np


def hsv(hue: np.ndarray | float, saturation: np.ndarray | float, value: np.ndarray | float) -> np.ndarray:
    """(..., 3) float32 RGB in [0, 1]; hue in turns (any real), saturation and value clipped to [0, 1]."""
    hue, saturation, value = np.broadcast_arrays(np.float32(hue), np.float32(saturation), np.float32(value))
    saturation, value = np.clip(saturation, 0, 1)[..., None], np.clip(value, 0, 1)[..., None]
    k = (np.array([5, 3, 1], np.float32) + 6 * hue[..., None]) % 6
    return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)
