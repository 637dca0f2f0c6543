"""One safetensors file holds a whole training state: written to a temporary name, then renamed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ganseg.files import UserError, atomic_path

Part = nn.Module | torch.optim.Optimizer


def save_weights(path: Path, module: nn.Module, metadata: dict[str, str] | None = None) -> None:
    """Write the state of `module`."""
    _write(path, dict(module.state_dict()), metadata or {})


def load_weights(path: Path, module: nn.Module) -> nn.Module:
    """Read weights of `save_weights` into `module`; UserError for a missing or damaged file, or another network's."""
    tensors, _ = _read(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(
            f"{path} does not hold the weights of this network: {str(error).splitlines()[1].strip()}"
        ) from None
    return module


def save_checkpoint(path: Path, parts: dict[str, Part], step: int) -> None:
    """Write modules and optimizers as `part/tensor`, with the number of finished steps."""
    tensors = {f"{name}/{key}": value for name, part in parts.items() for key, value in _tensors(part).items()}
    _write(path, tensors, {"step": str(step)})


def load_checkpoint(path: Path, parts: dict[str, Part]) -> int:
    """Read what `save_checkpoint` wrote into `parts`; returns the number of finished steps."""
    tensors, metadata = _read(path)
    for name, part in parts.items():
        own = {key.split("/", 1)[1]: value for key, value in tensors.items() if key.startswith(f"{name}/")}
        if isinstance(part, nn.Module):
            part.load_state_dict(own)
        else:
            _load_optimizer(part, own)
    return int(metadata["step"])


def _tensors(part: Part) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return dict(part.state_dict())
    return {
        f"{index}.{key}": value for index, state in part.state_dict()["state"].items() for key, value in state.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    # moments take their parameter's memory layout: the fused Adam pairs elements by their place in memory
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        state.setdefault(int(index), {})[key] = (
            torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with atomic_path(path) as temporary:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, temporary, metadata)
        temporary.chmod(0o644)  # safetensors writes for the owner alone; groups share clusters


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise UserError(
            f"{path} is not there; weights are not part of a published run: train it again to have them"
        ) from None
    except SafetensorError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and train again") from None
