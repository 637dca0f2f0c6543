"""The released code's generator in fp32, written plainly, to compare with (paper-versus-code rows 2-14).

Nothing here is used outside the benchmark. Parameters have the names of `ganseg.generator.Generator`, so that
either reads the other's weights. Where it is not known how the released code does something, the cheaper way
is taken: embedding maps are made once a resolution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg.config import GeneratorConfig
from ganseg.files import UserError
from ganseg.generator import Noise, Scene

FORM = {
    "part_scale": "mean_abs",
    "heatmap": "cone",
    "point_squash": "tanh",
    "grid": "endpoints",
    "background_shift": "horizontal",
    "adain_norm": "batch",
    "rgb_crop": "before",
    "rgb_activation": True,
    "use_points": True,
    "separate_background": True,
}


def check(config: GeneratorConfig) -> None:
    """UserError where `config` asks for equations that are not the released code's."""
    other = [name for name, value in FORM.items() if getattr(config, name, value) != value]
    if other:
        raise UserError(
            "the plain formulation is the released code's: it needs "
            + ", ".join(f"generator.{name}={FORM[name]}" for name in other)
            + " (variant released)"
        )


def grid(size: int, margin: int, device: torch.device) -> Tensor:
    """(H + 2m, W + 2m, 2) coordinates (x, y), linspace(-1, 1, H) inside the margin."""
    reach = 1 + 2 * margin / (size - 1)
    line = torch.linspace(-reach, reach, size + 2 * margin, device=device)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1)


def mlp(inputs: int, outputs: int, layers: int) -> nn.Sequential:
    """Linear layers with LeakyReLU(0.2) between them."""
    hidden = [m for _ in range(layers - 1) for m in (nn.Linear(inputs, inputs), nn.LeakyReLU(0.2))]
    return nn.Sequential(*hidden, nn.Linear(inputs, outputs))


def climb(x: Tensor, margin: int) -> Tensor:
    """Bilinear upsampling of the whole, then a copy of its middle."""
    return crop(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False), margin)


def crop(x: Tensor, margin: int) -> Tensor:
    """A copy without the margin."""
    return x[:, :, margin:-margin, margin:-margin].contiguous() if margin else x


