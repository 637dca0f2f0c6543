"""Procedural scenes: random numbers, colours, articulated figures made of capsules, and what draws them.

Everything is a function of continuous coordinates, so that one scene drawn at two sizes is the same scene:
(x, y), x right and y down, in image sides. A disc is (x, y, radius). Two discs, a and b, make a capsule: the points
within r(t) of a + t (b - a), t in [0, 1], where r goes linearly from one radius to the other. Angles in radians,
clockwise on the screen.
"""

import hashlib
import math
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014) on uint64: every output bit depends on every input bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Draws:
    """Uniform draws for N items: number j of item i depends on (stream, seed, i, j) and on nothing else.

    So a scene is the same in any batch, and no NumPy release can change it. Each call uses the next numbers.
    """

    def __init__(self, stream: str, seed: int, items: np.ndarray) -> None:
        """`items`: (N,) non-negative integers that name the items."""
        key = np.frombuffer(hashlib.sha256(repr((stream, int(seed))).encode()).digest()[:8], dtype="<u8")[0]
        self._state = mix(np.asarray(items).astype(np.uint64) * GOLDEN + key)
        self._used = 0

    def bits(self, *shape: int) -> np.ndarray:
        """(N, *shape) uint64."""
        count = math.prod(shape)
        counters = (np.arange(self._used, self._used + count, dtype=np.uint64) + np.uint64(1)) * GOLDEN
        self._used += count
        return mix(self._state[:, None] + counters).reshape(-1, *shape)  # (N, count) -> (N, *shape)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """(N, *shape) float32 in [low, high)."""
        unit = (self.bits(*shape) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return unit * np.float32(high - low) + np.float32(low)

    def chance(self, probability: float, *shape: int) -> np.ndarray:
        """(N, *shape) bool, true with `probability`."""
        return self.uniform(0.0, 1.0, *shape) < probability


def hsv(hue: np.ndarray | float, saturation: np.ndarray | float, value: np.ndarray | float) -> np.ndarray:
    """(..., 3) float32 RGB in [0, 1]; hue in turns (any real), saturation and value clipped to [0, 1]."""
    hue, saturation, value = np.broadcast_arrays(np.float32(hue), np.float32(saturation), np.float32(value))
    saturation, value = np.clip(saturation, 0, 1)[..., None], np.clip(value, 0, 1)[..., None]
    k = (np.array([5, 3, 1], np.float32) + 6 * hue[..., None]) % 6
    return value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)


class Layer(NamedTuple):
    """Capsules drawn as one: `discs` (N, 2C, 3), two by two.

    `part`: their label. `tint`: (N, 3) RGB in [0, 1]. `texture`: its strength on them (0 for eyes and the like).
    """

    part: int
    discs: np.ndarray
    tint: np.ndarray
    texture: float = 1.0


class Figure(NamedTuple):
    """N figures: layers from the back to the front, keypoints (N, J, 2), and the number of each keypoint's layer."""

    layers: tuple[Layer, ...]
    keypoints: np.ndarray
    keypoint_layers: tuple[int, ...]

    def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> Self:
        """The figures with `move` done to their points (N, M, 2) and discs (N, M, 3)."""
        layers = tuple(layer._replace(discs=move(layer.discs)) for layer in self.layers)
        return self._replace(layers=layers, keypoints=move(self.keypoints))

    def visible(self) -> np.ndarray:
        """(N, J) bool: the keypoint is inside the image and no layer in front of its own covers it."""
        visible = ((self.keypoints >= 0.0) & (self.keypoints < 1.0)).all(-1)
        x, y = self.keypoints[:, None, :, 0], self.keypoints[:, None, :, 1]  # (N, 1, J)
        for number, layer in enumerate(self.layers):
            behind = number > np.array(self.keypoint_layers)
            visible &= ~(behind & (distance(layer.discs, x, y)[:, 0] < 0.0))
        return visible


