"""What no configuration may ask for, because it cannot be built or trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganseg.files import UserError

if TYPE_CHECKING:
    from ganseg.config import Config

# The smallest value of each number that has one; 0 is the smallest of all others.
AT_LEAST = {
    "generator.parts": 1,
    "generator.points_per_part": 2,
    "generator.noise_dim": 1,
    "generator.embedding_dim": 1,
    "generator.spade_hidden": 1,
    "generator.point_layers": 1,
    "generator.appearance_layers": 1,
    "generator.rgb_layers": 1,
    "generator.point_divisor": 1e-6,
    "generator.block_sizes": 2,
    "generator.block_widths": 1,
    "data.size": 8,
    "discriminator.widths": 1,
    "discriminator.hidden": 1,
    "losses.penalty_every": 1,
    "losses.geometry_every": 1,
    "optim.batch_size": 1,
    "segmenter.batch_size": 1,
}
BELOW = {"optim.ema": 1, "optim.betas": 1}
STRIDES = {
    "resnet50": (8,),
    "resnet18-light": (2, 4),
    "resnet18-slim": (2, 4),
}  # pixels of the image to one of the features, by backbone


def check(config: Config) -> None:
    """Refuse combinations that cannot be built."""
    g = config.generator
    if len(g.block_sizes) != len(g.block_widths):
        raise UserError(
            f"generator.block_sizes has {len(g.block_sizes)} entries and generator.block_widths "
            f"{len(g.block_widths)}; there must be one width for each block"
        )
    for a, b in zip(g.block_sizes, g.block_sizes[1:], strict=False):
        if b not in (a, 2 * a):
            raise UserError(
                f"generator.block_sizes={g.block_sizes}: each block keeps the size or doubles it; {a} -> {b} does not"
            )
    if g.size != config.data.size:
        raise UserError(
            f"data.size={config.data.size} but the last of generator.block_sizes is {g.size}; they must be equal"
        )
    if any(w % 2 for w in g.block_widths[:1]):
        raise UserError(
            f"generator.block_widths={g.block_widths}: the first must be even (sine and cosine halves of Eq. 5)"
        )
    if g.rgb_kernel % 2 == 0:
        raise UserError(f"generator.rgb_kernel={g.rgb_kernel} must be odd, so that the image keeps its size")
    _check_bounds(config)


def _check_bounds(config: Config) -> None:
    """Refuse numbers that no training can use."""
    for section, fields in config.to_dict().items():
        for key, value in fields.items() if isinstance(fields, dict) else ():
            name = f"{section}.{key}"
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int | float) and number < AT_LEAST.get(name, 0):
                    raise UserError(f"{name}={value} is too small; the least is {AT_LEAST.get(name, 0)}")
                if name in BELOW and number >= BELOW[name]:
                    raise UserError(f"{name}={value} is too large; it must be below {BELOW[name]}")
    segmenter, strides = config.segmenter, STRIDES[config.segmenter.backbone]
    if segmenter.output_stride not in strides:
        raise UserError(
            f"segmenter.output_stride={segmenter.output_stride}: "
            f"{segmenter.backbone} has {' or '.join(map(str, strides))}"
        )
