"""Level 3: mask-conditioned foreground, independent background, and their composition (section 3.3, Eq. 7-11)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg import layers
from ganseg.config import GeneratorConfig


class ForegroundGenerator(nn.Module):
    r"""Eq. 8: $\mathbf F^{(i)} = \mathrm{SPADE\ ResBlock}(\mathbf F^{(i-1)}, \mathbf W_{fg})$, with $\mathbf W_{fg}$ of
    masks and embeddings (Eq. 7) and $\mathbf F^{(0)}$ from Eq. 5 on the part locations."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        first, self.margin = config.block_widths[0], config.margin
        self.start = layers.RelativeEncoding(config.parts, first) if config.use_points else layers.ConstantStart(config)
        self.blocks = layers.Ladder(layers.SpadeResBlock, (*config.block_widths, config.embedding_dim), config)

    def forward(self, masks: Tensor, embeddings: Tensor, centres: Tensor) -> Tensor:
        """`masks` M_k (B, K, H, W), `embeddings` w_k (B, K, D_emb), `centres` x_k (B, K, 2)
        -> F with its margin, (B, D_emb, H + 2m, W + 2m)."""
        spread = lambda size: layers.embedding_map(layers.with_margin(masks, size, self.margin), embeddings)  # W_fg
        return self.blocks(self.start, centres, spread)


class BackgroundEmbedding(nn.Module):
    r"""Eq. 9: $\mathbf w_{bg} = \mathrm{MLP}_{bg\_app}(\mathbf z_{bg\_app})$; in section 4.6 it is one more part."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.appearance = layers.mlp(config.noise_dim, config.embedding_dim, config.appearance_layers)

    def forward(self, z_app: Tensor, position: Tensor) -> Tensor:
        """`z_app` (B, D_noise) -> w_bg (B, D_emb); `position` is not used."""
        return self.appearance(z_app).float()


class BackgroundGenerator(BackgroundEmbedding):
    r"""Eq. 10: $\mathbf B^{(i)} = \mathrm{AdaIN\ ConvBlock}(\mathbf B^{(i-1)}, \mathbf w_{bg})$, with $\mathbf B^{(0)}$
    from Eq. 5 on the one point $\mathbf u_{bg\_pos}$."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.start = layers.initialise(layers.RelativeEncoding(1, config.block_widths[0]))
        widths = (*config.block_widths, config.embedding_dim)
        self.blocks = layers.initialise(layers.Ladder(layers.AdaInConvBlock, widths, config, config.adain_norm))

    def forward(self, z_app: Tensor, position: Tensor) -> Tensor:
        """`z_app` (B, D_noise), `position` u_bg_pos (B, 2) -> B with its margin, (B, D_emb, H + 2m, W + 2m)."""
        style = self.appearance(z_app)
        return self.blocks(self.start, position[:, None], lambda size: style)


class Composition(nn.Module):
    r"""Eq. 11: $\mathbf I = \mathrm{Conv}((1 - \mathbf M_{bg}) \otimes \mathbf F + \mathbf M_{bg} \otimes \mathbf B)$.
    `config.rgb_crop` "after" keeps the margin until the convolutions are done, so that no border shows in I."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.embedding_dim, 1 if config.rgb_layers == 1 else config.rgb_kernel
        conv = lambda outputs: nn.Conv2d(width, outputs, kernel, padding=kernel // 2)
        hidden = [layer for _ in range(config.rgb_layers - 1) for layer in (conv(width), nn.LeakyReLU(0.2))]
        self.convs = nn.Sequential(*hidden, conv(3))

    def forward(self, masks: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
        """`masks` (B, K + 1, H, W); F and B with their margin (B, D_emb, H + 2m, ...) -> I (B, 3, H, W)."""
        early, margin, bg = self.config.rgb_crop == "before", self.config.margin, masks[:, :1]
        if early:
            foreground, background, margin = layers.crop(foreground, margin), layers.crop(background, margin), 0
        bg = F.pad(bg, (margin,) * 4, mode="replicate")
        x = (1 - bg) * foreground + bg * background
        x = torch.tanh(self.convs(F.leaky_relu(x, 0.2))) if self.config.rgb_activation else self.convs(x)
        return layers.crop(x, margin).float()
