"""The loop both stages share: budgets, checkpoints, resume, history, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ganseg.checkpoints import Part, load_checkpoint, save_checkpoint
from ganseg.devices import Fabric
from ganseg.errors import UserError
from ganseg.files import atomic_path


class Trainer(Protocol):
    """What `fit` trains."""

    name: str
    fabric: Fabric

    def step(self, t: int) -> dict[str, Tensor]:
        """Do step `t`, return its losses."""

    def parts(self) -> dict[str, Part]:
        """Modules and optimizers a checkpoint must hold."""


class OutOfTime(Exception):
    """The wall-clock budget ended before the steps did; everything is saved and the run can be resumed."""


@dataclass
class Clock:
    """A wall-clock budget in seconds for the whole run; None is no limit."""

    limit: float | None = None
    start: float = field(default_factory=time.monotonic)

    @property
    def over(self) -> bool:
        """Whether the budget is spent."""
        return self.limit is not None and time.monotonic() - self.start > self.limit


@dataclass
class History:
    """Losses averaged over windows of steps: one row a window, one file for both stages (`history.csv`)."""

    path: Path
    window: int = 20
    rows: list[dict[str, float | str]] = field(default_factory=list)
    pending: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)

    def load(self, stage: str, step: int) -> None:
        """Read the rows that came before `step` of `stage`; later ones will be made again."""
        if self.path.exists():
            rows = pd.read_csv(self.path)
            self.rows = rows[(rows.stage != stage) | (rows.step <= step)].to_dict("records")

    def add(self, stage: str, step: int, losses: dict[str, Tensor], seconds: float) -> dict[str, float]:
        """Keep the losses of a step; at the end of a window read them off the device, check them, return their means."""
        self.pending.append((step, losses))
        if len(self.pending) < self.window:
            return {}
        return self.flush(stage, seconds)

    def flush(self, stage: str, seconds: float) -> dict[str, float]:
        """Turn pending losses into a row. UserError at the first loss that is not finite."""
        values: dict[str, list[float]] = {}
        for step, losses in self.pending:
            for name, value in losses.items():
                values.setdefault(name, []).append(float(value))
                if not math.isfinite(values[name][-1]):
                    raise UserError(f"the loss {name!r} became {values[name][-1]} at step {step} of stage {stage!r}; "
                                    "a smaller learning rate or --set optim.precision=32-true may help")
        if not self.pending:
            return {}
        means = {name: sum(v) / len(v) for name, v in values.items()}
        self.rows.append({"stage": stage, "step": self.pending[-1][0] + 1, "seconds": round(seconds, 2), **means})
        self.pending.clear()
        return means

    def save(self) -> None:
        """Write all rows, whole or not at all."""
        with atomic_path(self.path) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False, float_format="%.6g")


def fit(trainer: Trainer, steps: int, directory: Path, clock: Clock, *, every: float = 60, progress: bool = True,
        on_checkpoint: Callable[[int], None] | None = None) -> float:
    """Run `trainer` for `steps` steps in all, resuming from its checkpoint in `directory`.

    Saves every `every` seconds and at the end; calls `on_checkpoint(step)` after each save. Returns the seconds spent training, resumed
    parts included. Raises OutOfTime when `clock` runs out and UserError when a loss is not finite.
    """
    path, writer = directory / "checkpoint" / f"{trainer.name}.safetensors", trainer.fabric.is_global_zero
    first = load_checkpoint(path, trainer.parts()) if path.exists() else 0
    history = History(directory / "history.csv")
    history.load(trainer.name, first)
    before = _seconds_spent(history, trainer.name)
    saved = start = time.monotonic()

    def save(step: int) -> None:
        history.flush(trainer.name, before + time.monotonic() - start)
        if writer:
            save_checkpoint(path, trainer.parts(), step)
            history.save()
            if on_checkpoint:
                on_checkpoint(step)
        trainer.fabric.barrier()

    with tqdm(total=steps, initial=first, desc=trainer.name, unit="step", disable=not (progress and writer), mininterval=1) as bar:
        for t in range(first, steps):
            means = history.add(trainer.name, t, trainer.step(t), before + time.monotonic() - start)
            bar.update()
            if means:
                bar.set_postfix({k: f"{v:.3g}" for k, v in means.items()}, refresh=False)
            if _agreed(trainer.fabric, clock.over) and t + 1 < steps:
                save(t + 1)
                raise OutOfTime(f"stopped at step {t + 1} of {steps} of stage {trainer.name!r}; the same command goes on from there")
            if _agreed(trainer.fabric, time.monotonic() - saved > every):
                save(t + 1)
                saved = time.monotonic()
    if first < steps:
        save(steps)
    return _seconds_spent(history, trainer.name)


def _seconds_spent(history: History, stage: str) -> float:
    return max((float(row["seconds"]) for row in history.rows if row["stage"] == stage), default=0.0)


def _agreed(fabric: Fabric, wish: bool) -> bool:
    """The first process decides for all, so that all save and stop together."""
    if fabric.world_size == 1:
        return wish
    return bool(fabric.broadcast(torch.tensor(wish)))
