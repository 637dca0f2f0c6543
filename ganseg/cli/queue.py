"""`ganseg queue`: the book's experiments, one after the other, within a wall-clock budget."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ganseg.cli import config
from ganseg.cli.config import Device, Results, Scale, Settings
from ganseg.files import UserError

if TYPE_CHECKING:
    from ganseg.experiments import Experiment
    from ganseg.queue import Worker

Budget = Annotated[
    str | None,
    Option(
        "--budget",
        metavar="TIME",
        help="Wall-clock time of this call: 90s, 9m or 1h30m. All that it does fits in.",
    ),
]
Folders = Annotated[
    list[str] | None,
    Option(
        "--data-dir",
        metavar="NAME=DIR",
        help="Where a data set lies, as flowers=/data/flowers-102; may be repeated.",
    ),
]
Out = Annotated[
    Path | None,
    Option("--pack", metavar="DIR", help="Copy what was measured into this folder, to be carried away."),
]
Weights = Annotated[
    float,
    Option(
        "--pack-weights",
        min=0,
        metavar="MB",
        help="Pack at most so many MiB of weights, too (bfloat16, files of 16 MiB).",
    ),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No progress bars.")]
Unpack = Annotated[
    Path | None, Option("--unpack", metavar="DIR", help="Check a pack, merge it into the results, and stop.")
]

List = Annotated[bool, Option("--list", help="List what became of each experiment, and stop.")]
DryRun = Annotated[bool, Option("--dry-run", help="Name what would be trained, in order, and stop.")]


def run_queue(
    budget: Budget = None, pack: Out = None, pack_weights: Weights = 0, data_dir: Folders = None,
    scale: Scale = "gpu",
    settings: Settings = None, results: Results = None, device: Device = "auto", quiet: Quiet = False,
    notebooks: Annotated[bool, Option(help="Execute the notebooks whose experiments are finished.")] = True,
    show: List = False, dry_run: DryRun = False,
    unpack: Unpack = None,
) -> None:  # fmt: skip
    """Train the book's experiments one after the other, within a budget of time.

    Finished ones are skipped, an interrupted one goes on. Exit code 3: some are left for the same command.

    Example: [cyan]ganseg queue --budget 9m --data-dir flowers=/data/flowers-102 --pack out[/cyan]
    """
    start = time.monotonic()
    if unpack:
        merge(unpack, results)
        return
    seconds, folders = parse_budget(budget), parse_folders(data_dir)
    overrides = config.parse_settings(settings)
    from ganseg.queue import Worker, experiments, state

    queue = experiments(scale, folders, overrides)
    if show or dry_run:
        print_queue([(state(experiment, results), experiment) for experiment in queue], waiting=dry_run)
        return
    if seconds is None:
        raise UserError("say how long this may take, as in --budget 9m (or use --list)")
    config.check_computing(device)
    worker = Worker(seconds, results, pack, pack_weights, device, notebooks, not quiet, tell, start)
    try:
        worker.work(queue)
    finally:
        report(worker)


def tell(text: str) -> None:
    """A line on stderr: what happens; stdout is kept for what was asked for."""
    typer.echo(text, err=True)


def report(worker: Worker) -> None:
    """Say what was packed."""
    if worker.packed is not None:
        print(f"packed {len(worker.packed.files)} files into {worker.out}")
        for name in worker.packed.left_out:
            tell(f"not packed, --pack-weights leaves no room: {name}")


def merge(folder: Path, results: Path | None) -> None:
    """Unpack, and name the runs that are new or got weights."""
    from ganseg.packing import unpack

    for directory in unpack(folder, results):
        print(directory)


def print_queue(queue: list[tuple[str, Experiment]], waiting: bool) -> None:
    """One line an experiment: its state and name; `waiting`: only the names of what would be trained."""
    for kind, experiment in queue:
        if not waiting:
            print(f"{kind:10} {experiment.name}")
        elif kind in ("begun", "to do"):
            print(experiment.name)
    missing = Counter(experiment.data for kind, experiment in queue if kind == "no data")
    for name, count in missing.items():
        tell(f"{count} experiments have no data: give --data-dir {name}=DIR")


def parse_budget(text: str | None) -> float | None:
    """Seconds of "9m"; None for none. UserError for what is not a time."""
    try:
        return config.parse_duration(text)
    except UserError:
        raise UserError(f"--budget {text!r} is not a time; write 90s, 9m or 1h30m") from None


def parse_folders(pairs: list[str] | None) -> dict[str, Path]:
    """`["flowers=/data/flowers-102"]` as a dictionary; UserError for another form or a missing folder."""
    folders = {}
    for pair in pairs or ():
        name, equals, folder = pair.partition("=")
        if not (equals and folder):
            raise UserError(f"--data-dir {pair}: write NAME=DIR, as in --data-dir flowers=/data/flowers-102")
        if not (path := Path(folder).expanduser()).is_dir():
            raise UserError(f"--data-dir {pair}: {path} is {'not a folder' if path.exists() else 'missing'}")
        folders[name.strip()] = path
    return folders
