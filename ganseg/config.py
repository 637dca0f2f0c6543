"""Every number that defines an experiment, as frozen dataclasses (section 4; the supplement is not public).

A *scale* sets sizes and budgets, a *variant* sets which equations are used (`ganseg.scales`), and
`--set section.field=value` sets any field on top. Unknown names and wrong types are refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from ganseg.errors import UserError


@dataclass(frozen=True)
class DataConfig:
    """What is learned from (section 4.1)."""

    name: str = "synthetic-bird"
    size: int = 128  # H = W of the images, in pixels
    augment: Literal["auto", "none", "flip", "crop_flip"] = "auto"  # auto: what the data set's registry entry says
    train_limit: int = 0  # use at most so many images; 0 = all
    test_limit: int = 0  # evaluate on at most so many images; 0 = all


@dataclass(frozen=True)
class GeneratorConfig:
    """The hierarchical generator (sections 3.1-3.3). In the second group of fields the paper and its code differ."""

    parts: int = 8  # K
    points_per_part: int = 4  # n_per
    noise_dim: int = 256  # D_noise
    embedding_dim: int = 64  # D_emb
    block_sizes: tuple[int, ...] = (32, 32, 64, 128)  # resolution of each block; the last is the image's
    block_widths: tuple[int, ...] = (512, 256, 128, 64)  # channels entering each block; the last block gives D_emb
    spade_hidden: int = 128  # channels between the embedding map and gamma, beta
    margin: int = 10  # pixels kept around the image at every resolution (Eq. 12)

    point_layers: int = 3  # linear layers of MLP_point (Eq. 1)
    appearance_layers: int = 3  # of MLP_app and MLP_bg_app (Eq. 2, 9)
    point_spread: float = 1 / 3  # standard deviation of the MLP's points before training; the paper does not say
    point_squash: Literal["none", "tanh"] = "none"  # x = MLP(z), or x = tanh(MLP(z) / point_divisor)
    point_divisor: float = 1.0
    part_scale: Literal["std", "mean_abs", "distance_variance"] = "std"  # sigma_k of Eq. 1, or the released code's two
    heatmap: Literal["gaussian", "gaussian_unsquared", "cone"] = "gaussian"  # Eq. 4, or the released code's two
    grid: Literal["cells", "endpoints"] = "cells"  # spacing 2/H0 (Eq. 12) or linspace(-1, 1, H0)
    background_shift: Literal["both", "horizontal"] = "both"  # u ~ U([-1, 1]^2), or its vertical component set to 0
    adain_norm: Literal["instance", "batch"] = "instance"
    use_points: bool = True  # False: masks from AdaIN blocks and a learned constant (section 4.6)
    separate_background: bool = True  # False: the background is one more part of the foreground generator (section 4.6)
    rgb_layers: int = 2  # convolutions of Eq. 11; 1 means a single 1x1
    rgb_kernel: int = 3
    rgb_crop: Literal["after", "before"] = "after"  # drop the margin after or before those convolutions
    rgb_activation: bool = False  # LeakyReLU before the first and tanh after the last

    @property
    def size(self) -> int:
        """Image size H = W in pixels."""
        return self.block_sizes[-1]

    @property
    def start_size(self) -> int:
        """H_0 = W_0, the size of the starting tensors without their margin."""
        return self.block_sizes[0]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The discriminator (section 3.4): one stride-2 residual block for each width."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 512, 512)
    hidden: int = 512


@dataclass(frozen=True)
class LossConfig:
    """The objective (section 3.4)."""

    lambda_gp: float = 5.0  # Eq. 18; gamma / 2 with the gamma = 10 of the work that Eq. 15 cites
    lambda_con: float = 10.0  # Eq. 19
    lambda_area: float = 1.0  # Eq. 19
    gradient_penalty: Literal["r1", "unit_norm"] = (
        "r1"  # E ||grad D||^2 (the work Eq. 15 cites), or E (||grad D|| - 1)^2
    )
    penalty_every: int = 16  # steps between two gradient penalties
    penalty_rescale: bool = True  # multiply by penalty_every, so that the average is lambda_gp L_gp
    over_parts: Literal["sum", "mean"] = "sum"  # how Eq. 16 and 17 combine the K parts
    area: Literal["heatmap", "disc"] = "heatmap"  # sum_p H_k(p) (Eq. 17), or pi tau_k^2 in pixels
    geometry_every: int = 1  # steps between two geometric penalties (2 in the released code)


@dataclass(frozen=True)
class OptimConfig:
    """Stage 1: optimiser, schedule and precision."""

    steps: int = 8600
    batch_size: int = 64
    lr_generator: float = 1e-4
    lr_discriminator: float = 4e-4
    betas: tuple[float, float] = (0.5, 0.9)
    ema: float = 0.0  # decay of the averaged generator; 0 = off
    share_fakes: bool = True  # one fake batch serves both steps
    precision: str = "bf16-mixed"  # any precision of Lightning Fabric


@dataclass(frozen=True)
class SegmenterConfig:
    """Stage 2: the segmentation network and its training on generated pairs."""

    backbone: Literal["resnet50", "resnet18-light"] = "resnet50"
    pretrained: bool = False  # ImageNet weights: supervised, so off by default
    steps: int = 10000
    batch_size: int = 64
    lr: float = 3e-4
    output_stride: int = 8


@dataclass(frozen=True)
class Config:
    """One fully resolved experiment."""

    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        _check(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Inverse of `to_dict`; unknown keys and wrong types are refused."""
        config = cls()
        flat = {f"{s}.{k}": v for s, kv in values.items() if isinstance(kv, dict) for k, v in kv.items()}
        flat.update({k: v for k, v in values.items() if not isinstance(v, dict)})
        return config.replace(flat)

    def replace(self, overrides: dict[str, Any]) -> Config:
        """Return a copy with `section.field` entries replaced; values may be strings, as typed on a command line."""
        sections: dict[str, dict[str, Any]] = {}
        top: dict[str, Any] = {}
        for name, value in overrides.items():
            section, _, key = name.rpartition(".")
            kind = _field_type(self, section, key, name)
            (sections.setdefault(section, {}) if section else top)[key] = _convert(name, value, kind)
        for section, values in sections.items():
            top[section] = dataclasses.replace(getattr(self, section), **values)
        return dataclasses.replace(self, **top)


