"""`ganseg runs`, `evaluate` and `bench`: what runs scored, what they score anew, and what a training step costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from ganseg import terminal
from ganseg.files import UserError, read_json, results_dir, write_json
from ganseg.terminal import (
    Data,
    DataDir,
    Device,
    Parts,
    Precision,
    Results,
    RunName,
    Scale,
    Settings,
    Variant,
    check_computing,
    console,
    open_run,
    print_metrics,
    print_table,
    text,
    warn,
)

if TYPE_CHECKING:
    from ganseg.experiments import Run

COLUMNS = "scale data variant K seed IoU NMI landmarks steps time key".split()
NOTE = (
    "IoU of the foreground; NMI of the parts where truth and prediction have foreground; landmark error as a "
    "part of the mean predictor's. A dash: the data has no such labels, or the run is not finished."
)


def runs(results: Results = None, scale: Annotated[str | None, Option(help="Only runs of this scale.")] = None) -> None:
    """List what was trained, with its main numbers.

    Example: [cyan]ganseg runs --scale laptop[/cyan]
    """
    place, of_scale = results_dir(results), f" of scale {scale!r}" if scale else ""
    directories = sorted(path.parent for path in place.glob(f"{scale or '*'}/runs/*/config.json"))
    if not directories:
        raise UserError(f"no runs{of_scale} in {place}; train one with `ganseg train`, or give --results")
    rows = [[text(value) for value in summary(directory)] for directory in directories]
    print_table(rows, COLUMNS, "K seed IoU NMI landmarks steps time", caption=NOTE, caption_justify="left")


def summary(directory: Path) -> list[Any]:
    """What `ganseg runs` lists of a run, finished or not: scale, data, variant, K, seed, IoU, NMI, landmark error
    ratio, steps, time and key; what cannot be read is None."""
    config, metrics, told = (_lenient(directory / f"{name}.json") for name in ("config", "metrics", "provenance"))
    fields, name = config.get("config", {}), directory.name.rpartition("-")
    seconds = [told.get(f"seconds_{stage}") for stage in ("gan", "segmenter")]
    key = told.get("key", name[2])
    if not metrics:
        key += " (imported, not evaluated)" if "imported" in told else " (unfinished)"
    numbers = [metrics.get(m) for m in ("iou", "nmi_both", "landmark_error_ratio")]
    return [
        told.get("scale", directory.parent.parent.name), fields.get("data", {}).get("name"),
        told.get("variant", config.get("variant")), fields.get("generator", {}).get("parts"), fields.get("seed"),
        *numbers, fields.get("optim", {}).get("steps"), None if None in seconds else duration(sum(seconds)), key,
    ]  # fmt: skip


def _lenient(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where the file is missing or damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def duration(seconds: float) -> str:
    """45 s, 12 min or 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def convention(metavar: str, words: str) -> Any:
    """The type of an option of `evaluate`."""
    return Annotated[str | None, Option(metavar=metavar, help=words, show_default=False, rich_help_panel="Conventions")]


Split = convention("NAME", "Images that are scored: test, val, official-test ... Else the paper's.")
Regression = convention("NAME", "Images that keypoints are regressed on, those that are scored left out.")
Normaliser = convention("object|inter-ocular|edge|taichi", "What landmark errors are divided by.")
Origin = convention(
    "released|centred|affine",
    "Landmark regression: (0, 0) in the top-left corner (the default) or in the centre, or with a bias.",
)
Taichi = convention("l1|l2", "MAE: errors of coordinates (l1, released, the default) or distances, summed.")
Iou = convention("image|dataset", "IoU: mean over images (the default), or all pixels pooled.")
Empty = convention("zero|one|skip", "IoU of an image without foreground in truth and prediction (by default zero).")
Oracle = convention("none|max", "max: score the better of mask and complement in each image, as ReDO.")


def evaluate(
    run: RunName, data_dir: DataDir = None, split: Split = None, regression: Regression = None,
    normaliser: Normaliser = None, origin: Origin = None, taichi: Taichi = None, iou: Iou = None,
    empty: Empty = None, oracle: Oracle = None, results: Results = None, device: Device = "auto",
) -> None:  # fmt: skip
    """Measure a run again on held-out images, print the metrics, and say what the data has no labels for.

    Without conventions of your own the run's metrics.json is rewritten. With some it stays as it is, and the
    numbers go to a file beside it whose name lists them, such as metrics-origin-affine.json.

    Example: [cyan]ganseg evaluate flowers-paper-k8-s0 --data-dir /data/flowers-102[/cyan]
    Example: [cyan]ganseg evaluate cub-paper-k8-s0 --data-dir /data/CUB_200_2011 --split official-test[/cyan]
    """
    opened = open_run(run, results, device)
    from ganseg.devices import make_fabric, place
    from ganseg.evaluation import evaluate as measure
    from ganseg.evaluation import unmeasured
    from ganseg.protocols import Protocol

    given = {"split": split, "regression": regression, "normaliser": normaliser, "origin": origin, "taichi": taichi}
    usual = Protocol.of(opened.config.data.name, data_dir)
    protocol = usual.changed(**given, iou=iou, empty=empty, oracle=oracle)
    fabric = make_fabric(device, wanted=opened.config.optim.precision)
    segmenter, generator = place(opened.segmenter(), fabric), place(opened.generator(), fabric)
    measured = measure(opened.config, segmenter, fabric, data_dir, protocol, generator=generator)
    print_metrics(measured)
    for sentence in unmeasured(measured, protocol):
        warn(sentence)
    print(_write(opened, measured, protocol.differences(usual)))


