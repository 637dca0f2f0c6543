"""Draws figures over textured backgrounds.

Everything is a function of continuous coordinates, so that one scene drawn at two sizes is the same scene.
Edges are antialiased by their distance: a ramp of one pixel.
"""

from __future__ import annotations

import numpy as np

from ganseg.data.colour import hsv
from ganseg.data.draws import Draws
from ganseg.data.shapes import Figure, Layer, distance


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, 1, S) and y (1, S, 1): the pixel centres in units of the image's side."""
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    return centres[None, None, :], centres[None, :, None]


def spline_basis(size: int, knots: int) -> np.ndarray:
    """(S, knots) float32: uniform cubic B-splines over [0, 1] at the pixel centres."""
    position = (np.arange(size) + 0.5) / size * (knots - 3) + 1.0
    d = np.abs(position[:, None] - np.arange(knots))
    inner, outer = 2 / 3 - d**2 + d**3 / 2, (2 - d) ** 3 / 6
    return np.where(d < 1, inner, np.where(d < 2, outer, 0.0)).astype(np.float32)


def smooth_noise(draws: Draws, size: int, knots: int) -> np.ndarray:
    """(N, S, S) float32, zero mean, most of it within [-1, 1], with about `knots` - 3 cells a side."""
    basis = spline_basis(size, knots)
    return basis @ draws.uniform(-2.2, 2.2, knots, knots) @ basis.T


def background(draws: Draws, size: int, hue: np.ndarray) -> np.ndarray:
    """(N, 3, S, S): two colours mixed by noise, with patches, fine grain, out-of-focus blobs and a gradient.

    `hue` (N,): the figure's hue, which the background's hue keeps away from.
    """
    x, y = grid(size)
    far = hue + 0.5 + draws.uniform(-0.25, 0.25)
    first = hsv(far, draws.uniform(0.08, 0.6), draws.uniform(0.25, 0.9))
    second = hsv(far + draws.uniform(-0.1, 0.1), draws.uniform(0.08, 0.6), draws.uniform(0.25, 0.9))
    coarse, patches, grain = (smooth_noise(draws, size, knots) for knots in (5, 10, 22))
    sharpness = draws.uniform(0.5, 2.5)[:, None, None]
    slope = draws.uniform(-0.2, 0.2, 2)[:, :, None, None]
    light = slope[:, 0] * (x - 0.5) + slope[:, 1] * (y - 0.5) + grain * draws.uniform(0.01, 0.08)[:, None, None]
    light = light + np.clip(patches * sharpness, -1, 1) * draws.uniform(0.0, 0.12)[:, None, None]
    fields = [np.clip(0.5 + coarse, 0, 1), light, np.ones_like(light)]
    colours = [second - first, np.ones_like(first), first]
    for blob in np.moveaxis(draws.uniform(0.0, 1.0, 3, 4), 1, 0)[..., None, None]:  # (N, 4, 1, 1)
        width = 0.04 + 0.1 * blob[:, 2]
        fields.append(np.exp(-(((x - blob[:, 0]) / width) ** 2)) * np.exp(-(((y - blob[:, 1]) / width) ** 2)))
        tone = hsv(far + 0.3 * (blob[:, 3, 0, 0] - 0.5), 0.4, blob[:, 3, 0, 0])
        colours.append(0.5 * (tone - 0.5 * (first + second)))
    mixed = np.stack(colours, axis=2) @ np.stack(fields, axis=1).reshape(len(hue), -1, size * size)
    return mixed.reshape(-1, 3, size, size)  # (N, 3, S*S) -> (N, 3, S, S)


