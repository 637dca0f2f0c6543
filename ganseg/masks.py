"""Level 2: from points to masks (section 3.2, Eq. 4-6), and what stands in for points without them (section 4.6)."""

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.layers import AdaInConvBlock, ConstantStart, Ladder, RelativeEncoding, SpadeResBlock, crop, embedding_map
from ganseg.points import Parts, heatmaps


def mask_widths(config: GeneratorConfig) -> list[int]:
    """Channels entering each block of Level 2, then the K + 1 that leave the last; inner blocks are D_emb wide."""
    inner = [config.embedding_dim] * (len(config.block_sizes) - 1)
    return [config.block_widths[0], *inner, config.parts + 1]


class MaskGenerator(nn.Module):
    r"""Eq. 6: $\mathbf M^{(i)} = \mathrm{SPADE\ ResBlock}(\mathbf M^{(i-1)}, \mathbf W_{mask})$,
    $\mathbf M = \mathrm{softmax}(\mathbf M^{(T)})$, from $\mathbf M^{(0)}$ of Eq. 5 (Level 2, section 3.2)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.start = RelativeEncoding(config.parts * config.points_per_part, config.block_widths[0])
        self.blocks = Ladder(SpadeResBlock, mask_widths(config), config)

    def forward(self, parts: Parts) -> Tensor:
        """Masks (B, K + 1, H, W), background first, summing to 1 at each pixel."""
        heat = lambda size: heatmaps(self.blocks.grid(size), parts.centres, parts.scales, self.config.heatmap)
        spread = lambda size: embedding_map(heat(size), parts.embeddings)  # W_mask, (B, D_emb, size + 2 m, size + 2 m)
        x = self.blocks(self.start, parts.points.flatten(1, 2), spread)
        return torch.softmax(crop(x, self.config.margin).float(), dim=1)


class PointlessMaskGenerator(nn.Module):
    r"""Level 2 without points: AdaIN ConvBlocks, conditioned on the mean $\frac1K \sum_k \mathbf w_k$ of the part
    embeddings, from a learned constant to $\mathbf M = \mathrm{softmax}(\mathbf M^{(T)})$."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.start = ConstantStart(config)
        self.blocks = Ladder(AdaInConvBlock, mask_widths(config), config, config.adain_norm)

    def forward(self, parts: Parts) -> Tensor:
        """Masks (B, K + 1, H, W), background first, summing to 1 at each pixel."""
        style = parts.embeddings.mean(dim=1)  # (B, D_emb)
        x = self.blocks(self.start, style, lambda size: style)
        return torch.softmax(crop(x, self.config.margin).float(), dim=1)


def located(parts: Parts, masks: Tensor, grid: Tensor) -> Parts:
    """`parts` with the centres of mass of `masks` (B, K + 1, H, W) on `grid` (H, W, 2) as locations and points, and
    their spreads as scales: Eq. 16 pulls a mask together around itself."""
    masks = masks[:, 1:].flatten(2)  # (B, K, HW)
    weights = masks / (masks.sum(dim=2, keepdim=True) + 1e-8)
    centres = weights @ grid.flatten(0, 1)  # (B, K, 2)
    spread = (weights @ grid.flatten(0, 1).square() - centres.square()).sum(dim=2)
    return parts._replace(points=centres[:, :, None], centres=centres, scales=(spread.clamp(min=0) + 1e-6).sqrt())