def _write(run: Run, measured: dict[str, Any], own: dict[str, str]) -> Path:
    """Rewrite metrics.json; with conventions of the user's own, write metrics-OPTION-VALUE.json beside it."""
    suffix = "".join(f"-{name}-{value}" for name, value in sorted(own.items()))
    path = run.directory / f"metrics{suffix}.json"
    write_json(path, measured | {"protocol": own} if own else run.metrics | measured)
    return path


def bench(
    data: Data = "synthetic-bird", scale: Scale = "tiny", variant: Variant = "paper", parts: Parts = None,
    settings: Settings = None,
    against: Annotated[
        str | None,
        Option(metavar="WHAT", help="Compare with a variant and settings, in quotes: "
                                    '"released optim.share_fakes=false precision=32-true".'),
    ] = None,
    what: Annotated[
        str, Option(metavar="LIST", help="Any of step, parts, memory, segmenter, inference.")
    ] = "step,parts,memory,segmenter",
    sweep: Annotated[
        list[str] | None,
        Option(metavar="AXIS", help="Time along size, parts or batch, as in size or size=64,128; may be repeated."),
    ] = None,
    seconds: Annotated[float, Option(min=0, metavar="S", help="Seconds for each measurement, about.")] = 10,
    out: Annotated[
        Path | None,
        Option("--out", "-o", metavar="FILE.json", show_default="SCALE/bench/NAME.json of the results",
               help="The report."),
    ] = None,
    results: Results = None, device: Device = "auto", precision: Precision = "auto",
) -> None:  # fmt: skip
    """Count and measure a training step: FLOPs, bytes, time of its parts, images/s, memory, share of what the
    device can do.

    Data is random: nothing is read. Settings that are compared take steps in turn, in one process.

    Example: [cyan]ganseg bench --scale laptop --against "released optim.share_fakes=false"[/cyan]
    """
    overrides, axes = terminal.parse_settings(settings), parse_sweeps(sweep)
    check_computing(device, precision)
    from ganseg import bench as measuring
    from ganseg.recipes import resolve

    base = measuring.Setting("ours", resolve(data, variant, scale, parts, overrides=overrides), precision)
    compared = [base, *([measuring.other(against, base, data, scale, parts, overrides)] if against else [])]
    config, words = base.config.generator, [word.strip() for word in what.split(",") if word.strip()]
    about = {"data": data, "scale": scale, "variant": variant, "overrides": overrides}
    about |= {"parts": config.parts, "blocks": len(config.block_sizes)}
    report = measuring.measure(compared, device, seconds, words, axes, **about)
    name = "-".join(
        [report["provenance"]["accelerator"], data, variant, *(["vs", *against.split()] if against else [])]
    )
    path = (
        out
        or results_dir(results)
        / scale
        / "bench"
        / f"{''.join(c if c.isalnum() or c in '._' else '-' for c in name)}.json"
    )
    write_json(path, measuring.rounded(report))
    print_report(report)
    print(path)


def parse_sweeps(words: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`["size", "batch=2,4"]` as axes and values."""
    found = {}
    for word in words or ():
        axis, _, listed = word.partition("=")
        values = [v.strip() for v in listed.split(",") if listed]
        if axis not in ("size", "parts", "batch") or not all(v.isdigit() and int(v) for v in values):
            raise UserError(f"--sweep {word}: write size, parts or batch, or one with its values, as in size=64,128")
        found[axis] = tuple(map(int, values))
    return found


def print_report(report: dict[str, Any]) -> None:
    """The main numbers, as tables."""
    for label, row in report["settings"].items():
        console().print(f"{label} ({row['precision']}, batch {row['batch_size']})")
        rows = [
            (name, f"{p['flops'] / 1e9:.2f}", f"{p['bytes'] / 1e9:.3f}", f"{1e3 * p['seconds']['median']:.2f}")
            for name, p in row.get("parts", {}).items()
        ]
        if "seconds" in row:
            rows.append(("whole step, measured", "", "", f"{1e3 * row['seconds']:.2f}"))
        print_table(rows, ("part", "GFLOP", "GB", "ms a step"), "GFLOP GB")
        rates = [f"{row['images_per_second']:.2f} images/s"] if "images_per_second" in row else []
        if "share_of_matmul" in row:
            rates.append(f"{row['share_of_matmul']:.1%} of the matmul ceiling, {row['share_of_copy']:.1%} of a copy's")
        if (row.get("memory") or {}).get("bytes"):
            rates.append(f"peak memory {row['memory']['bytes'] / 1e9:.2f} GB")
        console().print(", ".join(rates))
    if times := report.get("ratio", {}).get("images_per_second"):
        spread = f"quartiles {times['q1']:.2f} to {times['q3']:.2f}"
        console().print(f"{times['value']:.2f} times the images/s ({spread})")
