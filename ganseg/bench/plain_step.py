"""The released code's discriminator and training step, written plainly, to compare with (paper-versus-code
rows 15-24).

Where it is not known how the released code does something, the cheaper way is taken: the discriminator's
weights get no gradient in the generator's step.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganseg.bench.plain import PlainGenerator, grid
from ganseg.config import Config, DiscriminatorConfig
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator, Scene


class PlainDiscriminator(nn.Module):
    """The released discriminator; weights of `Discriminator` fit it."""

    def __init__(self, config: DiscriminatorConfig, size: int) -> None:
        super().__init__()
        widths = (3, *config.widths)
        self.blocks = nn.Sequential(*(Down(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        side = math.ceil(size / 2 ** len(config.widths))
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(widths[-1] * side * side, config.hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(config.hidden, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B,)."""
        return self.head(self.blocks(image)).squeeze(1)


class Down(nn.Module):
    """Residual block that halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / 2, W / 2); the shortcut is strided by hand, as in
        `ganseg.discriminator`."""
        h = F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)
        return (h + self.shortcut(x[..., ::2, ::2])) / math.sqrt(2)


class PlainTrainer:
    """The released code's step: fakes of the D step keep their graph, so each iteration runs G forward and
    backward twice."""

    ema = None

    def __init__(self, config: Config, fabric: Any, stream: Any) -> None:
        self.config, self.fabric, self.stream = config, fabric, stream
        self.g, self.d = (
            PlainGenerator(config.generator),
            PlainDiscriminator(config.discriminator, config.data.size),
        )
        self.g.load_state_dict(Generator(config.generator).state_dict())
        self.d.load_state_dict(Discriminator(config.discriminator, config.data.size).state_dict())
        self.g.to(fabric.device), self.d.to(fabric.device)
        optim = config.optim
        self.g_optim = torch.optim.Adam(self.g.parameters(), lr=optim.lr_generator, betas=optim.betas)
        self.d_optim = torch.optim.Adam(self.d.parameters(), lr=optim.lr_discriminator, betas=optim.betas)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train both networks once."""
        real = self.stream.batch(t).to(self.fabric.device).float().contiguous() / 127.5 - 1
        weights, batch = self.config.losses, len(real)
        fake = self.g(self.g.noise(batch)).image
        loss = F.softplus(self.d(fake)).mean() + F.softplus(-self.d(real)).mean()
        if t % weights.penalty_every == 0:
            loss = loss + weights.lambda_gp * self.penalty(real)
        self.d_optim.zero_grad()
        loss.backward()
        self.d_optim.step()
        scene = self.g(self.g.noise(batch))
        self.d.requires_grad_(False)
        loss = F.softplus(-self.d(scene.image)).mean()
        if t % weights.geometry_every == 0:
            loss = loss + self.geometry(scene)[0]
        self.g_optim.zero_grad()
        loss.backward()
        self.g_optim.step()
        self.d.requires_grad_(True)
        return {"g": loss.detach()}

    def penalty(self, real: Tensor) -> Tensor:
        """Mean of (||grad D(x)|| - 1)^2."""
        real = real.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(real).sum(), real, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    def geometry(self, scene: Scene) -> tuple[Tensor, dict[str, Tensor]]:
        """lambda_con L_con + lambda_area L_area, means over parts; the area of a disc of tau pixels."""
        masks, size = scene.masks[:, 1:], scene.masks.shape[-1]
        squared = (grid(size, 0, masks.device)[None, None] - scene.centres[:, :, None, None]).square().sum(-1)
        area = masks.sum(dim=(2, 3))
        con = ((masks * squared).sum(dim=(2, 3)) / (area + 1e-8)).mean()
        lacking = F.relu(math.pi * (scene.scales * size / 2).square() - area).mean()
        return self.config.losses.lambda_con * con + self.config.losses.lambda_area * lacking, {}
