"""Weights of the authors' released code, mapped onto our modules.

The released code stores coordinates as (row, column), subtracts x - p where Eq. 5 prints p - x, and puts the background
mask last; the mapping permutes weights so that ours, in (x, y) and background first, computes the same function.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.recipes import variant_settings
from ganseg.segmenter import Segmenter

Tensors = dict[str, Tensor]
COMPUTED = "init_extend_coord"  # the released code stores its grid; ours is computed
MARGIN = 10  # pixels that the released code keeps around the image
SHIPPED = {4: (32, 32, 64, 128), 6: (32, 32, 64, 64, 128, 128)}  # number of blocks -> their sizes
ENCODINGS = ("mask_generator.start", "foreground_generator.start", "background_generator.start")
RENAMED = [  # our part of a name -> the released one, applied in this order
    (r"^point_generator\.constant$", "keypoints_embedding.weight"),
    (r"^point_generator\.points\.", "gen_keypoints_layer."),
    (r"^point_generator\.appearance\.", "gen_keypoints_embedding_noise."),
    (r"^background_generator\.appearance\.", "gen_background_embedding."),
    (r"^mask_generator\.start\.linear", "mask_start.pe"),
    (r"^foreground_generator\.start\.linear", "x_start.pe"),
    (r"^background_generator\.start\.linear", "bg_start.pe"),
    (r"^mask_generator\.blocks", "mask_spade_blocks"),
    (r"^foreground_generator\.blocks", "spade_blocks"),
    (r"^background_generator\.blocks\.(\d+)\.conv\.", r"adain_blocks.\1.conv1."),
    (r"^background_generator\.blocks\.(\d+)\.adain\.", r"adain_blocks.\1.spade1."),
    (r"^composition\.convs", "conv"),
    (r"\.(gamma|beta)\.", r".conv_\1."),
    (r"\.shared\.", ".conv."),
]


def released_name(name: str, config: GeneratorConfig) -> str:
    """The released tensor that is our parameter or buffer `name`."""
    layers = config.point_layers if name.startswith("point_generator.points") else config.appearance_layers
    for ours, theirs in RENAMED:
        name = re.sub(ours, theirs, name)
    mlp = re.fullmatch(r"(gen_\w+)\.(\d+)\.(\w+)", name)
    if mlp:  # every second module of ours is an activation; theirs sit inside the layer, except in the last one
        layer = int(mlp[2]) // 2
        name = f"{mlp[1]}.{layer}.{'' if layer == layers - 1 else 'model.0.'}{mlp[3]}"
    return name


def infer_generator(released: Tensors, sizes: Sequence[int] | None = None, cone: bool = True) -> GeneratorConfig:
    """Configuration of a released generator: what shapes tell, the rest as the released code fixes it.

    Shapes do not tell where the blocks double their size, nor which heatmap is used. `sizes`: of the blocks; by
    default one of the two that were released, or doubling at every block. `cone`: use_linear=1, as in all that was
    released; otherwise the Gaussian. UserError names a tensor that is missing or of another shape.
    """
    shape = functools.partial(_shape, released)
    parts, embedding = shape("keypoints_embedding.weight", 2)
    noise, hidden = (
        shape("gen_keypoints_layer.0.model.0.weight", 2)[1],
        shape("adain_blocks.0.spade1.conv.weight", 2)[0],
    )
    layers, blocks = _indices(released, "gen_keypoints_layer"), _indices(released, "adain_blocks")
    last = f"gen_keypoints_layer.{layers[-1]}.weight"
    coordinates = shape(last, 2)[0]
    if coordinates % (2 * parts):
        raise UserError(f"{last} gives {coordinates} coordinates, which are not (x, y) of points of {parts} parts")
    fixed = {k.removeprefix("generator."): v for k, v in variant_settings("released").items() if "generator." in k}
    heatmap = {} if cone else {"part_scale": "distance_variance", "heatmap": "gaussian_unsquared"}
    told = {
        "parts": parts, "points_per_part": coordinates // (2 * parts), "noise_dim": noise, "embedding_dim": embedding,
        "block_sizes": block_sizes(len(blocks), shape(COMPUTED, 3)[1], sizes), "margin": MARGIN,
        "block_widths": [shape(f"adain_blocks.{i}.conv1.weight", 4)[1] for i in blocks], "spade_hidden": hidden,
        "point_layers": len(layers), "appearance_layers": len(_indices(released, "gen_keypoints_embedding_noise")),
        "rgb_layers": len(_indices(released, "conv")), "rgb_kernel": shape("conv.0.weight", 4)[-1],
    }  # fmt: skip
    return GeneratorConfig.from_dict(fixed | heatmap | told)


def _shape(released: Tensors, name: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a tensor that tells the architecture."""
    shape = tuple(released[name].shape) if name in released else None
    if shape is None or len(shape) != dimensions or 0 in shape:
        fault = f"missing: {name}" if shape is None else f"{name} has the shape {shape}, not {dimensions} dimensions"
        raise UserError(f"this is not a released generator:\n  {fault}")
    return shape


