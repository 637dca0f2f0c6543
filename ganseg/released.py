"""Weights of the authors' released code, mapped onto our modules.

The released code stores coordinates as (row, column), subtracts x - p where Eq. 5 prints p - x, and puts the background
mask last; the mapping permutes weights so that ours, in (x, y) and background first, computes the same function.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from ganseg.config import GeneratorConfig, SegmenterConfig
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.segmenter import Segmenter

COMPUTED = "init_extend_coord"  # the released code stores its grid; ours is computed
MARGIN = 10  # pixels that the released code keeps around the image
SHIPPED = {4: (32, 32, 64, 128), 6: (32, 32, 64, 64, 128, 128)}  # number of blocks -> their sizes
ANCHORS = {  # dimensions of the tensors that tell the architecture
    "keypoints_embedding.weight": 2, "gen_keypoints_layer.0.model.0.weight": 2, COMPUTED: 3,
    "adain_blocks.0.spade1.conv.weight": 2, "adain_blocks.0.conv1.weight": 4, "conv.0.weight": 4,
}  # fmt: skip
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


def infer_generator(
    released: dict[str, Tensor], sizes: Sequence[int] | None = None, cone: bool = True
) -> GeneratorConfig:
    """Configuration of a released generator: what shapes tell, the rest as the released code fixes it.

    Shapes do not tell where the blocks double their size, nor which heatmap is used. `sizes`: of the blocks;
    by default one of the two that were released, or doubling at every block. `cone`: use_linear=1, as in all
    that was released; otherwise the Gaussian. UserError names tensors that are missing or of another shape.
    """
    _check_anchors(released)
    parts, embedding = released["keypoints_embedding.weight"].shape
    layers, blocks = _indices(released, "gen_keypoints_layer"), _indices(released, "adain_blocks")
    last = f"gen_keypoints_layer.{layers[-1]}.weight"
    coordinates = released[last].shape[0]
    if coordinates % (2 * parts):
        raise UserError(f"{last} gives {coordinates} coordinates, which are not (x, y) of points of {parts} "
                        "parts (keypoints_embedding.weight)")  # fmt: skip
    return GeneratorConfig(
        parts=parts, points_per_part=coordinates // (2 * parts), embedding_dim=embedding, margin=MARGIN,
        noise_dim=released["gen_keypoints_layer.0.model.0.weight"].shape[1],
        block_sizes=block_sizes(len(blocks), start_size(released), sizes),
        block_widths=tuple(released[f"adain_blocks.{i}.conv1.weight"].shape[1] for i in blocks),
        spade_hidden=released["adain_blocks.0.spade1.conv.weight"].shape[0],
        point_layers=len(layers), appearance_layers=len(_indices(released, "gen_keypoints_embedding_noise")),
        point_squash="tanh", point_divisor=20.0, point_spread=1.0,
        part_scale="mean_abs" if cone else "distance_variance",
        heatmap="cone" if cone else "gaussian_unsquared",
        grid="endpoints", background_shift="horizontal", adain_norm="batch",
        rgb_crop="before", rgb_activation=True, rgb_layers=len(_indices(released, "conv")),
        rgb_kernel=released["conv.0.weight"].shape[-1],
    )  # fmt: skip


def _check_anchors(released: dict[str, Tensor]) -> None:
    """Refuse to guess an architecture from tensors that are not there."""
    wanted = ANCHORS | {f"adain_blocks.{i}.conv1.weight": 4 for i in _indices(released, "adain_blocks")}
    wanted |= {f"gen_keypoints_layer.{i}.weight": 2 for i in _indices(released, "gen_keypoints_layer")[-1:]}
    faults = [f"missing: {name}" for name in wanted if name not in released]
    shapes = {name: tuple(released[name].shape) for name in wanted if name in released}
    faults += [f"{name} has the shape {shape}, not {wanted[name]} dimensions"
               for name, shape in shapes.items() if len(shape) != wanted[name]]  # fmt: skip
    if faults:
        raise UserError("this is not a released generator:\n  " + "\n  ".join(faults))


def start_size(released: dict[str, Tensor]) -> int:
    """H_0, from the grid with its margin that the released code stores, (1, (H_0 + 20)^2, 2)."""
    pixels = released[COMPUTED].shape[1]
    side = math.isqrt(pixels)
    if side * side != pixels or side <= 2 * MARGIN:
        raise UserError(f"{COMPUTED} holds {pixels} positions, which are no square with a margin of {MARGIN}")
    return side - 2 * MARGIN


def block_sizes(blocks: int, start: int, given: Sequence[int] | None = None) -> tuple[int, ...]:
    """Sizes of the blocks: `given` where number and first size fit, by default those that were released."""
    if given is None:
        known = SHIPPED.get(blocks, ())
        return known if known[:1] == (start,) else tuple(start * 2**i for i in range(blocks))
    if len(given) != blocks or given[0] != start:
        said = ",".join(map(str, given))
        raise UserError(f"feature_map_sizes is {said}, but the checkpoint has {blocks} blocks that begin at "
                        f"{start} pixels (adain_blocks, {COMPUTED})")  # fmt: skip
    return tuple(given)


def _indices(released: dict[str, Tensor], module: str) -> list[int]:
    """The numbers that follow `module` in the names, in order."""
    return sorted({int(m[1]) for name in released if (m := re.match(rf"{module}\.(\d+)\.", name))})


def convert_segmenter(
    released: dict[str, Tensor], config: SegmenterConfig, parts: int
) -> tuple[dict[str, Tensor], list[str]]:
    """State dict of our `Segmenter(config, parts)`, and names of the auxiliary head, for training only.

    Both codes have the background first. Raises UserError that lists every missing, unknown and wrongly
    shaped tensor by its released name.
    """
    with torch.device("meta"):
        wanted = Segmenter(config, parts).state_dict()
    dropped = [name for name in released if name.startswith("model.aux_classifier.")]
    kept = {name: tensor for name, tensor in released.items() if name not in dropped}
    sources = {ours: ours.replace("network.", "model.", 1) for ours in wanted}
    shapes = {theirs: tuple(wanted[ours].shape) for ours, theirs in sources.items()}
    _check(kept, shapes, f"segmentation network of K = {parts}")
    return {ours: released[theirs] for ours, theirs in sources.items()}, dropped


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


def _check(
    released: dict[str, Tensor],
    shapes: dict[str, tuple[int, ...]],
    what: str = "generator of this configuration",
) -> None:
    """Compare names and shapes with those that are needed."""
    faults = [f"missing: {name}" for name in shapes if name not in released]
    faults += [f"unknown: {name}" for name in released if name not in shapes and name != COMPUTED]
    faults += [
        f"{name} has the shape {tuple(released[name].shape)}, this configuration needs {shape}"
        for name, shape in shapes.items()
        if name in released and tuple(released[name].shape) != shape
    ]
    if faults:
        raise UserError(f"these are not the tensors of a released {what}:\n  " + "\n  ".join(faults))


def _released_shape(ours: Tensor, name: str) -> tuple[int, ...]:
    """Shape of the released tensor `name`: the encodings are 1x1 convolutions there."""
    return (*ours.shape, 1, 1) if name.endswith(".pe.weight") else tuple(ours.shape)


def _swap_coordinates(state: dict[str, Tensor]) -> None:
    """(row, column) -> (x, y) at the points' output and the encodings' input; x - p -> p - x."""
    last = max((n for n in state if n.startswith("point_generator.points")), key=lambda n: int(n.split(".")[2])).rsplit(
        ".", 1
    )[0]
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
        raise UserError(
            f"K + 1 = {config.parts + 1} equals the width of the last mask block, whose identity shortcut "
            "cannot be re-ordered to background first; such a checkpoint cannot be read"
        )
    for layer in ("conv2", "conv_shortcut"):
        for kind in ("weight", "bias"):
            state[f"{block}.{layer}.{kind}"] = state[f"{block}.{layer}.{kind}"].roll(1, dims=0)
