"""A network's parameters as one vector, and the copy of the network that computes in the working precision."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HALVES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by Fabric's name of a precision


def lay_out(tensors: Sequence[Tensor], dtype: torch.dtype = torch.float32) -> Tensor:
    """Make all `tensors` pieces of one new vector of `dtype`, each in its own memory format; returns the vector."""
    vector = torch.empty(sum(t.numel() for t in tensors), dtype=dtype, device=tensors[0].device)
    for tensor, piece in zip(tensors, pieces(vector, tensors), strict=True):
        tensor.data = piece.copy_(tensor.detach())
    return vector


def pieces(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Consecutive pieces of `vector` with the shapes and strides of the tensors in `like`."""
    parts = vector.split([t.numel() for t in like])
    return [part.as_strided(t.shape, t.stride()) for part, t in zip(parts, like, strict=True)]


class Working:
    """A network under training: fp32 weights that are one vector, and `module`, which computes with rounded copies.

    Rounding, optimizer, moving average and the mean over processes are one kernel each a step instead of one a
    parameter, and autocast finds only activations to cast. It computes what autocast from fp32 weights computes, which
    rounds weights and gradients alike.

    `network`: the fp32 network, which checkpoints hold; `precision`: Fabric's name. In full precision `module` is
    `network` itself.
    """

    def __init__(self, network: nn.Module, precision: str) -> None:
        half = HALVES.get(precision)
        everything = dict(network.named_parameters())
        rounded = rounded_names(network) if half else []
        self.names = [*rounded, *(name for name in everything if name not in set(rounded))]
        weights = [everything[name] for name in self.names]
        self.vector = nn.Parameter(lay_out(weights))
        self.vector.grad = torch.zeros_like(self.vector)
        self.module, self.half = network, None
        if half:
            shared = [*weights[len(rounded) :], *network.buffers()]
            self.module = copy.deepcopy(network, {id(t): t for t in shared})
            self.half = lay_out([self.module.get_parameter(name) for name in rounded], half)
        self.parameters = [self.module.get_parameter(name) for name in self.names]
        self.gradients = pieces(self.vector.grad, weights)
        network.register_load_state_dict_post_hook(lambda *_: self.refresh())

    @torch.no_grad()
    def refresh(self) -> None:
        """Round the weights anew, after they changed."""
        if self.half is not None:
            self.half.copy_(self.vector[: len(self.half)])

    @torch.no_grad()
    def collect(self) -> Tensor:
        """Move the gradients of `module` into the vector's; returns that."""
        used = [(mine, p) for mine, p in zip(self.gradients, self.parameters, strict=True) if p.grad is not None]
        if len(used) < len(self.parameters):
            self.vector.grad.zero_()
        torch._foreach_copy_([mine for mine, _ in used], [p.grad for _, p in used])
        for _, p in used:
            p.grad = None
        return self.vector.grad


def rounded_names(network: nn.Module) -> list[str]:
    """Parameters autocast would round: of convolutions and linear layers, but those marked `full_precision`."""
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)}
    return [
        f"{name}.{own}"
        for name, layer in layers.items()
        if not getattr(layer, "full_precision", False)
        for own, _ in layer.named_parameters(recurse=False)
    ]
