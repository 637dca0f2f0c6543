"""Looking inside a generator: what each block makes, and what follows when points move.

Functions take and return tensors or DataFrames; `figures_method` draws them. Positions are (x, y) in [-1, 1].
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.generator import Generator, Noise, Scene
from ganseg.points import Parts


class Trace(NamedTuple):
    """What one level made on its way, margins included; lists have an entry a block."""

    start: Tensor  # the starting tensor, (B, C, H0 + 2m, W0 + 2m)
    conditions: list[Tensor]  # W (B, D_emb, H + 2m, W + 2m), or the style vector (B, D_emb) of an AdaIN block
    blocks: list[Tensor]  # what each block returned, (B, C, H + 2m, W + 2m)


@torch.no_grad()
def traced(level: nn.Module, *inputs: Any) -> Trace:
    """Run `level`(*inputs), a generator of masks, foreground or background; keep what passes through it."""
    trace = Trace(torch.empty(0), [], [])

    def keep(block: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
        trace.conditions.append(given[1])
        trace.blocks.append(made)

    starts: list[Tensor] = []
    hooks = [block.register_forward_hook(keep) for block in level.blocks]
    hooks.append(level.start.register_forward_hook(lambda module, given, made: starts.append(made)))
    try:
        level(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return trace._replace(start=starts[0])


@torch.no_grad()
def scene_of(generator: Generator, parts: Parts, noise: Noise) -> Scene:
    """The scene that Levels 2 and 3 make of `parts`; of `noise` the background alone is taken."""
    masks = generator.mask_generator(parts)
    foreground = generator.foreground_generator(masks[:, 1:], parts.embeddings, parts.centres)
    background = generator.background_generator(noise.background, noise.position)
    return Scene(*parts, masks, foreground, background, generator.composition(masks, foreground, background))


@torch.no_grad()
def moved(generator: Generator, noise: Noise, offset: Sequence[float], part: int | None = None) -> Scene:
    """The scene of `noise`, points and background moved by `offset` (x, y); or those of one `part`."""
    parts = displaced(generator.point_generator(noise.point, noise.appearance), offset, part)
    away = torch.tensor(offset, dtype=torch.float32) * (part is None)
    return scene_of(generator, parts, noise._replace(position=noise.position + away))


@torch.no_grad()
def repainted(generator: Generator, scene: Scene, embeddings: Tensor) -> Tensor:
    """The image (B, 3, H, W) of `scene` with other `embeddings` (B, K, D_emb); masks and background stay."""
    foreground = generator.foreground_generator(scene.masks[:, 1:], embeddings, scene.centres)
    return generator.composition(scene.masks, foreground, scene.background)


def mass_centres(masks: Tensor, grid: Tensor) -> Tensor:
    """Centres of mass (B, K, 2) of masks M_k (B, K, H, W) on `grid` (H, W, 2)."""
    weights = masks.flatten(2) / masks.flatten(2).sum(dim=2, keepdim=True).clamp(min=1e-8)
    return weights @ grid.flatten(0, 1)


@torch.no_grad()
def responses(generator: Generator, noise: Noise, steps: Sequence[float]) -> pd.DataFrame:
    """How far masks go when one part's points go `steps` to the right, in half images: each part in turn.

    Columns step, mask ("of the moved part" or "of the others"), part (the moved one), travelled (by a mask's
    centre of mass, in x, since step 0); a line an image and mask, but for masks of less than half a pixel.
    """
    parts, count = generator.point_generator(noise.point, noise.appearance), generator.config.parts

    def centres(step: float, part: int) -> tuple[Tensor, Tensor]:
        masks = generator.mask_generator(displaced(parts, (step, 0), part))[:, 1:]
        return mass_centres(masks, generator.grid)[..., 0], masks.sum(dim=(2, 3)) > 0.5  # (B, K) each

    before, seen = centres(0, 0)
    lines = []
    for step, part in itertools.product(steps, range(count)):
        after, there = centres(step, part)
        own = torch.arange(count) == part
        for name, chosen in (("of the moved part", own), ("of the others", ~own)):
            ways = (after - before)[seen & there & chosen].tolist()
            lines += [{"step": step, "mask": name, "part": part + 1, "travelled": way} for way in ways]
    return pd.DataFrame(lines)


def displaced(parts: Parts, offset: Sequence[float], part: int | None = None) -> Parts:
    """`parts` with all their points moved by `offset` (x, y), or those of one `part` alone."""
    count = parts.centres.shape[1]
    chosen = torch.ones(count) if part is None else F.one_hot(torch.tensor(part), count).float()
    step = chosen[:, None] * torch.tensor(offset, dtype=torch.float32)  # (K, 2)
    return parts._replace(points=parts.points + step[:, None], centres=parts.centres + step)


def altered(generator: Generator, noise: Noise | None = None, **fields: Any) -> Generator:
    """`generator`'s weights under another configuration, in eval mode.

    Where `fields` bring normalisation whose running statistics the weights lack, they are taken over `noise`.
    """
    other = Generator(generator.config.model_copy(update=fields))
    missing = other.load_state_dict(generator.state_dict(), strict=False).missing_keys
    fresh = [m for name, m in other.named_modules() if f"{name}.running_mean" in missing]
    if fresh and noise is not None:
        other.eval()
        for layer in fresh:
            layer.train().momentum = None  # a plain mean over what it sees
        with torch.no_grad():
            other(noise)
    return other.eval()


def random_generator(config: GeneratorConfig, seed: int = 0) -> Generator:
    """An untrained generator in eval mode; its normalisation has seen one batch, as it would in training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(config)
        for layer in generator.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.momentum = None
        with torch.no_grad():
            generator(generator.noise(32))
    return generator.eval()


