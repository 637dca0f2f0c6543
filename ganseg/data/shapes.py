"""Articulated figures made of tapered capsules, and where they stand in the image.

A capsule is the set of points within r(t) of the point a + t (b - a), t in [0, 1], where r goes linearly
from one end's radius to the other's. Coordinates are (x, y), x right and y down, in image sides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ganseg.data.draws import Draws


@dataclass(frozen=True)
class Layer:
    """Capsules drawn as one: `part` is their label, layers are kept from the back to the front.

    `capsules`: (N, C, 6) float32, each ax, ay, bx, by, radius at a and at b. `tint`: (N, 3) RGB in [0, 1].
    `texture`: the strength of the texture on it (0 for eyes and the like).
    """

    part: int
    capsules: np.ndarray
    tint: np.ndarray
    texture: float = 1.0


@dataclass(frozen=True)
class Figure:
    """N figures: their layers, keypoints (N, J, 2) and, for each keypoint, the number of its layer (J)."""

    layers: tuple[Layer, ...]
    keypoints: np.ndarray
    keypoint_layers: tuple[int, ...]


def vector(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """(..., 2) float32 from two broadcastable coordinates."""
    return np.stack(np.broadcast_arrays(np.float32(x), np.float32(y)), axis=-1)


def heading(angle: np.ndarray | float) -> np.ndarray:
    """(..., 2) unit vectors; 0 points right and positive angles (radians) turn clockwise on the screen."""
    return vector(np.cos(angle), np.sin(angle))


def turn(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate (..., 2) by angle (...), clockwise on the screen."""
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def capsule(a: np.ndarray, b: np.ndarray, radius_a: np.ndarray | float, radius_b: np.ndarray | float):
    """(N, 6) capsules between a and b (N, 2)."""
    radii = [np.broadcast_to(np.float32(r), a.shape[:1])[:, None] for r in (radius_a, radius_b)]
    return np.concatenate([a, b, *radii], axis=1)


def transform(figure: Figure, scale: np.ndarray, angle: np.ndarray) -> Figure:
    """Turn by `angle` and enlarge by `scale` (each (N,)), at the origin."""

    def move(points: np.ndarray) -> np.ndarray:  # (N, M, 2)
        return turn(points, angle[:, None]) * scale[:, None, None]

    def move_layer(layer: Layer) -> Layer:
        n, c, _ = layer.capsules.shape
        ends = move(layer.capsules[..., :4].reshape(n, 2 * c, 2)).reshape(n, c, 4)  # (N, C, 4)
        return replace(layer, capsules=np.concatenate([ends, layer.capsules[..., 4:] * scale[:, None, None]], -1))

    return replace(figure, layers=tuple(map(move_layer, figure.layers)), keypoints=move(figure.keypoints))


def shift(figure: Figure, offset: np.ndarray) -> Figure:
    """Translate by offset (N, 2)."""
    step = np.concatenate([offset, offset, np.zeros_like(offset)], axis=1)[:, None]
    layers = tuple(replace(layer, capsules=layer.capsules + step) for layer in figure.layers)
    return replace(figure, layers=layers, keypoints=figure.keypoints + offset[:, None])


def bounding_box(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corners, (N, 2) each."""
    capsules = np.concatenate([layer.capsules for layer in figure.layers], axis=1)
    discs = np.concatenate([capsules[..., [0, 1, 4]], capsules[..., [2, 3, 5]]], axis=1)  # (N, 2C, 3)
    return (discs[..., :2] - discs[..., 2:]).min(1), (discs[..., :2] + discs[..., 2:]).max(1)


def place(figure: Figure, draws: Draws, overhang: float = 0.08) -> Figure:
    """Put each figure anywhere in the unit square; at most `overhang` of its box may leave the image."""
    low, high = bounding_box(figure)
    slack = overhang * (high - low)
    first, last = -low - slack, 1.0 - high + slack
    return shift(figure, first + (last - first) * draws.uniform(0.0, 1.0, 2))


def distance(capsules: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the union of capsules (N, C, 6), negative inside; x, y broadcast with (N, 1, 1)."""
    nearest = None
    for one in np.moveaxis(capsules, 1, 0)[..., None, None]:  # (N, 6, 1, 1)
        ax, ay, bx, by, radius_a, radius_b = np.moveaxis(one, 1, 0)
        bx, by = bx - ax, by - ay
        length2 = bx * bx + by * by + np.float32(1e-9)
        dx, dy = x - ax, y - ay
        along = dx * (bx / length2) + dy * (by / length2)
        t = np.clip(along, 0.0, 1.0)
        # |p - a - t (b - a)|^2 = |p - a|^2 - t (2 along - t) |b - a|^2
        square = dx * dx + dy * dy - t * (2.0 * along - t) * length2
        d = np.sqrt(np.maximum(square, 0.0)) - radius_a - t * (radius_b - radius_a)
        nearest = d if nearest is None else np.minimum(nearest, d)
    return nearest
