"""The command line: `ganseg train`, `segment`, `sample`, `evaluate`, `runs`, `models` and the rest.

Everything heavy is imported inside the commands, or by `ganseg` when it is asked for: `--help` answers at once.
"""

import re
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

import ganseg
from ganseg import cli_data, terminal as ui
from ganseg.files import UserError, global_rank, place, results_dir, shipped_models, write_json

app = typer.Typer(
    cls=ui.Commands, add_completion=False, no_args_is_help=True, rich_markup_mode="rich",
    pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}, epilog=ui.CODES,
)  # fmt: skip
app.add_typer(cli_data.app, name="data")


def print_version(wanted: bool) -> None:
    """Print the version and stop, where it is wanted."""
    if wanted:
        print("ganseg", *(found.version for found in distributions(name="ganseg")))  # none where it is not installed
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, Option("--version", is_eager=True, callback=print_version, help="Print it.")] = False,
    debug: Annotated[bool, Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """GANSeg learns to segment objects into parts from photographs alone, without any annotation.

    Models come with it: [cyan]ganseg segment flowers photograph.jpg --out masks[/cyan]
    A first training takes a minute on a laptop: [cyan]ganseg train --scale tiny[/cyan]
    """


@app.command()
def train(
    data: ui.Data = "synthetic-bird", data_dir: ui.DataDir = None, parts: ui.Parts = None, scale: ui.Scale = "tiny",
    size: Annotated[int | None, Option(min=8, metavar="PIXELS", help="Side of the images; else the scale's.")] = None,
    variant: Annotated[str, Option(metavar="NAME", help=f"{ui.VARIANT} For a folder plus, else paper.")] = "",
    seed: ui.Seed = 0, settings: ui.Settings = None, results: ui.Results = None, time_limit: ui.TimeLimit = None,
    quiet: Annotated[bool, Option("--quiet", "-q", help="No progress; print the run's folder only.")] = False,
    device: ui.Device = "auto",
    devices: Annotated[int, Option(min=1, help="Devices on each machine.", **ui.COMPUTING)] = 1,
    num_nodes: Annotated[int, Option(min=1, help="Machines.", **ui.COMPUTING)] = 1,
    precision: ui.Precision = "auto",
) -> None:  # fmt: skip
    """Learn parts from images: the generator first, then the segmentation network.

    A finished run is not repeated; an interrupted one goes on.

    Example: [cyan]ganseg train --data folder --data-dir ~/photographs --scale laptop --time-limit 20m[/cyan]
    """
    overrides = ({"data.size": size} if size else {}) | dict(settings or ())
    if not variant and data == "folder" and not global_rank(devices, num_nodes):
        ui.warn("images of your own: variant plus, made for few images; --variant paper trains as the paper does")
    variant = variant or ("plus" if data == "folder" else "paper")
    experiment = ganseg.Experiment(data, variant, parts, seed, scale, data_dir, overrides)
    computing = {"device": device, "devices": devices, "num_nodes": num_nodes, "precision": precision}
    done = ganseg.run(experiment, results, time_limit=time_limit, progress=not quiet, **computing)
    if not global_rank(devices, num_nodes):
        if not quiet:
            ui.print_metrics(done.metrics)
        print(done.directory)


@app.command()
def segment(
    run: ui.RunName,
    images: Annotated[list[Path], Argument(parser=place, metavar="IMAGES", help="Images, or folders of images.")],
    out: Annotated[Path, Option("--out", "-o", **ui.DIR, help="Folder for the results; made if need be.")],
    results: ui.Results = None, device: ui.Device = "auto",
) -> None:  # fmt: skip
    """Find the parts in your photographs, of any size.

    Writes into the folder --out, under the names that the images have: masks/ (PNG; a pixel's value is 0 for
    the background, k for part k), overlays/ (the parts in colour over the image) and parts.json (where each
    part is in each image, and how large). Files that cannot be read are skipped and listed.

    Example: [cyan]ganseg segment flowers ~/photographs --out masks[/cyan]
    """
    from ganseg.segment import PARTS, segment_images

    done = segment_images(ganseg.Run.find(run, results), images, out, device=device, progress=True)
    for sentence in [*done["left_out"], *(f"skipped {one['file']}: {one['reason']}" for one in done["skipped"])]:
        ui.warn(sentence)
    count = len(done["images"])
    print(f"{count} image{'s' * (count != 1)} segmented, {len(done['skipped'])} skipped: {out / PARTS}")


@app.command()
def sample(
    run: ui.RunName, count: Annotated[int, Option(min=1, max=1000, help="How many images.")] = 16, seed: ui.Seed = 0,
    out: ui.Picture = None, results: ui.Results = None, device: ui.Device = "auto",
) -> None:  # fmt: skip
    """Draw images that the generator imagines, their part masks, and both together, as one picture.

    Example: [cyan]ganseg sample birds --count 24 --out birds.png[/cyan]
    """
    from ganseg.devices import make_fabric, place
    from ganseg.pictures import sample_sheet
    from ganseg.probes import imagined

    opened, fabric = ganseg.Run.find(run, results), make_fabric(device)
    path = out or Path(f"{opened.directory.resolve().name}-samples.png")
    print(sample_sheet(*imagined(place(opened.generator(), fabric), count, fabric, seed), path))


@app.command("import-released")
def import_released(
    checkpoint: Annotated[Path, Argument(help="The generator's file, as checkpoints/epoch_29.model.")],
    segmenter: Annotated[Path | None, Option(help="The segmentation network's file, as epoch_9.model.")] = None,
    data: Annotated[str | None, Option(help="Data set to evaluate on; else what parameters.json says.")] = None,
    results: ui.Results = None,
) -> None:
    """Make a run of the authors' released weights, to sample, segment and evaluate with.

    Reads tensors alone: whatever else a file holds is refused, not executed. The architecture follows from
    the tensors' shapes; parameters.json, beside the checkpoint or a folder above, tells the rest.

    Example: [cyan]ganseg import-released log/gan_cub_k8/checkpoints/epoch_29.model --segmenter
    log/seg_cub_k8/checkpoints/epoch_9.model[/cyan]
    """
    from ganseg import released

    directory, notes = released.import_released(checkpoint, segmenter, data=data, results=results)
    for note in notes:
        ui.warn(f"note: {note}")
    print(directory)


@app.command()
def runs(results: ui.Results = None, scale: Annotated[str, Option(help="Only runs of this scale.")] = "*") -> None:
    """List what was trained, with its main numbers and settings of its own.

    Example: [cyan]ganseg runs --scale laptop[/cyan]
    """
    place, rows = results_dir(results), []
    for run in (ganseg.Run(path.parent) for path in sorted(place.glob(f"{scale}/runs/*/config.json"))):
        metrics, own, state = {}, "", "damaged"
        with suppress(UserError):
            metrics = run.metrics
            state = "evaluated" if metrics else "imported, not evaluated" if run.imported else "unfinished"
            own = " ".join(f"{name}={value}" for name, value in run.provenance["overrides"].items()) if metrics else ""
        numbers = [metrics.get(name) for name in ("iou", "nmi_both", "landmark_error_ratio")]
        rows.append([run.directory.parts[-3], run.directory.name, *numbers, state, own])
    if not rows:
        raise UserError(f"no runs of scale {scale} in {place}; train one with `ganseg train`, or give --results")
    ui.print_table("scale, run, foreground IoU, NMI of parts, landmark error ratio, state, settings", rows)


@app.command()
def models(results: ui.Results = None) -> None:
    """List the models that come with the project; their names are what segment, sample and evaluate take.

    Example: [cyan]ganseg models[/cyan]
    """
    rows = []
    for name, told in shipped_models(results).items():
        run = ganseg.Run.find(name, results)
        config, size = run.config, sum(path.stat().st_size for path in run.directory.glob("*.safetensors"))
        about = [config.data.name, run.provenance["variant"], config.generator.parts, f"{config.data.size} px"]
        scores = [run.metrics.get(metric) for metric in ("iou", "nmi_both")]
        rows.append([name, *about, *scores, f"{size / 1e6:.1f} MB", told["licence"]])
    if not rows:
        raise UserError(f"no models come with {results_dir(results)}: its models.yml names none")
    ui.print_table("model, data, variant, K, images, foreground IoU, NMI of parts, weights, licence", rows)


@app.command()
def evaluate(
    run: ui.RunName, data_dir: ui.DataDir = None,
    split: Annotated[str | None, Option(help="Images to score: test, val, official-test; else the paper's.")] = None,
    regression: Annotated[str | None, Option(help="Images that keypoints are regressed on; else the paper's.")] = None,
    results: ui.Results = None, device: ui.Device = "auto",
) -> None:  # fmt: skip
    """Measure a run again on held-out images, print the metrics, and say what the data has no labels for.

    On the paper's images the run's metrics.json is rewritten, unless the model came with the project. On others it
    stays as it is, and the numbers go to a file beside it whose name lists them, such as metrics-split-val.json.

    Example: [cyan]ganseg evaluate cub-paper-k8-s0 --data-dir /data/CUB_200_2011 --split official-test[/cyan]
    """
    from ganseg import evaluation
    from ganseg.devices import make_fabric, place

    opened = ganseg.Run.find(run, results)
    usual = evaluation.Protocol.of(opened.config.data.name, data_dir)
    own = {n: v for n, v in (("split", split), ("regression", regression)) if v not in (None, getattr(usual, n))}
    protocol, fabric = usual._replace(**own), make_fabric(device, wanted=opened.config.optim.precision)
    segmenter, generator = place(opened.segmenter(), fabric), place(opened.generator(), fabric)
    measured = evaluation.evaluate(opened.config, segmenter, fabric, data_dir, protocol, generator=generator)
    ui.print_metrics(measured)
    for sentence in evaluation.unmeasured(measured, protocol):
        ui.warn(sentence)
    path = opened.directory / f"metrics{''.join(f'-{name}-{own[name]}' for name in sorted(own))}.json"
    shipped = [ganseg.Run.find(name, results).directory.resolve() for name in shipped_models(results)]
    if not own and opened.directory.resolve() in shipped:
        ui.warn("this model came with the project: its published numbers stay as they are in")
    else:
        write_json(path, measured | {"protocol": own} if own else opened.metrics | measured)
    print(path)


@app.command()
def bench(
    data: ui.Data = "synthetic-bird", scale: ui.Scale = "tiny", variant: ui.Variant = "paper", parts: ui.Parts = None,
    settings: ui.Settings = None,
    against: Annotated[str | None, Option(help="Compare with a variant and settings, in quotes.")] = None,
    seconds: Annotated[float, Option(min=0, help="Seconds for each measurement, about.")] = 10,
    results: ui.Results = None, device: ui.Device = "auto",
) -> None:  # fmt: skip
    """Count and measure a training step: FLOPs, bytes, images/s, memory, share of what the device can do.

    Images are random: nothing is read. Settings that are compared take steps in turn, in one process. The
    report goes to SCALE/bench/ of the results.

    Example: [cyan]ganseg bench --scale laptop --against "released optim.share_fakes=false"[/cyan]
    """
    from ganseg import bench as measuring

    ours = ganseg.Experiment(data, variant, parts, scale=scale, overrides=dict(settings or ()))
    compared = {} if against is None else {against: measuring.other(against, ours)}
    report = measuring.measure({"ours": ours} | compared, device, seconds)
    name = "-".join([report["provenance"]["accelerator"], data, variant, *(["vs", against] if against else [])])
    path = results_dir(results) / scale / "bench" / f"{re.sub('[^a-zA-Z0-9._]', '-', name)}.json"
    write_json(path, report)
    columns = ("images_per_second", "share_of_matmul", "share_of_copy")
    rows = [(label, *map(row.get, columns)) for label, row in report["settings"].items()]
    ui.print_table("step, images/s, share of matmul, share of copy", rows)
    print(path)


def main() -> None:
    """Entry point of the command `ganseg`."""
    ui.steady()
    app(prog_name="ganseg")


if __name__ == "__main__":
    main()
