"""The book's experiments in the order in which they are worth their time; work on them within a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganseg import executions
from ganseg.data import DATASETS
from ganseg.experiments import CONFIG, METRICS, Experiment, find_runs, run
from ganseg.files import UserError
from ganseg.packing import Packed, pack

# (data, variant, K), the most telling first; all of them with the first seed, then all with the next.
STUDIES: tuple[tuple[str, str, int], ...] = (
    ("flowers", "paper", 8),
    ("flowers", "released", 8),
    ("synthetic-face", "paper", 8),
    ("flowers", "paper+no-concentration", 8),
    ("flowers", "paper+no-area", 8),
    ("flowers", "paper+no-points", 8),
    ("flowers", "paper+no-background", 8),
    ("flowers", "paper+no-points+no-background", 8),
)
SEEDS = (0, 1, 2)

State = Literal["finished", "begun", "to do", "no data"]


def experiments(
    scale: str = "gpu",
    data_dirs: Mapping[str, str | Path] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Experiment]:
    """The queue at `scale`; `data_dirs`: folders of data sets by name. UserError for an unknown data set."""
    folders = {_dataset(name): folder for name, folder in (data_dirs or {}).items()}
    return [
        Experiment(data, variant, parts, seed, scale, folders.get(_dataset(data)), overrides or {})
        for seed in SEEDS
        for data, variant, parts in STUDIES
    ]


def state(experiment: Experiment, results: str | Path | None = None) -> State:
    """What has become of an experiment. A published run counts as finished: its weights are not asked for."""
    directory = experiment.directory(results)
    if (directory / METRICS).exists():
        return "finished"
    if DATASETS[experiment.data].needs_dir and not experiment.data_dir:
        return "no data"
    return "begun" if (directory / CONFIG).exists() else "to do"


@dataclass
class Worker:
    """Works on experiments one after the other for `budget` seconds from `start` (monotonic clock) on.

    What it says goes to `say`. Packs into `out`, where given, after each finished experiment and at the end.
    """

    budget: float
    results: str | Path | None = None
    out: str | Path | None = None
    weights_mb: float = 0
    device: str = "auto"
    notebooks: bool = True
    progress: bool = True
    say: Callable[[str], None] = print
    start: float = field(default_factory=time.monotonic)
    failures: list[str] = field(default_factory=list)
    seconds_packing: float = 0.0  # the longest pack so far
    packed: Packed | None = None

    @property
    def left(self) -> float:
        """Seconds until the budget is spent."""
        return self.budget - (time.monotonic() - self.start)

    def work(self, queue: Sequence[Experiment]) -> None:
        """Finish what can be finished. OutOfTime: the budget ended first; the next call goes on."""
        from ganseg.training import OutOfTime

        done, remaining = (
            0,
            [experiment for experiment in queue if state(experiment, self.results) != "finished"],
        )
        try:
            self.afterwards(queue)
            for experiment in remaining:
                done += self.attempt(experiment)
        except OutOfTime as error:
            raise OutOfTime(
                f"{done} experiments finished in this call, {self.count(queue)} are left; {error}"
            ) from None
        finally:
            self.pack(queue)
        if self.failures:
            raise UserError("; ".join(self.failures))

    def attempt(self, experiment: Experiment) -> bool:
        """Train one experiment or go on with it; True when it is finished. OutOfTime: the budget ended."""
        name, kind = experiment.name, state(experiment, self.results)
        if kind == "no data":
            self.say(f"skipped {name}: no folder for the data set; give --data-dir {experiment.data}=DIR")
            return False
        with claimed(experiment, self.results) as free:
            if not free:
                self.say(f"skipped {name}: another process trains it")
                return False
            try:
                self.train(experiment)
            except UserError as error:
                self.failures.append(f"{name}: {error}")
                self.say(f"failed {name}: {error}")
                return False
        self.say(f"finished {name} after {time.monotonic() - self.start:.0f} s of this call")
        self.afterwards([experiment])
        return True

    def train(self, experiment: Experiment) -> None:
        """Run `experiment` for what is left of the budget less what its evaluation and packing will take."""
        from ganseg.training import OutOfTime

        prepare(experiment)
        reserve = self.evaluation(experiment) + self.seconds_packing
        if self.left <= reserve:
            raise OutOfTime(
                f"{experiment.name} was not begun: {max(0, self.left):.0f} s are left, and evaluating and "
                f"packing it take {reserve:.0f} s; the same command goes on with it"
            )
        self.say(
            f"{state(experiment, self.results)}: {experiment.name}, {self.left - reserve:.0f} s to train and "
            f"{reserve:.0f} s in reserve"
        )
        run(
            experiment,
            self.results,
            need="metrics",
            time_limit=self.left - reserve,
            device=self.device,
            progress=self.progress,
        )

    def evaluation(self, experiment: Experiment) -> float:
        """Seconds that the evaluation takes: as on this device and data before, else by a rehearsal."""
        from ganseg.devices import make_fabric
        from ganseg.provenance import describe_machine

        device = describe_machine(make_fabric(self.device).device)["device"]
        before = [
            found.provenance["seconds_evaluation"]
            for found in find_runs(self.results, experiment.scale, data=experiment.data)
            if found.provenance["device"] == device
        ]
        return max(before) if before else rehearse(experiment, self.device)

    def afterwards(self, queue: Sequence[Experiment]) -> None:
        """Execute the notebooks that can be executed now, as far as time allows, and pack."""
        self.pack(queue)
        if self.notebooks and queue:
            self.execute_notebooks(queue[0])
            self.pack(queue)

    def execute_notebooks(self, experiment: Experiment) -> None:
        """On the queue's first data and seed: a scale keeps one execution of each notebook."""
        if (experiment.data, experiment.seed) != (_dataset(STUDIES[0][0]), SEEDS[0]):
            return
        for path in executions.pending(experiment, self.results):
            if self.left > self.seconds_packing:
                said = executions.execute(path, experiment, self.results, self.left - self.seconds_packing)
                self.say(said)
                self.failures += [said] if said.startswith("failed") else []

    def pack(self, queue: Sequence[Experiment]) -> None:
        """Pack what is there, and remember how long it took."""
        if self.out is not None and queue:
            begin = time.monotonic()
            self.packed = pack(queue[0].scale, self.out, self.results, self.weights_mb)
            self.seconds_packing = max(self.seconds_packing, time.monotonic() - begin)

    def count(self, queue: Sequence[Experiment]) -> int:
        """Experiments that are not finished and could be."""
        return sum(state(experiment, self.results) in ("begun", "to do") for experiment in queue)