def texture(draws: Draws, layer: Layer, scale: np.ndarray, size: int) -> np.ndarray:
    """(N, S, S) about 1: stripes or speckles and a gradient, fixed to the layer's first capsule."""
    x, y = grid(size)
    a, b = layer.capsules[:, 0, :2], layer.capsules[:, 0, 2:4]
    axis = np.arctan2(b[:, 1] - a[:, 1], b[:, 0] - a[:, 0]) + draws.uniform(-0.5, 0.5)
    number = 2 * np.pi / (draws.uniform(0.075, 0.16, 2) * scale[:, None])
    phase = draws.uniform(0.0, 2 * np.pi, 2)
    waves, ways = [], ((np.cos(axis), np.sin(axis)), (-np.sin(axis), np.cos(axis)))
    for i, (u, v) in enumerate(ways):
        u, v = number[:, i] * u, number[:, i] * v
        rest = phase[:, i] - u * a[:, 0] - v * a[:, 1]
        waves.append(np.sin((u[:, None, None] * x + rest[:, None, None]) + v[:, None, None] * y))
    speckled = draws.chance(0.5)[:, None, None]
    pattern = waves[0] * np.where(speckled, waves[1], np.float32(1.0))
    return pattern * (layer.texture * draws.uniform(0.0, 0.22))[:, None, None] + np.float32(1.0)


def lighting(draws: Draws, figure: Figure, scale: np.ndarray, size: int) -> np.ndarray:
    """(N, S, S) about 1: a linear gradient over the figure from a random side, brighter above on average."""
    x, y = grid(size)
    centre = figure.layers[2].capsules[:, 0, :2]
    slope = np.stack([draws.uniform(-0.6, 0.6), draws.uniform(-0.9, 0.2)], axis=1) / scale[:, None]
    rest = 1.0 - (slope * centre).sum(1)
    return (slope[:, :1, None] * x + rest[:, None, None]) + slope[:, 1:, None] * y


def darkened_rim(d: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(N, S, S) brightness, falling from 1.05 to 0.8 towards the edge; d (N, S, S) is the distance to it."""
    depth = np.clip(d * (np.float32(-12.0) / scale[:, None, None]), 0.0, 1.0)
    return depth * np.float32(0.25) + np.float32(0.8)


def paint(draws: Draws, figure: Figure, scale: np.ndarray, hue: np.ndarray, size: int):
    """Images (N, S, S, 3) uint8 and labels (N, S, S) uint8 of figures that stand in the unit square."""
    x, y = grid(size)
    n = len(scale)
    labels = np.zeros((n, size, size), np.uint8)
    through, weights = np.ones((n, size, size), np.float32), []
    light = lighting(draws, figure, scale, size)
    for layer in reversed(figure.layers):  # from the front to the back
        d = distance(layer.capsules, x, y)
        labels = np.where((labels == 0) & (d <= 0), np.uint8(layer.part), labels)
        cover = np.clip(np.float32(0.5) - d * np.float32(size), 0.0, 1.0) * through
        through = through - cover
        rim = darkened_rim(d, scale)
        pattern = texture(draws, layer, scale, size) if layer.texture else np.float32(1.0)
        weights.append(cover * (light * rim * pattern))
    tints = np.stack([layer.tint for layer in reversed(figure.layers)], axis=2)  # (N, 3, L)
    front = tints @ np.stack(weights, axis=1).reshape(n, -1, size * size)  # (N, 3, S*S)
    image = front.reshape(n, 3, size, size) + through[:, None] * background(draws, size, hue)
    image = np.clip(image * np.float32(255.0) + np.float32(0.5), 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1)), labels  # (N, 3, S, S) -> (N, S, S, 3)


def visibility(figure: Figure) -> np.ndarray:
    """(N, J) bool: the keypoint is inside the image and no layer in front of its own covers it."""
    points = figure.keypoints
    visible = ((points >= 0.0) & (points < 1.0)).all(-1)
    x, y = points[:, None, :, 0], points[:, None, :, 1]  # (N, 1, J)
    own = np.array(figure.keypoint_layers)
    for number, layer in enumerate(figure.layers):
        covered = distance(layer.capsules, x, y)[:, 0] < 0.0
        visible &= ~covered | (number <= own)
    return visible