class Start(nn.Module):
    """sin and cos of a 1x1 convolution of the differences to all points (Eq. 5)."""

    def __init__(self, points: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * points, channels // 2)

    def forward(self, coordinates: Tensor, points: Tensor) -> Tensor:
        """(H, W, 2), (B, P, 2) -> (B, channels, H, W)."""
        offsets = coordinates[None, None] - points[:, :, None, None]  # (B, P, H, W, 2)
        offsets = offsets.permute(0, 1, 4, 2, 3).flatten(1, 2)  # (B, 2P, H, W)
        phase = math.pi * F.conv2d(offsets, self.linear.weight[:, :, None, None], self.linear.bias)
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class Spade(nn.Module):
    """(1 + gamma(W)) BN(x) + beta(W), each of three convolutions by itself."""

    def __init__(self, channels: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, C, H, W), (B, D, H, W) -> (B, C, H, W)."""
        h = F.leaky_relu(self.shared(condition), 0.2)
        return self.norm(x) * (1 + self.gamma(h)) + self.beta(h)


class SpadeBlock(nn.Module):
    """Two SPADE stages and a SPADE shortcut where the width changes."""

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.spade1, self.spade2 = Spade(inputs, condition, hidden), Spade(outputs, condition, hidden)
        self.conv1, self.conv2 = (
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.widens = inputs != outputs
        if self.widens:
            self.spade_shortcut = Spade(inputs, condition, hidden)
            self.conv_shortcut = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, D, H, W) -> (B, outputs, H, W)."""
        shortcut = self.conv_shortcut(self.spade_shortcut(x, condition)) if self.widens else x
        h = self.conv1(F.leaky_relu(self.spade1(x, condition), 0.2))
        return self.conv2(F.leaky_relu(self.spade2(h, condition), 0.2)) + shortcut


class StyleBlock(nn.Module):
    """The background's block: BatchNorm scaled and shifted by a style vector, LeakyReLU, 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int, condition: int, hidden: int) -> None:
        super().__init__()
        self.adain = nn.ModuleDict(
            {
                "norm": nn.BatchNorm2d(inputs, affine=False),
                "shared": nn.Linear(condition, hidden),
                "gamma": nn.Linear(hidden, inputs),
                "beta": nn.Linear(hidden, inputs),
            }
        )
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, D) -> (B, outputs, H, W)."""
        h = F.leaky_relu(self.adain["shared"](style), 0.2)
        gamma, beta = self.adain["gamma"](h)[..., None, None], self.adain["beta"](h)[..., None, None]
        return self.conv(F.leaky_relu((1 + gamma) * self.adain["norm"](x) + beta, 0.2))


class Level(nn.Module):
    """A start tensor and the blocks over it."""

    def __init__(self, config: GeneratorConfig, points: int, widths: list[int], block: type[nn.Module]) -> None:
        super().__init__()
        self.start = Start(points, widths[0])
        self.blocks = nn.ModuleList(
            block(a, b, config.embedding_dim, config.spade_hidden) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.sizes, self.margin = config.block_sizes, config.margin

    def forward(self, points: Tensor, conditions: list[Tensor]) -> Tensor:
        """`points` (B, P, 2) and the condition of each block -> (B, C, H + 2m, W + 2m)."""
        x = self.start(grid(self.sizes[0], self.margin, points.device), points)
        for i, (block, condition) in enumerate(zip(self.blocks, conditions, strict=True)):
            x = block(x, condition)
            x = climb(x, self.margin) if self.sizes[i + 1 : i + 2] == (2 * self.sizes[i],) else x
        return x


class PlainGenerator(nn.Module):
    """The released generator (variant `released`); weights of `Generator` fit it."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        check(config)
        c, self.config = config, config
        count, width = len(c.block_sizes), c.embedding_dim
        self.point_generator = nn.Module()
        self.point_generator.points = mlp(c.noise_dim, c.parts * c.points_per_part * 2, c.point_layers)
        self.point_generator.appearance = mlp(c.noise_dim, width, c.appearance_layers)
        self.point_generator.constant = nn.Parameter(torch.randn(c.parts, width))
        mask_widths = [c.block_widths[0], *[width] * (count - 1), c.parts + 1]
        self.mask_generator = Level(c, c.parts * c.points_per_part, mask_widths, SpadeBlock)
        self.foreground_generator = Level(c, c.parts, [*c.block_widths, width], SpadeBlock)
        self.background_generator = Level(c, 1, [*c.block_widths, width], StyleBlock)
        self.background_generator.appearance = mlp(c.noise_dim, width, c.appearance_layers)
        kernel = 1 if c.rgb_layers == 1 else c.rgb_kernel
        hidden = [
            m
            for _ in range(c.rgb_layers - 1)
            for m in (nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.LeakyReLU(0.2))
        ]
        self.composition = nn.Module()
        self.composition.convs = nn.Sequential(*hidden, nn.Conv2d(width, 3, kernel, padding=kernel // 2))

    def noise(self, batch: int) -> Noise:
        """Three normal vectors an image, and a horizontal place of the background."""
        device = self.point_generator.constant.device
        z = [torch.randn(batch, self.config.noise_dim, device=device) for _ in range(3)]
        return Noise(*z, (2 * torch.rand(batch, 2, device=device) - 1) * torch.tensor([1.0, 0.0], device=device))

    def forward(self, noise: Noise) -> Scene:
        """A scene for each row of `noise`."""
        c, sizes = self.config, set(self.config.block_sizes)
        points = self.point_generator.points(noise.point).unflatten(1, (c.parts, -1, 2))  # (B, K, n_per, 2)
        points = torch.tanh(points / c.point_divisor)
        centres = points.mean(dim=2)
        scales = (points - centres[:, :, None]).abs().mean(dim=(2, 3)) + 1e-6
        embeddings = self.point_generator.appearance(noise.appearance)[:, None] * self.point_generator.constant

        maps = {s: broadcast(cones(grid(s, c.margin, points.device), centres, scales), embeddings) for s in sizes}
        x = self.mask_generator(points.flatten(1, 2), [maps[s] for s in c.block_sizes])
        masks = torch.softmax(crop(x, c.margin), dim=1)
        maps = {s: broadcast(self.at(masks[:, 1:], s), embeddings) for s in sizes}
        foreground = self.foreground_generator(centres, [maps[s] for s in c.block_sizes])
        style = self.background_generator.appearance(noise.background)
        background = self.background_generator(noise.position[:, None], [style] * len(c.block_sizes))
        image = self.compose(masks[:, :1], crop(foreground, c.margin), crop(background, c.margin))
        return Scene(points, centres, scales, embeddings, masks, foreground, background, image)

    def at(self, masks: Tensor, size: int) -> Tensor:
        """Masks resized bilinearly to `size` and replicated into the margin."""
        resized = F.interpolate(masks, size=(size, size), mode="bilinear", align_corners=False)
        return F.pad(resized, [self.config.margin] * 4, mode="replicate")

    def compose(self, mask: Tensor, foreground: Tensor, background: Tensor) -> Tensor:
        """Eq. 11 between a LeakyReLU and a tanh; `mask` of the background (B, 1, H, W)."""
        features = (1 - mask) * foreground + mask * background
        return torch.tanh(self.composition.convs(F.leaky_relu(features, 0.2)))


def cones(coordinates: Tensor, centres: Tensor, scales: Tensor) -> Tensor:
    """max(0, 1 - d / tau) on (H, W, 2), from (B, K, 2) and (B, K) -> (B, K, H, W)."""
    distance = (coordinates[None, None] - centres[:, :, None, None]).norm(dim=-1)
    return (1 - distance / scales[:, :, None, None]).clamp(min=0)


def broadcast(maps: Tensor, embeddings: Tensor) -> Tensor:
    """The embedding map as the sum of a (B, K, D, H, W) product: (B, K, H, W), (B, K, D) -> (B, D, H, W)."""
    return (maps[:, :, None] * embeddings[..., None, None]).sum(dim=1)
