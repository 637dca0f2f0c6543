"""The loop both stages share: budgets, checkpoints, resume, history, progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pandas as pd
from torch import Tensor
from tqdm.auto import tqdm

from ganseg.checkpoints import Part, load_checkpoint, save_checkpoint
from ganseg.devices import Fabric
from ganseg.files import UserError, atomic_path


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
        """Keep the losses of a step; at a window's end read them off the device, check them, return their means."""
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
                    raise UserError(
                        f"the loss {name!r} became {values[name][-1]} at step {step} of stage {stage!r}; "
                        "a smaller learning rate or --set optim.precision=32-true may help"
                    )
        if not self.pending:
            return {}
        means = {name: sum(v) / len(v) for name, v in values.items()}
        self.rows.append({"stage": stage, "step": self.pending[-1][0] + 1, "seconds": round(seconds, 2), **means})
        self.pending.clear()
        return means

    def seconds(self, stage: str) -> float:
        """Seconds spent in `stage` so far."""
        return max((float(row["seconds"]) for row in self.rows if row["stage"] == stage), default=0.0)

    def save(self) -> None:
        """Write all rows, whole or not at all."""
        with atomic_path(self.path) as temporary:
            pd.DataFrame(self.rows).to_csv(temporary, index=False, float_format="%.6g")


@dataclass
class Recorder:
    """What a stage leaves on disk while it trains: checkpoints, `history.csv`, and what `on_checkpoint` draws."""

    trainer: Trainer
    directory: Path
    on_checkpoint: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        """Go on from the checkpoint in the directory, where there is one."""
        self.path = self.directory / "checkpoint" / f"{self.trainer.name}.safetensors"
        self.first = load_checkpoint(self.path, self.trainer.parts()) if self.path.exists() else 0
        self.history = History(self.directory / "history.csv")
        self.history.load(self.trainer.name, self.first)
        self.before, self.start = self.history.seconds(self.trainer.name), time.monotonic()
        self.saved = self.start

    @property
    def seconds(self) -> float:
        """Time spent in this stage, the interrupted parts included."""
        return self.before + time.monotonic() - self.start

    def add(self, step: int, losses: dict[str, Tensor]) -> dict[str, float]:
        """Record one step; returns mean losses at the end of a window."""
        return self.history.add(self.trainer.name, step, losses, self.seconds)

    def save(self, step: int) -> None:
        """Write everything, `step` steps being done; the first process writes and the others wait."""
        self.history.flush(self.trainer.name, self.seconds)
        if self.trainer.fabric.is_global_zero:
            save_checkpoint(self.path, self.trainer.parts(), step)
            self.history.save()
            if self.on_checkpoint:
                self.on_checkpoint(step)
        self.trainer.fabric.barrier()
        self.saved = time.monotonic()


def fit(
    trainer: Trainer,
    steps: int,
    directory: Path,
    clock: Clock,
    *,
    every: float = 60,
    progress: bool = True,
    on_checkpoint: Callable[[int], None] | None = None,
) -> float:
    """Run `trainer` for `steps` steps in all, resuming from its checkpoint in `directory`.

    Saves every `every` seconds and at the end; calls `on_checkpoint(step)` after each save. Returns the seconds spent
    training, resumed parts included. Raises OutOfTime when `clock` runs out and UserError when a loss is not finite.
    """
    recorder, fabric = Recorder(trainer, directory, on_checkpoint), trainer.fabric
    silent = not (progress and fabric.is_global_zero)
    with tqdm(
        total=steps, initial=recorder.first, desc=trainer.name, unit="step", disable=silent, mininterval=1
    ) as bar:
        for t in range(recorder.first, steps):
            means = recorder.add(t, trainer.step(t))
            bar.update()
            if means:
                bar.set_postfix({k: f"{v:.3g}" for k, v in means.items()}, refresh=False)
            due = (
                bool(means) and time.monotonic() - recorder.saved > every
            )  # at the end of a window: rows do not depend on it
            over, due = _agreed(fabric, (clock.over and t + 1 < steps, due))
            if over or due or t + 1 == steps:
                recorder.save(t + 1)
            if over:
                raise OutOfTime(
                    f"stopped at step {t + 1} of {steps} of stage {trainer.name!r}; the same command goes on from there"
                )
    return recorder.history.seconds(trainer.name)


def _agreed(fabric: Fabric, wishes: tuple[bool, bool]) -> tuple[bool, bool]:
    """The first process decides for all, so that all save and stop together."""
    return wishes if fabric.world_size == 1 else fabric.broadcast(wishes)
