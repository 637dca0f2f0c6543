"""Competitors that learned nothing: what they reach on drawn test images is the bar of the ledger's rules.

Each is a function of a configuration and its test images that gives a list of values, one a start, by metric.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ganseg import baselines, metrics
from ganseg.config import Config
from ganseg.data import Split, describe
from ganseg.devices import make_fabric
from ganseg.evaluation import find_parts, held_out, regression_images
from ganseg.files import read_json, write_json
from ganseg.protocols import Protocol, landmarks
from ganseg.recipes import resolve

FEW, STARTS = 32, 8  # images that pieces are counted in, and networks at random
Reached = dict[str, list[float]]


def grid(config: Config, test: Split) -> Reached:
    """The image cut into K equal cells, always alike: the best of all grids, bands among them."""
    line, parts, scores = np.arange(test.size), config.generator.parts, []
    for rows in (n for n in range(1, parts + 1) if parts % n == 0):
        columns = parts // rows
        cells = 1 + columns * (line * rows // test.size)[:, None] + line * columns // test.size  # (S, S)
        scores.append(metrics.nmi_ari(np.broadcast_to(cells, test.parts.shape), test.parts))
    nmi, ari = np.max(scores, axis=0)
    return {"nmi_foreground": [nmi], "ari_foreground": [ari]}


def untrained(config: Config, test: Split) -> Reached:
    """The segmentation network with random weights, several times."""
    parts, fabric = config.generator.parts, make_fabric(precision="32-true")
    networks = (baselines.random_network(config.segmenter, parts, seed).to(fabric.device) for seed in range(STARTS))
    found = (find_parts(network, test.images[:FEW], fabric).labels for network in networks)
    pieces = [metrics.components_per_part(labels, parts) for labels in found]
    return {"components_per_part": [value for value in pieces if value == value]}  # some show no part


def kmeans(config: Config, test: Split) -> Reached:
    """Clusters of colours and places: a segmentation into parts without a network."""
    parts = config.generator.parts
    labels = baselines.kmeans(np.asarray(test.images), parts)
    return {"components_per_part": [metrics.components_per_part(labels, parts)]}


def centroid(config: Config, test: Split) -> Reached:
    """Landmarks regressed from a single point, the centre of the true foreground."""
    protocol = Protocol.of(config.data.name)
    train = regression_images(config, test, protocol, None)
    centres = (metrics.part_centres(np.asarray(split.foreground)[:, None]) for split in (train, test))
    scores = landmarks(train, next(centres), test, next(centres), protocol)
    return {"landmark_error_ratio": [scores["landmark_error_ratio"]]}


def truth(config: Config, test: Split) -> Reached:
    """The true foreground."""
    return {"foreground_fraction": [metrics.foreground_fraction(np.asarray(test.foreground))]}


COMPETITORS: dict[str, tuple[str, Callable[[Config, Split], Reached]]] = {
    "grid": ("a fixed grid", grid),
    "untrained": ("untrained networks", untrained),
    "kmeans": ("k-means", kmeans),
    "centroid": ("the true foreground's centre", centroid),
    "truth": ("the true foreground", truth),
}


def reached(name: str, scale: str, data: str, parts: int) -> Reached:
    """What the competitor `name` reaches with K = `parts`, kept beside the test images; {} where they are not drawn."""
    if describe(data).needs_dir:
        return {}
    config = resolve(data, "paper", scale, parts)
    test = held_out(config, None)
    path = Path(test.images.filename).with_name(f"{name}-{scale}-{parts}.json")
    if not path.exists():
        write_json(path, COMPETITORS[name][1](config, test))
    return read_json(path)
