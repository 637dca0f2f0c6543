"""Every number that defines an experiment, as frozen dataclasses (section 4; the supplement is not public).

A *scale* sets sizes and budgets, a *variant* sets which equations are used (`ganseg.recipes`), and
`--set section.field=value` sets any field on top. Unknown names and wrong types are refused.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from ganseg import settings
from ganseg.limits import check

FabricPrecision = Literal["32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"]


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
    precision: FabricPrecision = "bf16-mixed"  # where the hardware has it, else fp32


@dataclass(frozen=True)
class SegmenterConfig:
    """Stage 2: the segmentation network and its training on generated pairs."""

    backbone: Literal["resnet50", "resnet18-light", "resnet18-slim"] = "resnet50"
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
        check(self)

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
            value = settings.convert(name, value, settings.field_type(self, name))
            (sections.setdefault(section, {}) if section else top)[key] = value
        for section, values in sections.items():
            top[section] = dataclasses.replace(getattr(self, section), **values)
        return dataclasses.replace(self, **top)
