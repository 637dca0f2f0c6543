"""What a trained generator does when one part of its scenes is changed (sections 1 and 3.2), in a number each.

Scenes are made of the same noise, as they are and with other `Parts`; pixels are assigned to parts as labels are.
"""

import copy
from collections.abc import Callable
from functools import partial

import torch

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
    one, sums = generator(noise), torch.zeros(2)
    step = one.image.shape[-1] // generator.config.start_size  # pixels
    for k, chosen in enumerate(torch.eye(generator.config.parts, device=one.image.device)):
        way = torch.stack([chosen, 0 * chosen], dim=-1) * 2 * step / one.image.shape[-1]  # (K, 2)
        move = lambda parts, way: parts._replace(points=parts.points + way[:, None], centres=parts.centres + way)
        other = changed(generator, noise, partial(move, way=way))
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
        swap = lambda parts, here: parts._replace(
            embeddings=torch.where(here, parts.embeddings.roll(1, dims=0), parts.embeddings)
        )
        change = (changed(own, noise, partial(swap, here=here)).image - one.image).abs().mean(dim=1)  # (B, H, W)
        inside.append(change[one.labels == k + 1])
        outside.append(change[(one.labels > 0) & (one.labels != k + 1)])
    return (torch.cat(outside).mean() / torch.cat(inside).mean()).item()


def mask_blur(generator: Generator, noise: Noise) -> float:
    """How soft the masks are: 1 - max_k M_k, averaged over the pixels that a part covers; 0 is sharp."""
    one = generator(noise)
    return (1 - one.masks.amax(dim=1))[one.labels > 0].mean().item()


@torch.no_grad()
def probe(generator: Generator, fabric: Fabric) -> dict[str, float]:
    """Every number of this module on fixed noise, by name; without what the generator has no points or pixels for."""
    noise = generator.noise(SCENES, torch.Generator(fabric.device).manual_seed(0))
    asked = [embedding_leak, mask_blur] + [moved_part] * generator.config.use_points
    with fabric.autocast():
        found = {question.__name__: question(generator, noise) for question in asked}
    return {name: value for name, value in found.items() if value == value}
