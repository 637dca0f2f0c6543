"""The training objective, one function an equation (section 3.4, Eq. 13-19)."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ganseg.config import LossConfig
from ganseg.points import heatmaps


def generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Eq. 13: $\mathcal L_{GAN}(\mathcal G) = \mathbb E \log(\exp(-\mathcal D(\mathcal G(\mathbf z))) + 1)$."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    r"""Eq. 14: $\mathcal L_{GAN}(\mathcal D) =
    \mathbb E \log(\exp(\mathcal D(\mathcal G(\mathbf z))) + 1) + \mathbb E \log(\exp(-\mathcal D(\mathbf x)) + 1)$."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, kind: str = "r1") -> Tensor:
    r"""Eq. 15: $\mathcal L_{gp}(\mathcal D)$, a penalty on $\nabla\mathcal D$ at real images.

    `r1`: $\mathbb E \|\nabla \mathcal D(\mathbf x)\|^2$, the regulariser the paper cites (it prints no norm).
    `unit_norm`: the released code's $\mathbb E (\|\nabla \mathcal D(\mathbf x)\| - 1)^2$.
    """
    real = real.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    squared = gradient.float().square().sum(dim=(1, 2, 3))
    return squared.mean() if kind == "r1" else ((squared + 1e-12).sqrt() - 1).square().mean()


def concentration_loss(masks: Tensor, centres: Tensor, grid: Tensor, over_parts: str = "sum") -> Tensor:
    r"""Eq. 16: $\sum_k \sum_{\mathbf p} \frac{\mathbf M_k(\mathbf p)}{\sum \mathbf M_k} \|\mathbf p - \mathbf x_k\|^2$,
    mean over the batch.

    `masks` (B, K, H, W) without the background, `centres` x_k (B, K, 2), `grid` (H, W, 2).
    `over_parts`: "sum" as printed, or the released code's "mean".
    """
    squared = (grid - centres[:, :, None, None]).square().sum(dim=-1)  # (B, K, H, W)
    spread = (masks * squared).sum(dim=(2, 3)) / (masks.sum(dim=(2, 3)) + 1e-8)
    return (spread.sum(dim=1) if over_parts == "sum" else spread.mean(dim=1)).mean()


def area_loss(
    masks: Tensor, centres: Tensor, scales: Tensor, grid: Tensor, heatmap: str = "gaussian", area: str = "heatmap"
) -> Tensor:
    r"""Eq. 17: $\sum_k \max(0, \sum_{\mathbf p} \mathbf H_k(\mathbf p) - \sum_{\mathbf p} \mathbf M_k(\mathbf p))$ in
    pixels, mean over the batch.

    `masks` (B, K, H, W) without the background; `centres` (B, K, 2), `scales` (B, K), `grid` (H, W, 2).
    `area`: "heatmap" as printed, or the released code's "disc", pi tau_k^2 with tau_k in pixels, which no border clips.
    """
    disc = math.pi * (scales * grid.shape[0] / 2).square()  # (B, K)
    wanted = disc if area == "disc" else heatmaps(grid, centres, scales, heatmap).sum(dim=(2, 3))
    return F.relu(wanted - masks.sum(dim=(2, 3))).sum(dim=1).mean()


def discriminator_objective(gan: Tensor, penalty: Tensor, weights: LossConfig) -> Tensor:
    r"""Eq. 18: $\mathcal L(\mathcal D) = \mathcal L_{GAN}(\mathcal D) + \lambda_{gp} \mathcal L_{gp}(\mathcal D)$.

    `gan`, `penalty`: Eq. 14 and 15; where the penalty is evaluated in every n-th step only, n times of it
    (`weights.penalty_rescale`) keeps its average.
    """
    often = weights.penalty_every if weights.penalty_rescale else 1
    return gan + weights.lambda_gp * often * penalty


def generator_objective(gan: Tensor, concentration: Tensor, area: Tensor, weights: LossConfig) -> Tensor:
    r"""Eq. 19: $\mathcal L(\mathcal G) = \mathcal L_{GAN}(\mathcal G) + \lambda_{con} \mathcal L_{con}(\mathcal G)
    + \lambda_{area} \mathcal L_{area}(\mathcal G)$, of Eq. 13, 16 and 17."""
    return gan + weights.lambda_con * concentration + weights.lambda_area * area
