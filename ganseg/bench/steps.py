"""The settings that are compared, built, and taking their training steps."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from ganseg.bench.plain_step import PlainTrainer
from ganseg.config import Config
from ganseg.data import DATASETS, Batches, Split
from ganseg.devices import make_fabric
from ganseg.files import UserError
from ganseg.recipes import resolve
from ganseg.training import GanTrainer

IMAGES = 256  # random images in the stream, at least


@dataclass(frozen=True)
class Setting:
    """One way to take a training step.

    `kind`: "ours", or "plain", the released code's step. `adjust` changes the trainer once it is built;
    `around` is a context in which it is built and every step is taken. Both serve to switch off what no field
    of the configuration does.
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
    return make_fabric(device, precision=setting.precision, wanted=setting.config.optim.precision)


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


def other(text: str, base: Setting, data: str, scale: str, parts: int | None, overrides: dict[str, Any]) -> Setting:
    """The setting that `text` asks to compare with: "plain"; or a variant and settings, as in "released
    optim.ema=0 precision=32-true".

    Everything that `text` does not name is as in `base`.
    """
    words = text.split()
    if words == ["plain"]:
        config = resolve(data, "released", scale, parts, base.config.seed, overrides)
        return Setting("plain", config, "32-true", "plain")
    pairs = dict(word.split("=", 1) for word in words if "=" in word)
    variants = [word for word in words if "=" not in word]
    if len(variants) > 1 or not words:
        raise UserError(
            f'--against {text!r}: write plain, or a variant and settings: "released optim.share_fakes=false"'
        )
    precision = pairs.pop("precision", base.precision)
    config = resolve(data, variants[0], scale, parts, base.config.seed, overrides) if variants else base.config
    return Setting(text, config.replace(pairs), precision)
