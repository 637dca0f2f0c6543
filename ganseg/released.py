"""Weights of the authors' released code, mapped onto our modules.

The released code stores coordinates as (row, column), subtracts x - p where Eq. 5 prints p - x, and puts the background mask
last; the mapping permutes weights so that ours, in (x, y) and background first, computes the same function.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor

from ganseg.config import GeneratorConfig
from ganseg.errors import UserError
from ganseg.generator import Generator

COMPUTED = "init_extend_coord"  # the released code stores its grid; ours is computed
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


def convert_generator(released: dict[str, Tensor], config: GeneratorConfig) -> dict[str, Tensor]:
    """State dict of our `Generator(config)` from the released generator's tensors, any dtype kept.

    Raises UserError that lists every missing, unknown and wrongly shaped tensor by its released name.
    """
    with torch.device("meta"):
        wanted = Generator(config).state_dict()
    sources = {ours: released_name(ours, config) for ours in wanted}
    _check(released, {theirs: _released_shape(wanted[ours], theirs) for ours, theirs in sources.items()})
    state = {ours: released[theirs] for ours, theirs in sources.items()}
    _swap_coordinates(state)
    _background_first(state, config)
    return state


def _check(released: dict[str, Tensor], shapes: dict[str, tuple[int, ...]]) -> None:
    """Compare names and shapes with those that are needed."""
    faults = [f"missing: {name}" for name in shapes if name not in released]
    faults += [f"unknown: {name}" for name in released if name not in shapes and name != COMPUTED]
    faults += [f"{name} has the shape {tuple(released[name].shape)}, this configuration needs {shape}"
               for name, shape in shapes.items() if name in released and tuple(released[name].shape) != shape]
    if faults:
        raise UserError("these are not the tensors of a released generator of this configuration:\n  " + "\n  ".join(faults))


def _released_shape(ours: Tensor, name: str) -> tuple[int, ...]:
    """Shape of the released tensor `name`: the encodings are 1x1 convolutions there."""
    return (*ours.shape, 1, 1) if name.endswith(".pe.weight") else tuple(ours.shape)


def _swap_coordinates(state: dict[str, Tensor]) -> None:
    """(row, column) -> (x, y) at the points' output and the encodings' input; x - p -> p - x."""
    last = max((n for n in state if n.startswith("point_generator.points")), key=lambda n: int(n.split(".")[2])).rsplit(".", 1)[0]
    for kind in ("weight", "bias"):
        name = f"{last}.{kind}"
        state[name] = state[name].unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # (2P, ...), rows of x and y exchanged
    for prefix in ENCODINGS:
        weight = state[f"{prefix}.linear.weight"].flatten(1)  # (C / 2, 2P)
        state[f"{prefix}.linear.weight"] = -weight.unflatten(1, (-1, 2)).flip(2).flatten(1)


def _background_first(state: dict[str, Tensor], config: GeneratorConfig) -> None:
    """Roll the output channels of the last mask block, whose shortcut must be a convolution to be rolled too."""
    block = f"mask_generator.blocks.{len(config.block_sizes) - 1}"
    if f"{block}.conv_shortcut.weight" not in state:
        raise UserError(f"K + 1 = {config.parts + 1} equals the width of the last mask block, whose identity shortcut "
                        "cannot be re-ordered to background first; such a checkpoint cannot be read")
    for layer in ("conv2", "conv_shortcut"):
        for kind in ("weight", "bias"):
            state[f"{block}.{layer}.{kind}"] = state[f"{block}.{layer}.{kind}"].roll(1, dims=0)
