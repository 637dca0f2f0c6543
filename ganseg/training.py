"""The two training stages: the adversarial game (Eq. 18, 19) and the segmentation network on generated pairs.

Every random draw of step t is a function of (seed, t) alone, so a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import copy
import zlib
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ganseg import losses
from ganseg.config import Config
from ganseg.devices import Fabric, place
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator, Noise, Scene
from ganseg.segmenter import Segmenter, segmentation_loss


class Stream(Protocol):
    """Real images: a pure function of the step (see `ganseg.data.Batches`)."""

    def batch(self, step: int) -> Tensor:
        """uint8 (B, 3, H, W), the batch of all processes together."""


def seed_step(seed: int, stage: str, step: int) -> None:
    """Seed every random draw of this step, alike in all processes."""
    number = zlib.crc32(f"{seed}/{stage}/{step}/0".encode())
    torch.default_generator.manual_seed(number)  # torch.manual_seed looks for devices, which takes longer than a layer
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(number)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


def to_unit(images: Tensor, device: torch.device) -> Tensor:
    """uint8 [0, 255] -> float [-1, 1] on `device`."""
    return images.to(device, non_blocking=True).float().div_(127.5).sub_(1)


def adam(module: nn.Module, lr: float, betas: tuple[float, float], fabric: Fabric) -> torch.optim.Optimizer:
    """Adam in its fused implementation."""
    return fabric.setup_optimizers(torch.optim.Adam(module.parameters(), lr=lr, betas=betas, fused=True))


def update(module: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, fabric: Fabric) -> None:
    """One step of `module` down the gradient of `loss`, averaged over the processes."""
    optimizer.zero_grad()
    parameters = list(module.parameters())
    fabric.backward(loss, inputs=parameters)
    if fabric.world_size > 1:
        for parameter in parameters:
            parameter.grad.copy_(fabric.all_reduce(parameter.grad, reduce_op="mean"))
    optimizer.step()


def share(fabric: Fabric) -> slice:
    """Which images of a batch belong to this process."""
    return slice(fabric.global_rank, None, fabric.world_size)


def own_noise(generator: Generator, batch: int, fabric: Fabric) -> Noise:
    """This process's share of the noise of a whole batch, which all processes draw alike."""
    return Noise(*(z[share(fabric)] for z in generator.noise(batch)))


class GanTrainer:
    """Stage 1: a step of D on real images and detached fakes (Eq. 18), then one of G through the updated D (Eq. 19).

    Each step has an autocast of its own: autocast keeps rounded weights until it ends, and G must meet D as updated.
    """

    name = "gan"

    def __init__(self, config: Config, fabric: Fabric, stream: Stream | None) -> None:
        seed_step(config.seed, "init", 0)
        self.config, self.fabric, self.stream, optim = config, fabric, stream, config.optim
        self.generator = place(Generator(config.generator), fabric)
        self.discriminator = place(Discriminator(config.discriminator, config.data.size), fabric)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False) if optim.ema else None
        self.g_optim = adam(self.generator, optim.lr_generator, optim.betas, fabric)
        self.d_optim = adam(self.discriminator, optim.lr_discriminator, optim.betas, fabric)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train both networks once; returns the losses of step `t`."""
        seed_step(self.config.seed, self.name, t)
        real = to_unit(self.stream.batch(t)[share(self.fabric)], self.fabric.device)
        scene = self.scene()
        values = self.discriminator_step(t, real, scene.image.detach())
        if not self.config.optim.share_fakes:
            scene = self.scene()
        values.update(self.generator_step(t, scene))
        self.average()
        return values

    def scene(self) -> Scene:
        """A fresh batch of generated scenes."""
        with self.fabric.autocast():
            return self.generator(own_noise(self.generator, self.config.optim.batch_size, self.fabric))

    def discriminator_step(self, t: int, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """One step of D (Eq. 18)."""
        weights, penalty = self.config.losses, real.new_zeros(())
        penalised = bool(weights.lambda_gp) and t % weights.penalty_every == 0
        with self.fabric.autocast():
            fake_logits, real_logits = self.discriminator(torch.cat([fake, real])).split([len(fake), len(real)])
            gan = losses.discriminator_loss(fake_logits, real_logits)
            if penalised:
                penalty = losses.gradient_penalty(self.discriminator, real, weights.gradient_penalty)
            loss = losses.discriminator_objective(gan, penalty, weights)
        update(self.discriminator, self.d_optim, loss, self.fabric)
        return {"d": gan.detach()} | ({"gp": penalty.detach()} if penalised else {})

    def generator_step(self, t: int, scene: Scene) -> dict[str, Tensor]:
        """One step of G (Eq. 19)."""
        with self.fabric.autocast():
            gan = losses.generator_loss(self.discriminator(scene.image))
        loss, values = gan, {"g": gan.detach()}
        if t % self.config.losses.geometry_every == 0:
            concentration, area = self.geometry(scene)
            loss = losses.generator_objective(gan, concentration, area, self.config.losses)
            values |= {"con": concentration.detach(), "area": area.detach()}
            values["foreground"] = scene.masks[:, 1:].detach().sum(dim=1).mean()
        update(self.generator, self.g_optim, loss, self.fabric)
        return values

    def geometry(self, scene: Scene) -> tuple[Tensor, Tensor]:
        """L_con and L_area (Eq. 16, 17)."""
        weights, masks, grid = self.config.losses, scene.masks[:, 1:], self.generator.grid
        heatmap = self.config.generator.heatmap
        return (
            losses.concentration_loss(masks, scene.centres, grid, weights.over_parts),
            losses.area_loss(masks, scene.centres, scene.scales, grid, heatmap, weights.area, weights.over_parts),
        )

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged generator, where there is one, towards the current one; buffers are copied."""
        if self.ema is not None:
            decay = self.config.optim.ema
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), 1 - decay)
            torch._foreach_copy_(list(self.ema.buffers()), list(self.generator.buffers()))

    @property
    def result(self) -> Generator:
        """The generator to use: the averaged one where there is one."""
        return self.ema if self.ema is not None else self.generator

    def parts(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        parts |= {"g_optim": self.g_optim, "d_optim": self.d_optim}
        return parts | ({"ema": self.ema} if self.ema is not None else {})


class SegmenterTrainer:
    """Stage 2: the segmentation network on a stream of generated pairs; G is in eval mode and does not change."""

    name = "segmenter"

    def __init__(self, config: Config, fabric: Fabric, generator: Generator) -> None:
        seed_step(config.seed, "init-segmenter", 0)
        self.config, self.fabric = config, fabric
        self.generator = generator.eval().requires_grad_(False)
        self.segmenter = place(Segmenter(config.segmenter, config.generator.parts), fabric).train()
        self.s_optim = adam(self.segmenter, config.segmenter.lr, (0.9, 0.999), fabric)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train the segmentation network once; returns its loss."""
        seed_step(self.config.seed, self.name, t)
        noise = own_noise(self.generator, self.config.segmenter.batch_size, self.fabric)
        with self.fabric.autocast():
            with torch.no_grad():
                images, labels = self.generator.pairs(noise)
            loss = segmentation_loss(self.segmenter(images.clamp(-1, 1)), labels)
        update(self.segmenter, self.s_optim, loss, self.fabric)
        return {"segmentation": loss.detach()}

    @property
    def result(self) -> Segmenter:
        """The trained network."""
        return self.segmenter

    def parts(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"segmenter": self.segmenter, "s_optim": self.s_optim}
