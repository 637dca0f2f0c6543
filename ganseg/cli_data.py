"""`ganseg data`: which data sets there are, how to get them, whether they are whole, what they look like."""

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ganseg import terminal as ui
from ganseg.files import UserError

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="rich", help="List, download, check, prepare and show the data sets.",
    epilog="Example: [cyan]ganseg data download flowers --to ~/flowers[/cyan]",
)  # fmt: skip
Name = Annotated[str, Argument(metavar="NAME", help="A data set; 'ganseg data list' has their names.")]
Pixels = Annotated[int, Option("--size", metavar="PIXELS", help="Side of the square images.")]


@app.command("list")
def list_sets() -> None:
    """List the data sets: the paper's K, images of each split by its protocol, the licence, and how to get them.

    Example: [cyan]ganseg data list[/cyan]
    """
    from ganseg.data import DATASETS

    rows = []
    for spec in dict.fromkeys(DATASETS.values()):  # no alias
        counts = [f"{split} {spec.counts[split]:,}" if split in spec.counts else split for split in spec.splits]
        rows.append((spec.name, spec.parts, ", ".join(counts), spec.licence or None, spec.how_to_get))
    ui.print_table("name, K, images, licence, to get it", rows, padding=(0, 1, 1, 0))


@app.command()
def download(
    name: Name,
    to: Annotated[Path | None, Option(**ui.DIR, help="Its folder, made if needed; else data/NAME.")] = None,
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
    folder = to or Path("data") / spec.name
    states = {file: state(file, folder) for file in spec.files}
    print(f"{spec.title}  {spec.homepage}\nLicence: {spec.licence}\nInto: {folder}")
    ui.print_table("file, bytes, state", [(file.name, file.bytes, found) for file, found in states.items()])
    by_hand = [file for file, found in states.items() if found == "to get by hand"]
    for file in by_hand:
        print(f"{folder / file.name}{' (can be done without)' * file.optional}: {file.how}")
    if "to fetch" in states.values() and not yes:
        typer.confirm("Fetch them under this licence? --yes says so beforehand", abort=True)
    install(spec.files, folder)
    if lacking := [file.name for file in by_hand if not file.optional]:
        raise UserError(f"{', '.join(lacking)} must be got by hand, as said above; then run the same command.")
    print(f"{spec.name} is in {folder}. Look it over: ganseg data check {spec.name} {folder}")


@app.command()
def prepare(name: Name, data_dir: ui.DataDir = None, size: Pixels = 128) -> None:
    """Decode every split of a data set at one size, so that no training has to wait for it.

    Example: [cyan]ganseg data prepare flowers --data-dir ~/flowers --size 128[/cyan]
    """
    from ganseg.data import describe, load

    loaded = {split: load(name, split, size, data_dir=data_dir) for split in describe(name).splits}
    rows = [(split, len(got), len(got.skipped), Path(got.images.filename).parent) for split, got in loaded.items()]
    ui.print_table("split, images, unreadable, lies in", rows)


@app.command()
def check(
    name: Name, data_dir: Annotated[Path | None, Argument(**ui.DIR, help="Where the data set lies.")] = None
) -> None:
    """Look whether a folder holds a data set whole and sound; exit code 2 where it cannot be used.

    Example: [cyan]ganseg data check flowers ~/flowers[/cyan]
    """
    from ganseg import data

    listing, expected = data.check(name, data_dir), data.describe(name).counts
    rows = [(split, count, expected.get(split)) for split, count in listing.counts.items()]
    ui.print_table(f"{name}, images, of the paper", [*rows, *listing.labels.items()])
    for mark, sentences in (("must be mended", listing.faults), ("note", listing.oddities)):
        for sentence in sentences:
            print(f"{mark}: {sentence}")
    print("It cannot be used as it is." if listing.faults else "It can be used.")
    raise typer.Exit(ui.MISTAKE if listing.faults else 0)


@app.command()
def show(
    name: Name, data_dir: ui.DataDir = None,
    split: Annotated[str, Option(metavar="NAME", help="Which split.")] = "test",
    count: Annotated[int, Option(min=1, help="How many images, evenly over the split.")] = 24,
    size: Pixels = 128, out: ui.Picture = None,
) -> None:  # fmt: skip
    """Draw a contact sheet: images of a split, their masks, and their keypoints.

    Example: [cyan]ganseg data show synthetic-bird --count 16 --out birds.png[/cyan]
    """
    from ganseg.data import load
    from ganseg.pictures import data_sheet

    print(data_sheet(load(name, split, size, data_dir=data_dir, limit=count), out or Path(f"{name}-{split}.png")))
