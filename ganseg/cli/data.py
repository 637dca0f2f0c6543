"""`ganseg data`: which data sets there are, how to get them, whether they are whole, what they look like."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ganseg.cli.config import DataDir
from ganseg.cli.errors import INTERRUPTED, MISTAKE
from ganseg.files import UserError

if TYPE_CHECKING:
    from ganseg.data import DataSet

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List, download, check, prepare and show the data sets.",
    epilog="Example: [cyan]ganseg data download flowers --to ~/flowers[/cyan]",
)
Name = Annotated[str, Argument(metavar="NAME", help="A data set; 'ganseg data list' has their names.")]
Pixels = Annotated[int, Option("--size", metavar="PIXELS", help="Side of the square images.")]


@app.command("list")
def list_sets() -> None:
    """List the data sets: the paper's K and splits, the licence, and how to get them.

    Example: [cyan]ganseg data list[/cyan]
    """
    from ganseg.cli.data_tables import print_sets

    print_sets()


@app.command()
def download(
    name: Name,
    to: Annotated[
        Path | None,
        Option("--to", metavar="DIR", show_default="data/NAME", help="Folder of the data set; made if needed."),
    ] = None,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask; the licence is accepted.")] = False,
) -> None:
    """Fetch a data set from its publisher, verify it and unpack it; the same command goes on after a cut.

    Of sets that only a person can get it says what to get where, and unpacks the archives that it finds.

    Example: [cyan]ganseg data download flowers --to ~/flowers[/cyan]
    """
    from ganseg.cli.data_tables import print_plan
    from ganseg.data import describe
    from ganseg.data.download import install, state

    spec = describe(name)
    if not spec.files:
        raise UserError(f"there is nothing to download for the data set {spec.name}. {spec.how_to_get}")
    folder = (to or Path("data") / spec.name).expanduser()
    print_plan(spec, folder)
    if any(state(file, folder) == "to fetch" for file in spec.files) and not yes:
        _ask(spec)
    try:
        install(spec.files, folder)
    except KeyboardInterrupt:
        typer.secho("stopped; the same command goes on where it was", fg=typer.colors.YELLOW, err=True)
        raise typer.Exit(INTERRUPTED) from None
    lacking = [f for f in spec.files if state(f, folder) == "to get by hand" and not f.optional]
    if lacking:
        raise UserError(f"{len(lacking)} of the files above must be got by hand; then run the same command.")
    print(f"{spec.name} is in {folder}. Look it over: ganseg data check {spec.name} {folder}")


def can_ask() -> bool:
    """Whether a person is there to answer."""
    return sys.stdin.isatty()


def _ask(spec: DataSet) -> None:
    """Go on only if a person agrees."""
    if not can_ask():
        raise UserError(f"nobody can be asked here; --yes says that you accept the licence of {spec.name}")
    if not typer.confirm("Fetch them under this licence?"):
        raise typer.Exit(INTERRUPTED)


@app.command()
def prepare(name: Name, data_dir: DataDir = None, size: Pixels = 128) -> None:
    """Decode every split of a data set at one size, so that no training has to wait for it.

    Example: [cyan]ganseg data prepare flowers --data-dir ~/flowers --size 128[/cyan]
    """
    import time

    from ganseg.cli.data_tables import print_prepared
    from ganseg.data import describe, load

    done = []
    for split in describe(name).splits:
        began = time.monotonic()
        done.append((split, load(name, split, size, data_dir=data_dir), time.monotonic() - began))
    print_prepared(done)


@app.command()
def check(
    name: Name,
    data_dir: Annotated[Path | None, Argument(metavar="DIR", help="Where the data set lies.")] = None,
    as_json: Annotated[bool, Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Look whether a folder holds a data set whole and sound; exit code 2 where it cannot be used.

    Example: [cyan]ganseg data check flowers ~/flowers[/cyan]
    """
    from ganseg import data
    from ganseg.cli.data_tables import print_report, report_json

    report = data.check(name, data_dir)
    if as_json:
        print(report_json(name, data_dir, report))
    else:
        print_report(name, data_dir, report)
    if report.faults:
        raise typer.Exit(MISTAKE)


@app.command()
def show(
    name: Name,
    data_dir: DataDir = None,
    split: Annotated[str, Option(metavar="NAME", help="Which split.")] = "test",
    count: Annotated[int, Option(min=1, metavar="N", help="How many images, evenly over the split.")] = 24,
    size: Pixels = 128,
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="FILE.png", show_default="NAME-SPLIT.png", help="The picture to write."),
    ] = None,
) -> None:
    """Draw a contact sheet: images of a split, their masks, and their keypoints.

    Example: [cyan]ganseg data show synthetic-bird --count 16 --out birds.png[/cyan]
    """
    path = out or Path(f"{name}-{split}.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--out {path}: the picture is a PNG; end its name in .png")
    from ganseg.data import load
    from ganseg.data.sheets import data_sheet

    print(data_sheet(load(name, split, size, data_dir=data_dir, limit=count), path))
