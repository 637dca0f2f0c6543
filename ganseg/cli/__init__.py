"""The command line: `ganseg train`, `segment`, `sample`, `evaluate`, `runs`.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from ganseg.cli import bench, config, imports, paths
from ganseg.cli.config import (
    COMPUTING,
    Data,
    DataDir,
    Device,
    Devices,
    Nodes,
    Parts,
    Precision,
    Quiet,
    Results,
    RunName,
    Scale,
    Seed,
    Settings,
    Size,
    TimeLimit,
    Variant,
)
from ganseg.cli.data import app as data_app
from ganseg.cli.errors import CODES, Commands
from ganseg.cli.evaluate import evaluate
from ganseg.cli.queue import run_queue
from ganseg.files import UserError, global_rank

if TYPE_CHECKING:
    from ganseg.experiments import Run

app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}, epilog=CODES,
)  # fmt: skip


def print_version(wanted: bool) -> None:
    """Print the version and stop, where it is wanted."""
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"ganseg {version('ganseg')}")
        except PackageNotFoundError:
            print("ganseg, not installed: running from its folder")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, Option("--version", is_eager=True, callback=print_version, help="Print the version.")
    ] = False,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """GANSeg learns to segment objects into parts from photographs alone, without any annotation.

    A first run takes two minutes on a laptop: [cyan]ganseg train --scale tiny[/cyan]
    """


@app.command()
def train(
    data: Data = "synthetic-bird", data_dir: DataDir = None, parts: Parts = None, scale: Scale = "tiny",
    size: Size = None, variant: Variant = "paper", seed: Seed = 0, settings: Settings = None,
    results: Results = None, time_limit: TimeLimit = None, quiet: Quiet = False, device: Device = "auto",
    devices: Devices = "1", num_nodes: Nodes = 1, precision: Precision = "auto",
) -> None:  # fmt: skip
    """Learn parts from images: the generator first, then the segmentation network.

    A finished run is not repeated; an interrupted one goes on.

    Example: [cyan]ganseg train --data folder --data-dir ~/photographs --scale laptop --time-limit 20m[/cyan]
    """
    seconds, overrides = config.parse_duration(time_limit), config.parse_settings(settings)
    count = config.parse_devices(devices)
    overrides = ({"data.size": size} if size else {}) | overrides
    config.check_computing(device, precision)
    from ganseg.experiments import Experiment
    from ganseg.experiments import run as train_or_read

    experiment = Experiment(data, variant, parts, seed, scale, data_dir, overrides)
    run = train_or_read(
        experiment,
        results,
        time_limit=seconds,
        device=device,
        devices=count,
        num_nodes=num_nodes,
        precision=precision,
        progress=not quiet,
    )
    if global_rank():
        return
    if not quiet:
        from ganseg.cli.tables import print_metrics

        print_metrics(run.metrics, short=True)
    print(run.directory)


@app.command()
def segment(
    run: RunName,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGES", help="Image files, or folders of images (those in folders below, too)."),
    ],
    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR", help="Folder for the results; made where it is not there.")
    ],
    overlays: Annotated[str, Option(metavar="FORMAT", help="The coloured overlays: jpg, png or none.")] = "jpg",
    results: Results = None,
    batch_size: Annotated[int, Option(min=1, metavar="N", help="Images at a time.", **COMPUTING)] = 32,
    device: Device = "auto",
) -> None:
    """Find the parts in your photographs, of any size.

    Writes into the folder --out, under the names that the images have: masks/ (PNG; a pixel's value is 0 for
    the background, k for part k), overlays/ (the parts in colour over the image) and parts.json (where each
    part is in each image, and how large). Files that cannot be read are skipped and listed.

    Example: [cyan]ganseg segment flowers-paper-k8-s0 ~/photographs --out masks[/cyan]
    """
    opened = open_run(run, results, device)
    from tqdm import tqdm

    from ganseg.inference import PARTS, segment_images

    with tqdm(unit="image", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        done = segment_images(
            opened, images, out, device=device, batch_size=batch_size, overlays=overlays, progress=progress
        )
    for file, reason in done.skipped:
        typer.secho(f"skipped {file}: {reason}", fg=typer.colors.YELLOW, err=True)
    print(f"{len(done.images)} images segmented, {len(done.skipped)} skipped: {done.out / PARTS}")


@app.command()
def sample(
    run: RunName,
    count: Annotated[int, Option(min=1, metavar="N", help="How many images.")] = 16,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="FILE.png", show_default="RUN-samples.png", help="The picture to write."),
    ] = None,
    results: Results = None,
    device: Device = "auto",
) -> None:
    """Draw images that the generator imagines, their part masks, and both together, as one picture.

    Example: [cyan]ganseg sample synthetic-bird-paper-k6-s0 --count 24 --out birds.png[/cyan]
    """
    opened = open_run(run, results, device)
    path = out or Path(f"{opened.directory.resolve().name}-samples.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"--out {path}: the picture is a PNG; end its name in .png")
    from ganseg.inference import generate
    from ganseg.pictures import sample_sheet

    print(sample_sheet(*generate(opened, count, seed, device), path))


app.command()(evaluate)


@app.command()
def runs(results: Results = None, scale: Annotated[str | None, Option(help="Only runs of this scale.")] = None) -> None:
    """List what was trained, with its main numbers.

    Example: [cyan]ganseg runs --scale laptop[/cyan]
    """
    from ganseg.cli.tables import print_runs

    print_runs(results, scale)


app.command()(bench.bench)
app.command("queue")(run_queue)
app.command("import-released")(imports.import_released)
app.add_typer(data_app, name="data")


def open_run(name: str, results: Path | None, device: str) -> Run:
    """The finished run that `name` means, after the device was checked."""
    directory = paths.find_directory(name, results)
    config.check_computing(device)
    from ganseg.experiments import Run

    return Run.open(directory)


def main() -> None:
    """Entry point of the command `ganseg`."""
    app(prog_name="ganseg")
