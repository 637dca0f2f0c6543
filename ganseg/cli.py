"""The command line: `ganseg train`, `segment`, `sample`, `evaluate`, `runs`, `bench`, `import-released`, `data`.

Everything heavy is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer import Argument, Option

from ganseg import cli_data, cli_measure, terminal
from ganseg.files import UserError, global_rank
from ganseg.terminal import (
    COMPUTING,
    Data,
    DataDir,
    Device,
    Parts,
    Precision,
    Results,
    RunName,
    Scale,
    Seed,
    Settings,
    Sheet,
    Variant,
    check_computing,
    open_run,
    print_metrics,
    warn,
)  # fmt: skip

app = typer.Typer(
    cls=terminal.Commands, add_completion=False, no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}, epilog=terminal.CODES,
)  # fmt: skip


def print_version(wanted: bool) -> None:
    """Print the version and stop, where it is wanted."""
    if wanted:
        try:
            print(f"ganseg {installed_version('ganseg')}")
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

    A first run takes a minute on a laptop: [cyan]ganseg train --scale tiny[/cyan]
    """


@app.command()
def train(
    data: Data = "synthetic-bird", data_dir: DataDir = None, parts: Parts = None, scale: Scale = "tiny",
    size: Annotated[
        int | None,
        Option("--size", min=8, metavar="PIXELS", show_default="the scale's",
               help="Side of the images, such as 64 or 256; both networks get blocks that fit."),
    ] = None,
    variant: Variant = "paper", seed: Seed = 0, settings: Settings = None, results: Results = None,
    time_limit: Annotated[
        str | None,
        Option("--time-limit", metavar="TIME",
               help="Stop cleanly after 90s, 10m or 1h30m; the same command goes on later."),
    ] = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress; print the run's folder only.")] = False,
    device: Device = "auto",
    devices: Annotated[str, Option(metavar="N", help="Devices on each machine: a number, or auto.", **COMPUTING)] = "1",
    num_nodes: Annotated[int, Option("--num-nodes", min=1, metavar="N", help="Machines.", **COMPUTING)] = 1,
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Learn parts from images: the generator first, then the segmentation network.

    A finished run is not repeated; an interrupted one goes on.

    Example: [cyan]ganseg train --data folder --data-dir ~/photographs --scale laptop --time-limit 20m[/cyan]
    """
    seconds, overrides = terminal.parse_duration(time_limit), terminal.parse_settings(settings)
    if devices != "auto" and not (devices.isdigit() and int(devices)):
        raise UserError(f"--devices {devices}: write a number from 1 on, or auto")
    check_computing(device, precision)
    from ganseg import experiments

    overrides = ({"data.size": size} if size else {}) | overrides
    run = experiments.run(
        experiments.Experiment(data, variant, parts, seed, scale, data_dir, overrides), results, time_limit=seconds,
        device=device, devices=devices if devices == "auto" else int(devices), num_nodes=num_nodes,
        precision=precision, progress=not quiet,
    )  # fmt: skip
    if not global_rank():
        if not quiet:
            print_metrics(run.metrics, short=True)
        print(run.directory)


@app.command()
def segment(
    run: RunName,
    images: Annotated[
        list[Path],
        Argument(metavar="IMAGES", help="Image files, or folders of images (those in folders below, too)."),
    ],
    out: Annotated[
        Path, Option("--out", "-o", metavar="DIR", help="Folder for the results; made where it is not there.")
    ],
    overlays: Annotated[str, Option(metavar="FORMAT", help="The coloured overlays: jpg, png or none.")] = "jpg",
    results: Results = None,
    batch_size: Annotated[int, Option(min=1, metavar="N", help="Images at a time.", **COMPUTING)] = 8,
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

    from ganseg.segment import PARTS, segment_images

    with tqdm(unit="image", disable=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        done = segment_images(
            opened, images, out, device=device, batch_size=batch_size, overlays=overlays, progress=progress
        )
    for file, reason in done.skipped:
        warn(f"skipped {file}: {reason}")
    print(f"{len(done.images)} images segmented, {len(done.skipped)} skipped: {done.out / PARTS}")


@app.command()
def sample(
    run: RunName,
    count: Annotated[int, Option(min=1, metavar="N", help="How many images.")] = 16,
    seed: Seed = 0, out: Sheet = None, results: Results = None, device: Device = "auto",
) -> None:  # fmt: skip
    """Draw images that the generator imagines, their part masks, and both together, as one picture.

    Example: [cyan]ganseg sample synthetic-bird-paper-k6-s0 --count 24 --out birds.png[/cyan]
    """
    opened = open_run(run, results, device)
    path = terminal.picture_path(out or Path(f"{opened.directory.resolve().name}-samples.png"))
    from ganseg.pictures import sample_sheet
    from ganseg.segment import generate

    print(sample_sheet(*generate(opened, count, seed, device), path))


@app.command("import-released")
def import_released(
    checkpoint: Annotated[
        Path, Argument(metavar="CHECKPOINT", help="The generator's file, as checkpoints/epoch_29.model.")
    ],
    segmenter: Annotated[
        Path | None,
        Option("--segmenter", metavar="FILE", help="The segmentation network's file, as epoch_9.model."),
    ] = None,
    parameters: Annotated[
        Path | None,
        Option("--parameters", metavar="FILE", show_default="looked for beside CHECKPOINT",
               help="The generator's parameters.json."),
    ] = None,
    data: Annotated[
        str | None,
        Option(metavar="NAME", show_default="what parameters.json says", help="Data set to evaluate on."),
    ] = None,
    parts: Annotated[
        int | None,
        Option("--parts", "-K", min=1, metavar="K", show_default="the checkpoint's",
               help="Number of parts K; any other is refused."),
    ] = None,
    heatmap: Annotated[
        Literal["cone", "gaussian"] | None,
        Option(show_default="what parameters.json says, else cone", help="Heatmaps it was trained with."),
    ] = None,
    results: Results = None,
    name: Annotated[str | None, Option(metavar="NAME", help="Name of the run's folder.")] = None,
) -> None:  # fmt: skip
    """Make a run of the authors' released weights, to sample, segment and evaluate with.

    Reads tensors alone: whatever else a file holds is refused, not executed. The architecture follows from
    the tensors' shapes; parameters.json tells the rest and must agree.

    Example: [cyan]ganseg import-released log/gan_cub_k8/checkpoints/epoch_29.model --segmenter
    log/seg_cub_k8/checkpoints/epoch_9.model[/cyan]
    """
    from ganseg.released import import_released as make_run

    imported = make_run(
        checkpoint, segmenter, parameters, data=data, parts=parts, heatmap=heatmap, results=results, name=name
    )
    for note in imported.notes:
        warn(f"note: {note}")
    print(imported.directory)


app.command()(cli_measure.runs)
app.command()(cli_measure.evaluate)
app.command()(cli_measure.bench)
app.add_typer(cli_data.app, name="data")


def main() -> None:
    """Entry point of the command `ganseg`."""
    app(prog_name="ganseg")


if __name__ == "__main__":
    main()
