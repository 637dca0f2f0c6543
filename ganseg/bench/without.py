"""The plain formulation of each fast piece of the generator, and contexts in which the package computes with it.

Tests hold the fast piece to its plain one here; the table of gains times a step with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganseg import embedding, layers, losses, masks, resampling, working


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def climb(self: resampling.Pyramid, x: Tensor, i: int) -> Tensor:
    """Bilinear upsampling by PyTorch, then a copy of the inner region."""
    if i + 1 == len(self.sizes) or self.sizes[i + 1] == self.sizes[i]:
        return x
    upsampled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    return resampling.crop(upsampled, self.margin)


def with_margin(self: resampling.Pyramid, image: Tensor, size: int) -> Tensor:
    """Bilinear resizing by PyTorch, then replicate padding."""
    resized = F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
    return F.pad(resized, (self.margin,) * 4, mode="replicate") if self.margin else resized


def spade(self: layers.Spade, x: Tensor, condition: embedding.EmbeddingMap, slope: float = 1) -> Tensor:
    """Gamma and beta from a convolution each, and autograd's own gradient of the modulation."""
    h = condition.convolve(self.shared)
    modulated = self.norm(x) * (1 + self.gamma(h)) + self.beta(h)
    return F.leaky_relu(modulated, slope) if slope != 1 else modulated


def heatmaps(grid: Tensor, centres: Tensor, scales: Tensor, kind: str = "gaussian") -> Tensor:
    """Squared distances of all pixels to all centres, (B, K, H, W, 2), then Eq. 4."""
    squared = (grid[None, None] - centres[:, :, None, None]).square().sum(-1)
    scales = scales[:, :, None, None]
    if kind == "cone":
        return (1 - (squared + 1e-20).sqrt() / scales).clamp(min=0)
    return torch.exp(-squared / (scales.square().clamp(min=1e-8) if kind == "gaussian" else scales))


@contextmanager
def resampling_by_pytorch() -> Iterator[None]:
    """Interpolation, padding and cropping as operations of their own."""
    with replaced(resampling.Pyramid, "climb", climb), replaced(resampling.Pyramid, "with_margin", with_margin):
        yield


@contextmanager
def dense_embedding_maps() -> Iterator[None]:
    """The first SPADE convolution runs on the D_emb channels of W, not on the K maps."""
    with replaced(embedding.EmbeddingMap, "FOLDS", float("inf")):
        yield


@contextmanager
def separate_gamma_and_beta() -> Iterator[None]:
    """Two convolutions a SPADE layer, and a graph node for each operation of the modulation."""
    with replaced(layers.Spade, "forward", spade):
        yield


@contextmanager
def direct_heatmaps() -> Iterator[None]:
    """Heatmaps that are not taken apart into rows and columns."""
    with replaced(masks, "heatmaps", heatmaps), replaced(losses, "heatmaps", heatmaps):
        yield


@contextmanager
def autocast_weights() -> Iterator[None]:
    """Autocast rounds each weight and each gradient by an operation of its own."""
    with replaced(working, "HALVES", {}):
        yield


def late_crop(trainer: Any) -> None:
    """The whole margin goes through the composition (Eq. 11) and is dropped after it."""
    for network in (trainer.g.module, trainer.generator):
        network.composition.reach = network.config.margin
