"""Level 2: from points to masks (section 3.2, Eq. 4-6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.layers import RelativeEncoding, SpadeResBlock, crop, pixel_grid, upsample_and_crop
from ganseg.points import Parts, heatmaps


def embedding_map(maps: Tensor, embeddings: Tensor) -> Tensor:
    r"""$\mathbf W(\mathbf p) = \sum_k \mathbf H_k(\mathbf p)\, \mathbf w_k$ (Eq. 4, 7): (B, K, H, W), (B, K, D) -> (B, D, H, W).

    One matrix product an image; no (B, K, D, H, W) tensor is made.
    """
    pixels = maps.flatten(2).transpose(1, 2) @ embeddings.to(maps.dtype)  # (B, HW, D)
    return pixels.unflatten(1, maps.shape[2:]).permute(0, 3, 1, 2)  # (B, D, H, W), channels_last in memory


class Pyramid(nn.Module):
    """The resolutions a level runs through: its pixel grids, and upsampling with cropping between blocks (Eq. 12).

    `sizes`: H of each block; `margin`: pixels kept around the image; `grid`: see `pixel_grid`.
    """

    def __init__(self, sizes: tuple[int, ...], margin: int, grid: str) -> None:
        super().__init__()
        self.sizes, self.margin = sizes, margin
        for size in set(sizes):
            self.register_buffer(f"grid_{size}", pixel_grid(size, margin, grid), persistent=False)

    def grid(self, size: int) -> Tensor:
        """(size + 2 margin, size + 2 margin, 2) coordinates (x, y)."""
        return getattr(self, f"grid_{size}")

    def climb(self, x: Tensor, i: int) -> Tensor:
        """Bring what block `i` made to the size of block `i + 1`."""
        last = i + 1 == len(self.sizes)
        return x if last or self.sizes[i + 1] == self.sizes[i] else upsample_and_crop(x, self.margin)

    def image(self, x: Tensor) -> Tensor:
        """Drop the margin."""
        return crop(x, self.margin)


class MaskGenerator(nn.Module):
    r"""Level 2 (section 3.2): $\mathbf M^{(0)}$ from Eq. 5, $\mathbf M^{(i)} = \mathrm{SPADE\ ResBlock}(\mathbf M^{(i-1)}, \mathbf W_{mask})$,
    $\mathbf M = \mathrm{softmax}(\mathbf M^{(T)})$ (Eq. 6).

    `config.parts`: K; `config.embedding_dim`: D_emb; `config.block_sizes`: H at each of the T blocks. Inner blocks are D_emb wide.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.pyramid = Pyramid(config.block_sizes, config.margin, config.grid)
        self.start = RelativeEncoding(config.parts * config.points_per_part, config.block_widths[0])
        inner = [config.embedding_dim] * (len(config.block_sizes) - 1)
        widths = [config.block_widths[0], *inner, config.parts + 1]
        self.blocks = nn.ModuleList(
            SpadeResBlock(a, b, config.embedding_dim, config.spade_hidden) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, parts: Parts) -> Tensor:
        """Masks (B, K + 1, H, W), background first, summing to 1 at each pixel."""
        pyramid, config = self.pyramid, self.config
        maps = {s: embedding_map(heatmaps(pyramid.grid(s), parts.centres, parts.scales, config.heatmap), parts.embeddings)
                for s in set(config.block_sizes)}
        x = self.start(pyramid.grid(config.start_size), parts.points.flatten(1, 2))
        for i, (size, block) in enumerate(zip(config.block_sizes, self.blocks, strict=True)):
            x = pyramid.climb(block(x, maps[size]), i)
        return torch.softmax(pyramid.image(x).float(), dim=1)
