"""Devices, precision and several processes, through Lightning Fabric."""

from __future__ import annotations

import torch
from torch import nn

try:
    from lightning_fabric import Fabric
except ImportError:  # the umbrella package `lightning` holds the same class
    from lightning.fabric import Fabric

__all__ = ["Fabric", "default_precision", "make_fabric", "place"]


def default_precision(accelerator: str, wanted: str = "bf16-mixed") -> str:
    """`wanted`, but fp32 where that is bf16 and no hardware multiplies it.

    Hardware that does: CUDA from Ampere on, CPUs with AVX512-BF16 (and AMX, which comes with it).
    """
    has_bf16 = {"cpu": torch.cpu._is_avx512_bf16_supported, "cuda": torch.cuda.is_bf16_supported}
    lacking = accelerator not in has_bf16 or not has_bf16[accelerator]()
    return "32-true" if wanted.startswith("bf16") and lacking else wanted


def make_fabric(
    device: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    precision: str = "auto",
    wanted: str = "bf16-mixed",
) -> Fabric:
    """A launched Fabric.

    `device`: auto, cpu, cuda or mps; `precision`: any of Fabric's names, or auto: `wanted` where the hardware has it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_flush_denormal(True)  # denormal activations slow a CPU several times
    torch.set_float32_matmul_precision("high")
    precision = default_precision(device, wanted) if precision == "auto" else precision
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=num_nodes, precision=precision)
    fabric.launch()
    return fabric


def place(module: nn.Module, fabric: Fabric) -> nn.Module:
    """Move `module` to this process's device, in channels_last; GPUs share the statistics of batch normalisation."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return module.to(fabric.device, memory_format=torch.channels_last)
