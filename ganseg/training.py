"""Learning: the adversarial game (Eq. 18, 19), the segmentation network on generated pairs, the loop that both share.

Every random draw of step t is a function of (seed, t) alone, so a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from tqdm.auto import tqdm

from ganseg import losses
from ganseg.config import Config
from ganseg.data import Batches
from ganseg.devices import Fabric, adam, own, place, update
from ganseg.discriminator import Discriminator
from ganseg.files import UserError, atomic_path
from ganseg.generator import Generator, Noise, Scene
from ganseg.segmenter import Segmenter, segmentation_loss

WINDOW = 20  # steps that a row of history.csv averages


def seed_step(seed: int, stage: str, step: int) -> None:
    """Seed every random draw of this step, alike in all processes."""
    torch.manual_seed(zlib.crc32(f"{seed}/{stage}/{step}/0".encode()))


def to_unit(images: Tensor, device: torch.device) -> Tensor:
    """uint8 [0, 255] -> float [-1, 1] on `device`."""
    return images.to(device, non_blocking=True).float().div_(127.5).sub_(1)


class GanTrainer:
    """Stage 1: a step of D on real images and detached fakes (Eq. 18), then one of G through the updated D (Eq. 19).

    Each has an autocast of its own: autocast keeps rounded weights until it ends, and G must meet D as updated.
    """

    name = "gan"

    def __init__(self, config: Config, fabric: Fabric, stream: Batches) -> None:
        seed_step(config.seed, "init", 0)
        self.config, self.fabric, self.stream, optim = config, fabric, stream, config.optim
        self.generator = place(Generator(config.generator), fabric)
        self.discriminator = place(Discriminator(config.discriminator, config.data.size), fabric)
        self.ema = copy.deepcopy(self.generator).requires_grad_(False) if optim.ema else None
        self.g_optim = adam(self.generator, optim.lr_generator, optim.betas, fabric)
        self.d_optim = adam(self.discriminator, optim.lr_discriminator, optim.betas, fabric)
        self.result = self.ema or self.generator  # the generator to use
        self.parts = {"generator": self.generator, "discriminator": self.discriminator}  # what a checkpoint holds
        self.parts |= {"g_optim": self.g_optim, "d_optim": self.d_optim} | ({"ema": self.ema} if self.ema else {})

    def step(self, t: int) -> dict[str, Tensor]:
        """Train both networks once; returns the losses of step `t`."""
        seed_step(self.config.seed, self.name, t)
        real = to_unit(own(self.stream.batch(t), self.fabric), self.fabric.device)
        scene = self.scene()
        values = self.discriminator_step(t, real, scene.image.detach())
        if not self.config.optim.share_fakes:
            scene = self.scene()
        values |= self.generator_step(t, scene)
        self.average()
        return values

    def scene(self) -> Scene:
        """A fresh batch of generated scenes."""
        noise = self.generator.noise(self.config.optim.batch_size)
        with self.fabric.autocast():
            return self.generator(Noise(*(own(z, self.fabric) for z in noise)))

    def discriminator_step(self, t: int, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """One step of D (Eq. 18), with the penalty in every `penalty_every`-th."""
        weights, penalty, values = self.config.losses, torch.zeros(()), {}
        with self.fabric.autocast():
            fake_logits, real_logits = self.discriminator(torch.cat([fake, real])).chunk(2)
            gan = losses.discriminator_loss(fake_logits, real_logits)
            if weights.lambda_gp and t % weights.penalty_every == 0:
                penalty = losses.gradient_penalty(self.discriminator, real, weights.gradient_penalty)
                values = {"gp": penalty.detach()}
            loss = losses.discriminator_objective(gan, penalty, weights)
        update(self.discriminator, self.d_optim, loss, self.fabric)
        return {"d": gan.detach(), **values}

    def generator_step(self, t: int, scene: Scene) -> dict[str, Tensor]:
        """One step of G (Eq. 19), with the geometric losses in every `geometry_every`-th."""
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
            torch._foreach_lerp_([*self.ema.parameters()], [*self.generator.parameters()], 1 - self.config.optim.ema)
            torch._foreach_copy_([*self.ema.buffers()], [*self.generator.buffers()])


class SegmenterTrainer:
    """Stage 2: the segmentation network on a stream of generated pairs; G is in eval mode and does not change."""

    name = "segmenter"

    def __init__(self, config: Config, fabric: Fabric, generator: Generator) -> None:
        seed_step(config.seed, "init-segmenter", 0)
        self.config, self.fabric = config, fabric
        self.generator = generator.eval().requires_grad_(False)
        self.result = self.segmenter = place(Segmenter(config.segmenter, config.generator.parts), fabric).train()
        self.s_optim = adam(self.segmenter, config.segmenter.lr, (0.9, 0.999), fabric)
        self.parts = {"segmenter": self.segmenter, "s_optim": self.s_optim}  # what a checkpoint holds

    def step(self, t: int) -> dict[str, Tensor]:
        """Train the segmentation network once; returns its loss."""
        seed_step(self.config.seed, self.name, t)
        noise = self.generator.noise(self.config.segmenter.batch_size)
        with self.fabric.autocast():
            with torch.no_grad():
                images, labels = self.generator.pairs(Noise(*(own(z, self.fabric) for z in noise)))
            loss = segmentation_loss(self.segmenter(images.clamp(-1, 1)), labels)
        update(self.segmenter, self.s_optim, loss, self.fabric)
        return {"segmentation": loss.detach()}


class OutOfTime(Exception):
    """The wall-clock budget ended before the steps did; everything is saved and the run can be resumed."""


def fit(
    trainer: GanTrainer | SegmenterTrainer,
    steps: int,
    directory: Path,
    *,
    deadline: float = math.inf,
    every: float = 60,
    progress: bool = True,
    on_checkpoint: Callable[[int], None] | None = None,
) -> float:
    """Run `trainer` for `steps` steps in all, resuming from its checkpoint in `directory`; the seconds it took in all.

    Saves every `every` seconds and at the end, and then the first process calls `on_checkpoint(step)`. OutOfTime at
    `deadline` (of `time.monotonic`), UserError at a loss that is not finite.
    """
    fabric, name, path = trainer.fabric, trainer.name, directory / "checkpoint" / f"{trainer.name}.pt"
    first, rows = load_state(path, trainer.parts) if path.exists() else (0, [])
    window, saved, silent = [], time.monotonic(), not (progress and fabric.is_global_zero)
    start = saved - (rows[-1]["seconds"] if rows else 0)
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=name, unit="step", disable=silent, mininterval=1)
    for t in bar:
        window.append(trainer.step(t))
        full, last = len(window) == WINDOW, t + 1 == steps
        due = full and time.monotonic() - saved > every  # at a window's end: rows do not depend on it
        over, due = fabric.broadcast(
            (time.monotonic() >= deadline and not last, due)
        )  # the first process decides for all
        if full or over or last:
            means, window = mean_losses(window, name, t + 1), []
            rows.append({"stage": name, "step": t + 1, "seconds": round(time.monotonic() - start, 2), **means})
            bar.set_postfix(means, refresh=False)
        if over or due or last:
            save_state(path, trainer, t + 1, rows)
            if on_checkpoint and fabric.is_global_zero:
                on_checkpoint(t + 1)
            saved = time.monotonic()
        if over:
            where = f"step {t + 1} of {steps} of stage {name!r}"
            raise OutOfTime(f"stopped at {where}; the same command goes on from there")
    return rows[-1]["seconds"] if rows else 0.0


def mean_losses(window: list[dict[str, Tensor]], stage: str, end: int) -> dict[str, float]:
    """Means over a `window` of steps that ends before step `end`. UserError at the first loss that is not finite."""
    seen = defaultdict(list)
    for step, values in enumerate(window, end - len(window)):
        for name, value in values.items():
            seen[name].append(value.item())
            if not value.isfinite():
                raise UserError(
                    f"the loss {name!r} became {value.item()} at step {step} of stage {stage!r}; "
                    "a smaller learning rate or --set optim.precision=32-true may help"
                )
    return {name: sum(values) / len(values) for name, values in seen.items()}


def save_state(path: Path, trainer: GanTrainer | SegmenterTrainer, step: int, rows: list[dict[str, Any]]) -> None:
    """Write the checkpoint, and its `rows` of mean losses among those of the other stage in `history.csv`."""
    history, state = path.parents[1] / "history.csv", {"step": step, "rows": rows}
    if trainer.fabric.is_global_zero:
        kept = pd.read_csv(history) if history.exists() else pd.DataFrame({"stage": []})
        rows = kept[kept.stage != trainer.name].to_dict("records") + rows
        with atomic_path(history) as temporary:
            pd.DataFrame(rows).to_csv(temporary, index=False, float_format="%.6g")
        with atomic_path(path) as temporary:
            torch.save(state | {name: part.state_dict() for name, part in trainer.parts.items()}, temporary)
    trainer.fabric.barrier()


def load_state(path: Path, parts: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    """Read a checkpoint into `parts`, executing nothing in it; the number of finished steps and their rows."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["step"], state["rows"]
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is damaged or of another training ({reason}); delete it and train again") from None


def save_weights(path: Path, module: nn.Module) -> None:
    """Write the weights of `module` as safetensors, whole or not at all."""
    with atomic_path(path) as temporary:
        save_model(module, str(temporary))
        temporary.chmod(0o644)  # safetensors writes for the owner alone; groups share clusters


def load_weights(path: Path, module: nn.Module) -> nn.Module:
    """Read weights of `save_weights` into `module`; UserError for a missing or damaged file, or another network's."""
    try:
        load_model(module, path)
        return module
    except FileNotFoundError:
        fault = "is not there; weights are not part of a published run: train it again to have them"
    except SafetensorError as error:
        fault = f"is damaged ({error}); delete it and train again"
    except RuntimeError as error:
        fault = f"does not hold the weights of this network: {str(error).splitlines()[-1].strip()}"
    raise UserError(f"{path} {fault}")
