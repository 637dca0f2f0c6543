"""FLOPs and least bytes of a computation, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Count(NamedTuple):
    """What a computation costs at least."""

    flops: int  # a multiplication and an addition are two
    bytes: int  # see `count`


class _Counter(TorchDispatchMode):
    """Adds up what every convolution and matrix product costs."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`; count it where torch knows its FLOPs."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
            self.bytes += size((args, kwargs, out))
        return out


def size(tree: Any) -> int:
    """Bytes of all tensors in a nested structure, each counted as its elements, however it lies in memory."""
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def count(run: Callable[[], object]) -> Count:
    """FLOPs and least bytes of `run`.

    FLOPs are those of convolutions and matrix products, forward and backward (torch's registry of them; its
    own counter cannot count second derivatives). Least bytes are the inputs and outputs, weights included, of
    the same operations, each moved once: what would remain if everything else (normalisation, activations,
    resampling, losses) were fused into them. Compiled regions and replayed CUDA graphs are not seen.
    """
    with _Counter() as counter:
        run()
    return Count(counter.flops, counter.bytes)


def optimiser_bytes(optimizers: Iterable[torch.optim.Optimizer], averaged: nn.Module | None = None) -> int:
    """Least bytes of the update: parameters (averaged ones, too), gradients and the optimisers' state,
    each moved once."""
    total = size(list(averaged.parameters())) if averaged is not None else 0
    for optimizer in optimizers:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        total += size([parameters, [p.grad for p in parameters], list(optimizer.state.values())])
    return total
