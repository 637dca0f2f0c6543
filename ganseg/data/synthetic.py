"""Procedural scenes with exact part labels, foreground, keypoints and visibility.

Scene i of a family depends on (seed, i) alone. An articulated figure (`bird`, `face`) of random pose, scale,
rotation, colours, texture and lighting stands at a uniformly random place, over a textured background.
Nothing is centred; background and figure are drawn independently but for the contrast of their hues.
"""

from __future__ import annotations

import numpy as np

from ganseg.data import bird, face, render, shapes
from ganseg.data.draws import Draws
from ganseg.data.source import Chunk, Source

FAMILIES = {"synthetic-bird": bird, "synthetic-face": face}
SPLITS = {"train": range(0, 10_000), "val": range(10_000, 11_000), "test": range(11_000, 12_000)}
SEED = 0
VERSION = 1  # raised by hand when a scene looks different: drawn before, it is another scene


def scenes(family: str, seed: int, indices: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Render the scenes `indices` (N,) of a family at S = `size` pixels a side.

    Returns images (N, S, S, 3) uint8, parts (N, S, S) uint8 with 0 = background, foreground (N, S, S) uint8,
    keypoints (N, J, 2) float32 in pixels (centres at integers) and visible (N, J) bool.
    """
    together = max(1, 2**15 // size**2)  # images whose fields fit in a core's cache
    pieces = [indices[i : i + together] for i in range(0, len(indices), together)]
    drawn = [_scenes(family, seed, np.asarray(piece), size) for piece in pieces]
    return {name: np.concatenate([one[name] for one in drawn]) for name in drawn[0]}


def _scenes(family: str, seed: int, indices: np.ndarray, size: int) -> dict[str, np.ndarray]:
    kind = FAMILIES[family]
    source = Draws(family, seed, indices)
    figure, hue = kind.figure(source)
    scale = source.uniform(*kind.SCALE)
    angle = source.uniform(-kind.ROTATION, kind.ROTATION)
    figure = shapes.place(shapes.transform(figure, scale, angle), source)
    images, parts = render.paint(source, figure, scale, hue, size)
    return {
        "images": images,
        "parts": parts,
        "foreground": (parts > 0).astype(np.uint8),
        "keypoints": (figure.keypoints * size - 0.5).astype(np.float32),
        "visible": render.visibility(figure),
    }


def open_family(family: str, split: str) -> Source:
    """The split's scenes as a source of images; nothing is drawn yet."""
    indices = np.array(SPLITS[split])

    def read(positions: np.ndarray, size: int) -> Chunk:
        return Chunk(scenes(family, SEED, indices[positions], size))

    kind = FAMILIES[family]
    return Source(
        names=tuple(f"{family}-{i:06d}" for i in indices),
        identity=("synthetic", family, SEED, VERSION),
        read=read,
        part_names=kind.PARTS,
        keypoint_names=kind.KEYPOINTS,
    )
