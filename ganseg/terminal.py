"""What the commands share: options, how a failure is told, tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer import Argument, BadParameter, Option
from typer.core import TyperGroup

from ganseg.config import FabricPrecision
from ganseg.files import UserError, read_json
from ganseg.titles import TITLES

MISTAKE, OUT_OF_TIME, INTERRUPTED = 2, 3, 130
CODES = (
    "Exit codes: 0 done, 2 a mistake that you can mend, 3 out of time (the same command goes on), "
    "130 stopped by Ctrl-C. 'ganseg --debug COMMAND' shows where a failure came from."
)
MEMORY = "the device has not enough memory; a smaller --scale, --batch-size or --set optim.batch_size needs less"
NOTE = (
    "IoU of the foreground; NMI of the parts where truth and prediction have foreground; landmark error as a "
    "part of the mean predictor's. A dash: the data has no such labels, or the run is not finished."
)
# Metrics that a training prints.
MAIN = "iou iou_constant_mask nmi_both ari_both landmark_error landmark_error_mean foreground_fraction part_usage"


def available(device: str) -> str:
    """`device`, where the machine has it."""
    if device in ("cuda", "mps"):
        import torch

        if not getattr(torch, device).is_available():
            raise BadParameter(f"this machine has no {device}; use auto or cpu")
    return device


def png(path: Path | None) -> Path | None:
    """`path`, where it is that of a PNG."""
    if path and path.suffix.lower() != ".png":
        raise BadParameter(f"{path}: the picture is a PNG; end its name in .png")
    return path


COMPUTING = {"rich_help_panel": "Computing"}
DATA = (
    "synthetic-bird, synthetic-camouflage, synthetic-turned, synthetic-face, celeba-wild, celeba-aligned, cub, "
    "flowers, taichi, or folder: your own images."
)
SCALE = "Size and budget: tiny (a minute), laptop (15 minutes), gpu (25 minutes of one) or paper (hours)."
VARIANT = "Equations: paper (as printed) or released (the authors' code); add departures by +, as in paper+no-area."
RunName = Annotated[str, Argument(metavar="RUN", help="Its folder, its key, or a part of its name no other has.")]
Results = Annotated[Path | None, Option(metavar="DIR", help="Folder of all runs; else results/ of the project.")]
DataDir = Annotated[Path | None, Option("--data-dir", metavar="DIR", help="Where the data set lies on your disk.")]
Data = Annotated[str, Option(metavar="NAME", help=DATA)]
Scale = Annotated[str, Option(metavar="NAME", help=SCALE)]
Variant = Annotated[str, Option(metavar="NAME", help=VARIANT)]
Parts = Annotated[int | None, Option("--parts", "-K", min=1, help="Number of parts K; else what suits the data set.")]
TIME = "Stop cleanly after 90s, 10m or 1h30m; the same command goes on later."
Settings = Annotated[
    list[str] | None, Option("--set", metavar="SECTION.FIELD=VALUE", help="As losses.lambda_con=30; repeat.")
]
Seed = Annotated[int, Option(help="Another seed, other random numbers.")]
Sheet = Annotated[Path | None, Option("--out", "-o", metavar="FILE.png", callback=png, help="The picture to write.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Option(callback=available, **COMPUTING)]
NUMBERS = "auto, 32-true, bf16-mixed, 16-mixed, bf16-true, 16-true or 64-true."
Precision = Annotated[Literal["auto", FabricPrecision], Option(metavar="NAME", help=NUMBERS, **COMPUTING)]


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
    if kinds & {"UserError", "OSError"} and not isinstance(error, BrokenPipeError):
        return f"error: {error}", MISTAKE
    if "OutOfTime" in kinds:
        return f"out of time: {error}", OUT_OF_TIME
    if "OutOfMemoryError" in kinds:
        return f"error: {MEMORY}", MISTAKE
    if isinstance(error, KeyboardInterrupt):
        return "stopped; the same command goes on with a training or a download", INTERRUPTED
    return "", 0


def warn(text: str) -> None:
    """A line on stderr: what happens; stdout is kept for what was asked for."""
    typer.secho(text, fg=typer.colors.YELLOW, err=True)


def print_table(headings: str, rows: Iterable[Sequence[Any]], **options: Any) -> None:
    """A table without lines; `headings` are parted by commas. Wide where it goes to a file: nothing is folded there."""
    table = Table(*headings.split(", "), box=None, pad_edge=False, **options)
    for row in rows:
        table.add_row(*(escape(text(value)) for value in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def text(value: Any) -> str:
    """A value for people: three decimals, a comma at thousands, a dash for nothing."""
    if isinstance(value, list | tuple):
        return " ".join(map(text, value))
    form = ".3f" if isinstance(value, float) else "," if isinstance(value, int) else ""
    return "–" if value is None else format(value, form)


def print_metrics(metrics: dict[str, Any], names: Iterable[str] | None = None) -> None:
    """A table of the metrics, or of some, with what they mean."""
    listed = [name for name in {**TITLES, **metrics} if name in metrics and name in (names or metrics)]
    rows = [(TITLES[name].meaning if name in TITLES else name, metrics[name], name) for name in listed]
    print_table("metric, value, name", rows)


def print_report(report: dict[str, Any]) -> None:
    """The main numbers of a benchmark: what the parts of a step cost, and the rest of each setting."""
    for label, row in report["settings"].items():
        print(f"{label}: {row.get('images_per_second', 0):.2f} images/s")
        rows = [
            (name, part["flops"] / 1e9, part["bytes"] / 1e9, 1e3 * part["seconds"]["median"])
            for name, part in row.get("parts", {}).items()
        ]
        print_table("part, GFLOP, GB, ms a step", rows)
        print_table("measured, value", [(name, str(value)) for name, value in row.items() if name != "parts"])
    print_table("ratio, value", [(name, str(value)) for name, value in report.get("ratio", {}).items()])


def print_runs(directories: Iterable[Path]) -> None:
    """A table of runs, finished or not, with their main numbers; a dash is what cannot be read."""
    rows = []
    for directory in directories:
        metrics, known = {}, {}
        with suppress(OSError, ValueError):  # missing or damaged
            metrics = read_json(directory / "metrics.json")
        with suppress(OSError, ValueError):
            known = read_json(directory / "provenance.json")
        numbers = [metrics.get(name) for name in ("iou", "nmi_both", "landmark_error_ratio")]
        minutes = sum(known.get(f"seconds_{stage}", 0) for stage in ("gan", "segmenter")) / 60
        state = "evaluated" if metrics else "imported, not evaluated" if "imported" in known else "unfinished"
        rows.append([directory.parts[-3], directory.name, *numbers, f"{minutes:.1f}" if minutes else None, state])
    print_table("scale, run, IoU, NMI, landmarks, minutes, state", rows, caption=NOTE, caption_justify="left")


def parse_duration(words: str) -> float:
    """Seconds of "90s", "10m", "1h30m" or "45"; BadParameter for anything else."""
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", words.strip().lower())
    seconds = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise BadParameter(f"{words!r} is not a time; write 90s, 10m or 1h30m")
    return seconds


def parse_settings(pairs: list[str] | None) -> dict[str, str]:
    """`["losses.lambda_con=30"]` as a dictionary; UserError where there is no "="."""
    if wrong := [pair for pair in pairs or () if "=" not in pair]:
        raise UserError(f"--set {wrong[0]!r}: write SECTION.FIELD=VALUE, as in --set losses.lambda_con=30")
    return {name.strip(): value.strip() for name, value in (pair.split("=", 1) for pair in pairs or ())}


def parse_sweeps(words: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`["size", "batch=2,4"]` as axes and values."""
    for word in words or ():
        if not re.fullmatch(r"(size|parts|batch)(=[1-9]\d*(,[1-9]\d*)*)?", word):
            raise UserError(f"--sweep {word}: write size, parts or batch, or one with its values, as in size=64,128")
    return {word.split("=")[0]: tuple(map(int, re.findall(r"\d+", word))) for word in words or ()}
