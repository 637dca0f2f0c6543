"""The parts of a training step, each as it runs in the step, to be counted and timed apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ganseg import losses
from ganseg.bench.steps import Setting, Step, launch
from ganseg.generator import Generator
from ganseg.segmenter import segmentation_loss
from ganseg.training import SegmenterTrainer, place, to_unit, update


class Part(NamedTuple):
    """A part of a step."""

    run: Callable[[], object]
    per_step: float  # how often a step does it


class GanParts:
    """The parts of stage 1, forward and backward, on fakes and real images that stay the same."""

    def __init__(self, step: Step) -> None:
        self.step, self.trainer, self.plain = step, step.trainer, step.setting.kind == "plain"
        self.batch, self.autocast = step.config.optim.batch_size, step.fabric.autocast
        self.g, self.d = network(self.trainer.g), network(self.trainer.d)
        self.real = self.data()
        with torch.no_grad(), self.autocast():
            self.fake = self.g(self.g.noise(self.batch)).image.detach()
        self.cotangent = torch.randn_like(self.fake)
        self.gradients: list[Tensor | None] = []

    def all(self) -> dict[str, Part]:
        """By name, in an order in which each finds the gradients it needs."""
        parts = {"data": Part(self.data, 1), "generator": Part(self.generator, 1 + self.plain)}
        if not self.plain and not self.step.config.optim.share_fakes:
            parts["fakes"] = Part(self.fakes, 1)
        if self.step.every:
            parts["penalty"] = Part(self.penalty, 1 / self.step.every)
        return parts | {"discriminator": Part(self.discriminator, 1), "optimiser": Part(self.optimiser, 1)}

    def data(self) -> Tensor:
        """A batch of real images, on the device."""
        return to_unit(self.trainer.stream.batch(0), self.step.fabric.device)

    def generator(self) -> None:
        """G and the geometric losses, forward and backward."""
        clear(self.trainer.g)
        with self.autocast():
            scene = self.g(self.g.noise(self.batch))
            loss = (scene.image * self.cotangent).mean() + self.trainer.geometry(scene)[0]
        loss.backward(inputs=weights(self.trainer.g))

    @torch.no_grad()
    def fakes(self) -> None:
        """G without a graph, where the D step has fakes of its own."""
        with self.autocast():
            self.g(self.g.noise(self.batch))

    def discriminator(self) -> None:
        """D on fakes and real images for its own loss, and on fakes for G's."""
        clear(self.trainer.d)
        shown = self.fake.detach().requires_grad_(self.plain)  # the plain D step goes back through its fakes
        with self.autocast():
            if self.plain:
                logits = self.d(shown), self.d(self.real)
            else:
                logits = self.d(torch.cat([shown, self.real])).split([self.batch, self.batch])
            loss = losses.discriminator_loss(*logits)
            loss.backward(inputs=[*weights(self.trainer.d), *([shown] if self.plain else [])])
            shown = self.fake.detach().requires_grad_()
            losses.generator_loss(self.d(shown)).backward(inputs=[shown])

    def penalty(self) -> None:
        """The gradient penalty, forward and twice backward."""
        clear(self.trainer.d)
        with self.autocast():
            if self.plain:
                value = self.trainer.penalty(self.real)
            else:
                value = losses.gradient_penalty(self.d, self.real, self.step.config.losses.gradient_penalty)
        value.backward(inputs=weights(self.trainer.d))

    def optimiser(self) -> None:
        """Both updates and the averaged generator, always from the gradients that the first call finds."""
        trainer = self.trainer
        parameters = weights(trainer.g) + weights(trainer.d)
        self.gradients = self.gradients or [p.grad for p in parameters]
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient
        for held, optimizer in ((trainer.d, trainer.d_optim), (trainer.g, trainer.g_optim)):
            if not isinstance(held, nn.Module):
                held.collect()
            optimizer.step()
            if not isinstance(held, nn.Module):
                held.refresh()
        if trainer.ema is not None:
            trainer.average()


def network(held: Any) -> Any:
    """The module that computes: `held`, or the `module` of a network held together with its fp32 weights."""
    return held if isinstance(held, nn.Module) else held.module


def weights(held: Any) -> list[nn.Parameter]:
    """The parameters that get gradients."""
    return list(network(held).parameters())


def clear(held: Any) -> None:
    """Drop the gradients."""
    for parameter in weights(held):
        parameter.grad = None


def segmenter_parts(setting: Setting, device: str = "auto") -> dict[str, Part]:
    """The parts of stage 2: `pairs`, generating images and labels, and `segmenter`, learning from them."""
    config, fabric = setting.config, launch(setting, device)
    trainer = SegmenterTrainer(config, fabric, place(Generator(config.generator), fabric))
    g, s, batch = trainer.generator, network(trainer.s), config.segmenter.batch_size
    images = torch.rand(batch, 3, config.data.size, config.data.size, device=fabric.device) * 2 - 1
    labels = torch.randint(config.generator.parts + 1, images[:, 0].shape, device=fabric.device)

    @torch.no_grad()
    def pairs() -> None:
        with fabric.autocast():
            g.pairs(g.noise(batch))

    def segmenter() -> None:
        with fabric.autocast():
            loss = segmentation_loss(s(images), labels)
        update(trainer.s, trainer.s_optim, loss, fabric)

    return {"pairs": Part(pairs, 1), "segmenter": Part(segmenter, 1)}
