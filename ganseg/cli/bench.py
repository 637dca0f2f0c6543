"""The command `ganseg bench`: what a training step costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from typer import Option

from ganseg.cli import config
from ganseg.cli.config import Data, Device, Parts, Precision, Results, Scale, Settings, Variant
from ganseg.files import UserError


def bench(
    data: Data = "synthetic-bird",
    scale: Scale = "tiny",
    variant: Variant = "paper",
    parts: Parts = None,
    settings: Settings = None,
    against: Annotated[
        str | None,
        Option(
            metavar="WHAT",
            help="Compare with: plain (the released code's step in fp32), or a variant and settings "
            'in quotes: "released optim.share_fakes=false precision=32-true".',
        ),
    ] = None,
    what: Annotated[
        str, Option(metavar="LIST", help="Any of step, parts, memory, segmenter, gains, inference.")
    ] = "step,parts,memory,segmenter",
    sweep: Annotated[
        list[str] | None,
        Option(
            metavar="AXIS",
            help="Time along size, parts or batch, as in size or size=64,128; may be given several times.",
        ),
    ] = None,
    earlier: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="Compare steps/s and scores with an earlier version of this package, checked out in DIR; on the CPU.",
        ),
    ] = None,
    seconds: Annotated[float, Option(min=0, metavar="S", help="Seconds for each measurement, about.")] = 10,
    out: Annotated[
        Path | None,
        Option(
            "--out",
            "-o",
            metavar="FILE.json",
            show_default="SCALE/bench/NAME.json of the results",
            help="The report.",
        ),
    ] = None,
    results: Results = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Count and measure a training step: FLOPs, bytes, time of its parts, images/s, memory, share of what the
    device can do.

    Data is random: nothing is read. Settings that are compared take steps in turn, in one process.

    Example: [cyan]ganseg bench --data flowers --scale gpu --set optim.batch_size=2 --against plain[/cyan]
    """
    overrides, axes = config.parse_settings(settings), parse_sweeps(sweep)
    config.check_computing(device, precision)
    if earlier and (against or sweep or parts or variant != "paper"):
        raise UserError("--earlier goes with --data, --scale, --set and --seconds only: it compares whole versions")
    from ganseg.bench import report, steps
    from ganseg.files import results_dir
    from ganseg.recipes import resolve

    folder = results_dir(results) / scale / "bench"
    if earlier:
        print(report.save(compare_versions(earlier, data, scale, overrides, seconds), out or folder / "versions.json"))
        return
    base = steps.Setting("ours", resolve(data, variant, scale, parts, overrides=overrides), precision)
    compared = [base, *([steps.other(against, base, data, scale, parts, overrides)] if against else [])]
    found = report.measure(
        compared,
        device,
        seconds,
        [word.strip() for word in what.split(",") if word.strip()],
        axes,
        data=data,
        scale=scale,
        variant=variant,
        parts=base.config.generator.parts,
        blocks=len(base.config.generator.block_sizes),
        overrides=overrides,
    )
    kind = found["provenance"]["accelerator"]
    print_report(found)
    print(report.save(found, out or folder / f"{report.default_name(kind, data, variant, against)}.json"))


def compare_versions(
    checkout: Path, data: str, scale: str, overrides: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Measure and print the three rows of `ganseg.bench.versions`."""
    from ganseg.bench import versions

    found = versions.measure(checkout, data, scale, overrides, seconds)
    for name, row in found["versions"].items():
        print(f"{name}: {1 / row['seconds']['median']:.2f} steps/s, {row['ratio']['median']:.2f} times those before")
    return found


def parse_sweeps(words: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`["size", "batch=2,4"]` as axes and values."""
    found = {}
    for word in words or ():
        axis, _, values = word.partition("=")
        if axis not in ("size", "parts", "batch") or not all(
            v.strip().isdigit() and int(v) for v in values.split(",") if values
        ):
            raise UserError(f"--sweep {word}: write size, parts or batch, or one with its values, as in size=64,128")
        found[axis] = tuple(int(v) for v in values.split(",")) if values else ()
    return found


def print_report(report: dict[str, Any]) -> None:
    """The main numbers, as tables."""
    from rich.table import Table

    from ganseg.cli.tables import console

    for label, row in report["settings"].items():
        table = Table(title=f"{label} ({row['precision']}, batch {row['batch_size']})", box=None, title_justify="left")
        for heading in ("part", "GFLOP", "GB", "ms a step"):
            table.add_column(heading, justify="left" if heading == "part" else "right")
        for name, part in row.get("parts", {}).items():
            table.add_row(
                name,
                f"{part['flops'] / 1e9:.2f}",
                f"{part['bytes'] / 1e9:.3f}",
                f"{1e3 * part['seconds']['median']:.2f}",
            )
        if "seconds" in row:
            counted = [
                f"{row[kind] / 1e9:.{digits}f}" if kind in row else "" for kind, digits in (("flops", 2), ("bytes", 3))
            ]
            table.add_row("whole step, measured", *counted, f"{1e3 * row['seconds']:.2f}")
        console().print(table)
        console().print(summary(row))
    if "images_per_second" in report.get("ratio", {}):
        low, value, high = (report["ratio"]["images_per_second"].get(k, float("nan")) for k in ("q1", "value", "q3"))
        memory = report["ratio"].get("peak_memory")
        console().print(
            f"{value:.2f} times the images/s (quartiles {low:.2f} to {high:.2f})"
            + (f", {memory:.2f} times the memory" if memory else "")
        )


def summary(row: dict[str, Any]) -> str:
    """Images/s, shares of the ceilings and peak memory of a setting, as far as they were measured."""
    words = [f"{row['images_per_second']:.2f} images/s"] if "images_per_second" in row else []
    if "share_of_matmul" in row:
        words.append(
            f"{row['share_of_matmul']:.1%} of the matmul ceiling, {row['share_of_copy']:.1%} of the copy ceiling"
        )
    if row.get("memory", {}).get("bytes"):
        words.append(f"peak memory {row['memory']['bytes'] / 1e9:.2f} GB")
    return ", ".join(words)
