"""What stands in for points where they are switched off (section 4.6, "Disabling Points")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.layers import AdaInConvBlock
from ganseg.points import Parts
from ganseg.resampling import Pyramid


class ConstantStart(nn.Module):
    """A learned constant in place of the starting tensor of Eq. 5.

    `channels`, `size`: of the tensor, the margin included.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.constant = nn.Parameter(torch.randn(channels, size, size))

    def forward(self, grid: Tensor, points: Tensor) -> Tensor:
        """The constant for each image of `points` (B, ...), (B, channels, size, size); nothing else of them is used."""
        return self.constant.expand(len(points), -1, -1, -1).contiguous(memory_format=torch.channels_last)


class PointlessMaskGenerator(nn.Module):
    r"""Level 2 without points: AdaIN ConvBlocks, conditioned on the mean $\frac1K \sum_k \mathbf w_k$ of the part
    embeddings, from a learned constant to $\mathbf M = \mathrm{softmax}(\mathbf M^{(T)})$.

    `config`: as of `MaskGenerator`, whose widths and resolutions it keeps.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.pyramid = Pyramid(config.block_sizes, config.margin, config.grid)
        self.start = ConstantStart(config.block_widths[0], config.start_size + 2 * config.margin)
        inner = [config.embedding_dim] * (len(config.block_sizes) - 1)
        widths = [config.block_widths[0], *inner, config.parts + 1]
        self.blocks = nn.ModuleList(
            AdaInConvBlock(a, b, config.embedding_dim, config.spade_hidden, config.adain_norm)
            for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, parts: Parts) -> Tensor:
        """Masks (B, K + 1, H, W), background first, summing to 1 at each pixel."""
        style = parts.embeddings.mean(dim=1)  # (B, D_emb)
        x = self.start(self.pyramid.grid(self.pyramid.sizes[0]), style)
        for i, block in enumerate(self.blocks):
            x = self.pyramid.climb(block(x, style), i)
        return torch.softmax(self.pyramid.image(x).float(), dim=1)


def located(parts: Parts, masks: Tensor, grid: Tensor) -> Parts:
    """`parts`, their `masks` (B, K + 1, H, W) giving centres of mass as locations and points, and spreads as scales.

    So Eq. 16 pulls a mask together around itself. `grid`: (H, W, 2).
    """
    masks = masks[:, 1:].flatten(2)  # (B, K, HW)
    weights = masks / (masks.sum(dim=2, keepdim=True) + 1e-8)
    centres = weights @ grid.flatten(0, 1)  # (B, K, 2)
    spread = weights @ grid.flatten(0, 1).square() - centres.square()
    return parts._replace(
        points=centres[:, :, None], centres=centres, scales=(spread.sum(dim=2).clamp(min=0) + 1e-6).sqrt()
    )
