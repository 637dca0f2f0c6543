"""What the commands share: options, how values are read, tables, and how a failure is told."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table
from typer import Argument, Option
from typer.core import TyperGroup

from ganseg.config import FabricPrecision
from ganseg.files import UserError
from ganseg.titles import TITLES

if TYPE_CHECKING:
    from ganseg.experiments import Run

MISTAKE, OUT_OF_TIME, INTERRUPTED = 2, 3, 130
CODES = (
    "Exit codes: 0 done, 2 a mistake that you can mend, 3 out of time (the same command goes on), "
    "130 stopped by Ctrl-C. 'ganseg --debug COMMAND' shows where a failure came from."
)
MEMORY = "the device has not enough memory; a smaller --scale, --batch-size or --set optim.batch_size needs less"
PRECISIONS = ("auto", *get_args(FabricPrecision))

MAIN = ("iou", "iou_constant_mask", "nmi_both", "ari_both", "landmark_error", "landmark_error_mean")
MAIN += ("foreground_fraction", "part_usage")  # metrics that are printed where not all are

COMPUTING = {"rich_help_panel": "Computing"}
RunName = Annotated[
    str,
    Argument(metavar="RUN", help="A run's folder, its key, or a part of its name no other has; see 'ganseg runs'."),
]
Results = Annotated[
    Path | None,
    Option("--results", metavar="DIR", show_default="results/ of the project", help="Folder that holds all runs."),
]
DataDir = Annotated[Path | None, Option("--data-dir", metavar="DIR", help="Where the data set lies on your disk.")]
Device = Annotated[str, Option("--device", help="auto, cpu, cuda or mps.", **COMPUTING)]
Data = Annotated[
    str,
    Option(
        metavar="NAME",
        help="synthetic-bird or synthetic-face (drawn by the package), celeba-wild, celeba-aligned, cub, "
        "flowers, taichi, or folder (your own images).",
    ),
]
Scale = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Size and budget: tiny (a minute), laptop (15 minutes), gpu (25 minutes of one) or paper (hours).",
    ),
]
Variant = Annotated[
    str,
    Option(
        metavar="NAME",
        help="Which equations: paper (as printed) or released (as in the authors' code); "
        "departures are added by +, as in paper+no-area.",
    ),
]
Parts = Annotated[
    int | None,
    Option("--parts", "-K", min=1, metavar="K", show_default="what suits the data set", help="Number of parts K."),
]
Settings = Annotated[
    list[str] | None,
    Option(
        "--set", metavar="SECTION.FIELD=VALUE", help="Any setting, as losses.lambda_con=30; may be given several times."
    ),
]
Seed = Annotated[int, Option(metavar="N", help="Another seed, other random numbers.")]
Precision = Annotated[str, Option(metavar="NAME", help=f"{', '.join(PRECISIONS)}.", **COMPUTING)]
Sheet = Annotated[Path | None, Option("--out", "-o", metavar="FILE.png", help="The picture to write.")]


class Commands(TyperGroup):
    """A group of commands whose failures are told in one line; what is no user's mistake keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            message, code = told(error)
            if not code or ctx.params.get("debug"):
                raise
            typer.secho(message, fg=typer.colors.RED if code == MISTAKE else typer.colors.YELLOW, err=True)
            raise typer.Exit(code) from None


def told(error: BaseException) -> tuple[str, int]:
    """What to tell the user, and the exit code; 0 where it is not for us to tell."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: importing the classes imports torch
    if isinstance(error, UserError) or (isinstance(error, OSError) and not isinstance(error, BrokenPipeError)):
        return f"error: {error}", MISTAKE
    if "OutOfTime" in kinds:
        return f"out of time: {error}", OUT_OF_TIME
    if "OutOfMemoryError" in kinds:
        return f"error: {MEMORY}", MISTAKE
    if isinstance(error, KeyboardInterrupt):
        return "stopped; a training goes on from its last checkpoint with the same command", INTERRUPTED
    return "", 0


def warn(text: str) -> None:
    """A line on stderr: what happens; stdout is kept for what was asked for."""
    typer.secho(text, fg=typer.colors.YELLOW, err=True)


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that nothing is folded in a file."""
    return Console(width=None if sys.stdout.isatty() else 160)


def print_table(rows: Iterable[Sequence[str]], headings: Sequence[str] = (), right: str = "", **options: Any) -> None:
    """A table without lines; `right`: headings of columns that are aligned on the right, between spaces."""
    table = Table(box=None, pad_edge=False, show_header=bool(headings), header_style="bold", **options)
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right.split() else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console().print(table)


def text(value: Any) -> str:
    """A value for people: three decimals, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return " ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def parse_duration(words: str | None) -> float | None:
    """Seconds of "90s", "10m", "1h30m" or "45"; UserError for anything else."""
    if words is None:
        return None
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", words.strip().lower())
    seconds = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise UserError(f"--time-limit {words!r} is not a time; write 90s, 10m or 1h30m")
    return seconds


def parse_settings(pairs: list[str] | None) -> dict[str, str]:
    """`["losses.lambda_con=30"]` as a dictionary; UserError where there is no "="."""
    if wrong := [pair for pair in pairs or () if "=" not in pair]:
        raise UserError(f"--set {wrong[0]!r}: write SECTION.FIELD=VALUE, as in --set losses.lambda_con=30")
    halves = (pair.partition("=") for pair in pairs or ())
    return {name.strip(): value.strip() for name, _, value in halves}


def picture_path(path: Path) -> Path:
    """`path`, which must be of a PNG."""
    if path.suffix.lower() != ".png":
        raise UserError(f"--out {path}: the picture is a PNG; end its name in .png")
    return path


def check_computing(device: str, precision: str = "auto") -> None:
    """UserError for a device or precision that is not there."""
    import torch

    there = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device):
        known = "this machine has none; use auto or cpu" if device in there else "it is auto, cpu, cuda or mps"
        raise UserError(f"--device {device}: {known}")
    if precision not in PRECISIONS:
        raise UserError(f"--precision {precision}: it is one of {', '.join(PRECISIONS)}")


def open_run(name: str, results: Path | None, device: str) -> Run:
    """The finished run that `name` means, after the device was checked."""
    from ganseg.experiments import Run

    run = Run.find(name, results)
    check_computing(device)
    return run


def print_metrics(metrics: dict[str, Any], short: bool = False) -> None:
    """A table of the metrics, with what they mean; `short`: the main ones."""
    names = [name for name in (*TITLES, *(metrics.keys() - TITLES.keys())) if name in metrics]
    chosen = [name for name in names if name in MAIN or not short]
    print_table(
        (TITLES[name].meaning if name in TITLES else name, text(metrics[name]), "" if short else f"[dim]{name}[/dim]")
        for name in chosen
    )
