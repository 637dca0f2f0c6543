"""Every number that defines an experiment, as frozen models (section 4; the supplement is not public).

A *scale* sets sizes and budgets, a *variant* sets which equations are used (`ganseg.recipes`), and
`--set section.field=value` sets any field on top. Unknown names, wrong types and what cannot be built are refused.
"""

import difflib
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ganseg.files import UserError

FabricPrecision = Literal["32-true", "bf16-mixed", "16-mixed"]
STRIDES = {"resnet50": [8], "resnet18-light": [2, 4]}  # pixels of the image to one feature


def listed(value: Any) -> Any:
    """ "16,32", as it is typed, as a tuple of its pieces."""
    return tuple(v for v in value.strip("()[] ").split(",") if v.strip()) if isinstance(value, str) else value


Count = Annotated[int, Field(ge=0, le=2**32 - 1)]
Positive = Annotated[int, Field(ge=1, le=2**32 - 1)]
Several = Annotated[int, Field(ge=2, le=2**32 - 1)]
Real = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Sizes = Annotated[tuple[Several, ...], Field(min_length=1), BeforeValidator(listed)]
Widths = Annotated[tuple[Positive, ...], Field(min_length=1), BeforeValidator(listed)]
Band = Annotated[tuple[Share, Share], BeforeValidator(listed)]


