"""What a trained generator does, in a number each: how far its images are from real ones, by their Frechet distance
(Heusel et al. 2017), and what follows when one part of its scenes is changed (sections 1 and 3.2).

The features are those of a network with random weights, so that nothing has to be fetched: Naeem et al. (2020) find
them no worse than those of ImageNet's Inception network (FID) for images unlike ImageNet's. Scenes are made of the same
noise, as they are and with other `Parts`; pixels are assigned to parts as labels are.
"""

import copy
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from ganseg import pictures
from ganseg.devices import Fabric
from ganseg.files import UserError
from ganseg.generator import Generator, Noise, Scene
from ganseg.training import to_unit

BATCH = 100
FRECHET_IMAGES = 1000  # at most, generated and real ones each
SCENES = 32


def batches(images: np.ndarray, device: torch.device, most: int = BATCH) -> Iterator[Tensor]:
    """uint8 `images` (N, S, S, 3) as networks take them, at `most` so many: (B, 3, S, S) in [-1, 1]."""
    for start in range(0, len(images), most):
        batch = torch.from_numpy(np.array(images[start : start + most]))
        yield to_unit(batch.permute(0, 3, 1, 2), device)


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    r"""$\|\mu_1 - \mu_2\|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})$ of (N, C) and (M, C).

    The bias of few images is positive: compare numbers of equally many images only. UserError below two images.
    """
    if min(len(one), len(other)) < 2:
        raise UserError(f"a Frechet distance needs two images on both sides, not {len(one)} and {len(other)}")
    sides = [x.astype(np.float64) for x in (one, other)]
    means = [x.mean(axis=0) for x in sides]
    factors = [(x - mean) / np.sqrt(len(x) - 1) for x, mean in zip(sides, means, strict=True)]  # A: Sigma = A^T A
    roots = np.linalg.norm(factors[0] @ factors[1].T, "nuc")  # tr (S1 S2)^(1/2), without rounding below zero
    return max(0.0, float(np.square(means[0] - means[1]).sum() + sum(np.square(x).sum() for x in factors) - 2 * roots))


def relative_distance(real: np.ndarray, other: np.ndarray) -> float:
    """`frechet_distance` over the variance of the `real` features (N, C): it does not depend on the features' unit."""
    return frechet_distance(real, other) / float(real.var(axis=0, ddof=1).sum())


@cache
def random_network() -> nn.Module:
    """A ResNet-18 with the same random weights on every machine, up to its average over places: C = 512."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = resnet18(weights=None)
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def described(images: np.ndarray, fabric: Fabric) -> np.ndarray:
    """Features (N, C) of uint8 `images` (N, S, S, 3) by `random_network`, in fp32."""
    network = random_network().to(fabric.device)
    return np.concatenate([network(unit).cpu().numpy() for unit in batches(images, fabric.device)])


@torch.no_grad()
def imagined(generator: Generator, count: int, fabric: Fabric, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Generated images (N, S, S, 3) and their labels (N, S, S), uint8; the same for one seed and device."""
    random = torch.Generator(fabric.device).manual_seed(seed)
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    with fabric.autocast():
        made = [generator.pairs(generator.noise(size, random)) for size in sizes]
    images, labels = map(torch.cat, zip(*made, strict=True))
    return pictures.to_pictures(images), labels.byte().cpu().numpy()


def changed(generator: Generator, noise: Noise, **fields: Tensor) -> Scene:
    """The scenes of `noise` with other `fields` of the `Parts` that Level 1 hands on."""
    with generator.point_generator.register_forward_hook(lambda level, given, parts: parts._replace(**fields)):
        return generator(noise)


def moved_part(generator: Generator, noise: Noise) -> float:
    """Whether an image follows its masks: one part's points are moved right by a pixel of the coarsest grid.

    Of pixels that had the part and have it at their new place: squared change of colour from the old to the new place,
    over what it would be if the image stayed as it is. 0: it moves along; 1: it stays. Pooled over parts and images.
    """
    one, sums = generator(noise), torch.zeros(2)
    step = one.image.shape[-1] // generator.config.start_size  # pixels
    for k, chosen in enumerate(torch.eye(generator.config.parts, device=one.image.device)):
        way = torch.stack([chosen, 0 * chosen], dim=-1) * 2 * step / one.image.shape[-1]  # (K, 2)
        other = changed(generator, noise, points=one.points + way[:, None], centres=one.centres + way)
        both = (one.labels[..., :-step] == k + 1) & (other.labels[..., step:] == k + 1)
        apart = [scene.image[..., step:] - one.image[..., :-step] for scene in (other, one)]
        sums += torch.stack([(gap.square() * both[:, None]).sum().cpu() for gap in apart])
    return (sums[0] / sums[1]).item()


def embedding_leak(generator: Generator, noise: Noise) -> float:
    """What one part's embedding changes in other parts: mean change of their pixels over that of its own pixels.

    The part gets the embedding of another image, in the whole batch at once and with the batch's own statistics, so
    that what batch normalisation carries from place to place counts. 0: nothing; 1: as much as in the part itself.
    """
    own = copy.deepcopy(generator).train()  # training mode moves running statistics
    one, inside, outside = own(noise), [], []
    for k in range(generator.config.parts):
        here = (torch.arange(generator.config.parts, device=one.image.device) == k)[:, None]
        swapped = torch.where(here, one.embeddings.roll(1, dims=0), one.embeddings)
        change = (changed(own, noise, embeddings=swapped).image - one.image).abs().mean(dim=1)  # (B, H, W)
        inside.append(change[one.labels == k + 1])
        outside.append(change[(one.labels > 0) & (one.labels != k + 1)])
    return (torch.cat(outside).mean() / torch.cat(inside).mean()).item()


def mask_blur(generator: Generator, noise: Noise) -> float:
    """How soft the masks are: 1 - max_k M_k, averaged over the pixels that a part covers; 0 is sharp."""
    one = generator(noise)
    return (1 - one.masks.amax(dim=1))[one.labels > 0].mean().item()


@torch.no_grad()
def probe(generator: Generator, real: np.ndarray, fabric: Fabric) -> dict[str, float]:
    """Every number of this module, on fixed noise; without what there are no points, pixels or `real` images for."""
    noise = generator.noise(SCENES, torch.Generator(fabric.device).manual_seed(0))
    asked = [embedding_leak, mask_blur] + [moved_part] * generator.config.use_points
    with fabric.autocast():
        found = {question.__name__: question(generator, noise) for question in asked}
    if len(real) > 1:
        sides = real[:FRECHET_IMAGES], imagined(generator, len(real[:FRECHET_IMAGES]), fabric)[0]
        found["frechet_distance"] = relative_distance(*(described(images, fabric) for images in sides))
    return {name: value for name, value in found.items() if value == value}
