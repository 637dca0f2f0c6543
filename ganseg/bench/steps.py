"""The settings that are compared, and their training steps: whole, and in parts that can be counted and timed apart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from ganseg import losses
from ganseg.bench.plain_step import PlainTrainer
from ganseg.config import Config
from ganseg.data import DATASETS, Batches, Split
from ganseg.devices import make_fabric
from ganseg.errors import UserError
from ganseg.generator import Generator
from ganseg.scales import resolve
from ganseg.segmenter import segmentation_loss
from ganseg.training import GanTrainer, SegmenterTrainer, place, to_unit, update

IMAGES = 256  # random images in the stream, at least


@dataclass(frozen=True)
class Setting:
    """One way to take a training step.

    `kind`: "ours", or "plain", the released code's step. `adjust` changes the trainer once it is built; `around` is a context in which
    it is built and every step is taken. Both serve to switch off what no field of the configuration does.
    """

    label: str
    config: Config
    precision: str = "auto"
    kind: Literal["ours", "plain"] = "ours"
    adjust: Callable[[Any], None] | None = field(default=None, compare=False)
    around: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext, compare=False)


def launch(setting: Setting, device: str) -> Any:
    """The Fabric of `setting`, without its remarks."""
    for name in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return make_fabric(device, precision=setting.precision)


class Part(NamedTuple):
    """A part of a step."""

    run: Callable[[], object]
    per_step: float  # how often a step does it


class Step:
    """A setting, built: `ordinary()` and `penalised()` take a step without and with the gradient penalty."""

    def __init__(self, setting: Setting, device: str = "auto") -> None:
        self.setting, self.config = setting, setting.config
        self.fabric = launch(setting, device)
        torch.manual_seed(self.config.seed)
        with setting.around():
            trainer = PlainTrainer if setting.kind == "plain" else GanTrainer
            self.trainer = trainer(self.config, self.fabric, random_images(self.config))
        if setting.adjust:
            setting.adjust(self.trainer)
        self.done = {"ordinary": 0, "penalised": 0}

    @property
    def precision(self) -> str:
        """Fabric's name of the precision in use."""
        return str(self.fabric._precision.precision)

    @property
    def every(self) -> int:
        """Steps from one gradient penalty to the next; 0 for none."""
        return self.config.losses.penalty_every if self.config.losses.lambda_gp else 0

    def ordinary(self) -> None:
        """A step without the penalty, odd and even ones in turn."""
        self.done["ordinary"] += 1
        index = self.done["ordinary"]
        self._take(index + (index - 1) // (self.every - 1) if self.every > 1 else index)

    def penalised(self) -> None:
        """A step with the penalty."""
        self.done["penalised"] += 1
        self._take(self.done["penalised"] * max(self.every, 1))

    def _take(self, t: int) -> None:
        with self.setting.around():
            self.trainer.step(t)


def random_images(config: Config) -> Batches:
    """A stream of random images with the data set's augmentation."""
    count, size = max(IMAGES, config.optim.batch_size), config.data.size
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    augment = DATASETS[config.data.name].augment if config.data.augment == "auto" else config.data.augment
    return Batches(Split(images, tuple(map(str, range(count)))), config.optim.batch_size, config.seed, augment)


def gan_parts(step: Step) -> dict[str, Part]:
    """The parts of stage 1, each as it runs in the step, forward and backward.

    `data`: the batch, on the device. `generator`: G and the geometric losses. `fakes`: G without a graph, where the D step has fakes of
    its own. `discriminator`: D on fakes and real images, and D on fakes for G's loss. `penalty`: R1. `optimiser`: both updates and EMA.
    """
    trainer, config, fabric = step.trainer, step.config, step.fabric
    plain, batch = step.setting.kind == "plain", config.optim.batch_size
    g, d, device = network(trainer.g), network(trainer.d), fabric.device
    real = to_unit(trainer.stream.batch(0), device)
    with torch.no_grad(), fabric.autocast():
        fake = g(g.noise(batch)).image.detach()
    cotangent = torch.randn_like(fake)

    def generator() -> None:
        clear(trainer.g)
        with fabric.autocast():
            scene = g(g.noise(batch))
            loss = (scene.image * cotangent).mean() + trainer.geometry(scene)[0]
        loss.backward(inputs=weights(trainer.g))

    @torch.no_grad()
    def fakes() -> None:
        with fabric.autocast():
            g(g.noise(batch))

    def discriminator() -> None:
        clear(trainer.d)
        shown = fake.detach().requires_grad_(plain)  # the plain D step goes back through its fakes
        with fabric.autocast():
            logits = (d(shown), d(real)) if plain else d(torch.cat([shown, real])).split([batch, batch])
            losses.discriminator_loss(*logits).backward(inputs=[*weights(trainer.d), *([shown] if plain else [])])
            shown = fake.detach().requires_grad_()
            losses.generator_loss(d(shown)).backward(inputs=[shown])

    def penalty() -> None:
        clear(trainer.d)
        with fabric.autocast():
            value = trainer.penalty(real) if plain else losses.gradient_penalty(d, real, config.losses.gradient_penalty)
        (config.losses.lambda_gp * value).backward(inputs=weights(trainer.d))

    found = {"data": Part(lambda: to_unit(trainer.stream.batch(0), device), 1), "generator": Part(generator, 1 + plain)}
    if not plain and not config.optim.share_fakes:
        found["fakes"] = Part(fakes, 1)
    if step.every:
        found["penalty"] = Part(penalty, 1 / step.every)
    return found | {"discriminator": Part(discriminator, 1), "optimiser": Part(Update(trainer), 1)}  # its gradients are there by now


def network(held: Any) -> Any:
    """The module that computes, of a module or of what holds one together with its fp32 weights (`module`)."""
    return held if isinstance(held, torch.nn.Module) else held.module


def weights(held: Any) -> list[torch.Tensor]:
    """The parameters that get gradients."""
    return list(network(held).parameters())


def clear(held: Any) -> None:
    """Drop the gradients."""
    for parameter in weights(held):
        parameter.grad = None


class Update:
    """Both optimisers' steps and the averaged generator, always from the gradients that the first call finds."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.gradients = trainer, None

    def __call__(self) -> None:
        """Update all weights once."""
        trainer = self.trainer
        parameters = weights(trainer.g) + weights(trainer.d)
        self.gradients = self.gradients or [p.grad for p in parameters]
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient
        for held, optimizer in ((trainer.d, trainer.d_optim), (trainer.g, trainer.g_optim)):
            if hasattr(held, "collect"):
                held.collect()
            optimizer.step()
            if hasattr(held, "refresh"):
                held.refresh()
        if trainer.ema is not None:
            trainer.average()


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


def other(text: str, base: Setting, data: str, scale: str, parts: int | None, overrides: dict[str, Any]) -> Setting:
    """The setting that `text` asks to compare with: "plain"; or a variant and settings, as in "released optim.ema=0 precision=32-true".

    Everything that `text` does not name is as in `base`.
    """
    words = text.split()
    if words == ["plain"]:
        config = resolve(data, "released", scale, parts, base.config.seed, overrides)
        return Setting("plain", config, "32-true", "plain")
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    variants = [word for word in words if "=" not in word]
    if len(variants) > 1 or not words:
        raise UserError(f"--against {text!r}: write plain, or a variant and settings: \"released optim.share_fakes=false\"")
    precision = pairs.pop("precision", base.precision)
    config = resolve(data, variants[0], scale, parts, base.config.seed, overrides) if variants else base.config
    return Setting(text, config.replace(pairs), precision)
