"""The training objective in games small enough to be drawn: free masks, a one-point GAN (Eq. 13-19)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from ganseg import losses
from ganseg.config import LossConfig


class Descent(NamedTuple):
    """Masks that nothing but the geometric losses shaped."""

    frames: Tensor  # masks M_1..M_K at the steps kept, (F, K, H, W)
    steps: list[int]  # which steps these are
    areas: pd.DataFrame  # columns step, part, area (pixels)


def descend(
    start: Tensor,
    centres: Tensor,
    scales: Tensor,
    grid: Tensor,
    lambda_con: float,
    lambda_area: float,
    keep: Sequence[int] = (0, 15, 40, 120),
    rate: float = 0.1,
) -> Descent:
    """Free masks, led by lambda_con L_con + lambda_area L_area alone (Eq. 16, 17).

    They are the softmax of logits `start` (1, K + 1, H, W). Each step moves every logit by `rate` against the
    sign of its gradient, about as Adam begins. Runs to the last step of `keep`.
    """
    logits, frames, areas = start.clone().requires_grad_(), [], []
    for t in range(keep[-1] + 1):
        masks = logits.softmax(dim=1)[:, 1:]
        if t in keep:
            frames.append(masks[0].detach().clone())
        areas += [{"step": t, "part": k, "area": float(a)} for k, a in enumerate(masks[0].detach().sum(dim=(1, 2)), 1)]
        loss = lambda_con * losses.concentration_loss(masks, centres, grid)
        loss = loss + lambda_area * losses.area_loss(masks, centres, scales, grid)
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - rate * gradient.sign()).detach().requires_grad_()
    return Descent(torch.stack(frames), list(keep), pd.DataFrame(areas))


def pulls(masks: Tensor, centres: Tensor, scales: Tensor, grid: Tensor) -> dict[str, Tensor]:
    """Where Eq. 16 and 17 want masks (B, K, H, W) to grow (positive) or shrink: minus their gradients.

    Keys concentration and area (B, K, H, W), centres (B, K, 2). The mean over the batch is undone.
    """
    masks, centres = masks.detach().requires_grad_(), centres.detach().requires_grad_()
    con = losses.concentration_loss(masks, centres, grid) * len(masks)
    by_mask, by_centre = torch.autograd.grad(con, (masks, centres))
    (by_area,) = torch.autograd.grad(losses.area_loss(masks, centres, scales, grid) * len(masks), masks)
    return {"concentration": -by_mask, "area": -by_area, "centres": -by_centre}


def one_point_game(
    penalty: LossConfig, steps: int = 600, lr: float = 0.1, start: tuple[float, float] = (1.0, 0.5)
) -> pd.DataFrame:
    """The smallest GAN (Mescheder et al., 2018): real data is 0, the generator a point theta, D(x) = psi x.

    Alternating gradient steps on Eq. 18, with the `penalty`'s kind, weight and rhythm, and on Eq. 13.
    Columns step, theta, psi.
    """
    theta, psi = (torch.tensor(value, requires_grad=True) for value in start)
    real, lines = torch.zeros(1, 1, 1, 1), []

    def discriminator(x: Tensor) -> Tensor:
        return (x * psi).sum(dim=(1, 2, 3))

    for t in range(steps):
        lines.append({"step": t, "theta": theta.item(), "psi": psi.item()})
        loss = losses.discriminator_loss(discriminator(theta.detach().view(1, 1, 1, 1)), discriminator(real))
        if penalty.lambda_gp and t % penalty.penalty_every == 0:
            scale = penalty.penalty_every if penalty.penalty_rescale else 1
            loss = loss + penalty.lambda_gp * scale * losses.gradient_penalty(
                discriminator, real, penalty.gradient_penalty
            )
        (by_psi,) = torch.autograd.grad(loss, psi)
        psi = (psi - lr * by_psi).detach().requires_grad_()
        (by_theta,) = torch.autograd.grad(losses.generator_loss(discriminator(theta.view(1, 1, 1, 1))), theta)
        theta = (theta - lr * by_theta).detach().requires_grad_()
    return pd.DataFrame(lines)