def vector(x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """(..., 2) float32 from two broadcastable coordinates."""
    return np.stack(np.broadcast_arrays(np.float32(x), np.float32(y)), axis=-1)


def heading(angle: np.ndarray | float) -> np.ndarray:
    """(..., 2) unit vectors; 0 points right."""
    return vector(np.cos(angle), np.sin(angle))


def turn(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotate points (..., 2) or discs (..., 3) by angle (...) about the origin."""
    cos, sin = np.cos(angle)[..., None], np.sin(angle)[..., None]
    x, y = points[..., :1], points[..., 1:2]
    return np.concatenate([cos * x - sin * y, sin * x + cos * y, points[..., 2:]], axis=-1)


def capsule(a: np.ndarray, b: np.ndarray, radius_a: np.ndarray | float, radius_b: np.ndarray | float) -> np.ndarray:
    """(N, 2, 3): the discs of capsules between a and b (N, 2)."""
    discs = [np.insert(end, 2, radius, axis=1) for end, radius in ((a, radius_a), (b, radius_b))]
    return np.stack(discs, axis=1)


def place(figure: Figure, draws: Draws, scale: np.ndarray, angle: np.ndarray, overhang: float = 0.08) -> Figure:
    """Turn by `angle`, enlarge by `scale` (each (N,)), and put anywhere in the unit square.

    At most `overhang` of a figure's box may leave the image.
    """
    figure = figure.moved(lambda discs: turn(discs, angle[:, None]) * scale[:, None, None])
    discs = np.concatenate([layer.discs for layer in figure.layers], axis=1)
    low, high = (discs[..., :2] - discs[..., 2:]).min(1), (discs[..., :2] + discs[..., 2:]).max(1)  # (N, 2)
    slack = overhang * (high - low)
    first, last = -low - slack, 1.0 - high + slack
    offset = np.insert(first + (last - first) * draws.uniform(0.0, 1.0, 2), 2, 0, axis=1)[:, None]  # radii stay
    return figure.moved(lambda discs: discs + offset[..., : discs.shape[-1]])


def distance(discs: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance to the union of capsules (N, 2C, 3), negative inside; x, y broadcast with (N, 1, 1)."""
    nearest = None
    for one in np.moveaxis(discs.reshape(len(discs), -1, 6), 1, 0)[..., None, None]:  # (N, 6, 1, 1)
        ax, ay, radius_a, bx, by, radius_b = np.moveaxis(one, 1, 0)
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


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (1, 1, S) and y (1, S, 1): the pixel centres in units of the image's side."""
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    return centres[None, None, :], centres[None, :, None]


def smooth_noise(draws: Draws, size: int, knots: int) -> np.ndarray:
    """(N, S, S) float32, zero mean, most of it within [-1, 1]: cubic B-splines of about `knots` - 3 cells a side."""
    position = (np.arange(size) + 0.5) / size * (knots - 3) + 1.0
    d = np.abs(position[:, None] - np.arange(knots))
    inner, outer = 2 / 3 - d**2 + d**3 / 2, (2 - d) ** 3 / 6
    basis = np.where(d < 1, inner, np.where(d < 2, outer, 0.0)).astype(np.float32)  # (S, knots)
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


def patchwork(draws: Draws, size: int, colours: np.ndarray) -> np.ndarray:
    """(N, 3, S, S): patches of `colours` (N, L, 3), each a little lighter or darker, under uneven light."""
    n, count, _ = colours.shape
    image = np.zeros((n, 3, size, size), np.float32)
    for knots in (4, 6, 7, 8, 9, 10):
        chosen = (draws.uniform(0.0, 1.0) * count).astype(np.int64)
        colour = colours[np.arange(n), chosen] * draws.uniform(0.75, 1.15)[:, None]
        cover = np.clip(0.5 + 5.0 * smooth_noise(draws, size, knots), 0, 1) if image.any() else np.ones((n, size, size))
        image += cover[:, None] * (colour[:, :, None, None] - image)
    shade, grain = (smooth_noise(draws, size, knots) for knots in (8, 22))
    return image * (1 + 0.2 * shade + 0.12 * grain)[:, None]


def texture(draws: Draws, layer: Layer, scale: np.ndarray, size: int) -> np.ndarray:
    """(N, S, S) about 1: stripes or speckles and a gradient, fixed to the layer's first capsule."""
    x, y = grid(size)
    a, b = layer.discs[:, 0], layer.discs[:, 1]
    ax, ay = a.T[:2, :, None, None]  # (N, 1, 1)
    way = heading(np.arctan2(b[:, 1] - a[:, 1], b[:, 0] - a[:, 0]) + draws.uniform(-0.5, 0.5))
    number = 2 * np.pi / (draws.uniform(0.075, 0.16, 2) * scale[:, None])
    phase = draws.uniform(0.0, 2 * np.pi, 2)
    waves = []
    for i, direction in enumerate((way, vector(-way[:, 1], way[:, 0]))):
        u, v = (number[:, i] * direction.T)[..., None, None]
        waves.append(np.sin(u * x + (phase[:, i, None, None] - u * ax - v * ay) + v * y))
    speckled = draws.chance(0.5)[:, None, None]
    pattern = waves[0] * np.where(speckled, waves[1], np.float32(1.0))
    return pattern * (layer.texture * draws.uniform(0.0, 0.22))[:, None, None] + np.float32(1.0)


def paint(
    draws: Draws, figure: Figure, scale: np.ndarray, hue: np.ndarray, size: int, camouflaged: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, S, S, 3) uint8 and labels (N, S, S) uint8 of figures that stand in the unit square.

    Edges are antialiased by their distance: a ramp of one pixel. `camouflaged`: before patches of their own colours.
    """
    x, y = grid(size)
    n = len(scale)
    labels = np.zeros((n, size, size), np.uint8)
    through, weights = np.ones((n, size, size), np.float32), []
    slope = np.stack([draws.uniform(-0.6, 0.6), draws.uniform(-0.9, 0.2)], axis=1) / scale[:, None]
    rest = 1.0 - (slope * figure.layers[2].discs[:, 0, :2]).sum(1)
    u, v = slope.T[..., None, None]  # (N, 1, 1)
    light = u * x + rest[:, None, None] + v * y  # brighter above, on average
    for layer in reversed(figure.layers):  # from the front to the back
        d = distance(layer.discs, x, y)
        labels = np.where((labels == 0) & (d <= 0), np.uint8(layer.part), labels)
        cover = np.clip(np.float32(0.5) - d * np.float32(size), 0.0, 1.0) * through
        through = through - cover
        depth = np.clip(d * (np.float32(-12.0) / scale[:, None, None]), 0.0, 1.0)
        rim = depth * np.float32(0.25) + np.float32(0.8)  # darker towards the edge
        pattern = texture(draws, layer, scale, size) if layer.texture else np.float32(1.0)
        weights.append(cover * (light * rim * pattern))
    tints = np.stack([layer.tint for layer in reversed(figure.layers)], axis=2)  # (N, 3, L)
    front = tints @ np.stack(weights, axis=1).reshape(n, -1, size * size)  # (N, 3, S*S)
    own = np.stack([layer.tint for layer in figure.layers if layer.texture], axis=1)  # (N, L, 3)
    behind = patchwork(draws, size, own) if camouflaged else background(draws, size, hue)
    image = front.reshape(n, 3, size, size) + through[:, None] * behind
    image = np.clip(image * np.float32(255.0) + np.float32(0.5), 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1)), labels  # (N, 3, S, S) -> (N, S, S, 3)
