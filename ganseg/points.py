"""Level 1: points, part locations and scales, part embeddings (section 3.1, Eq. 1-4)."""

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
    r"""Eq. 1: $\sigma_k = \sqrt{\sum_i \|\mathbf x_k^i - \mathbf x_k\|^2} / (n_{per} - 1)$ with the mean $\mathbf x_k$.

    `points` (B, K, n_per, 2) -> (B, K), in units of half the image's width. `kind` "std" is the equation as printed;
    the released code has two others, with 1e-6 added: "mean_abs", the mean absolute deviation over points and axes, and
    "distance_variance", the unbiased variance of the distances to the centre.
    """
    offsets = points - points.mean(dim=2, keepdim=True)
    if kind == "std":
        return (offsets.square().sum(dim=(2, 3)) + 1e-12).sqrt() / (points.shape[2] - 1)
    if kind == "mean_abs":
        return offsets.abs().mean(dim=(2, 3)) + 1e-6
    return offsets.norm(dim=3).var(dim=2) + 1e-6


def heatmaps(grid: Tensor, centres: Tensor, scales: Tensor, kind: str = "gaussian") -> Tensor:
    r"""Eq. 4: heatmaps $\mathbf H_k(\mathbf p) = \exp(-\|\mathbf p - \mathbf x_k\|^2 / \sigma_k^2)$.

    `grid` (H, W, 2), `centres` (B, K, 2), `scales` (B, K) -> (B, K, H, W). The released code has two others:
    `gaussian_unsquared`, over $\sigma_k$; `cone`: $\max(0, 1 - \|\mathbf p - \mathbf x_k\| / \sigma_k)$.
    `gaussian_usual`, over $2 \sigma_k^2$, is neither the paper's nor theirs.
    """
    squared = (grid - centres[:, :, None, None]).square().sum(dim=-1)  # (B, K, H, W)
    scales = scales[:, :, None, None]
    if kind == "cone":
        return (1 - (squared + 1e-20).sqrt() / scales).clamp(min=0)
    widths = scales if kind == "gaussian_unsquared" else scales.square().clamp(min=1e-8)
    return torch.exp(-squared / (2 * widths if kind == "gaussian_usual" else widths))


class PointGenerator(nn.Module):
    r"""Level 1 (section 3.1): $\{\mathbf x_k^i\} = \mathrm{MLP}_{point}(\mathbf z_{point})$, their mean and scale
    (Eq. 1), and the part embeddings $\mathbf w_k$ (Eq. 2, 3)."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.appearance = mlp(config.noise_dim, config.embedding_dim, config.appearance_layers)
        self.constant = nn.Parameter(torch.randn(config.parts, config.embedding_dim))
        if config.use_points:
            self.points = mlp(config.noise_dim, config.parts * config.points_per_part * 2, config.point_layers)
            self.points[-1].weight.data *= config.point_spread

    def dynamic(self, z_app: Tensor) -> Tensor:
        r"""Eq. 2: $\mathbf w^{dynamic} = \mathrm{MLP}_{app}(\mathbf z_{app})$; (B, D_noise) -> (B, D_emb)."""
        return self.appearance(z_app).float()

    def embeddings(self, z_app: Tensor) -> Tensor:
        r"""Eq. 3: $\mathbf w_k = \mathbf w^{dynamic} \otimes \mathbf w_k^{const}$; (B, D_noise) -> (B, K, D_emb)."""
        return self.dynamic(z_app)[:, None] * self.constant

    def forward(self, z_point: Tensor, z_app: Tensor) -> Parts:
        """`z_point`, `z_app`: (B, D_noise) noise. Without points there are embeddings alone; all points lie at 0."""
        embeddings = self.embeddings(z_app)
        if not self.config.use_points:
            points = embeddings.new_zeros(*embeddings.shape[:2], 1, 2)
            return Parts(points, points[:, :, 0], points[:, :, 0, 0], embeddings)
        points = self.points(z_point).float().unflatten(1, (self.config.parts, -1, 2))  # (B, K, n_per, 2)
        if self.config.point_squash == "tanh":
            points = torch.tanh(points / self.config.point_divisor)
        if self.config.part_scale == "predicted":
            both = points[:, :, :1].expand(-1, -1, 2, -1)
            return Parts(both, points[:, :, 0], points[:, :, 1].norm(dim=2) + 1e-6, embeddings)
        return Parts(points, points.mean(dim=2), part_scales(points, self.config.part_scale), embeddings)
