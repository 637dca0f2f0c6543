"""Level 1: points, part locations and scales, part embeddings (section 3.1, Eq. 1-4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.layers import mlp


class Parts(NamedTuple):
    """What Level 1 hands on."""

    points: Tensor  # x_k^i, (B, K, n_per, 2)
    centres: Tensor  # x_k, (B, K, 2)
    scales: Tensor  # sigma_k, (B, K)
    embeddings: Tensor  # w_k, (B, K, D_emb)


def part_scales(points: Tensor, kind: str = "std") -> Tensor:
    r"""Part scales $\sigma_k$ from `points` (B, K, n_per, 2) -> (B, K), in units of half the image's width.

    `std`: Eq. 1 as printed, $\sqrt{\sum_i \|\mathbf x_k^i - \mathbf x_k\|^2} / (n_{per} - 1)$. The released code has
    two others, with 1e-6 added. `mean_abs`: mean absolute deviation over points and axes; `distance_variance`: unbiased
    variance of the distances to the centre.
    """
    offsets = points - points.mean(dim=2, keepdim=True)
    if kind == "std":
        return (offsets.square().sum(dim=(2, 3)) + 1e-12).sqrt() / (points.shape[2] - 1)
    if kind == "mean_abs":
        return offsets.abs().mean(dim=(2, 3)) + 1e-6
    return offsets.norm(dim=3).var(dim=2) + 1e-6


def heatmaps(grid: Tensor, centres: Tensor, scales: Tensor, kind: str = "gaussian") -> Tensor:
    r"""Heatmaps $\mathbf H_k(\mathbf p)$ of `centres` (B, K, 2) with `scales` (B, K) on the regular `grid` (H, W, 2)
    -> (B, K, H, W).

    `gaussian`: $\exp(-\|\mathbf p - \mathbf x_k\|^2 / \sigma_k^2)$ (Eq. 4). The released code has two others:
    `gaussian_unsquared`: the denominator is $\sigma_k$; `cone`: $\max(0, 1 - \|\mathbf p - \mathbf x_k\| / \sigma_k)$.
    """
    scales = scales[:, :, None]
    dx, dy = (
        (grid[0, :, 0] - centres[..., :1]).square(),
        (grid[:, 0, 1] - centres[..., 1:]).square(),
    )  # (B, K, W), (B, K, H)
    if kind == "cone":
        distance = (dy[..., None] + dx[:, :, None] + 1e-20).sqrt()
        return (1 - distance / scales[..., None]).clamp(min=0)
    width = scales.square().clamp(min=1e-8) if kind == "gaussian" else scales
    return torch.exp(-dy / width)[..., None] * torch.exp(-dx / width)[:, :, None]  # a Gaussian is separable


class PointGenerator(nn.Module):
    r"""Level 1 (section 3.1): $\{\mathbf x_k^i\} = \mathrm{MLP}_{point}(\mathbf z_{point})$, their mean and scale
    (Eq. 1), and $\mathbf w_k = \mathrm{MLP}_{app}(\mathbf z_{app}) \otimes \mathbf w_k^{const}$ (Eq. 2, 3).

    `config.parts`: K; `config.points_per_part`: n_per; `config.noise_dim`: D_noise; `config.embedding_dim`: D_emb.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        if config.use_points:
            self.points = mlp(config.noise_dim, config.parts * config.points_per_part * 2, config.point_layers)
            with torch.no_grad():
                self.points[-1].weight *= config.point_spread
        self.appearance = mlp(config.noise_dim, config.embedding_dim, config.appearance_layers)
        self.constant = nn.Parameter(torch.randn(config.parts, config.embedding_dim))

    def forward(self, z_point: Tensor, z_app: Tensor) -> Parts:
        """`z_point`, `z_app`: (B, D_noise) noise. Without points there are embeddings alone; all points lie at 0."""
        embeddings = self.appearance(z_app).float()[:, None] * self.constant  # (B, K, D_emb)
        if not self.config.use_points:
            points = embeddings.new_zeros(*embeddings.shape[:2], 1, 2)
            return Parts(points, points[:, :, 0], points[:, :, 0, 0], embeddings)
        points = self.points(z_point).float().unflatten(1, (self.config.parts, -1, 2))  # (B, K, n_per, 2)
        if self.config.point_squash == "tanh":
            points = torch.tanh(points / self.config.point_divisor)
        return Parts(points, points.mean(dim=2), part_scales(points, self.config.part_scale), embeddings)
