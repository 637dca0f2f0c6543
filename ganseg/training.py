"""The two training stages: the adversarial game (Eq. 18, 19) and the segmentation network on generated pairs.

Every random draw of step t is a function of (seed, t) alone, so a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import copy
import zlib
from typing import Protocol

import torch
from torch import Tensor, nn

from ganseg import losses
from ganseg.config import Config
from ganseg.devices import Fabric, average_over_processes, place
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator, Noise, Scene
from ganseg.segmenter import Segmenter, segmentation_loss
from ganseg.working import Working, lay_out


class Stream(Protocol):
    """Real images: a pure function of the step (see `ganseg.data.Batches`)."""

    def batch(self, step: int) -> Tensor:
        """uint8 (B, 3, H, W), the batch of all processes together."""


def seed_step(seed: int, stage: str, step: int) -> None:
    """Seed every random draw of this step, alike in all processes."""
    number = zlib.crc32(f"{seed}/{stage}/{step}/0".encode())
    torch.default_generator.manual_seed(
        number
    )  # torch.manual_seed looks for devices each time, which takes longer than a layer
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(number)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(number)


def to_unit(images: Tensor, device: torch.device) -> Tensor:
    """uint8 [0, 255] -> float [-1, 1] on `device`."""
    return images.to(device, non_blocking=True).float().div_(127.5).sub_(1)


def adam(work: Working, lr: float, betas: tuple[float, float], fabric: Fabric) -> torch.optim.Optimizer:
    """Adam in its fused implementation."""
    return fabric.setup_optimizers(torch.optim.Adam([work.vector], lr=lr, betas=betas, fused=True))


def update(work: Working, optimizer: torch.optim.Optimizer, loss: Tensor, fabric: Fabric) -> None:
    """One step down the gradient of `loss`, averaged over the processes."""
    fabric.backward(loss, inputs=work.parameters)
    average_over_processes(fabric, work.collect())
    optimizer.step()
    work.refresh()


def share(fabric: Fabric) -> slice:
    """Which images of a batch belong to this process."""
    return slice(fabric.global_rank, None, fabric.world_size)


def own_noise(generator: Generator, batch: int, fabric: Fabric) -> Noise:
    """This process's share of the noise of a whole batch, which all processes draw alike."""
    return Noise(*(z[share(fabric)] for z in generator.noise(batch)))


