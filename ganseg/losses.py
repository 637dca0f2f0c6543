"""The training objective, one function an equation (section 3.4, Eq. 13-17); Eq. 18 and 19 are in `training`."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ganseg.points import heatmaps


def generator_loss(fake_logits: Tensor) -> Tensor:
    r"""Eq. 13: $\mathbb E \log(\exp(-\mathcal D(\mathcal G(\mathbf z))) + 1)$."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    r"""Eq. 14:
    $\mathbb E \log(\exp(\mathcal D(\mathcal G(\mathbf z))) + 1) + \mathbb E \log(\exp(-\mathcal D(\mathbf x)) + 1)$."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def gradient_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor, kind: str = "r1") -> Tensor:
    r"""Penalty on $\nabla\mathcal D$ at real images (Eq. 15).

    `r1`: $\mathbb E \|\nabla \mathcal D(\mathbf x)\|^2$, the regulariser the paper cites (Eq. 15 prints no norm).
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
    # ||p - x||^2 = |p|^2 - 2 p.x + |x|^2 with M normalised to sum 1: moments of M suffice
    features = torch.cat(
        [grid, grid.square().sum(-1, keepdim=True), torch.ones_like(grid[..., :1])], dim=-1
    )  # (H, W, 4)
    with torch.autocast(masks.device.type, enabled=False):  # the difference below cancels
        moments = masks.float().flatten(2) @ features.flatten(0, 1)  # (B, K, 4)
    first, second, area = moments.split([2, 1, 1], dim=-1)
    area = area + 1e-8
    spread = second / area - 2 * (first / area * centres).sum(-1, keepdim=True) + centres.square().sum(-1, keepdim=True)
    return _over_parts(spread.squeeze(-1), over_parts)


def area_loss(
    masks: Tensor,
    centres: Tensor,
    scales: Tensor,
    grid: Tensor,
    heatmap: str = "gaussian",
    area: str = "heatmap",
    over_parts: str = "sum",
) -> Tensor:
    r"""Eq. 17: $\sum_k \max(0, \sum_{\mathbf p} \mathbf H_k(\mathbf p) - \sum_{\mathbf p} \mathbf M_k(\mathbf p))$ in
    pixels, mean over the batch.

    `masks` (B, K, H, W) without the background; `centres` (B, K, 2), `scales` (B, K), `grid` (H, W, 2).
    `area`: "heatmap" as printed, or the released code's "disc", pi tau_k^2 with tau_k in pixels, which no border clips.
    """
    if area == "heatmap":
        wanted = heatmaps(grid, centres, scales, heatmap).sum(dim=(2, 3))
    else:
        wanted = math.pi * (scales * grid.shape[0] / 2).square()
    return _over_parts(F.relu(wanted - masks.sum(dim=(2, 3))), over_parts)


def _over_parts(values: Tensor, how: str) -> Tensor:
    """(B, K) -> scalar: sum or mean over the parts, mean over the batch."""
    return (values.sum(1) if how == "sum" else values.mean(1)).mean()
