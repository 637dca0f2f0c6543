"""Files as the released code writes them, small or at full size, of random tensors under released names."""

import json
from pathlib import Path
from typing import Any

import torch
from commands import done
from torch import Tensor
from torchvision.models.segmentation import deeplabv3_resnet50

from ganseg.config import GeneratorConfig
from ganseg.generator import Generator
from ganseg.layers import pixel_grid
from ganseg.released import COMPUTED, released_name
from ganseg.runs import Run

WIDTHS = {4: (512, 256, 128, 64), 6: (512, 256, 256, 128, 128, 64)}
SIZES = {4: (32, 32, 64, 128), 6: (32, 32, 64, 64, 128, 128)}
PUBLISHED = {  # in their parameters.json: blocks, K, a single 1x1 convolution
    "celeba_wild": (4, 8, False), "taichi": (4, 10, False), "cub": (6, 8, False), "flower": (6, 8, True),
}  # fmt: skip


def imported(checkpoint: Path, *words: str | Path) -> tuple[Run, str]:
    """The run that `ganseg import-released` made, and its notes."""
    told = done("import-released", checkpoint, *words)
    return Run.open(told.stdout.strip()), " ".join(told.stderr.split())


def architecture(blocks: int, parts: int, single: bool = False, cone: bool = True) -> GeneratorConfig:
    """The released code's network at full size."""
    departures = released_departures(single, cone)
    return GeneratorConfig(parts=parts, block_sizes=SIZES[blocks], block_widths=WIDTHS[blocks], **departures)


def released_departures(single: bool, cone: bool) -> dict[str, Any]:
    """The released network's options that are not the paper's (paper-versus-code rows 1-4, 7, 10, 13, 14)."""
    kinds = ("mean_abs", "cone") if cone else ("distance_variance", "gaussian_unsquared")
    return {
        "point_layers": 5, "appearance_layers": 4, "point_spread": 1.0, "point_squash": "tanh", "point_divisor": 20.0,
        "part_scale": kinds[0], "heatmap": kinds[1], "grid": "endpoints", "background_shift": "horizontal",
        "adain_norm": "batch", "rgb_layers": 1 if single else 2, "rgb_crop": "before", "rgb_activation": True,
    }  # fmt: skip


def released_tensors(config: GeneratorConfig, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors under released names, in released shapes."""
    with torch.device("meta"):
        state = Generator(config).state_dict()
    random, tensors = torch.Generator().manual_seed(seed), {}
    for ours, like in state.items():
        name = released_name(ours, config)
        shape = (*like.shape, 1, 1) if name.endswith(".pe.weight") else like.shape
        scale = like.shape[1:].numel() ** -0.5 if like.ndim > 1 else 0.1
        normal = torch.empty(shape).normal_(generator=random) * scale
        tensors[name] = torch.ones_like(normal) if "running_var" in name or like.ndim == 0 else normal
    grid = pixel_grid(config.start_size, config.margin, "endpoints").flip(-1)  # (row, column)
    return tensors | {COMPUTED: grid.reshape(1, -1, 2)}


def save(path: Path, generator: dict[str, Tensor], **parameters: object) -> Path:
    """A file as the released code writes it, and parameters.json above its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    groups = [{"lr": 1e-4, "betas": (0.5, 0.9), "params": [0]}]
    optimiser = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": groups}
    critic = {"conv.0.conv_res.weight": torch.zeros(64, 3, 1, 1)}
    content = {"generator": generator, "discriminator": critic, "optim_gen": optimiser, "optim_disc": optimiser}
    torch.save(content, path)
    if parameters:
        (path.parent.parent / "parameters.json").write_text(json.dumps(parameters))
    return path


def published(name: str) -> dict[str, object]:
    """parameters.json of a released run: the names that the released command line has."""
    blocks, parts, single = PUBLISHED[name]
    return {
        "model": "generator", "dis_model": "discriminator", "z_dim": 256, "n_keypoints": parts, "n_per_kp": 4,
        "n_embedding": 64, "feature_map_sizes": ",".join(map(str, SIZES[blocks])),
        "feature_map_channels": ",".join(map(str, WIDTHS[blocks])), "single_final": int(single), "use_linear": 1,
        "smaller_init_mask": 0, "batch_size": 64, "lr_gen": 1e-4, "lr_disc": 4e-4, "con_penalty_coef": 30.0,
        "area_penalty_coef": 1.0, "disc_iters": 1, "num_workers": 0, "data_root": "data", "class_name": name,
        "image_size": 128, "checkpoint": 0, "log": "log/x",
    }  # fmt: skip


def small(parts: int = 3) -> GeneratorConfig:
    """A network of two blocks."""
    sizes = {"noise_dim": 8, "embedding_dim": 8, "block_sizes": (8, 16), "block_widths": (12, 8), "spade_hidden": 8}
    return GeneratorConfig(**architecture(4, parts).__dict__ | sizes)


def detector(parts: int, aux: bool = True) -> dict[str, Tensor]:
    """The released segmentation network's tensors."""
    torch.manual_seed(0)
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=parts + 1, aux_loss=aux)
    return {f"model.{name}": value for name, value in network.state_dict().items()}