class Section(BaseModel):
    """Fields that belong together: immutable, each of its type and within its bounds, and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Inverse of `model_dump`. UserError names the first field that is unknown or wrong, and what is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
        name = ".".join(part for part in first["loc"] if isinstance(part, str))
        raise UserError(f"{name}={first['input']!r} is not valid; {first['msg'][:1].lower()}{first['msg'][1:]}")


class DataConfig(Section):
    """What is learned from (section 4.1)."""

    name: str = "synthetic-bird"
    size: Annotated[int, Field(ge=8)] = 128  # H = W of the images, in pixels
    augment: Literal["auto", "none", "flip", "crop_flip"] = "auto"  # auto: what the data set's registry entry says
    train_limit: Count = 0  # use at most so many images; 0 = all
    test_limit: Count = 0  # evaluate on at most so many images; 0 = all


class GeneratorConfig(Section):
    """The hierarchical generator (sections 3.1-3.3). In the second group of fields the paper and its code differ."""

    parts: Annotated[int, Field(ge=1, le=255)] = 8  # K; labels are bytes
    points_per_part: Several = 4  # n_per
    noise_dim: Positive = 256  # D_noise
    embedding_dim: Positive = 64  # D_emb
    block_sizes: Sizes = (32, 32, 64, 128)  # resolution of each block; the last is the image's
    block_widths: Widths = (512, 256, 128, 64)  # channels entering each block; the last block gives D_emb
    spade_hidden: Positive = 128  # channels between the embedding map and gamma, beta
    margin: Count = 10  # pixels kept around the image at every resolution (Eq. 12)

    point_layers: Positive = 3  # linear layers of MLP_point (Eq. 1)
    appearance_layers: Positive = 3  # of MLP_app and MLP_bg_app (Eq. 2, 9)
    point_spread: Real = 0.05  # factor of MLP_point's last weights at the start: the released code's division by 20
    point_squash: Literal["none", "tanh"] = "none"  # x = MLP(z), or x = tanh(MLP(z) / point_divisor)
    point_divisor: Annotated[float, Field(ge=1e-6)] = 1.0
    part_scale: Literal["std", "mean_abs", "distance_variance", "predicted"] = "std"  # Eq. 1, the released code's, ours
    heatmap: Literal["gaussian", "gaussian_unsquared", "cone", "gaussian_usual"] = "gaussian"  # Eq. 4, and likewise
    shared_noise: bool = False  # True: z_app is z_point
    grid: Literal["cells", "endpoints"] = "cells"  # spacing 2/H0 (Eq. 12) or linspace(-1, 1, H0)
    background_shift: Literal["both", "horizontal"] = "both"  # u ~ U([-1, 1]^2), or its vertical component set to 0
    adain_norm: Literal["instance", "batch"] = "instance"  # IN of AdaIN, or BN in its place
    use_points: bool = True  # False: masks from AdaIN blocks and a learned constant (section 4.6)
    separate_background: bool = True  # False: the background is one more part of the foreground generator (section 4.6)
    rgb_layers: Positive = 2  # convolutions of Eq. 11; 1 means a single 1x1
    rgb_kernel: Count = 3  # side of their kernels, in pixels
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


class DiscriminatorConfig(Section):
    """The discriminator (section 3.4)."""

    widths: Widths = (64, 128, 256, 512, 512, 512)  # channels that leave each residual block of stride 2
    hidden: Positive = 512  # width of the first linear layer


class LossConfig(Section):
    """The objective (section 3.4)."""

    lambda_gp: Real = 5.0  # Eq. 18; gamma / 2 with the gamma = 10 of the work that Eq. 15 cites
    lambda_con: Real = 10.0  # Eq. 19
    lambda_area: Real = 1.0  # Eq. 19
    gradient_penalty: Literal["r1", "unit_norm"] = "r1"  # E ||grad D||^2 (cited by Eq. 15), or E (||grad D|| - 1)^2
    penalty_every: Positive = 16  # steps between two gradient penalties
    penalty_rescale: bool = True  # multiply by penalty_every, so that the average is lambda_gp L_gp
    over_parts: Literal["sum", "mean"] = "sum"  # how Eq. 16 combines the K parts
    area: Literal["heatmap", "disc"] = "heatmap"  # sum_p H_k(p) (Eq. 17), or pi tau_k^2 in pixels
    geometry_every: Positive = 1  # steps between two geometric penalties (2 in the released code)


class OptimConfig(Section):
    """Stage 1: optimiser, schedule and precision."""

    steps: Count = 8600
    batch_size: Positive = 64
    lr_generator: Real = 1e-4
    lr_discriminator: Real = 4e-4
    betas: Annotated[tuple[Fraction, Fraction], BeforeValidator(listed)] = (0.5, 0.9)
    ema: Fraction = 0.0  # decay of the averaged generator; 0 = off
    share_fakes: bool = True  # one fake batch serves both steps
    precision: FabricPrecision = "bf16-mixed"  # where the hardware has it, else fp32


class SegmenterConfig(Section):
    """Stage 2: the segmentation network and its training on generated pairs."""

    backbone: Literal["resnet50", "resnet18-light"] = "resnet50"
    width: Positive = 64  # channels of the first layers of resnet18-light
    pretrained: bool = False  # start resnet50 from ImageNet weights: supervised, so off by default
    steps: Count = 10000
    batch_size: Positive = 64
    lr: Real = 3e-4
    output_stride: Count = 8


class PlusConfig(Section):
    """Beyond the paper (`ganseg.plus`). By default all of it is off."""

    augment: Share = 0.0  # probability of each change of what D sees; 1 in the work cited there
    adaptive: Share = 0.0  # mean sign of D at real images that this probability, from `augment` on, is moved to
    relativistic: bool = False  # D and G compare pairs of a real and a generated image; R2 beside R1
    matching: Real = 0.0  # weight of the distance between D's mean features of real and of generated images
    balance: Share = 0.0  # step with which the weight of L_con finds its balance; 0: lambda_con as it is
    foreground: Band = (0.15, 0.4)  # share of generated images, least and most, that needs no correction
    floor: Fraction = 0.0  # least area of a part, over an even share of the foreground
    photometric: Share = 0.0  # strength of the changes to generated pairs of stage 2
    hue: Share = 0.0  # of a whole turn: how far the hues of stage 2's images are turned, half of it either way
    geometric: Share = 0.0  # strength of turns, zooms and shifts of images and labels of stage 2
    self_training: Share = 0.0  # the last part of stage 2 in which it learns from real images, too
    confidence: Fraction = 0.9  # least probability of a label that is learned from
    crops: Fraction = 0.0  # side, over the image's, of an enlarged square in which labels must be the same; 0: none
    teacher: Fraction = 0.98  # decay of the averaged segmentation network
    flip_at_test: bool = False  # foreground averaged over an image and its mirror image


class Config(Section):
    """One fully resolved experiment."""

    data: DataConfig = DataConfig()
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    losses: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    segmenter: SegmenterConfig = SegmenterConfig()
    plus: PlusConfig = PlusConfig()
    seed: Count = 0

    @property
    def identity(self) -> dict[str, Any]:
        """What keys are made of: all fields, but those of `plus` that older keys do without only where they are on."""
        off = {name for name in ("adaptive", "hue", "geometric", "crops") if not getattr(self.plus, name)}
        return self.model_dump(exclude={"plus": off if self.plus != PlusConfig() else True})

    @model_validator(mode="after")
    def can_be_built(self) -> Self:
        """Refuse fields that do not go together."""
        g, s, band = self.generator, self.segmenter, self.plus.foreground
        sizes, widths, strides = g.block_sizes, g.block_widths, STRIDES[s.backbone]
        blocks, channels = f"generator.block_sizes={sizes}", f"generator.block_widths={widths}"
        jumps = ", ".join(f"{a} -> {b}" for a, b in pairwise(sizes) if b not in (a, 2 * a))
        for wrong, fault in (
            (len(sizes) != len(widths), f"{blocks} and {channels}: there must be one width for each block"),
            (jumps, f"{blocks}: each block keeps the size or doubles it, and {jumps} does not"),
            (g.size != self.data.size, f"data.size={self.data.size} must equal the last of {blocks}"),
            (widths[0] % 2, f"{channels}: the first must be even (sine and cosine halves of Eq. 5)"),
            (g.rgb_kernel % 2 == 0, f"generator.rgb_kernel={g.rgb_kernel} must be odd: the image keeps its size"),
            (s.pretrained and s.backbone != "resnet50", f"segmenter.pretrained: there are no weights of {s.backbone}"),
            (not 0 < band[0] < band[1], f"plus.foreground={band}: the first must be above 0 and below the second"),
            (s.output_stride not in strides, f"segmenter.output_stride={s.output_stride}: {s.backbone} has {strides}"),
        ):
            if wrong:
                raise UserError(fault)
        return self

    def replace(self, overrides: dict[str, Any]) -> Self:
        """A copy with `section.field` entries replaced; values may be strings, as typed on a command line.

        UserError for an unknown name, with those that are called alike, or all.
        """
        values = self.model_dump()
        known = {f"{name}.{key}": part for name, part in values.items() if isinstance(part, dict) for key in part}
        known["seed"] = values
        for name, value in overrides.items():
            key = name.rpartition(".")[2]
            if name not in known:
                moved = [other for other in known if other.rpartition(".")[2] == key]
                near = moved or difflib.get_close_matches(name, known, n=5, cutoff=0.5) or known
                raise UserError(f"unknown setting {name!r}; known ones are: {', '.join(near)}")
            known[name][key] = value
        return self.from_dict(values)
