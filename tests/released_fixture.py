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
from ganseg.recipes import variant_settings
from ganseg.released import COMPUTED, released_name
from ganseg.runs import Run


def imported(checkpoint: Path, *words: str | Path) -> tuple[Run, str]:
    """The run that `ganseg import-released` made, and its notes."""
    told = done("import-released", checkpoint, *words)
    return Run.open(told.stdout.strip()), " ".join(told.stderr.split())


def released_network(single: bool = False, cone: bool = True, **fields: Any) -> GeneratorConfig:
    """The released network: one 1x1 convolution or two of 3x3, heatmaps that are cones or not, and these `fields`."""
    settings = variant_settings("released", "flowers" if single else "")
    departures = {name: value for key, value in settings.items() if (name := key.removeprefix("generator.")) != key}
    heatmaps = {} if cone else {"part_scale": "distance_variance", "heatmap": "gaussian_unsquared"}
    return GeneratorConfig(**departures | heatmaps | fields)


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


def small(parts: int = 3) -> GeneratorConfig:
    """A network of two blocks."""
    sizes = {"noise_dim": 8, "embedding_dim": 8, "block_sizes": (8, 16), "block_widths": (12, 8), "spade_hidden": 8}
    return released_network(parts=parts, **sizes)


def detector(parts: int, aux: bool = True) -> dict[str, Tensor]:
    """The released segmentation network's tensors."""
    torch.manual_seed(0)
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=parts + 1, aux_loss=aux)
    return {f"model.{name}": value for name, value in network.state_dict().items()}
