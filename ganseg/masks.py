"""Level 2: from points to masks (section 3.2, Eq. 4-6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.embedding import EmbeddingMap
from ganseg.layers import RelativeEncoding, SpadeResBlock
from ganseg.points import Parts, heatmaps
from ganseg.resampling import Pyramid


class MaskGenerator(nn.Module):
    r"""Level 2 (section 3.2): $\mathbf M^{(0)}$ from Eq. 5,
    $\mathbf M^{(i)} = \mathrm{SPADE\ ResBlock}(\mathbf M^{(i-1)}, \mathbf W_{mask})$,
    $\mathbf M = \mathrm{softmax}(\mathbf M^{(T)})$ (Eq. 6).

    `config.parts`: K; `config.embedding_dim`: D_emb; `config.block_sizes`: H at each of the T blocks. Inner blocks are
    D_emb wide.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = Pyramid(config.block_sizes, config.margin, config.grid)
        self.start = RelativeEncoding(config.parts * config.points_per_part, config.block_widths[0])
        inner = [config.embedding_dim] * (len(config.block_sizes) - 1)
        widths = [config.block_widths[0], *inner, config.parts + 1]
        self.blocks = nn.ModuleList(
            SpadeResBlock(a, b, config.embedding_dim, config.spade_hidden)
            for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, parts: Parts) -> Tensor:
        """Masks (B, K + 1, H, W), background first, summing to 1 at each pixel."""
        pyramid, config = self.pyramid, self.config
        maps = {
            s: EmbeddingMap(heatmaps(pyramid.grid(s), parts.centres, parts.scales, config.heatmap), parts.embeddings)
            for s in set(config.block_sizes)
        }
        x = self.start(pyramid.grid(config.start_size), parts.points.flatten(1, 2))
        for i, (size, block) in enumerate(zip(config.block_sizes, self.blocks, strict=True)):
            x = pyramid.climb(block(x, maps[size]), i)
        return torch.softmax(pyramid.image(x).float(), dim=1)
