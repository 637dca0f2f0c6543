"""The loop that both stages share: a budget of time, checkpoints to go on from, history.csv, files of weights."""

import hashlib
import io
import math
import signal
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from ganseg.files import OutOfTime, UserError, atomic_path, reading
from ganseg.progress import follow
from ganseg.training import GanTrainer, SegmenterTrainer

WINDOW = 20  # steps that a row of history.csv averages
Trainer = GanTrainer | SegmenterTrainer


def fit(trainer: Trainer, steps: int, directory: Path, *, deadline: float = math.inf, every: float = 60,
        progress: bool = True, marks: Container[int] = (), on_mark: Callable[[int], Any] = print) -> float:  # fmt: skip
    """Run `trainer` for `steps` steps in all, resuming from its checkpoint in `directory`; the seconds it took in all.

    Saves every `every` seconds and at the end. After so many steps as `marks` has, every process calls `on_mark(step)`.
    OutOfTime at `deadline` (of `time.monotonic`), KeyboardInterrupt after a Ctrl-C or SIGTERM, both once the step is
    done and saved; UserError at a loss that is not finite.
    """
    fabric, name, path = trainer.fabric, trainer.name, directory / "checkpoint" / f"{trainer.name}.pt"
    first, rows = load_state(path, trainer) if path.exists() else (0, [])
    window, saved, silent = [], time.monotonic(), not (progress and fabric.is_global_zero)
    start = saved - (rows[-1]["seconds"] if rows else 0)
    about = {"desc": f"{directory.name} {name}", "unit": " steps", "disable": silent, "mininterval": 1}
    bar = follow(range(first, steps), initial=first, total=steps, **about)
    with signals() as told:
        for t in bar:
            window.append(trainer.step(t))
            full, last = len(window) == WINDOW, t + 1 == steps
            over = bool(told) or (time.monotonic() >= deadline and not last)
            due = full and time.monotonic() - saved > every  # at a window's end: rows do not depend on it
            meet = full or last or fabric.world_size == 1  # several processes do at a window's end; the first decides
            over, due = fabric.broadcast((over, due)) if meet else (False, False)
            if full or over or last:
                means, window = mean_losses(window, name, t + 1), []
                rows.append({"stage": name, "step": t + 1, "seconds": round(time.monotonic() - start, 2), **means})
                bar.set_postfix(means, refresh=False)
            if t + 1 in marks:
                on_mark(t + 1)
            if over or due or last:
                save_state(path, trainer, t + 1, rows)
                saved = time.monotonic()
            if over:
                stopped = f"stopped at step {t + 1} of {steps} of stage {name!r}; the same command goes on"
                raise KeyboardInterrupt(stopped) if told else OutOfTime(stopped)
    return rows[-1]["seconds"] if rows else 0.0


@contextmanager
def signals() -> Iterator[list[int]]:
    """Those of Ctrl-C and SIGTERM that have come since, noted instead of followed; a second one is followed at once."""
    came: list[int] = []
    usual: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        came.append(number)
        signal.signal(number, usual[number])

    if threading.current_thread() is threading.main_thread():
        usual |= {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def mean_losses(window: list[dict[str, Tensor]], stage: str, end: int) -> dict[str, float]:
    """Means over a `window` of steps that ends before step `end`. UserError at the first loss that is not finite."""
    seen = defaultdict(list)
    for step, values in enumerate(window, end - len(window)):
        for name, value in values.items():
            seen[name].append(value.item())
            if not value.isfinite():
                remedy = "a smaller learning rate or --set optim.precision=32-true may help"
                raise UserError(f"the loss {name!r} became {value.item()} at step {step} of stage {stage!r}; {remedy}")
    return {name: sum(values) / len(values) for name, values in seen.items()}


def save_state(path: Path, trainer: Trainer, step: int, rows: list[dict[str, Any]]) -> None:
    """Write the checkpoint, which has its `rows` of mean losses; before, these and the other stage's `history.csv`."""
    if trainer.fabric.is_global_zero:
        history, others, buffer = path.parents[1] / "history.csv", [], io.BytesIO()
        if history.exists():
            with reading(history, "Delete it; what it had of another stage is lost."):
                others = [row for row in pd.read_csv(history).to_dict("records") if row["stage"] != trainer.name]
        with atomic_path(history) as temporary:
            pd.DataFrame(others + rows).to_csv(temporary, index=False, float_format="%.6g")
        state = {"run": history.parent.name, "step": step, "rows": rows}
        state |= {"precision": trainer.fabric.strategy.precision.state_dict()}
        torch.save(state | {name: part.state_dict() for name, part in trainer.parts.items()}, buffer)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())  # torch would not say that a disk is full
    trainer.fabric.barrier()


def load_state(path: Path, trainer: Trainer) -> tuple[int, list[dict[str, Any]]]:
    """Read a checkpoint into `trainer`, executing nothing in it; the number of finished steps and their rows."""
    with reading(path, "It is damaged or of another training: delete it and train again."):
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():  # torch does not look at checksums
                raise ValueError(f"the checksum of {damaged} is another")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("run", run := path.parents[1].name) != run:
            raise ValueError(f"it is of {state['run']}")
        for name, part in trainer.parts.items():
            part.load_state_dict(state[name])
        if state["precision"]:  # the scaler of fp16; other precisions have none
            trainer.fabric.strategy.precision.load_state_dict(state["precision"])
        return state["step"], state["rows"]


def save_weights(path: Path, module: nn.Module, half: bool = False) -> str:
    """Write the weights of `module` as safetensors, whole or not at all; the SHA-256 of the file.

    `half`: matrices and kernels in half precision. `module` takes them over, so that what is measured next is what is
    on disk.
    """
    state = {name: t.half() if half and t.dim() > 1 else t for name, t in module.state_dict().items()}
    content = save({name: t.contiguous() for name, t in state.items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    module.load_state_dict(state)
    return hashlib.sha256(content).hexdigest()


def load_weights(path: Path, module: nn.Module, sha256: str | None = None) -> nn.Module:
    """Read weights of `save_weights` into `module`; UserError for a file that is missing, damaged or another's."""
    remedy = "`ganseg models` lists runs that come with weights; of another, delete what is there and train it again."
    with reading(path, remedy):
        content = path.read_bytes()
        if sha256 not in (None, found := hashlib.sha256(content).hexdigest()):
            raise ValueError(f"its SHA-256 is {found}, of what was trained {sha256}")
        module.load_state_dict(load(content))
    return module
