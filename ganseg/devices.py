"""Devices, precision and several processes, through Lightning Fabric."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

try:
    from lightning_fabric import Fabric
except ImportError:  # the umbrella package `lightning` holds the same class
    from lightning.fabric import Fabric

__all__ = ["Fabric", "average_over_processes", "default_precision", "make_fabric", "place"]


def default_precision(accelerator: str, wanted: str = "bf16-mixed") -> str:
    """`wanted`, but fp32 where that is bf16 and no hardware multiplies it.

    Hardware that does: CUDA from Ampere on, CPUs with AVX512-BF16 (and AMX, which comes with it).
    """
    has_bf16 = {"cpu": torch.cpu._is_avx512_bf16_supported, "cuda": torch.cuda.is_bf16_supported}
    if wanted.startswith("bf16") and not (accelerator in has_bf16 and has_bf16[accelerator]()):
        return "32-true"
    return wanted


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


def average_over_processes(fabric: Fabric, gradient: Tensor) -> None:
    """Replace `gradient` by its mean over the processes."""
    if fabric.world_size > 1:
        gradient.copy_(fabric.all_reduce(gradient, reduce_op="mean"))


def place(module: nn.Module, fabric: Fabric) -> nn.Module:
    """Move `module` to this process's device, in channels_last, its batch normalisation shared by all processes."""
    if fabric.world_size > 1:
        for layer in module.modules():
            if type(layer) is nn.BatchNorm2d:
                layer.__class__ = SharedBatchNorm
    return module.to(fabric.device, memory_format=torch.channels_last)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes, on any device (PyTorch's own needs CUDA)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) of this process, every process having as many."""
        if not self.training:
            return super().forward(x)
        wide = x.float()
        mean = all_reduce(wide.mean(dim=(0, 2, 3))) / torch.distributed.get_world_size()
        centred = wide - mean[:, None, None]
        variance = all_reduce(centred.square().mean(dim=(0, 2, 3))) / torch.distributed.get_world_size()
        self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1] * torch.distributed.get_world_size())
        normal = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return normal.to(x.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, as BatchNorm2d does."""
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)
