"""How far part masks are from following an image that moves, turns or grows.

Images are (N, H, W, C), label maps (N, H, W) with the background 0. NumPy in, float out; 0 is equivariance.
An all-background prediction is perfectly equivariant: read these errors beside the foreground fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from ganseg.files import UserError
from ganseg.landmarks import part_centres

Predict = Callable[[np.ndarray], np.ndarray]


def equivariance_error(
    predict: Predict,
    images: np.ndarray,
    shifts: Sequence[tuple[int, int]] = ((4, 0), (-4, 0), (0, 4), (0, -4)),
    measure: Literal["iou", "centres"] = "iou",
) -> float:
    """How far predict(shift(image)) is from shift(predict(image)); 0 is translation equivariance.

    images (N, H, W, C); each shift is (dx, dy) in whole pixels, and the pixels it uncovers repeat the edge.
    Both sides are compared on the pixels that image and shifted image share. The mean over shifts of:
    "iou": 1 - IoU, averaged over images and parts seen on either side; predict returns labels (N, H, W).
    "centres": distance of the part centres in pixels; predict returns part probabilities (N, K, H, W).
    """
    if measure not in ("iou", "centres"):
        raise UserError(f"measure is {measure!r}; it must be 'iou' or 'centres'")
    compare = _disagreement if measure == "iou" else _centre_distance
    images = np.asarray(images)
    before = np.asarray(predict(images))
    errors = []
    for dx, dy in shifts:
        after = np.asarray(predict(_shifted(images, dx, dy)))
        errors.append(compare(_overlapping(before, -dx, -dy), _overlapping(after, dx, dy)))
    return float(np.mean(errors))


def affine_equivariance_error(
    predict: Predict,
    images: np.ndarray,
    transforms: Sequence[tuple[float, float]] = ((15, 1.0), (-15, 1.0), (0, 0.9), (0, 1.1)),
) -> float:
    """1 - IoU of predict(T(image)) and T(predict(image)), averaged over images, parts and transforms T.

    Each T is (angle, scale): it turns the image about its centre, clockwise by an angle in degrees, and
    enlarges it. Images (N, H, W, C) uint8 are sampled bilinearly and repeat their edge, labels (N, H, W) by
    the nearest pixel; only pixels whose origin lies in the image are compared.
    """
    images = np.asarray(images)
    before = np.asarray(predict(images))
    errors = []
    for angle, scale in transforms:
        grid = _affine_grid(images.shape, angle, scale)
        known = (grid.abs() <= 1).all(dim=-1).numpy()  # (N, H, W)
        after = np.asarray(predict(_sampled(images, grid, "bilinear")))
        moved = _sampled(before[..., None], grid, "nearest")[..., 0]
        errors.append(_disagreement(np.where(known, moved, 0), np.where(known, after, 0)))
    return float(np.mean(errors))


def _affine_grid(shape: tuple[int, ...], angle: float, scale: float) -> torch.Tensor:
    """Where each pixel (N, H, W, 2) of the transformed image comes from, (x, y) in [-1, 1]."""
    n, height, width, channels = shape
    turn = np.deg2rad(angle)
    c, s, ratio = np.cos(turn) / scale, np.sin(turn) / scale, height / width
    theta = torch.tensor([[c, s * ratio, 0.0], [-s / ratio, c, 0.0]], dtype=torch.float32)
    return F.affine_grid(theta.expand(n, 2, 3), [n, channels, height, width], align_corners=False)


def _sampled(maps: np.ndarray, grid: torch.Tensor, mode: str) -> np.ndarray:
    """Maps (N, H, W, C) at the places `grid` (N, H, W, 2), in their own type."""
    planes = torch.from_numpy(np.array(maps)).permute(0, 3, 1, 2).float()  # (N, C, H, W)
    moved = F.grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=False)
    return moved.round().permute(0, 2, 3, 1).numpy().astype(maps.dtype)


def _shifted(images: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """Images (N, H, W, C) moved dx to the right and dy down, edges repeated."""
    rows = np.clip(np.arange(images.shape[1]) - dy, 0, images.shape[1] - 1)
    columns = np.clip(np.arange(images.shape[2]) - dx, 0, images.shape[2] - 1)
    return images[:, rows][:, :, columns]


def _overlapping(maps: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The rows and columns of maps (..., H, W) that a shift by (dx, dy) has filled with known pixels."""
    height, width = maps.shape[-2:]
    if abs(dx) >= width or abs(dy) >= height:
        raise UserError(f"a shift by {(dx, dy)} leaves nothing to compare of {width} x {height} pixels")
    return maps[..., max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]


def _disagreement(before: np.ndarray, after: np.ndarray) -> float:
    """1 - IoU over all (image, part) pairs of label maps (N, H, W) where either side shows the part."""
    values = []
    for k in range(1, int(max(before.max(), after.max())) + 1):
        union = ((before == k) | (after == k)).sum(axis=(1, 2))  # (N,)
        common = ((before == k) & (after == k)).sum(axis=(1, 2))
        values.append(1 - common[union > 0] / union[union > 0])
    return float(np.concatenate(values).mean()) if values else 0.0


def _centre_distance(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.linalg.norm(part_centres(before) - part_centres(after), axis=-1).mean())
