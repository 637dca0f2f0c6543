"""Scales (sizes and budgets), variants (which equations), and the configuration that follows from them.

`lambda_con` is given for the mean over the K parts, as the released code has it, here and among overrides; where a
variant sums over the parts, as Eq. 16 prints it, `resolve` divides it by K: the same objective. Eq. 17 is a sum over
the parts in both.
"""

import math
from collections.abc import Mapping
from typing import Any

from ganseg.config import Config
from ganseg.files import UserError, imagenet_at_hand

Settings = dict[str, Any]

_SMALL: Settings = {
    "generator.block_widths": (32, 32, 16),
    "generator.noise_dim": 64,
    "generator.embedding_dim": 16,
    "generator.spade_hidden": 8,
    "generator.margin": 2,
    "generator.rgb_kernel": 1,  # a 3x3 kernel is large here: it would paint the object around its mask
    "discriminator.widths": (16, 32, 64),
    "discriminator.hidden": 64,
    "losses.lambda_gp": 0.1,
    "optim.batch_size": 8,
    "optim.lr_generator": 7e-4,
    "optim.lr_discriminator": 2.8e-3,
    "segmenter.backbone": "resnet18-light",
    "segmenter.batch_size": 8,
    "segmenter.lr": 1e-3,
}

SCALES: dict[str, Settings] = {
    # some 7 seconds an experiment on one CPU core with AVX2 alone
    "tiny": _SMALL
    | {
        "data.size": 32,
        "generator.block_sizes": (16, 32),
        "generator.block_widths": (16, 16),
        "discriminator.widths": (16, 32),
        "data.train_limit": 120,
        "data.test_limit": 40,
        # so short a training needs a wider start, a stronger pull to leave it, and large steps
        "generator.point_spread": 0.15,
        "losses.lambda_con": 20.0,
        "optim.lr_generator": 2e-3,
        "optim.lr_discriminator": 4e-3,
        "optim.steps": 20,
        "optim.batch_size": 4,
        "optim.ema": 0.97,
        "segmenter.width": 16,
        "segmenter.steps": 20,
        "segmenter.output_stride": 4,
    },
    # at most 15 minutes an experiment on one of two CPU cores without bf16
    "laptop": _SMALL
    | {
        "data.size": 48,
        "generator.block_sizes": (12, 24, 48),
        "generator.point_spread": 0.2,  # from the released twentieth the objects of so short a run keep one colour
        "optim.steps": 2000,
        "optim.ema": 0.995,
        "segmenter.width": 32,
        "segmenter.steps": 300,
        "segmenter.output_stride": 2,
    },
    # the paper's architecture and the released learning rates on a far shorter schedule: five minutes of one H200
    "gpu": {
        "data.size": 128,
        "optim.steps": 3000,
        "optim.batch_size": 8,
        "optim.ema": 0.995,
        "segmenter.steps": 500,
        "segmenter.batch_size": 32,
    },
    # the released code's schedule, by data set below: hours of one GPU
    "paper": {"data.size": 128, "segmenter.steps": 10000},
}

# K where none is asked for; 8 elsewhere, as in the paper's tables
PARTS = {
    "synthetic-bird": 6, "synthetic-camouflage": 6, "synthetic-turned": 6, "synthetic-face": 6,
    "celeba-aligned": 10, "taichi": 10,
}  # fmt: skip

_SIX_BLOCKS: Settings = {
    "generator.block_sizes": (32, 32, 64, 64, 128, 128),
    "generator.block_widths": (512, 256, 256, 128, 128, 64),
}

# What a data set needs at a scale beyond the scale's own settings. At 128 px: paper-versus-code rows 9, 21 and 22. At
# small sizes: found by experiment; the book's chapter on Table 2 tells how.
DATA: dict[tuple[str, str], Settings] = {
    ("flowers", "tiny"): {"losses.lambda_con": 10.0},
    ("flowers", "laptop"): {"losses.lambda_con": 6.4},
    ("cub", "laptop"): {"losses.lambda_con": 12.0},  # of 3, 6.4, 12 and 40: the least landmark error
    ("flowers", "gpu"): _SIX_BLOCKS | {"losses.lambda_con": 8.0},  # 30: parts vanish; 8: they still shrink too far
    ("flowers", "paper"): _SIX_BLOCKS | {"losses.lambda_con": 30.0, "optim.steps": 8600},
    ("cub", "gpu"): _SIX_BLOCKS,
    ("cub", "paper"): _SIX_BLOCKS | {"optim.steps": 14000},
    ("taichi", "gpu"): {"losses.lambda_con": 30.0},
    ("taichi", "paper"): {"losses.lambda_con": 30.0, "optim.steps": 30100},
    ("celeba-wild", "paper"): {"optim.steps": 21400},
    ("celeba-aligned", "paper"): {"optim.steps": 30100},
}

