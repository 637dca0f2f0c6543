"""Devices, precision and several processes, through Lightning Fabric; steps that a GPU repeats by itself."""

from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from ganseg.files import UserError


def make_fabric(device: str = "auto", devices: int | str = 1, num_nodes: int = 1, precision: str = "auto",
                wanted: str = "bf16-mixed") -> Fabric:  # fmt: skip
    """A launched Fabric. `device`: auto, cpu, cuda or mps; `precision`: one of Fabric's names, or auto: `wanted`, but
    fp32 where that is bf16 and is no faster: CUDA is from Ampere on, CPUs are with AMX (AVX512-BF16 is not). One device
    is one process, whatever else a cluster starts beside it.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device in ("cuda", "mps") and not getattr(torch, device).is_available():
        raise UserError(f"this machine has no {device}; use auto or cpu")
    if precision == "auto":
        amx, ampere = torch.cpu._is_amx_tile_supported(), torch.cuda.is_bf16_supported(including_emulation=False)
        fast = {"cpu": amx, "cuda": ampere}.get(device)
        precision = "32-true" if wanted.startswith("bf16") and not fast else wanted
    torch.set_flush_denormal(True)  # denormal activations slow a CPU several times
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True  # all batches have one shape
    alone = [LightningEnvironment()] if (str(devices), num_nodes) == ("1", 1) else None
    try:
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=num_nodes, precision=precision, plugins=alone)
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{devices} x {num_nodes} devices of type {device} cannot be used: {error}") from error
    return fabric


def place(module: nn.Module, fabric: Fabric) -> nn.Module:
    """Move `module` to this process's device, in channels_last; GPUs share the statistics of batch normalisation."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
    return module.to(fabric.device, memory_format=torch.channels_last)


def own(batch: Tensor, fabric: Fabric) -> Tensor:
    """This process's share of a `batch` that all processes draw alike."""
    return batch[fabric.global_rank :: fabric.world_size]


def adam(module: nn.Module, lr: float, betas: tuple[float, float], fabric: Fabric) -> torch.optim.Optimizer:
    """Adam in its fused implementation, whose steps a GPU can repeat by itself."""
    options = {"lr": lr, "betas": betas, "fused": True, "capturable": fabric.device.type == "cuda"}
    return fabric.setup_optimizers(torch.optim.Adam(module.parameters(), **options))


def update(module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, fabric: Fabric) -> None:
    """One step of `module` down the gradient of `loss`, averaged over the processes."""
    optimizer.zero_grad()
    fabric.backward(loss, inputs=list(module.parameters()))
    for parameter in module.parameters() if fabric.world_size > 1 else ():
        parameter.grad = fabric.all_reduce(parameter.grad, reduce_op="mean")
    optimizer.step()


class Replayed:
    """`function(batch, *kind)`, its kernels launched at once: after a first call of each `kind` (hashable), which runs
    as it is, a CUDA graph records the next and repeats it. At small sizes, launches are most of a step.

    `function`: makes a dictionary of tensors and the same kernels for every `batch` of a shape, changes tensors in
    place, and draws, seeded before each call, what it would draw unrecorded. Elsewhere than on one GPU without a scaler
    of gradients, which the host would wait for, every call runs as it is.
    """

    def __init__(self, function: Callable[..., dict[str, Tensor]], fabric: Fabric) -> None:
        self.function, self.seen, self.recorded = function, set(), {}
        alone = fabric.world_size == 1 and fabric.device.type == "cuda"
        self.stream = torch.cuda.Stream() if alone and not fabric.strategy.precision.state_dict() else None

    def __call__(self, batch: Tensor, *kind: bool) -> dict[str, Tensor]:
        """What `function` makes of `batch`."""
        if self.stream is None:
            return self.function(batch, *kind)
        if kind not in self.seen:
            self.seen.add(kind)
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                values = self.function(batch, *kind)
            torch.cuda.current_stream().wait_stream(self.stream)
            return values
        if kind not in self.recorded:
            graph, held = torch.cuda.CUDAGraph(), batch.clone()
            with torch.cuda.graph(graph, stream=self.stream):
                self.recorded[kind] = graph, held, self.function(held, *kind)
        graph, held, values = self.recorded[kind]
        held.copy_(batch)
        graph.replay()
        return {name: value.clone() for name, value in values.items()}
