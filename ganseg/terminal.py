"""What the commands share: their options, how a failure is told, how a table is printed."""

import errno
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer import Argument, BadParameter, Option
from typer.core import TyperGroup

from ganseg.config import FabricPrecision
from ganseg.files import RANKS, OutOfTime, UserError, place
from ganseg.titles import TITLES

MISTAKE, OUT_OF_TIME, INTERRUPTED = 2, 3, 130
CODES = (
    "Exit codes: 0 done, 2 a mistake that you can mend, 3 out of time (the same command goes on), "
    "130 stopped by Ctrl-C or, in a training, SIGTERM. 'ganseg --debug COMMAND' shows where a failure came from."
)


class Commands(TyperGroup):
    """A group of commands whose failures are told in one line; what is no user's mistake keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            message, code = told(error)
            if not code or ctx.params.get("debug"):
                raise
            warn(message, typer.colors.RED if code == MISTAKE else typer.colors.YELLOW)
            raise typer.Exit(code) from None


def told(error: BaseException) -> tuple[str, int]:
    """What to tell the user, and the exit code; 0 where it is not for us to tell."""
    if isinstance(error, UserError):
        return f"error: {error}", MISTAKE
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        remedy = "; mend it, or name another place" * bool(error.filename)
        remedy = "; free some space; the same command goes on" if error.errno == errno.ENOSPC else remedy
        return f"error: {about}{remedy}", MISTAKE
    if isinstance(error, OutOfTime):
        return f"out of time: {error}", OUT_OF_TIME
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError) or "allocate memory" in str(error):
        remedy = "a smaller --scale or --set optim.batch_size=N needs less"
        return f"error: the device has not enough memory; {remedy}", MISTAKE
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return str(error) or "stopped; the same command goes on with a training or a download", INTERRUPTED
    return "", 0


def warn(text: str, colour: str = typer.colors.YELLOW) -> None:
    """A line on stderr: what happens; stdout is kept for what was asked for."""
    typer.secho(text, fg=colour, err=True)


def print_table(headings: str, rows: Iterable[Sequence[Any]], **options: Any) -> None:
    """A table without lines; `headings` are parted by commas. Wide where it goes to a file: nothing is folded there."""
    table = Table(*headings.split(", "), box=None, pad_edge=False, **options)
    for row in rows:
        table.add_row(*(escape(text(value)) for value in row))
    Console(width=None if sys.stdout and sys.stdout.isatty() else 240).print(table)


def text(value: Any) -> str:
    """A value for people: three decimals, a comma at thousands, a dash for nothing."""
    if isinstance(value, list | tuple):
        return " ".join(map(text, value))
    form = ".3f" if isinstance(value, float) else "," if isinstance(value, int) else ""
    return "–" if value is None else format(value, form)


def print_metrics(metrics: dict[str, Any]) -> None:
    """A table of the metrics with what they mean."""
    rows = [(title.words, metrics[name], name) for name, title in TITLES.items() if name in metrics]
    print_table("metric, value, name", rows)


def duration(words: str) -> float:
    """Seconds of "90s", "10m", "1h30m" or "45"; BadParameter for anything else."""
    number = r"(\d+(?:\.\d+)?)"
    found = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s?)?", words.strip().lower())
    seconds = sum(float(n or 0) * unit for n, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise BadParameter(f"{words!r} is not a time; write 90s, 10m or 1h30m")
    return seconds


def setting(words: str) -> tuple[str, str]:
    """ "losses.lambda_con=30" as a name and a value; BadParameter where there is no "="."""
    name, equals, value = words.partition("=")
    if not equals:
        raise BadParameter(f"{words!r}: write NAME=VALUE, as in losses.lambda_con=30 or seed=1")
    return name.strip(), value.strip()


def steady() -> None:
    """Make the process fit for a terminal that lacks letters, for no input, and for variables that hold no number."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")
    sys.stdin = sys.stdin or io.StringIO()
    for name in RANKS:
        os.environ.get(name, "").isdecimal() or os.environ.pop(name, None)


def png(words: str) -> Path:
    """As `place`, of a PNG."""
    if not words.lower().endswith(".png"):
        raise BadParameter(f"{words}: the picture is a PNG; end its name in .png")
    return place(words)


DIR = {"parser": place, "metavar": "DIR"}
COMPUTING = {"rich_help_panel": "Computing"}
DATA = "A data set that 'ganseg data list' names, such as flowers; or folder: your own images."
SCALE = "Size and budget: tiny (a minute), laptop (15 minutes), gpu (5 minutes of one) or paper (hours)."
VARIANT = "paper (as printed), released (the authors' code) or plus (beyond both); more by +, as in paper+no-area."
RUN = "A model that 'ganseg models' lists; or a run's folder, its key, a part of its name no other has."
RunName = Annotated[str, Argument(metavar="RUN", help=RUN)]
Results = Annotated[Path | None, Option(**DIR, help="Folder of all runs; else results/ of the project.")]
DataDir = Annotated[Path | None, Option("--data-dir", **DIR, help="Where the data set lies on your disk.")]
Data = Annotated[str, Option(metavar="NAME", help=DATA)]
Scale = Annotated[str, Option(metavar="NAME", help=SCALE)]
Variant = Annotated[str, Option(metavar="NAME", help=VARIANT)]
Parts = Annotated[int | None, Option("--parts", "-K", min=1, max=255, help="Number of parts K; else the data set's.")]
Settings = Annotated[
    list[Any] | None,
    Option("--set", parser=setting, metavar="SECTION.FIELD=VALUE", help="As losses.lambda_con=30; repeat."),
]
TIME = "Stop cleanly after 90s, 10m or 1h30m; the same command goes on later."
TimeLimit = Annotated[float | None, Option(parser=duration, metavar="TIME", help=TIME)]
Seed = Annotated[int, Option(min=0, max=2**32 - 1, help="Another seed, other random numbers.")]
Picture = Annotated[Path | None, Option("--out", "-o", metavar="FILE.png", parser=png, help="The picture to write.")]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Option(**COMPUTING)]
Precision = Annotated[Literal["auto", FabricPrecision], Option(**COMPUTING)]