# Each place where the released code departs from the paper, by name; `released` is all of them together.
DIFFERENCES: dict[str, Settings] = {
    "part-scale": {"generator.part_scale": "mean_abs"},
    "cone-heatmap": {"generator.part_scale": "mean_abs", "generator.heatmap": "cone"},
    "squashed-points": {
        "generator.point_squash": "tanh", "generator.point_divisor": 20.0, "generator.point_spread": 1.0,
    },
    "deep-mlp": {"generator.point_layers": 5, "generator.appearance_layers": 4},
    "endpoint-grid": {"generator.grid": "endpoints"},
    "horizontal-background": {"generator.background_shift": "horizontal"},
    "batch-norm-background": {"generator.adain_norm": "batch"},
    "squashed-image": {"generator.rgb_crop": "before", "generator.rgb_activation": True},
    "unit-norm-penalty": {
        "losses.gradient_penalty": "unit_norm", "losses.lambda_gp": 10.0, "losses.penalty_rescale": False,
    },
    "mean-over-parts": {"losses.over_parts": "mean"},
    "disc-area": {"losses.area": "disc"},
    "alternate-geometry": {"losses.geometry_every": 2},
    "fresh-fakes": {"optim.share_fakes": False},
    "no-ema": {"optim.ema": 0.0},
}  # fmt: skip

# Named departures that are neither the paper's method nor part of `released`.
OPTIONS: dict[str, Settings] = {
    "imagenet-segmenter": {
        "segmenter.backbone": "resnet50", "segmenter.pretrained": True, "segmenter.output_stride": 8,
    },
    # no points to be near, no heatmaps to compare areas with: both losses go; or a mask's own centre and spread serve
    "no-points": {"generator.use_points": False, "losses.lambda_con": 0.0, "losses.lambda_area": 0.0},
    "no-points-own-centres": {"generator.use_points": False},
    "no-background": {"generator.separate_background": False},
    "no-concentration": {"losses.lambda_con": 0.0},
    "no-area": {"losses.lambda_area": 0.0},
    # section 3.1 groups several points: here the first of two outputs is a part's place, the second's length its scale
    "single-point": {"generator.part_scale": "predicted", "generator.points_per_part": 2},
    "shared-noise": {"generator.shared_noise": True},  # section 3.1 gives place and appearance a noise each
    "usual-gaussian": {"generator.heatmap": "gaussian_usual"},  # section 3.2 leaves the factor 2 out
    "single-convolution": {"generator.rgb_layers": 1},
}  # fmt: skip

# Beyond the paper: the ingredients of `ganseg.plus`, by name.
INGREDIENTS: dict[str, Settings] = {
    "augmented-discriminator": {"plus.augment": 0.5},
    "adaptive-augmentation": {"plus.adaptive": 0.6},
    "relativistic": {"plus.relativistic": True},
    "feature-matching": {"plus.matching": 1.0},
    "balanced-concentration": {"plus.balance": 0.02, "losses.lambda_con": 10.0},  # on any data set
    "part-floor": {"plus.floor": 0.25},
    "photometric-pairs": {"plus.photometric": 0.5},
    "turned-hues": {"plus.hue": 1.0},
    "geometric-pairs": {"plus.geometric": 1.0},
    "self-training": {"plus.self_training": 0.5},
    "agreeing-crops": {"plus.crops": 0.75},
    "flip-at-test": {"plus.flip_at_test": True},
}

# Parts that have a floor bear a weaker pull on these, and fill more of them; it grows where the foreground spreads.
_WEAKER: Settings = {"losses.lambda_con": 4.5, "plus.balance": 0.02, "plus.foreground": (0.15, 0.45)}
FLOORED = dict.fromkeys([("flowers", "laptop"), ("synthetic-camouflage", "laptop")], _WEAKER)
FLOORED |= {("flowers", "gpu"): _WEAKER | {"losses.lambda_con": 6.4}}

