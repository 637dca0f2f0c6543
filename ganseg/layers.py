"""Building blocks: pixel grids, embedding maps, positional encoding, SPADE and AdaIN blocks (sections 3.1-3.3)."""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg.config import GeneratorConfig


def pixel_grid(size: int, margin: int, kind: str = "cells") -> Tensor:
    r"""Eq. 12: coordinates (x, y) of the pixels of a `size` x `size` image and of a margin around it.

    `cells`: the image covers $[-1, 1]^2$ and a pixel sits at the centre of its cell, spacing $2 / H_0$, so that the
    margin reaches $1 + 2\,margin / H_0$. `endpoints`: the released code's linspace(-1, 1, H0), spacing $2 / (H_0 - 1)$.
    Returns (size + 2 margin, size + 2 margin, 2), indexed [row, column].
    """
    index = torch.arange(-margin, size + margin, dtype=torch.float64)
    line = (2 * index + 1) / size - 1 if kind == "cells" else 2 * index / (size - 1) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).float()


def crop(x: Tensor, margin: int) -> Tensor:
    """Drop `margin` pixels at each border of `x` (B, C, H, W); channels_last again, which convolutions want."""
    return F.pad(x, (-margin,) * 4).contiguous(memory_format=torch.channels_last)


def upsample(x: Tensor, margin: int) -> Tensor:
    """Bilinear 2x upsampling of `x`, then back to the margin it had (section 3.3): H + 2 m -> 2 H + 2 m pixels."""
    return crop(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), margin)


def with_margin(x: Tensor, size: int, margin: int) -> Tensor:
    """`x` (B, C, H, H) resized to `size` and continued into the margin by its border pixels."""
    if x.shape[-1] != size:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return F.pad(x, (margin,) * 4, mode="replicate")


def embedding_map(maps: Tensor, embeddings: Tensor) -> Tensor:
    r"""Eq. 7: $\mathbf W(\mathbf p) = \sum_k \mathbf A_k(\mathbf p)\,\mathbf w_k$, with masks for $\mathbf A_k$; with
    heatmaps (Eq. 4) it is $\mathbf W_{mask}$.

    `maps` A (B, K, H, W), `embeddings` w_k (B, K, D_emb) -> (B, D_emb, H, W), channels_last in memory.
    """
    return torch.einsum("bkd,bkhw->bdhw", embeddings, maps).contiguous(memory_format=torch.channels_last)


def initialise(module: nn.Module) -> nn.Module:
    """As the released code: Kaiming's normal initialisation for LeakyReLU(0.2) of every such layer within, biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            nn.init.zeros_(layer.bias)
    return module


def mlp(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """`layers` linear layers, initialised; all but the last are of width `inputs` and followed by LeakyReLU(0.2)."""
    hidden = [module for _ in range(layers - 1) for module in (nn.Linear(inputs, inputs), nn.LeakyReLU(0.2))]
    return initialise(nn.Sequential(*hidden, nn.Linear(inputs, outputs)))


class RelativeEncoding(nn.Module):
    r"""Eq. 5: the starting tensor, from positions relative to points:
    $[\sin(\pi\,\mathrm{FC}(\ldots, \mathbf p - \mathbf x_i, \ldots)), \cos(\pi\,\mathrm{FC}(\ldots))]$.
    `points`: number of the $\mathbf x_i$; `channels`: of the result, half sines and half cosines."""

    def __init__(self, points: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * points, channels // 2)

    def forward(self, grid: Tensor, points: Tensor) -> Tensor:
        """`grid` (H, W, 2) and `points` (B, P, 2) give (B, channels, H, W), channels_last in memory."""
        with torch.autocast(points.device.type, enabled=False):  # positions need fp32
            offsets = grid[:, :, None] - points[:, None, None]  # (B, H, W, P, 2)
            phase = math.pi * self.linear(offsets.flatten(3))  # (B, H, W, channels / 2)
        return torch.cat([phase.sin(), phase.cos()], dim=-1).permute(0, 3, 1, 2)


class ConstantStart(nn.Module):
    """A learned constant in place of the starting tensor of Eq. 5, where there are no points (section 4.6)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        channels, size = config.block_widths[0], config.start_size + 2 * config.margin
        self.constant = nn.Parameter(torch.randn(channels, size, size))

    def forward(self, grid: Tensor, points: Tensor) -> Tensor:
        """The constant for each image of `points` (B, ...), whatever they are: (B, C, H0 + 2 margin, W0 + 2 margin)."""
        return self.constant.expand(len(points), -1, -1, -1).contiguous(memory_format=torch.channels_last)