def block_sizes(blocks: int, grid: int, given: Sequence[int] | None = None) -> tuple[int, ...]:
    """Sizes of the blocks: `given` where number and first size fit, by default those that were released.

    The first is told by the number of positions in the `grid` with its margin that the released code stores.
    """
    start = math.isqrt(grid) - 2 * MARGIN
    if math.isqrt(grid) ** 2 != grid or start <= 0:
        raise UserError(f"{COMPUTED} holds {grid} positions, which are no square with a margin of {MARGIN}")
    known = SHIPPED.get(blocks, ())
    sizes = given or (known if known[:1] == (start,) else [start * 2**i for i in range(blocks)])
    if len(sizes) != blocks or sizes[0] != start:
        said = f"feature_map_sizes is {','.join(map(str, sizes))}, but the checkpoint has {blocks} blocks that begin at"
        raise UserError(f"{said} {start} pixels (adain_blocks, {COMPUTED})")
    return tuple(sizes)


def _indices(released: Tensors, module: str) -> list[int]:
    """The numbers that follow `module` in the names, in order."""
    return sorted({int(m[1]) for name in released if (m := re.match(rf"{module}\.(\d+)\.", name))})


def convert_segmenter(released: Tensors, network: Segmenter) -> tuple[Tensors, int]:
    """State dict of `network`, and how many tensors were left out, those of the auxiliary head, for training only.

    Both codes have the background first. Raises UserError as `convert_generator`.
    """
    kept = {name: tensor for name, tensor in released.items() if not name.startswith("model.aux_classifier.")}
    sources = {ours: ours.replace("network.", "model.", 1) for ours in network.state_dict()}
    return _taken(kept, network, sources, "segmentation network"), len(released) - len(kept)


def convert_generator(released: Tensors, config: GeneratorConfig) -> Tensors:
    """State dict of our `Generator(config)` from the released generator's tensors, any dtype kept.

    Raises UserError that lists every missing, unknown and wrongly shaped tensor by its released name.
    """
    with torch.device("meta"):
        network = Generator(config)
    sources = {ours: released_name(ours, config) for ours in network.state_dict()}
    state = _taken(released, network, sources, "generator")
    _swap_coordinates(state)
    _background_first(state, config)
    return state


def _taken(released: Tensors, network: nn.Module, sources: Mapping[str, str], what: str) -> Tensors:
    """Our names with the released tensors, once names and shapes were compared with those that are needed."""
    needed = {sources[ours]: tuple(like.shape) for ours, like in network.state_dict().items()}
    # the encodings are 1x1 convolutions in the released code
    needed = {name: (*shape, 1, 1) if name.endswith(".pe.weight") else shape for name, shape in needed.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in released.items() if name != COMPUTED}
    faults = [f"missing: {name}" for name in needed if name not in shapes]
    faults += [f"unknown: {name}" for name in shapes if name not in needed]
    faults += [f"{name} has the shape {shapes[name]}, this configuration needs {shape}"
               for name, shape in needed.items() if shapes.get(name, shape) != shape]  # fmt: skip
    if faults:
        raise UserError(f"these are not the tensors of a released {what}:\n  " + "\n  ".join(faults))
    return {ours: released[theirs] for ours, theirs in sources.items()}


def _swap_coordinates(state: Tensors) -> None:
    """(row, column) -> (x, y) at the points' output and the encodings' input; x - p -> p - x."""
    last = max(_indices(state, r"point_generator\.points"))
    for kind in ("weight", "bias"):
        name = f"point_generator.points.{last}.{kind}"
        state[name] = state[name].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # (2P, ...), rows of x and y exchanged
    for name in (f"{prefix}.linear.weight" for prefix in ENCODINGS):
        weight = state[name].flatten(1)  # (C / 2, 2P)
        state[name] = -weight.unflatten(1, (-1, 2)).flip(2).flatten(1)


def _background_first(state: Tensors, config: GeneratorConfig) -> None:
    """Roll the output channels of the last mask block, whose shortcut must be a convolution to be rolled too."""
    block = f"mask_generator.blocks.{len(config.block_sizes) - 1}"
    if f"{block}.conv_shortcut.weight" not in state:
        raise UserError(
            f"K + 1 = {config.parts + 1} equals the width of the last mask block, whose identity shortcut cannot be "
            "re-ordered to background first; such a checkpoint cannot be read"
        )
    for layer in ("conv2", "conv_shortcut"):
        for kind in ("weight", "bias"):
            state[f"{block}.{layer}.{kind}"] = state[f"{block}.{layer}.{kind}"].roll(1, dims=0)
