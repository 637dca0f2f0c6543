"""Building blocks: MLP, positional encoding, SPADE and AdaIN blocks (sections 3.1-3.3)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ganseg.embedding import EmbeddingMap, working_precision


def initialise(module: nn.Module) -> nn.Module:
    """He initialisation for LeakyReLU(0.2) of every convolution and linear layer within `module`, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=0.2)
            nn.init.zeros_(layer.bias)
    return module


def mlp(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """`layers` linear layers of width `inputs`, LeakyReLU(0.2) between them; at the start N(0, I) gives variance 1."""
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        modules += [nn.Linear(inputs, inputs), nn.LeakyReLU(0.2)]
    return initialise(nn.Sequential(*modules, nn.Linear(inputs, outputs)))


class RelativeEncoding(nn.Module):
    r"""Starting tensor from positions relative to points (Eq. 5).

    $[\sin(\pi\,\mathrm{FC}(\ldots, \mathbf p - \mathbf x_i, \ldots)), \cos(\pi\,\mathrm{FC}(\ldots))]$

    `points`: number of points $\mathbf x_i$; `channels`: channels of the result, half sines and half cosines.
    """

    def __init__(self, points: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * points, channels // 2)
        self.linear.full_precision = True

    def forward(self, grid: Tensor, points: Tensor) -> Tensor:
        """`grid` (H, W, 2) and `points` (B, P, 2) give (B, channels, H, W).

        FC of the differences is FC_sum(p) - FC(x): no (B, H, W, 2P) tensor is made.
        """
        with torch.autocast(points.device.type, enabled=False):  # positions need fp32
            weight = self.linear.weight  # (C/2, 2P)
            of_pixel = grid @ weight.unflatten(1, (-1, 2)).sum(1).T  # (H, W, C/2)
            of_points = points.flatten(1) @ weight.T - self.linear.bias  # (B, C/2)
        phase = math.pi * (of_pixel[None] - of_points[:, None, None])  # (B, H, W, C/2)
        encoding = torch.cat([phase.sin(), phase.cos()], dim=-1)
        return working_precision(encoding).permute(0, 3, 1, 2)  # (B, C, H, W), channels_last in memory


class Modulation(torch.autograd.Function):
    r"""LeakyReLU of $\gamma \odot \mathbf x + \beta$, with a gradient that keeps $\gamma$ and $\beta$ one tensor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma_beta: Tensor, slope: float) -> Tensor:
        """`x` (B, C, H, W), `gamma_beta` (B, 2C, H, W) -> (B, C, H, W); `slope` 1 is no LeakyReLU."""
        gamma, beta = gamma_beta.chunk(2, dim=1)
        y = (x * gamma).add_(beta)
        y = F.leaky_relu_(y, slope) if slope != 1 else y
        ctx.save_for_backward(x, gamma_beta, y)
        ctx.slope = slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of x and of gamma and beta."""
        x, gamma_beta, y = ctx.saved_tensors
        if ctx.slope != 1:
            grad = torch.ops.aten.leaky_relu_backward(grad, y, ctx.slope, True)
        both = torch.empty_like(gamma_beta)
        of_gamma, of_beta = both.chunk(2, dim=1)
        torch.mul(grad, x, out=of_gamma)
        of_beta.copy_(grad)
        return grad * gamma_beta.chunk(2, dim=1)[0], both, None


class Spade(nn.Module):
    r"""SPADE (section 3.2): $(1 + \gamma(\mathbf W)) \odot \mathrm{BN}(\mathbf x) + \beta(\mathbf W)$.

    `channels`: of x; `condition`: channels of the embedding map W; `hidden`: channels between W and gamma, beta.
    """

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: EmbeddingMap, slope: float = 1) -> Tensor:
        """`x` (B, C, H, W) -> (B, C, H, W), with LeakyReLU(`slope`) after it."""
        h = condition.convolve(self.shared)
        weight = torch.cat([self.gamma.weight, self.beta.weight])
        bias = torch.cat([1 + self.gamma.bias, self.beta.bias])
        return Modulation.apply(self.norm(x), F.conv2d(h, weight, bias, padding=1), slope)


class SpadeResBlock(nn.Module):
    """Two SPADE-LeakyReLU-convolution stages and a SPADE-convolution shortcut where the width changes (Eq. 6, 8).

    `inputs`, `outputs`: channels; `condition`: channels of the embedding map; `hidden`: of the SPADE layers.
    """

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.spade1 = Spade(inputs, condition, hidden)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.spade2 = Spade(outputs, condition, hidden)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.spade_shortcut = Spade(inputs, condition, hidden)
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, condition: EmbeddingMap) -> Tensor:
        """`x` (B, inputs, H, W) -> (B, outputs, H, W)."""
        shortcut = x
        if hasattr(self, "conv_shortcut"):
            shortcut = self.conv_shortcut(self.spade_shortcut(x, condition))
        h = self.conv1(self.spade1(x, condition, slope=0.2))
        return self.conv2(self.spade2(h, condition, slope=0.2)) + shortcut


class AdaIn(nn.Module):
    r"""AdaIN (section 3.3): $(1 + \gamma(\mathbf w)) \odot \mathrm{IN}(\mathbf x) + \beta(\mathbf w)$.

    `channels`: of x; `condition`: length of the style vector w; `norm`: "instance", or the released code's "batch".
    """

    def __init__(self, channels: int, condition: int, hidden: int, norm: Literal["instance", "batch"]) -> None:
        super().__init__()
        make = nn.InstanceNorm2d if norm == "instance" else nn.BatchNorm2d
        self.norm = make(channels, affine=False)
        self.shared = nn.Linear(condition, hidden)
        self.gamma = nn.Linear(hidden, channels)
        self.beta = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x` (B, C, H, W), `style` (B, D) -> (B, C, H, W)."""
        h = F.leaky_relu(self.shared(style), 0.2)
        return (self.norm(x) * (1 + self.gamma(h))[..., None, None]).add_(self.beta(h)[..., None, None])


class AdaInConvBlock(nn.Module):
    """AdaIN, LeakyReLU, 3x3 convolution (Eq. 10)."""

    def __init__(
        self, inputs: int, outputs: int, condition: int, hidden: int, norm: Literal["instance", "batch"]
    ) -> None:
        super().__init__()
        self.adain = AdaIn(inputs, condition, hidden, norm)
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """`x` (B, inputs, H, W), `style` (B, D) -> (B, outputs, H, W)."""
        return self.conv(F.leaky_relu(self.adain(x, style), 0.2, inplace=True))