class Spade(nn.Module):
    r"""SPADE (section 3.2): $(1 + \gamma(\mathbf W)) \odot \mathrm{BN}(\mathbf x) + \beta(\mathbf W)$.
    `channels`: of x; `condition`: of the embedding map W; `hidden`: between W and gamma, beta."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`x` (B, C, H, W), `condition` W (B, D_emb, H, W) -> (B, C, H, W)."""
        h = F.leaky_relu(self.shared(condition), 0.2)
        return (1 + self.gamma(h)) * self.norm(x) + self.beta(h)


class SpadeResBlock(nn.Module):
    """Two SPADE-LeakyReLU-convolution stages, the smaller width between them, and a SPADE-convolution shortcut where
    the width changes (Eq. 6, 8). `inputs`, `outputs`: channels; `condition`, `hidden`: of the SPADE layers."""

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.spade1 = Spade(inputs, condition, hidden)
        self.conv1 = nn.Conv2d(inputs, middle, 3, padding=1)
        self.spade2 = Spade(middle, condition, hidden)
        self.conv2 = nn.Conv2d(middle, outputs, 3, padding=1)
        if inputs != outputs:
            self.spade_shortcut = Spade(inputs, condition, hidden)
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """`x` (B, inputs, H, W) -> (B, outputs, H, W)."""
        shortcut = self.conv_shortcut(self.spade_shortcut(x, condition)) if hasattr(self, "conv_shortcut") else x
        h = self.conv1(F.leaky_relu(self.spade1(x, condition), 0.2))
        return self.conv2(F.leaky_relu(self.spade2(h, condition), 0.2)) + shortcut


class AdaIn(nn.Module):
    r"""AdaIN (section 3.3): $(1 + \gamma(\mathbf w)) \odot \mathrm{IN}(\mathbf x) + \beta(\mathbf w)$.
    `channels`: of x; `condition`: length of the style vector w; `norm`: "instance", or the released code's "batch"."""

    def __init__(self, channels: int, condition: int, hidden: int, norm: str) -> None:
        super().__init__()
        self.norm = (nn.InstanceNorm2d if norm == "instance" else nn.BatchNorm2d)(channels, affine=False)
        self.shared = nn.Linear(condition, hidden)
        self.gamma = nn.Linear(hidden, channels)
        self.beta = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x` (B, C, H, W), `style` (B, D) -> (B, C, H, W)."""
        h = F.leaky_relu(self.shared(style), 0.2)
        return (1 + self.gamma(h))[..., None, None] * self.norm(x) + self.beta(h)[..., None, None]


class AdaInConvBlock(nn.Module):
    """AdaIN, LeakyReLU, 3x3 convolution (Eq. 10)."""

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int, norm: str) -> None:
        super().__init__()
        self.adain = AdaIn(inputs, condition, hidden, norm)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x` (B, inputs, H, W), `style` (B, D) -> (B, outputs, H, W)."""
        return self.conv(F.leaky_relu(self.adain(x, style), 0.2))


class Ladder(nn.ModuleList):
    """Blocks at growing resolutions and their pixel grids; bilinear upsampling leads to a larger one (section 3.3).

    `widths`: channels entering each block, and those that leave the last; `block`, `options`: what makes a block of
    (inputs, outputs, D_emb, hidden, *options); `config.block_sizes`: the resolution of each.
    """

    def __init__(self, block: type[nn.Module], widths: Sequence[int], config: GeneratorConfig, *options: str) -> None:
        condition = (config.embedding_dim, config.spade_hidden, *options)
        super().__init__(block(a, b, *condition) for a, b in zip(widths, widths[1:], strict=False))
        self.sizes, self.margin = config.block_sizes, config.margin
        for size in set(self.sizes):
            self.register_buffer(f"grid_{size}", pixel_grid(size, self.margin, config.grid), persistent=False)

    def grid(self, size: int) -> Tensor:
        """Coordinates (x, y) at a resolution of the ladder, (size + 2 margin, size + 2 margin, 2)."""
        return getattr(self, f"grid_{size}")

    def forward(self, start: nn.Module, points: Tensor, condition: Callable[[int], Tensor]) -> Tensor:
        """What the last block makes of the `start`ing tensor at `points`, (B, C, H + 2 margin, W + 2 margin);
        `condition`: the embedding map or style vector for blocks at a resolution."""
        conditions = {size: condition(size) for size in set(self.sizes)}
        x = start(self.grid(self.sizes[0]), points)
        for block, size, following in zip(self, self.sizes, (*self.sizes[1:], self.sizes[-1]), strict=True):
            x = block(x, conditions[size])
            x = upsample(x, self.margin) if following > size else x
        return x