class GanTrainer:
    """Stage 1: a step of D on real images and detached fakes (Eq. 18), then one of G through the updated D (Eq. 19)."""

    name = "gan"

    def __init__(self, config: Config, fabric: Fabric, stream: Stream | None) -> None:
        seed_step(config.seed, "init", 0)
        self.config, self.fabric, self.stream = config, fabric, stream
        optim = config.optim
        self.generator = place(Generator(config.generator), fabric)
        self.discriminator = place(Discriminator(config.discriminator, config.data.size), fabric)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False) if optim.ema else None
        precision = fabric._precision.precision
        self.g, self.d = Working(self.generator, precision), Working(self.discriminator, precision)
        if self.ema is not None:
            self.averaged = lay_out([self.ema.get_parameter(name) for name in self.g.names])
        self.g_optim = adam(self.g, optim.lr_generator, optim.betas, fabric)
        self.d_optim = adam(self.d, optim.lr_discriminator, optim.betas, fabric)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train both networks once; returns the losses of step `t`."""
        seed_step(self.config.seed, self.name, t)
        real = to_unit(self.stream.batch(t)[share(self.fabric)], self.fabric.device)
        with self.fabric.autocast():
            scene = self.scene()
            values = self.discriminator_step(t, real, scene.image.detach())
            if not self.config.optim.share_fakes:
                scene = self.scene()
            values.update(self.generator_step(t, scene))
        if self.ema is not None:
            self.average()
        return values

    def scene(self) -> Scene:
        """A fresh batch of generated scenes."""
        return self.g.module(own_noise(self.generator, self.config.optim.batch_size, self.fabric))

    def discriminator_step(self, t: int, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Eq. 18: L_GAN(D) + lambda_gp L_gp(D)."""
        weights = self.config.losses
        fake_logits, real_logits = self.d.module(torch.cat([fake, real])).split([len(fake), len(real)])
        loss = losses.discriminator_loss(fake_logits, real_logits)
        values = {"d": loss.detach()}
        if weights.lambda_gp and t % weights.penalty_every == 0:
            penalty = losses.gradient_penalty(self.d.module, real, weights.gradient_penalty)
            loss = loss + weights.lambda_gp * (weights.penalty_every if weights.penalty_rescale else 1) * penalty
            values["gp"] = penalty.detach()
        update(self.d, self.d_optim, loss, self.fabric)
        return values

    def generator_step(self, t: int, scene: Scene) -> dict[str, Tensor]:
        """Eq. 19: L_GAN(G) + lambda_con L_con(G) + lambda_area L_area(G)."""
        adversarial = losses.generator_loss(self.d.module(scene.image))
        values = {"g": adversarial.detach()}
        loss = adversarial
        if t % self.config.losses.geometry_every == 0:
            geometry, parts = self.geometry(scene)
            loss, values = loss + geometry, values | parts
        update(self.g, self.g_optim, loss, self.fabric)
        return values

    def geometry(self, scene: Scene) -> tuple[Tensor, dict[str, Tensor]]:
        """lambda_con L_con + lambda_area L_area (Eq. 16, 17), and the two by name."""
        weights, masks = self.config.losses, scene.masks[:, 1:]
        con = losses.concentration_loss(masks, scene.centres, self.generator.grid, weights.over_parts)
        area = losses.area_loss(
            masks,
            scene.centres,
            scene.scales,
            self.generator.grid,
            self.config.generator.heatmap,
            weights.area,
            weights.over_parts,
        )
        foreground = masks.detach().sum(dim=1).mean()
        return weights.lambda_con * con + weights.lambda_area * area, {
            "con": con.detach(),
            "area": area.detach(),
            "foreground": foreground,
        }

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged generator towards the current one; buffers are copied."""
        self.averaged.lerp_(self.g.vector, 1 - self.config.optim.ema)
        torch._foreach_copy_(list(self.ema.buffers()), list(self.generator.buffers()))

    @property
    def result(self) -> Generator:
        """The generator to use: the averaged one where there is one."""
        return self.ema if self.ema is not None else self.generator

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint must hold."""
        parts = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "g_optim": self.g_optim,
            "d_optim": self.d_optim,
        }
        return parts | ({"ema": self.ema} if self.ema is not None else {})


class SegmenterTrainer:
    """Stage 2: the segmentation network on a stream of generated pairs; G is in eval mode and does not change."""

    name = "segmenter"

    def __init__(self, config: Config, fabric: Fabric, generator: Generator) -> None:
        seed_step(config.seed, "init-segmenter", 0)
        self.config, self.fabric = config, fabric
        self.generator = generator.eval().requires_grad_(False)
        self.segmenter = place(Segmenter(config.segmenter, config.generator.parts), fabric).train()
        self.s = Working(self.segmenter, fabric._precision.precision)
        self.s_optim = adam(self.s, config.segmenter.lr, (0.9, 0.999), fabric)

    def step(self, t: int) -> dict[str, Tensor]:
        """Train the segmentation network once; returns its loss."""
        seed_step(self.config.seed, self.name, t)
        noise = own_noise(self.generator, self.config.segmenter.batch_size, self.fabric)
        with self.fabric.autocast():
            with torch.no_grad():
                images, labels = self.generator.pairs(noise)
            loss = segmentation_loss(self.s.module(images.clamp(-1, 1)), labels)
        update(self.s, self.s_optim, loss, self.fabric)
        return {"segmentation": loss.detach()}

    @property
    def result(self) -> Segmenter:
        """The trained network."""
        return self.segmenter

    def parts(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        """What a checkpoint must hold."""
        return {"segmenter": self.segmenter, "s_optim": self.s_optim}