def shift_differences(generator: Generator, noise: Noise, pixels: tuple[int, int]) -> dict[str, Tensor]:
    """|moved - expected| for points moved by so many pixels (right, down): (H, W), the largest of all.

    Of the masks, of the background painted alone and of the image, each on the scale of its range, [0, 1].
    NaN where the two pictures do not both show the place.
    """
    return _differences(_layers(generator, noise, (0, 0)), _layers(generator, noise, pixels), pixels)


@torch.no_grad()
def _layers(generator: Generator, noise: Noise, pixels: tuple[int, int]) -> dict[str, Tensor]:
    config = generator.config
    cell = 2 / (config.start_size - (config.grid == "endpoints"))  # of the coarsest grid
    step = cell * config.start_size / config.size
    scene = moved(generator, noise, (step * pixels[0], step * pixels[1]))
    alone = generator.composition(torch.ones_like(scene.masks), scene.foreground, scene.background)
    return {"masks": scene.masks, "background": alone / 2, "image": scene.image / 2}


def _differences(still: dict[str, Tensor], shifted: dict[str, Tensor], pixels: tuple[int, int]) -> dict[str, Tensor]:
    (dx, dy), size, result = pixels, still["masks"].shape[-1], {}
    rows, columns = (slice(max(0, n), size + min(0, n)) for n in (dy, dx))
    for name, before in still.items():
        result[name] = torch.full((size, size), torch.nan)
        difference = (shifted[name] - before.roll((dy, dx), dims=(2, 3))).abs().amax(dim=(0, 1))
        result[name][rows, columns] = difference[rows, columns]
    return result


def shift_errors(generators: dict[str, Generator], noise: Noise, shifts: Sequence[tuple[int, int]]) -> pd.DataFrame:
    """Columns setting, layer, dx, dy, largest, and centre: largest in the middle fourth of each axis."""
    lines = []
    for setting, generator in generators.items():
        still, edge = _layers(generator, noise, (0, 0)), 3 * generator.config.size // 8
        for dx, dy in shifts:
            found = _differences(still, _layers(generator, noise, (dx, dy)), (dx, dy))
            for layer, difference in found.items():
                line = {"setting": setting, "layer": layer, "dx": dx, "dy": dy}
                centre = difference[edge:-edge, edge:-edge]
                lines.append(line | {"largest": _largest(difference), "centre": _largest(centre)})
    return pd.DataFrame(lines)


def _largest(difference: Tensor) -> float:
    return float(difference.nan_to_num(nan=0.0).max())


def agreement(found: Tensor, made: Tensor, parts: int) -> pd.DataFrame:
    """Of labels `found` and `made` (N, H, W): area of each label in both, IoU over all pixels."""
    lines = []
    for k in range(parts + 1):
        a, b = found == k, made == k
        iou = float((a & b).sum() / (a | b).sum().clamp(min=1))
        lines.append(
            {
                "label": f"part {k}" if k else "background",
                "made": float(b.float().mean()),
                "found": float(a.float().mean()),
                "iou": iou,
            }
        )
    return pd.DataFrame(lines)
