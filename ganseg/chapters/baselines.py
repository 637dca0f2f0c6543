"""Baselines that run on the images at hand, to hold beside our segmentation (section 4.2).

Images are uint8 (N, S, S, 3). A baseline returns label maps (N, S, S) uint8, background 0: a foreground mask
has the one part 1, a part segmentation has parts 1..K, the same in all images. Nothing is drawn at random
without a seed, so a second call gives the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganseg import metrics, protocols
from ganseg.config import SegmenterConfig
from ganseg.data import Split
from ganseg.files import DOWNLOADS, UserError, downloads_allowed
from ganseg.protocols import Protocol
from ganseg.segmenter import Segmenter
from ganseg.training import to_unit

Features = Callable[[np.ndarray], np.ndarray]  # images (B, S, S, 3) -> features (B, h, w, C), none negative

FITTED = 20_000  # vectors that clusters and factors are fitted on, evenly spaced over images and pixels
BLOCK = 50  # images whose features are in memory at a time


class Baseline(NamedTuple):
    """What a method found, and what it was given beyond the images."""

    labels: np.ndarray  # (N, S, S) uint8
    parts: int  # 1: foreground only
    needs: str


def constant_mask(truth: np.ndarray, count: int) -> np.ndarray:
    """`metrics.best_constant_mask` of the foregrounds `truth` (M, S, S), for each of `count` images."""
    known = (np.asarray(truth) != 255).any(axis=(1, 2))  # images with a label
    mask, _ = metrics.best_constant_mask(truth[known])
    return np.broadcast_to(mask.astype(np.uint8), (count, *mask.shape))


def grabcut(images: np.ndarray, border: float = 1 / 32, iterations: int = 5) -> np.ndarray:
    """GrabCut (Rother et al. 2004; OpenCV's), image by image, with no user: foreground masks (N, S, S).

    A frame as wide as `border` of the image's side, at least a pixel, is background for certain; all else may
    be object. Two Gaussian mixtures of colours and a graph cut take turns `iterations` times. An object that
    touches the frame loses what lies in it.
    """
    width = max(1, round(border * images.shape[1]))
    return np.stack([_grabcut(image, width, iterations) for image in images])


def _grabcut(image: np.ndarray, width: int, iterations: int) -> np.ndarray:
    """One foreground mask (S, S); OpenCV's random numbers, which start the mixtures, begin anew each time."""
    try:
        import cv2
    except ImportError:
        raise UserError("GrabCut needs OpenCV: pip install opencv-python-headless") from None
    height, length = image.shape[:2]
    inner = (width, width, length - 2 * width, height - 2 * width)
    mask, mixtures = np.zeros((height, length), np.uint8), [np.zeros((1, 65)) for _ in range(2)]
    cv2.setRNGSeed(0)
    cv2.grabCut(np.ascontiguousarray(image), mask, inner, *mixtures, iterations, cv2.GC_INIT_WITH_RECT)
    return ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)


def kmeans(images: np.ndarray, parts: int, position: float = 0.5, seed: int = 0) -> np.ndarray:
    """k-means with K + 1 clusters on the colour and position of the pixels of all images: labels (N, S, S).

    A pixel is its RGB in [0, 1] and `position` times its (x, y) in [-1, 1]. Pooled over the images, so that a
    cluster means the same in each. Which clusters are background, `background_first` decides.
    """
    from sklearn.cluster import KMeans

    pixels = [images / np.float32(255), position * _places(images.shape)]  # (N, S, S, 3), (N, S, S, 2)
    flat = np.concatenate(pixels, axis=-1).reshape(-1, 5).astype(np.float32)
    model = KMeans(parts + 1, n_init=3, random_state=seed).fit(flat[_spaced(len(flat))])
    return background_first(model.predict(flat).reshape(images.shape[:3]), parts + 1)


def deep_feature_factorisation(images: np.ndarray, parts: int, features: Features, seed: int = 0) -> np.ndarray:
    """Deep feature factorisation (Collins et al. 2018; DEF in the tables), K + 1 factors: labels (N, S, S).

    The features of all places of all images, stacked to V (places, C), are approximated by W H; W, H >= 0,
    starting from V's singular vectors. A row of H is what a factor looks like, a column of W where it is.
    Maps of W, enlarged bilinearly, compete for each pixel. `background_first` names the background, as for
    k-means. Fitted on the test images themselves, as section 4.2 says of it, but on `FITTED` places of them.
    """
    from sklearn.decomposition import NMF

    model = NMF(parts + 1, init="nndsvda", random_state=seed, max_iter=300, tol=1e-3)
    model.fit(_fitting_vectors(images, features))
    length = np.linalg.norm(model.components_, axis=1)  # (K + 1,), so that factors compete in V's own unit
    blocks = [_strongest(model, features(images[i : i + BLOCK]), length, images.shape[1])
              for i in range(0, len(images), BLOCK)]  # fmt: skip
    return background_first(np.concatenate(blocks), parts + 1)


