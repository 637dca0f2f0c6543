"""The discriminator (section 3.4)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg.config import DiscriminatorConfig
from ganseg.layers import initialise


class DownBlock(nn.Module):
    """Residual block that halves the resolution: two 3x3 convolutions with LeakyReLU(0.2) and one of stride 2 without,
    beside a 1x1 shortcut of stride 2; (x + res) / sqrt 2. Source: the released code."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.down = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, ceil(H / 2), ceil(W / 2))."""
        h = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2, inplace=True)), 0.2, inplace=True)
        # strided by hand: oneDNN's fp32 weight gradient of strided 1x1 convolutions can write out of bounds
        return (self.down(h) + self.shortcut(x[..., ::2, ::2])) / math.sqrt(2)


class Discriminator(nn.Module):
    r"""$\mathcal D(\mathbf x)$: residual blocks, two linear layers, one logit, high for real images; `size`: H = W."""

    def __init__(self, config: DiscriminatorConfig, size: int) -> None:
        super().__init__()
        widths = (3, *config.widths)
        self.blocks = nn.Sequential(*(DownBlock(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        side = math.ceil(size / 2 ** len(config.widths))
        inputs, hidden = widths[-1] * side * side, config.hidden
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))
        initialise(self)

    def features(self, image: Tensor) -> Tensor:
        """`image` (B, 3, H, W) in [-1, 1] -> what the last layer sees of it, (B, hidden)."""
        return self.head[:-1](self.blocks(image.contiguous(memory_format=torch.channels_last)))

    def forward(self, image: Tensor) -> Tensor:
        """`image` (B, 3, H, W) in [-1, 1] -> logits (B,)."""
        return self.head[-1](self.features(image)).squeeze(1).float()
