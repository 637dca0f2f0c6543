"""The embedding maps that condition the SPADE layers (Eq. 4, 7)."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EmbeddingMap:
    r"""$\mathbf W(\mathbf p) = \sum_k \mathbf A_k(\mathbf p)\,\mathbf w_k$ with heatmaps (Eq. 4) or masks (Eq. 7) for
    $\mathbf A_k$.

    `maps`: A (B, K, H, W); `embeddings`: w_k (B, K, D_emb). W has rank K: with K far below D_emb, a convolution of W is
    cheaper as one of the K maps, whose kernels then differ from image to image.
    """

    FOLDS = 4  # from D_emb / K on, convolving the maps is the faster way (chapter 31)

    def __init__(self, maps: Tensor, embeddings: Tensor) -> None:
        self.maps, self.embeddings = working_precision(maps), working_precision(embeddings)
        self.folds = embeddings.shape[2] >= self.FOLDS * embeddings.shape[1]

    def convolve(self, conv: nn.Conv2d, slope: float = 0.2) -> Tensor:
        """LeakyReLU of `conv`(W), a 3x3 convolution with zero padding: (B, C, H, W), channels_last in memory."""
        if not self.folds:
            return F.leaky_relu(conv(self.dense), slope, inplace=True)
        kernel = torch.einsum("bkd,cdyx->byxkc", self.embeddings, conv.weight).flatten(1, 3)  # (B, 9 K, C)
        bias = working_precision(conv.bias).expand(len(kernel), 1, -1)
        out = F.leaky_relu(self.patches @ torch.cat([kernel, bias], dim=1), slope, inplace=True)  # (B, HW, C)
        return out.unflatten(1, self.maps.shape[2:]).permute(0, 3, 1, 2)

    @cached_property
    def dense(self) -> Tensor:
        """W (B, D_emb, H, W), one matrix product an image; no (B, K, D_emb, H, W) tensor is made."""
        pixels = self.maps.flatten(2).transpose(1, 2) @ self.embeddings  # (B, HW, D_emb)
        return pixels.unflatten(1, self.maps.shape[2:]).permute(0, 3, 1, 2)  # channels_last in memory

    @cached_property
    def patches(self) -> Tensor:
        """The maps' 3x3 neighbourhoods, and a 1 for the bias, (B, HW, 9 K + 1): made once a resolution."""
        height, width = self.maps.shape[2:]
        padded = F.pad(self.maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))  # (B, H + 2, W + 2, K)
        shifted = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        one = padded.new_ones(()).expand(len(padded), height, width, 1)
        return torch.cat([*shifted, one], dim=-1).flatten(1, 2)


def working_precision(x: Tensor) -> Tensor:
    """`x` in the precision that convolutions run in: autocast's where it is on."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) and x.is_floating_point() else x
