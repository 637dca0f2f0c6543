"""What a trained generator does when one part of its scenes is changed (sections 1 and 3.2), in a number each.

Scenes are made of the same noise, as they are and with other `Parts`; pixels are assigned to parts as labels are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from ganseg.devices import Fabric
from ganseg.generator import Generator, Noise, Scene
from ganseg.points import Parts

SCENES = 32


def changed(generator: Generator, noise: Noise, change: Callable[[Parts], Parts]) -> Scene:
    """The scenes of `noise`, `change` done to what Level 1 hands on."""
    hook = generator.point_generator.register_forward_hook(lambda level, given, parts: change(parts))
    try:
        return generator(noise)
    finally:
        hook.remove()


def moved_part(generator: Generator, noise: Noise) -> float:
    """Whether an image follows its masks: one part's points are moved right by a pixel of the coarsest grid.

    Of pixels that had the part and have it at their new place: squared change of colour from the old to the new place,
    over what it would be if the image stayed as it is. 0: it moves along; 1: it stays. Pooled over parts and images.
    """
    one, followed, stayed = generator(noise), 0.0, 0.0
    step = one.image.shape[-1] // generator.config.start_size  # pixels
    for part in range(generator.config.parts):
        offset = one.centres.new_zeros(generator.config.parts, 2)
        offset[part, 0] = 2 * step / one.image.shape[-1]
        move = lambda parts: parts._replace(points=parts.points + offset[:, None], centres=parts.centres + offset)  # noqa: B023
        other = changed(generator, noise, move)
        had, has = one.labels[..., :-step] == part + 1, other.labels[..., step:] == part + 1
        old, new, there = one.image[..., :-step], other.image[..., step:], one.image[..., step:]
        both = (had & has)[:, None]
        followed += ((new - old).square() * both).sum().item()
        stayed += ((there - old).square() * both).sum().item()
    return followed / stayed if stayed else float("nan")


def embedding_leak(generator: Generator, noise: Noise) -> float:
    """What one part's embedding changes in other parts: mean change of their pixels over that of its own pixels.

    The part gets the embedding of another image, in the whole batch at once and with the batch's own statistics, so
    that what batch normalisation carries from place to place counts. 0: nothing; 1: as much as in the part itself.
    """
    own = copy.deepcopy(generator).train()  # training mode moves running statistics
    one, inside, outside = own(noise), [], []
    for part in range(generator.config.parts):
        swap = lambda parts: parts._replace(embeddings=_rolled(parts.embeddings, part))  # noqa: B023
        change = (changed(own, noise, swap).image - one.image).abs().mean(dim=1)  # (B, H, W)
        inside.append(change[one.labels == part + 1])
        outside.append(change[(one.labels > 0) & (one.labels != part + 1)])
    return (torch.cat(outside).mean() / torch.cat(inside).mean()).item()


def _rolled(embeddings: Tensor, part: int) -> Tensor:
    """`embeddings` (B, K, D_emb), those of one part handed on from image to image."""
    own = torch.arange(embeddings.shape[1], device=embeddings.device)[:, None] == part
    return torch.where(own, embeddings.roll(1, dims=0), embeddings)


def mask_blur(generator: Generator, noise: Noise) -> float:
    """How soft the masks are: 1 - max_k M_k, averaged over the pixels that a part covers; 0 is sharp."""
    one = generator(noise)
    return (1 - one.masks.amax(dim=1))[one.labels > 0].mean().item()


@torch.no_grad()
def probe(generator: Generator, fabric: Fabric) -> dict[str, float]:
    """Every number of this module on fixed noise, by name; without what the generator has no points or pixels for."""
    random = torch.Generator(fabric.device).manual_seed(0)
    noise, known = generator.noise(SCENES, random), [embedding_leak, mask_blur]
    with fabric.autocast():
        found = {f.__name__: f(generator, noise) for f in known + [moved_part] * generator.config.use_points}
    return {name: value for name, value in found.items() if value == value}