def _field_type(config: Config, section: str, key: str, name: str) -> Any:
    owner = config if not section else getattr(config, section, None)
    hints = typing.get_type_hints(type(owner)) if dataclasses.is_dataclass(owner) else {}
    if key not in hints or (not section and key != "seed"):
        known = [
            f"{s.name}.{f.name}"
            for s in dataclasses.fields(config)
            if s.name != "seed"
            for f in dataclasses.fields(getattr(config, s.name))
        ]
        moved = [k for k in known if k.rpartition(".")[2] == key]
        near = moved or difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known
        raise UserError(f"unknown setting {name!r}; known ones are: {', '.join([*near, 'seed'])}")
    return hints[key]


def _convert(name: str, value: Any, kind: Any) -> Any:
    """Convert `value` (a string from the command line, or JSON) to the field's type, or refuse it."""
    try:
        return _cast(value, kind)
    except (TypeError, ValueError):
        wanted = " | ".join(map(str, typing.get_args(kind))) if typing.get_origin(kind) is Literal else _type_name(kind)
        raise UserError(f"{name}={value!r} is not valid; expected {wanted}") from None


def _cast(value: Any, kind: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _one_of(value, typing.get_args(kind))
    if origin is tuple:
        items = [v for v in (value.strip("()[] ").split(",") if isinstance(value, str) else value) if v != ""]
        first, *rest = typing.get_args(kind)
        if not items or (rest != [...] and len(items) != 1 + len(rest)):
            raise ValueError
        return tuple(_cast(v, first) for v in items)
    if kind is bool:
        return (
            value
            if isinstance(value, bool)
            else {"true": True, "false": False, "1": True, "0": False}[
                _one_of(str(value).lower(), ("true", "false", "1", "0"))
            ]
        )
    if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
        raise TypeError
    if kind is str and not isinstance(value, str):
        raise TypeError
    value = kind(value)
    if kind is float and not math.isfinite(value):
        raise ValueError
    return value


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if value not in allowed:
        raise ValueError
    return value


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) else str(kind)


def _check(config: Config) -> None:
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
STRIDES = {"resnet50": (8,), "resnet18-light": (2, 4)}  # pixels of the image to one of the features, by backbone


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
