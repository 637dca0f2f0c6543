"""How close generated images are to real ones: FID where its weights may be fetched, and a distance without them.

Both are Frechet distances between Gaussians fitted to the features of either set (Heusel et al. 2017). FID takes those
of an Inception network trained on ImageNet, in the port that the paper cites (Seitzer 2020). The other takes those of a
network with random weights, after Naeem et al. (2020), who find them no worse a ruler for images that are unlike
ImageNet's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ganseg.files import DOWNLOADS, UserError, downloads_allowed
from ganseg.pictures import to_pictures
from ganseg.training import to_unit

if TYPE_CHECKING:
    from ganseg.devices import Fabric
    from ganseg.generator import Generator

IMAGES = 1000  # at most, generated and real ones each
BATCH = 100
Features = Callable[[Tensor], Tensor]  # images (B, 3, H, W) in [-1, 1] -> (B, C)


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    r"""$\|\mu_1 - \mu_2\|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})$ of (N, C) and (M, C).

    The bias of few images is positive: compare numbers of equally many images only. UserError below two images.
    """
    if min(len(one), len(other)) < 2:
        raise UserError(f"a Frechet distance needs two images on both sides, not {len(one)} and {len(other)}")
    means, spreads = zip(*(_moments(x.astype(np.float64)) for x in (one, other)), strict=True)
    roots = np.linalg.norm(
        spreads[0] @ spreads[1].T, "nuc"
    )  # tr (S1 S2)^(1/2), from the factors: without rounding below zero
    return max(0.0, float(np.square(means[0] - means[1]).sum() + sum(np.square(x).sum() for x in spreads) - 2 * roots))


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (C,), and a factor A (N, C) of the covariance A^T A."""
    mean = features.mean(axis=0)
    return mean, (features - mean) / np.sqrt(len(features) - 1)


def relative_distance(real: np.ndarray, other: np.ndarray) -> float:
    """`frechet_distance` over the variance of the `real` features (N, C): it does not depend on the features' unit."""
    return frechet_distance(real, other) / float(real.var(axis=0, ddof=1).sum())


@functools.cache
def random_network() -> Features:
    """A ResNet-18 with the same random weights on every machine, averaged over places: C = 512."""
    from torchvision.models import resnet18

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = resnet18(weights=None)
    network.fc = nn.Identity()
    network.eval().requires_grad_(False)

    return lambda images: network.to(images.device)(images)


@functools.cache
def inception() -> Features:
    """The Inception network of FID, C = 2048; its weights are fetched once. UserError where that is not allowed."""
    if not downloads_allowed():
        raise UserError(f"the weights of FID are not fetched unasked; {DOWNLOADS}=1 allows it")
    from pytorch_fid.inception import InceptionV3

    network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]], normalize_input=False).eval().requires_grad_(False)
    return lambda images: network.to(images.device)(images)[0].flatten(1)


@torch.no_grad()
def image_quality(generator: Generator, real: np.ndarray, fabric: Fabric) -> dict[str, Any]:
    """`frechet_distance` (relative, random features), `fid` where allowed, and `frechet_images`.

    As many images are generated, `IMAGES` at most, always from the same noise; empty for a single real image.
    """
    real = real[:IMAGES]
    if len(real) < 2:
        return {}
    source = torch.Generator(fabric.device).manual_seed(0)
    fake = np.concatenate(
        [_generated(generator, min(BATCH, len(real) - i), source, fabric) for i in range(0, len(real), BATCH)]
    )
    values: dict[str, Any] = {"frechet_images": len(real)}
    values["frechet_distance"] = relative_distance(*(described(x, random_network(), fabric) for x in (real, fake)))
    if downloads_allowed():
        values["fid"] = frechet_distance(*(described(x, inception(), fabric) for x in (real, fake)))
    return values


def _generated(generator: Generator, count: int, source: torch.Generator, fabric: Fabric) -> np.ndarray:
    """uint8 (B, S, S, 3): what would be saved as files."""
    with fabric.autocast():
        return to_pictures(generator(generator.noise(count, source)).image)


@torch.no_grad()
def described(images: np.ndarray, features: Features, fabric: Fabric) -> np.ndarray:
    """Features (N, C) of uint8 `images` (N, S, S, 3), in fp32."""
    blocks = (torch.from_numpy(np.array(images[i : i + BATCH])) for i in range(0, len(images), BATCH))
    units = (to_unit(block.permute(0, 3, 1, 2), fabric.device) for block in blocks)
    return np.concatenate([features(unit).cpu().numpy() for unit in units])