def prepare(experiment: Experiment) -> None:
    """Decode the images of `experiment` into the cache, so that no training waits for it."""
    from ganseg.evaluation import held_out
    from ganseg.pipeline import training_images

    training_images(experiment.config, experiment.data_dir)
    held_out(experiment.config, experiment.data_dir)


def rehearse(experiment: Experiment, device: str = "auto") -> float:
    """Seconds that the evaluation of `experiment` takes, measured with untrained networks."""
    from ganseg.devices import make_fabric, place
    from ganseg.evaluation import evaluate
    from ganseg.generator import Generator
    from ganseg.segmenter import Segmenter

    start, config, fabric = time.monotonic(), experiment.config, make_fabric(device)
    segmenter = place(Segmenter(config.segmenter, config.generator.parts), fabric)
    generator = place(Generator(config.generator), fabric).eval()
    evaluate(config, segmenter, fabric, experiment.data_dir, generator=generator)
    return time.monotonic() - start


@contextmanager
def claimed(experiment: Experiment, results: str | Path | None = None) -> Iterator[bool]:
    """Whether this process may train `experiment`: no other queue or `ganseg train` is at it."""
    from filelock import FileLock, Timeout

    directory = experiment.directory(results)
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory.parent / f".{directory.name}.queue.lock", timeout=0):
            with FileLock(directory.parent / f".{directory.name}.lock", timeout=0):
                pass
            yield True
    except Timeout:
        yield False


def _dataset(name: str) -> str:
    """The name of a data set behind an alias; UserError for an unknown one."""
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; known are {', '.join(DATASETS)}")
    return DATASETS[name].name
