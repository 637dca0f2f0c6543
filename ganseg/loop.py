"""The loop that both stages share: budgets, checkpoints, resume, history, progress; and files of weights."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from tqdm.auto import tqdm

from ganseg.devices import Fabric
from ganseg.files import UserError, atomic_path
from ganseg.training import GanTrainer, SegmenterTrainer

WINDOW = 20  # steps that one row of history.csv averages


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


class Recorder:
    """What a stage leaves in the run's folder: its checkpoint, and rows of mean losses for `history.csv`.

    A checkpoint holds the trainer's parts, the number of finished steps, the seconds they took, and the rows.
    """

    def __init__(self, trainer: GanTrainer | SegmenterTrainer, directory: Path) -> None:
        self.trainer = trainer
        self.path, self.csv = directory / "checkpoint" / f"{trainer.name}.pt", directory / "history.csv"
        self.first, self.before, self.rows, self.pending = 0, 0.0, [], []
        if self.path.exists():
            self._load()
        if self.csv.exists():
            kept = pd.read_csv(self.csv)
            self.rows = kept[kept.stage != trainer.name].to_dict("records") + self.rows
        self.start = self.saved = time.monotonic()

    def _load(self) -> None:
        """Go on from the checkpoint."""
        state = load_state(self.path)
        try:
            for name, part in self.trainer.parts().items():
                part.load_state_dict(state[name])
            self.first, self.before, self.rows = state["step"], state["seconds"], state["rows"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise UserError(f"{self.path} is of another training ({error}); delete it and train again") from None

    @property
    def seconds(self) -> float:
        """Time spent in this stage, the interrupted parts included."""
        return self.before + time.monotonic() - self.start

    def add(self, step: int, values: dict[str, Tensor]) -> dict[str, float]:
        """Keep the losses of a step; at a window's end read them off the device, and return their means."""
        self.pending.append((step, values))
        return self.flush() if len(self.pending) == WINDOW else {}

    def flush(self) -> dict[str, float]:
        """Turn pending losses into a row. UserError at the first loss that is not finite."""
        seen: dict[str, list[float]] = {}
        for step, values in self.pending:
            for name, value in values.items():
                seen.setdefault(name, []).append(float(value))
                if not math.isfinite(seen[name][-1]):
                    raise UserError(
                        f"the loss {name!r} became {seen[name][-1]} at step {step} of stage {self.trainer.name!r}; "
                        "a smaller learning rate or --set optim.precision=32-true may help"
                    )
        means = {name: sum(v) / len(v) for name, v in seen.items()}
        if self.pending:
            row = {"stage": self.trainer.name, "step": self.pending[-1][0] + 1, "seconds": round(self.seconds, 2)}
            self.rows.append(row | means)
        self.pending.clear()
        return means

    def save(self, step: int) -> None:
        """Write everything, `step` steps being done; the first process writes and the others wait."""
        self.flush()
        if self.trainer.fabric.is_global_zero:
            own = [row for row in self.rows if row["stage"] == self.trainer.name]
            state = {name: part.state_dict() for name, part in self.trainer.parts().items()}
            save_state(self.path, state | {"step": step, "seconds": self.seconds, "rows": own})
            with atomic_path(self.csv) as temporary:
                pd.DataFrame(self.rows).to_csv(temporary, index=False, float_format="%.6g")
        self.trainer.fabric.barrier()
        self.saved = time.monotonic()


def fit(
    trainer: GanTrainer | SegmenterTrainer,
    steps: int,
    directory: Path,
    clock: Clock,
    *,
    every: float = 60,
    progress: bool = True,
    on_checkpoint: Callable[[int], None] | None = None,
) -> float:
    """Run `trainer` for `steps` steps in all, resuming from its checkpoint in `directory`.

    Saves every `every` seconds and at the end, and then the first process calls `on_checkpoint(step)`. Returns the
    seconds spent training, resumed parts included. OutOfTime when `clock` runs out, UserError at a loss not finite.
    """
    recorder, fabric = Recorder(trainer, directory), trainer.fabric
    first, silent = recorder.first, not (progress and fabric.is_global_zero)
    with tqdm(total=steps, initial=first, desc=trainer.name, unit="step", disable=silent, mininterval=1) as bar:
        for t in range(first, steps):
            means = recorder.add(t, trainer.step(t))
            bar.update()
            if means:
                bar.set_postfix({k: f"{v:.3g}" for k, v in means.items()}, refresh=False)
            due = bool(means) and time.monotonic() - recorder.saved > every  # rows do not depend on it
            over, due = agreed(fabric, clock.over and t + 1 < steps, due)
            if over or due or t + 1 == steps:
                recorder.save(t + 1)
                if on_checkpoint and fabric.is_global_zero:
                    on_checkpoint(t + 1)
            if over:
                where = f"step {t + 1} of {steps} of stage {trainer.name!r}"
                raise OutOfTime(f"stopped at {where}; the same command goes on from there")
    return recorder.before if first == steps else recorder.seconds


def agreed(fabric: Fabric, *wishes: bool) -> tuple[bool, ...]:
    """The first process decides for all, so that all save and stop together."""
    return wishes if fabric.world_size == 1 else fabric.broadcast(wishes)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state, whole or not at all."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote, on the CPU; nothing in the file is executed. UserError for a damaged file."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}); delete it and train again") from None


def save_weights(path: Path, module: nn.Module) -> None:
    """Write the weights of `module` as safetensors, whole or not at all."""
    with atomic_path(path) as temporary:
        save_model(module, str(temporary))
        temporary.chmod(0o644)  # safetensors writes for the owner alone; groups share clusters


def load_weights(path: Path, module: nn.Module) -> nn.Module:
    """`module` with the weights that `save_weights` wrote. UserError where they are missing, damaged or others."""
    try:
        load_model(module, path)
    except FileNotFoundError:
        lacking = "weights are not part of a published run: train it again to have them"
        raise UserError(f"{path} is not there; {lacking}") from None
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and train again") from None
    return module
