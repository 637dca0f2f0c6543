"""Building blocks: MLP, pixel grids, positional encoding, SPADE and AdaIN blocks, upsample-and-crop (sections 3.1-3.3)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def initialise(module: nn.Module) -> nn.Module:
    """He initialisation for LeakyReLU(0.2) of every convolution and linear layer within `module`, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            nn.init.zeros_(layer.bias)
    return module


def mlp(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """`layers` linear layers of width `inputs` with LeakyReLU(0.2) between them; outputs of variance 1 for N(0, I) at the start."""
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        modules += [nn.Linear(inputs, inputs), nn.LeakyReLU(0.2)]
    return initialise(nn.Sequential(*modules, nn.Linear(inputs, outputs)))


def pixel_grid(size: int, margin: int, kind: Literal["cells", "endpoints"] = "cells") -> Tensor:
    """Coordinates (x, y) of the pixels of a `size` x `size` image and a margin around it (Eq. 12).

    `cells`: the image covers [-1, 1]^2 and a pixel sits at the centre of its cell, spacing 2/H0, the margin reaching 1 + 2 margin/H0.
    `endpoints`: the released code's linspace(-1, 1, H0), spacing 2/(H0 - 1).
    Returns (size + 2 margin, size + 2 margin, 2), indexed [row, column].
    """
    index = torch.arange(-margin, size + margin, dtype=torch.float64)
    line = (2 * index + 1) / size - 1 if kind == "cells" else 2 * index / (size - 1) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).float()


class RelativeEncoding(nn.Module):
    r"""Starting tensor from positions relative to points (Eq. 5).

    $[\sin(\pi\,\mathrm{FC}(\ldots, \mathbf p - \mathbf x_i, \ldots)), \cos(\pi\,\mathrm{FC}(\ldots))]$

    `points`: number of points $\mathbf x_i$; `channels`: channels of the result, half sines and half cosines.
    """

    def __init__(self, points: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * points, channels // 2)

    def forward(self, grid: Tensor, points: Tensor) -> Tensor:
        """`grid` (H, W, 2) and `points` (B, P, 2) give (B, channels, H, W).

        FC of the differences is FC_sum(p) - FC(x): no (B, H, W, 2P) tensor is made.
        """
        with torch.autocast(points.device.type, enabled=False):  # positions need fp32
            weight = self.linear.weight.float()  # (C/2, 2P)
            of_pixel = grid @ weight.unflatten(1, (-1, 2)).sum(1).T  # (H, W, C/2)
            of_points = points.flatten(1).float() @ weight.T - self.linear.bias.float()  # (B, C/2)
        phase = math.pi * (of_pixel[None] - of_points[:, None, None])  # (B, H, W, C/2)
        return torch.cat([phase.sin(), phase.cos()], dim=-1).permute(0, 3, 1, 2)  # (B, C, H, W), channels_last in memory


class Spade(nn.Module):
    r"""Spatially adaptive normalisation: $(1 + \gamma(\mathbf W)) \odot \mathrm{BN}(\mathbf x) + \beta(\mathbf W)$ (section 3.2).

    `channels`: of x; `condition`: channels of the embedding map W; `hidden`: channels between W and gamma, beta.
    """

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`x` (B, C, H, W), `condition` (B, D, H, W) -> (B, C, H, W)."""
        h = F.leaky_relu(self.shared(condition), 0.2, inplace=True)
        scale = F.conv2d(h, self.gamma.weight, 1 + self.gamma.bias, padding=1)  # 1 + gamma
        return (self.norm(x) * scale).add_(self.beta(h))


class SpadeResBlock(nn.Module):
    """Two SPADE-LeakyReLU-convolution stages and a SPADE-convolution shortcut where the width changes (Eq. 6, 8).

    `inputs`, `outputs`: channels; `condition`: channels of the embedding map; `hidden`: of the SPADE layers.
    """

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.spade1 = Spade(inputs, condition, hidden)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.spade2 = Spade(outputs, condition, hidden)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.spade_shortcut = Spade(inputs, condition, hidden)
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`x` (B, inputs, H, W), `condition` (B, D, H, W) -> (B, outputs, H, W)."""
        shortcut = x
        if hasattr(self, "conv_shortcut"):
            shortcut = self.conv_shortcut(self.spade_shortcut(x, condition))
        h = self.conv1(F.leaky_relu(self.spade1(x, condition), 0.2, inplace=True))
        return self.conv2(F.leaky_relu(self.spade2(h, condition), 0.2, inplace=True)) + shortcut


class AdaIn(nn.Module):
    r"""Adaptive instance normalisation: $(1 + \gamma(\mathbf w)) \odot \mathrm{IN}(\mathbf x) + \beta(\mathbf w)$ (section 3.3).

    `channels`: of x; `condition`: length of the style vector w; `norm`: "instance" as named, or the released code's "batch".
    """

    def __init__(self, channels: int, condition: int, hidden: int, norm: Literal["instance", "batch"]) -> None:
        super().__init__()
        make = nn.InstanceNorm2d if norm == "instance" else nn.BatchNorm2d
        self.norm = make(channels, affine=False)
        self.shared = nn.Linear(condition, hidden)
        self.gamma = nn.Linear(hidden, channels)
        self.beta = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x` (B, C, H, W), `style` (B, D) -> (B, C, H, W)."""
        h = F.leaky_relu(self.shared(style), 0.2)
        return (self.norm(x) * (1 + self.gamma(h))[..., None, None]).add_(self.beta(h)[..., None, None])


class AdaInConvBlock(nn.Module):
    """AdaIN, LeakyReLU, 3x3 convolution (Eq. 10)."""

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int, norm: Literal["instance", "batch"]) -> None:
        super().__init__()
        self.adain = AdaIn(inputs, condition, hidden, norm)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x` (B, inputs, H, W), `style` (B, D) -> (B, outputs, H, W)."""
        return self.conv(F.leaky_relu(self.adain(x, style), 0.2, inplace=True))


def crop(x: Tensor, margin: int) -> Tensor:
    """Drop `margin` pixels at each border; contiguous again in channels_last, which BatchNorm and convolutions want."""
    if margin == 0:
        return x
    return x[..., margin:-margin, margin:-margin].contiguous(memory_format=torch.channels_last)


def upsample_and_crop(x: Tensor, margin: int) -> Tensor:
    """Bilinear 2x upsampling, then back to the margin it had (section 3.3): (B, C, H + 2m, ...) -> (B, C, 2H + 2m, ...)."""
    return crop(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), margin)
