"""Baselines that run on the images at hand, to hold beside our segmentation (section 4.2).

Images are uint8 (N, S, S, 3). A baseline returns label maps (N, S, S) uint8, background 0: a foreground mask has the
one part 1, a part segmentation has parts 1..K, the same in all images. A second call gives the same labels.

The last ones are competitors that learned nothing; what they reach on drawn test images is the bar of the ledger's
rules. Each is a function of a configuration and its test images that gives values by metric, one a start.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF
from torch import Tensor

from ganseg import metrics
from ganseg.config import Config, SegmenterConfig
from ganseg.data import Split, describe
from ganseg.devices import make_fabric
from ganseg.evaluation import DRAWN, Protocol, agreement, coverage, find_parts, held_out, landmarks, regression_images
from ganseg.files import read_json, write_json
from ganseg.probes import batches
from ganseg.recipes import resolve
from ganseg.segmenter import Segmenter

FEW, STARTS = 32, 8  # images that pieces of untrained networks are counted in, and such networks
Reached = dict[str, list[float]]
Features = Callable[[Tensor], Tensor]  # images (B, 3, S, S) in [-1, 1] -> (B, C, h, w)
FITTED = 20_000  # vectors that clusters and factors are fitted on, evenly spaced over images and pixels


class Baseline(NamedTuple):
    """What a method found, and what it was given beyond the images."""

    labels: np.ndarray  # (N, S, S) uint8
    parts: int  # 1: foreground only
    needs: str


def grabcut(images: np.ndarray, border: float = 1 / 32, iterations: int = 5) -> np.ndarray:
    """GrabCut (Rother et al. 2004; OpenCV's), image by image, with no user: foreground masks (N, S, S).

    A frame as wide as `border` of the image's side, at least a pixel, is background for certain; all else may be
    object. Two Gaussian mixtures of colours and a graph cut take turns `iterations` times.
    """
    size, width = images.shape[1], max(1, round(border * images.shape[1]))
    inner, masks = (width, width, size - 2 * width, size - 2 * width), np.zeros(images.shape[:3], np.uint8)
    for image, mask in zip(images, masks, strict=True):
        cv2.setRNGSeed(0)  # OpenCV's random numbers, which start the mixtures, begin anew each time
        mixtures = [np.zeros((1, 65)) for _ in range(2)]
        cv2.grabCut(np.ascontiguousarray(image), mask, inner, *mixtures, iterations, cv2.GC_INIT_WITH_RECT)
    return np.isin(masks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def kmeans(images: np.ndarray, parts: int, position: float = 0.5, seed: int = 0) -> np.ndarray:
    """k-means with K + 1 clusters on the colour and position of the pixels of all images: labels (N, S, S).

    A pixel is its RGB in [0, 1] and `position` times its (x, y) in [-1, 1].
    """
    line = np.linspace(-1, 1, images.shape[1], dtype=np.float32)
    places = np.broadcast_to(np.stack(np.meshgrid(line, line), axis=-1), (*images.shape[:3], 2))  # (x, y)
    flat = np.concatenate([images / np.float32(255), position * places], axis=-1).reshape(-1, 5).astype(np.float32)
    model = KMeans(parts + 1, n_init=3, random_state=seed).fit(flat[_spaced(len(flat))])
    return background_first(model.predict(flat).reshape(images.shape[:3]), parts + 1)


@torch.no_grad()
def deep_feature_factorisation(images: np.ndarray, parts: int, features: Features, seed: int = 0) -> np.ndarray:
    """Deep feature factorisation (Collins et al. 2018; DEF in the tables), K + 1 factors: labels (N, S, S).

    The `features` (B, C, h, w), none negative, of all places of all images, stacked to V (places, C), are approximated
    by W H; W, H >= 0. A row of H is what a factor looks like, a column of W where it is. Maps of W, enlarged, compete
    for each pixel. Fitted on the test images themselves, as section 4.2 says of it, but on `FITTED` places of them.
    """
    seen = [features(block).float().permute(0, 2, 3, 1) for block in batches(images, torch.device("cpu"))]
    few = torch.cat(seen)[_spaced(len(images), max(1, FITTED // seen[0][0, ..., 0].numel()))]  # (n, h, w, C)
    model = NMF(parts + 1, init="nndsvda", random_state=seed, max_iter=300, tol=1e-3).fit(few.flatten(0, 2).numpy())
    strength, found = np.linalg.norm(model.components_, axis=1), []  # of a factor, in the features' unit
    for places in seen:  # (B, h, w, C)
        weights = torch.from_numpy(model.transform(places.flatten(0, 2).numpy()) * strength)
        maps = weights.reshape(*places.shape[:3], -1).permute(0, 3, 1, 2).float()  # (B, K + 1, h, w)
        found.append(F.interpolate(maps, size=images.shape[1:3], mode="bilinear", align_corners=False).argmax(dim=1))
    return background_first(torch.cat(found).numpy(), parts + 1)


def background_first(clusters: np.ndarray, count: int) -> np.ndarray:
    """Clusters 0..count - 1 of the pixels (N, S, S) as labels uint8: background 0, then parts 1, 2, ...

    A cluster is background if it is more frequent at the border of the images than in their inside, the boundary prior
    of saliency detection (Wei et al. 2012). At least one cluster is background; one is not.
    """
    edge = np.ones(clusters.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    outside, inside = (np.bincount(clusters[:, where].ravel(), minlength=count) for where in (edge, ~edge))
    share = outside / edge.sum() - inside / (~edge).sum()  # (count,), above 0: rather at the border
    background, order = share > 0, share.argsort(kind="stable")
    background[order[-1]], background[order[0]] = True, False
    return np.where(background, 0, np.cumsum(~background)).astype(np.uint8)[clusters]


def _spaced(total: int, wanted: int = FITTED) -> np.ndarray:
    """At most `wanted` indices below `total`, evenly spaced."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).round().astype(np.int64))


def random_network(config: SegmenterConfig, parts: int, seed: int) -> Segmenter:
    """The segmentation network before it was trained: what its architecture alone knows of images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Segmenter(config, parts)


def segment_all(
    test: Split, parts: int, config: SegmenterConfig, segmenter: Segmenter, seed: int = 0
) -> dict[str, Baseline]:
    """Every baseline on the images of `test`, by name; without true masks, no constant mask.

    `config`: architecture of the random network, our segmentation network before training. `segmenter`: a trained one.
    """
    images, truth, found, together = np.asarray(test.images), test.foreground, {}, "the test images together"
    if truth is not None:
        mask, _ = metrics.best_constant_mask(truth[(truth != 255).any(axis=(1, 2))])  # of images with a label
        everywhere = np.broadcast_to(mask.astype(np.uint8), truth.shape)
        found["Best constant mask"] = Baseline(everywhere, 1, "the true masks, no image")
    found["GrabCut"] = Baseline(grabcut(images), 1, "nothing")
    found["k-means"] = Baseline(kmeans(images, parts, seed=seed), parts, together)
    for name, network in {"random": random_network(config, parts, seed), "our": segmenter}.items():
        layers = network.eval().network.backbone  # its features: what its last rectifier lets through
        labels = deep_feature_factorisation(images, parts, lambda block, of=layers: of(block)["out"], seed)
        needs = together if name == "random" else f"our segmenter and {together}"
        found[f"Factorisation, {name} network"] = Baseline(labels, parts, needs)
    return found


def scores(labels: np.ndarray, test: Split, parts: int) -> dict[str, Any]:
    """`iou` and its variants, NMI and ARI, pieces of a part: as far as the labels of `test` allow.

    A foreground (`parts` = 1) has no NMI and ARI: one label agrees with nothing.
    """
    values = coverage(labels, test.foreground) | (agreement(labels, test) if parts > 1 else {})
    return values | {"components_per_part": metrics.components_per_part(labels, parts)}


def grid(config: Config, test: Split) -> Reached:
    """The image cut into K equal cells, always alike: the best of all grids, bands among them."""
    line, parts, scores = np.arange(test.size), config.generator.parts, []
    for rows in (n for n in range(1, parts + 1) if parts % n == 0):
        columns = parts // rows
        cells = 1 + columns * (line * rows // test.size)[:, None] + line * columns // test.size  # (S, S)
        scores.append(metrics.nmi_ari(np.broadcast_to(cells, test.parts.shape), test.parts))
    return {f"{name}_foreground": [best] for name, best in zip(("nmi", "ari"), np.max(scores, axis=0), strict=True)}


def untrained(config: Config, test: Split) -> Reached:
    """The segmentation network with random weights, several times; without those that find no part."""
    parts, fabric = config.generator.parts, make_fabric(precision="32-true")
    networks = (random_network(config.segmenter, parts, seed).to(fabric.device) for seed in range(STARTS))
    found = (find_parts(network, test.images[:FEW], fabric).labels for network in networks)
    pieces = np.array([metrics.components_per_part(labels, parts) for labels in found])
    return {"components_per_part": pieces[~np.isnan(pieces)].tolist()}


def clusters(config: Config, test: Split) -> Reached:
    """Those of `kmeans`: a segmentation into parts without a network."""
    parts = config.generator.parts
    return {"components_per_part": [metrics.components_per_part(kmeans(np.asarray(test.images), parts), parts)]}


def centroid(config: Config, test: Split) -> Reached:
    """Landmarks regressed from a single point, the centre of the true foreground."""
    protocol = Protocol.of(config.data.name)
    fitted = config.replace({"data.train_limit": DRAWN})  # no more are decoded
    train = regression_images(fitted, test, protocol, None)
    one, other = (metrics.part_centres(np.asarray(split.foreground)[:, None]) for split in (train, test))
    return {"landmark_error_ratio": [landmarks(train, one, test, other, protocol.normaliser)["landmark_error_ratio"]]}


def truth(config: Config, test: Split) -> Reached:
    """The true foreground."""
    return {"foreground_fraction": [metrics.foreground_fraction(np.asarray(test.foreground))]}


COMPETITORS: dict[str, tuple[str, Callable[[Config, Split], Reached]]] = {
    "grid": ("a fixed grid", grid),
    "untrained": ("untrained networks", untrained),
    "kmeans": ("k-means", clusters),
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
