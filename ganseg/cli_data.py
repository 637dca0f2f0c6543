"""`ganseg data`: which data sets there are, how to get them, whether they are whole, what they look like."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from typer import Argument, Option

from ganseg.files import UserError
from ganseg.terminal import INTERRUPTED, MISTAKE, DataDir, Sheet, console, picture_path, print_table, warn

if TYPE_CHECKING:
    from ganseg.data import DataSet, Listing, Split

NOTE = "K: the numbers of parts in the paper's tables. Images: of each split, by the paper's protocol."
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
    from ganseg.data import DATASETS

    specs = [spec for name, spec in DATASETS.items() if name == spec.name]  # no alias
    rows = [
        (spec.name, spec.title, ", ".join(map(str, spec.parts)) or "–", _counts(spec), spec.licence or "–", _way(spec))
        for spec in specs
    ]
    headings = ("name", "data set", "K", "images", "licence", "to get it")
    spaced = [row for cells in rows for row in ([escape(cell) for cell in cells], [""] * len(headings))]
    print_table(spaced, headings, caption=NOTE, caption_justify="left")


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
        warn("stopped; the same command goes on where it was")
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
    from ganseg.data import check as look

    listing = look(name, data_dir)
    if as_json:
        print(report_json(name, data_dir, listing))
    else:
        print_listing(name, data_dir, listing)
    if listing.faults:
        raise typer.Exit(MISTAKE)


@app.command()
def show(
    name: Name,
    data_dir: DataDir = None,
    split: Annotated[str, Option(metavar="NAME", help="Which split.")] = "test",
    count: Annotated[int, Option(min=1, metavar="N", help="How many images, evenly over the split.")] = 24,
    size: Pixels = 128,
    out: Sheet = None,
) -> None:
    """Draw a contact sheet: images of a split, their masks, and their keypoints.

    Example: [cyan]ganseg data show synthetic-bird --count 16 --out birds.png[/cyan]
    """
    path = picture_path(out or Path(f"{name}-{split}.png"))
    from ganseg.data import load
    from ganseg.pictures import data_sheet

    print(data_sheet(load(name, split, size, data_dir=data_dir, limit=count), path))


def print_plan(spec: DataSet, folder: Path) -> None:
    """What a download will do: files, sizes, the licence, and what a person has to get."""
    from ganseg.data.download import state

    screen = console()
    screen.print(
        f"[bold]{spec.title}[/bold]  {spec.homepage}\nLicence: {escape(spec.licence)}\nInto: {escape(str(folder))}"
    )
    notes = [" (can be done without)" if file.optional else "" for file in spec.files]
    rows = [
        (escape(f.name), _size(f.bytes), state(f, folder) + note) for f, note in zip(spec.files, notes, strict=True)
    ]
    print_table(rows, ("file", "size", "state"), "size")
    for file in spec.files:
        if state(file, folder) == "to get by hand":
            screen.print(f"[yellow]{escape(str(folder / file.name))}[/yellow]: {escape(file.how)}", soft_wrap=True)
    total = [file.bytes for file in spec.files if state(file, folder) == "to fetch"]
    if total:
        unknown = " and files of unknown size" if None in total else ""
        screen.print(f"To fetch: {_size(sum(filter(None, total)))}{unknown}; unpacked, about as much again.")


def print_prepared(splits: Iterable[tuple[str, Split, float]]) -> None:
    """What was decoded: (name, split, seconds) each."""
    rows = []
    for name, split, seconds in splits:
        labels = [label for label in ("foreground", "parts", "keypoints") if getattr(split, label) is not None]
        place = escape(str(Path(split.images.filename).parent))
        skipped = str(len(split.skipped))
        rows.append((name, f"{len(split):,}", skipped, ", ".join(labels) or "–", f"{seconds:.1f}", place))
    headings = ("split", "images", "unreadable", "labels", "seconds", "lies in")
    print_table(rows, headings, "images unreadable seconds")


def print_listing(name: str, data_dir: Path | None, listing: Listing) -> None:
    """What was found, as a person can act on it: counts, labels, then what is wrong, the worst first."""
    from ganseg.data import describe

    screen, counts = console(), describe(name).counts
    screen.print(f"[bold]{name}[/bold] in {escape(str(data_dir))}")
    rows = [(s, f"{n:,}", f"{counts[s]:,}" if s in counts else "–") for s, n in listing.counts.items()]
    print_table(rows, ("split", "images", "of the paper"), "images of the paper")
    for label, count in listing.labels.items():
        screen.print(f"{count:,} {label}")
    for mark, sentences in (
        ("[red]must be mended:[/red]", listing.faults),
        ("[yellow]note:[/yellow]", listing.oddities),
    ):
        for sentence in sentences:
            screen.print(f"{mark} {escape(sentence)}", soft_wrap=True)
    bad = listing.faults
    screen.print("[red]It cannot be used as it is.[/red]" if bad else "[green]It can be used.[/green]")


def report_json(name: str, data_dir: Path | None, listing: Listing) -> str:
    """The same as indented JSON; `usable` is false where the reader would refuse."""
    from ganseg.data import describe

    found = {"name": name, "data_dir": str(data_dir), "counts": listing.counts, "labels": listing.labels}
    found |= {"expected": dict(describe(name).counts), "faults": listing.faults, "oddities": listing.oddities}
    return json.dumps(found | {"usable": not listing.faults}, indent=2)


def _counts(spec: DataSet) -> str:
    return ", ".join(f"{s} {spec.counts[s]:,}" if s in spec.counts else s for s in spec.splits)


def _way(spec: DataSet) -> str:
    """How to get a data set, in a few words."""
    if not spec.files:
        return "bring your own" if spec.needs_dir else "nothing to get: it is drawn by the package"
    names = ", ".join(file.name + " (optional)" * file.optional for file in spec.files)
    if not all(file.url for file in spec.files):
        return f"by hand: {names}; `ganseg data download {spec.name}` says where"
    total = sum(file.bytes or 0 for file in spec.files)
    return f"`ganseg data download {spec.name}`: {_size(total)} ({names})"


def _size(count: int | None) -> str:
    """Bytes for people: 345 MB."""
    if count is None:
        return "–"
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} B"