# Those that helped on validation images: results/laptop/choices.csv; the book's chapter 33 shows what did not.
PLUS = ("part-floor", "photometric-pairs", "turned-hues", "geometric-pairs", "self-training", "flip-at-test")
BASES = {"paper": (), "released": (*DIFFERENCES, "single-convolution"), "plus": PLUS}  # and what each has in it
# ... on these data alone: the released code's choice; objects of colours and poses that a generator paints too few of
ONLY = {
    "single-convolution": ["flowers"], "turned-hues": ["synthetic-bird"],
    "geometric-pairs": ["synthetic-bird", "synthetic-camouflage", "cub"],
}  # fmt: skip


def variant_settings(variant: str, data: str = "", scale: str = "") -> Settings:
    """Settings of a base, with differences and options added, or with what is in it taken away:
    `paper+cone-heatmap+no-area`, `plus+no-part-floor`.

    `paper` is as printed. `released` is every difference, and with `data` and `scale` what the released code does there
    alone: one convolution for Flowers, and a segmentation network that starts from ImageNet, where its weights can be
    had. `plus` is all that `PLUS` names, less what is for other data.
    """
    (base, *extras), known = variant.split("+"), DIFFERENCES | OPTIONS | INGREDIENTS
    without = {f"no-{name}": name for name in BASES.get(base, ())}
    if base not in BASES or not known.keys() | without >= set(extras):
        added, taken = (", ".join(f"+{name}" for name in names) for names in (known, without))
        told = f"it is one of {', '.join(BASES)}, followed by any of: {added}" + (f", {taken}" if without else "")
        raise UserError(f"unknown variant {variant!r}; {told}")
    names = [name for name in BASES[base] if f"no-{name}" not in extras and data in ONLY.get(name, [data])]
    names += ["imagenet-segmenter"] if base == "released" and scale in ("gpu", "paper") and imagenet_at_hand() else []
    names += [name for name in extras if name not in without]
    weaker = FLOORED.get((data, scale), {}) if "part-floor" in names else {}
    return weaker | {key: value for name in names for key, value in known[name].items()}


def resolve(
    data: str, variant: str, scale: str, parts: int | None = None, seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> Config:  # fmt: skip
    """The configuration of an experiment: defaults, scale, data set, variant, K, seed, `overrides`; the later wins.

    `data.size` among the overrides brings fitting blocks along, unless they name generator.block_sizes.
    """
    if scale not in SCALES:
        raise UserError(f"unknown scale {scale!r}; known are {', '.join(SCALES)}")
    parts = PARTS.get(data, 8) if parts is None else parts
    settings = SCALES[scale] | DATA.get((data, scale), {}) | variant_settings(variant, data, scale)
    config = Config().replace(settings | {"data.name": data, "generator.parts": parts, "seed": seed})
    overrides = dict(overrides or {})
    size = str(overrides.get("data.size", ""))
    if size.isdecimal() and "generator.block_sizes" not in overrides:
        overrides = settings_for_size(config, int(size)) | overrides
    config = config.replace(overrides)
    shared = config.generator.parts if config.losses.over_parts == "sum" else 1
    return config.replace({"losses.lambda_con": config.losses.lambda_con / shared})


def settings_for_size(config: Config, size: int, smallest: int = 4) -> Settings:
    """Settings that give `config` images of `size` x `size` pixels: blocks of G and of D.

    The generator doubles its size where it did before, from another start. Each time that the image holds the former
    one twice more, a block is added that doubles, as wide as the last. The discriminator gets the fewest blocks whose
    last features are no larger than before. UserError where the start would not be a whole number of pixels from
    `smallest` on; it names sizes that fit.
    """
    sizes, widths, d = config.generator.block_sizes, config.generator.block_widths, config.discriminator.widths
    more = max(0, int(math.log2(size / sizes[-1]))) if size > 0 else 0
    factor = sizes[-1] // sizes[0] * 2**more  # from the first block to the image
    if size % factor or size < smallest * factor:
        fitting = sorted({max(smallest, size // factor + i) * factor for i in (0, 1)})
        wanted = f"{factor} times a whole number from {smallest} on, as the blocks of G need"
        take = f"take {' or '.join(map(str, fitting))}, or set generator.block_sizes and generator.block_widths as well"
        raise UserError(f"data.size={size} is not {wanted}: {take}")
    scaled = [size * s // (sizes[-1] * 2**more) for s in sizes]
    side = math.ceil(config.data.size / 2 ** len(d))
    blocks = next(n for n in range(1, 32) if math.ceil(size / 2**n) <= side)
    return {
        "data.size": size,
        "generator.block_widths": widths + widths[-1:] * more,
        "generator.block_sizes": (*scaled, *(scaled[-1] * 2**i for i in range(1, more + 1))),
        "discriminator.widths": (d + d[-1:] * blocks)[:blocks],
    }