def _fitting_vectors(images: np.ndarray, features: Features) -> np.ndarray:
    """At most about `FITTED` feature vectors (M, C), of images that are evenly spaced."""
    places = int(np.prod(features(images[:1]).shape[1:3]))
    few = images[_spaced(len(images), max(1, FITTED // places))]
    blocks = [features(few[i : i + BLOCK]) for i in range(0, len(few), BLOCK)]
    return np.concatenate([block.reshape(-1, block.shape[-1]) for block in blocks])


def _strongest(model: Any, block: np.ndarray, length: np.ndarray, size: int) -> np.ndarray:
    """The factor (B, S, S) with the highest enlarged map, of features (B, h, w, C)."""
    weights = model.transform(block.reshape(-1, block.shape[-1])) * length  # (B h w, K + 1)
    maps = torch.from_numpy(weights.reshape(*block.shape[:3], -1)).permute(0, 3, 1, 2).float()
    large = F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)
    return large.argmax(dim=1).numpy()


def background_first(clusters: np.ndarray, count: int) -> np.ndarray:
    """Clusters 0..count - 1 of the pixels (N, S, S) as labels uint8: background 0, then parts 1, 2, ...

    A cluster is background if it is more frequent at the border of the images than in their inside, the
    boundary prior of saliency detection (Wei et al. 2012). At least one cluster is background; one is not.
    """
    edge = np.ones(clusters.shape[1:], bool)
    edge[1:-1, 1:-1] = False
    outside, inside = (np.bincount(clusters[:, where].ravel(), minlength=count) for where in (edge, ~edge))
    share = outside / edge.sum() - inside / (~edge).sum()  # (count,), above 0: rather at the border
    background, order = share > 0, share.argsort(kind="stable")
    background[order[-1]], background[order[0]] = True, False
    return np.where(background, 0, np.cumsum(~background)).astype(np.uint8)[clusters]


def network_features(segmenter: Segmenter) -> Features:
    """Features of a segmentation network's backbone, after its last rectifier."""
    return _features(lambda unit: segmenter.network.backbone(unit)["out"], segmenter)


def random_network(config: SegmenterConfig, parts: int, seed: int = 0) -> Segmenter:
    """The segmentation network before it was trained: what its architecture alone knows of images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Segmenter(config, parts)


def imagenet_features(allow_download: bool | None = None, size: int = 224) -> Features:
    """VGG-19 up to its last rectifier, as in the original factorisation, with torchvision's ImageNet weights.

    ImageNet's labels are supervision. The weights (550 MB) are fetched only if `allow_download`, by default
    whether the environment variable GANSEG_ALLOW_DOWNLOADS is 1; UserError otherwise. Images are enlarged to
    `size` pixels.
    """
    from torchvision.models import VGG19_Weights, vgg19

    if not (downloads_allowed() if allow_download is None else allow_download):
        raise UserError(f"ImageNet weights are not fetched unasked; {DOWNLOADS}=1 allows it")
    network = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features[:36]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def forward(unit: Tensor) -> Tensor:
        large = F.interpolate(unit, size=(size, size), mode="bilinear", align_corners=False)
        return network(((large + 1) / 2 - mean) / std)

    return _features(forward, network)


def _features(forward: Callable[[Tensor], Tensor], network: torch.nn.Module) -> Features:
    network.eval()

    @torch.no_grad()
    def features(images: np.ndarray) -> np.ndarray:
        unit = to_unit(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2), torch.device("cpu"))
        return forward(unit).permute(0, 2, 3, 1).float().numpy()  # (B, h, w, C)

    return features


def segment_all(test: Split, parts: int, config: SegmenterConfig, segmenter: Segmenter | None = None,
                seed: int = 0) -> dict[str, Baseline]:  # fmt: skip
    """Every baseline on the images of `test`, by name; without true masks, no constant mask.

    `config`: architecture of the random network. `segmenter`: a trained one. ImageNet: `imagenet_features`.
    """
    images, found = np.asarray(test.images), {}
    if test.foreground is not None:
        mask = constant_mask(test.foreground, len(test))
        found["Best constant mask"] = Baseline(mask, 1, "the true masks, no image")
    found["GrabCut"] = Baseline(grabcut(images), 1, "nothing")
    found["k-means"] = Baseline(kmeans(images, parts, seed=seed), parts, "the test images together")
    sources = {"random network": network_features(random_network(config, parts, seed))}
    if segmenter is not None:
        sources["our network"] = network_features(segmenter)
    if downloads_allowed():
        sources["ImageNet VGG-19"] = imagenet_features()
    needs = {"our network": "our segmenter", "ImageNet VGG-19": "ImageNet labels"}
    for name, source in sources.items():
        labels = deep_feature_factorisation(images, parts, source, seed)
        given = " and ".join(filter(None, [needs.get(name), "the test images together"]))
        found[f"Factorisation, {name}"] = Baseline(labels, parts, given)
    return found


def scores(labels: np.ndarray, test: Split, parts: int, protocol: Protocol) -> dict[str, Any]:
    """`iou` and its variants, NMI and ARI, pieces of a part: as far as the labels of `test` allow.

    A foreground (`parts` = 1) has no NMI and ARI: one label agrees with nothing.
    """
    values: Mapping[str, Any] = protocols.coverage(labels, test.foreground, protocol)
    agreement = protocols.agreement(labels, test) if parts > 1 else {}
    return {**values, **agreement, "components_per_part": metrics.components_per_part(labels, parts)}


def _places(shape: tuple[int, ...]) -> np.ndarray:
    """(x, y) in [-1, 1] of the pixels of images of `shape`: (N, S, S, 2)."""
    n, height, width = shape[:3]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.broadcast_to(np.stack([x, y], axis=-1).astype(np.float32), (n, height, width, 2))


def _spaced(total: int, wanted: int = FITTED) -> np.ndarray:
    """At most `wanted` indices below `total`, evenly spaced."""
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).round().astype(np.int64))
