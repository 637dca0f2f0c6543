"""Level 3: mask-conditioned foreground, independent background, and their composition (section 3.3, Eq. 7-11)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg.ablations import ConstantStart
from ganseg.config import GeneratorConfig
from ganseg.embedding import EmbeddingMap, working_precision
from ganseg.layers import AdaInConvBlock, RelativeEncoding, SpadeResBlock, mlp
from ganseg.resampling import Pyramid, crop


class ForegroundGenerator(nn.Module):
    r"""Foreground features (Eq. 7, 8): $\mathbf W_{fg}(\mathbf p) = \sum_k \mathbf M_k(\mathbf p)\,\mathbf w_k$,
    $\mathbf F^{(i)} = \mathrm{SPADE\ ResBlock}(\mathbf F^{(i-1)}, \mathbf W_{fg})$, with
    $\mathbf F^{(0)}$ from Eq. 5 on the part locations.

    `config.block_widths`: channels entering each of the T_fg blocks; the last gives D_emb.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.pyramid = Pyramid(config.block_sizes, config.margin, config.grid)
        self.start = (
            RelativeEncoding(config.parts, config.block_widths[0])
            if config.use_points
            else ConstantStart(config.block_widths[0], config.start_size + 2 * config.margin)
        )
        widths = [*config.block_widths, config.embedding_dim]
        self.blocks = nn.ModuleList(
            SpadeResBlock(a, b, config.embedding_dim, config.spade_hidden)
            for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, masks: Tensor, embeddings: Tensor, centres: Tensor) -> Tensor:
        """`masks` M_k (B, K, H, W), `embeddings` w_k (B, K, D_emb), `centres` x_k (B, K, 2)
        -> F with its margin, (B, D_emb, H + 2m, W + 2m)."""
        pyramid, masks = self.pyramid, working_precision(masks)
        maps = {s: EmbeddingMap(pyramid.with_margin(masks, s), embeddings) for s in set(pyramid.sizes)}
        x = self.start(pyramid.grid(pyramid.sizes[0]), centres)
        for i, (size, block) in enumerate(zip(pyramid.sizes, self.blocks, strict=True)):
            x = pyramid.climb(block(x, maps[size]), i)
        return x


class BackgroundGenerator(nn.Module):
    r"""Background features (Eq. 9, 10): $\mathbf w_{bg} = \mathrm{MLP}_{bg\_app}(\mathbf z_{bg\_app})$,
    $\mathbf B^{(i)} = \mathrm{AdaIN\ ConvBlock}(\mathbf B^{(i-1)}, \mathbf w_{bg})$, with
    $\mathbf B^{(0)}$ from Eq. 5 on the one point $\mathbf u_{bg\_pos}$."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.pyramid = Pyramid(config.block_sizes, config.margin, config.grid)
        self.appearance = mlp(config.noise_dim, config.embedding_dim, config.appearance_layers)
        self.start = RelativeEncoding(1, config.block_widths[0])
        widths = [*config.block_widths, config.embedding_dim]
        self.blocks = nn.ModuleList(
            AdaInConvBlock(a, b, config.embedding_dim, config.spade_hidden, config.adain_norm)
            for a, b in zip(widths, widths[1:], strict=False)
        )

    def forward(self, z_app: Tensor, position: Tensor) -> Tensor:
        """`z_app` (B, D_noise), `position` u_bg_pos (B, 2) -> B with its margin, (B, D_emb, H + 2m, W + 2m)."""
        style = self.appearance(z_app)
        x = self.start(self.pyramid.grid(self.pyramid.sizes[0]), position[:, None])
        for i, block in enumerate(self.blocks):
            x = self.pyramid.climb(block(x, style), i)
        return x


class BackgroundEmbedding(nn.Module):
    r"""$\mathbf w_{bg}$ of Eq. 9 alone, where the background is one of the parts (section 4.6)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.appearance = mlp(config.noise_dim, config.embedding_dim, config.appearance_layers)

    def forward(self, z_app: Tensor, position: Tensor) -> Tensor:
        """`z_app` (B, D_noise) -> w_bg (B, D_emb); `position` is not used."""
        return self.appearance(z_app).float()


class Composition(nn.Module):
    r"""The image (Eq. 11):
    $\mathbf I = \mathrm{Conv}((1 - \mathbf M_{bg}) \otimes \mathbf F + \mathbf M_{bg} \otimes \mathbf B)$.

    `config.rgb_crop`: "after" keeps the margin until the convolutions are done, so that no border shows in I.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.embedding_dim, 1 if config.rgb_layers == 1 else config.rgb_kernel
        hidden = [
            m
            for _ in range(config.rgb_layers - 1)
            for m in (nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.LeakyReLU(0.2))
        ]
        self.reach = config.rgb_layers * (kernel // 2)  # pixels, of all convolutions together
        self.convs = nn.Sequential(*hidden, nn.Conv2d(width, 3, kernel, padding=kernel // 2))

    def forward(self, masks: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
        """`masks` (B, K + 1, H, W); F and B with their margin (B, D_emb, H + 2m, ...) -> I (B, 3, H, W)."""
        early = self.config.rgb_crop == "before"
        reach = 0 if early else min(self.config.margin, self.reach)  # what of the margin the image can see
        foreground, background = (crop(x, self.config.margin - reach) for x in (foreground, background))
        bg = F.pad(masks[:, :1], (reach,) * 4, mode="replicate") if reach else masks[:, :1]
        x = torch.lerp(foreground, background, bg.to(foreground.dtype))
        x = torch.tanh(self.convs(F.leaky_relu(x, 0.2))) if self.config.rgb_activation else self.convs(x)
        return crop(x, reach).float()
