"""Devices, precision and several processes, through Lightning Fabric."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    from lightning_fabric import Fabric
except ImportError:  # the umbrella package `lightning` holds the same class
    from lightning.fabric import Fabric

__all__ = ["Fabric", "average_over_processes", "default_precision", "make_fabric"]


def default_precision(accelerator: str) -> str:
    """bf16 where the matrix units have it (CUDA from Ampere on; CPUs with AMX), else fp32."""
    if accelerator == "cpu":
        return "bf16-mixed" if torch.cpu._is_amx_tile_supported() else "32-true"
    if accelerator == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    return "32-true"


def make_fabric(device: str = "auto", devices: int | str = 1, num_nodes: int = 1, precision: str = "auto") -> Fabric:
    """A launched Fabric. `device`: auto, cpu, cuda or mps; `precision`: auto or any of Fabric's names."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_flush_denormal(True)  # denormal activations slow a CPU several times
    torch.set_float32_matmul_precision("high")
    precision = default_precision(device) if precision == "auto" else precision
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=num_nodes, precision=precision)
    fabric.launch()
    return fabric


def average_over_processes(fabric: Fabric, gradient: Tensor) -> None:
    """Replace `gradient` by its mean over the processes."""
    if fabric.world_size > 1:
        gradient.copy_(fabric.all_reduce(gradient, reduce_op="mean"))
