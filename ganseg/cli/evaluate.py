"""`ganseg evaluate`: a run is measured again, under the paper's conventions or under others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from ganseg.cli import paths
from ganseg.cli.config import DataDir, Device, Results, RunName

if TYPE_CHECKING:
    from ganseg.protocols import Protocol


def _convention(metavar: str, text: str) -> Any:
    return Option(metavar=metavar, help=text, show_default=False, rich_help_panel="Conventions")


Split = Annotated[
    str | None, _convention("NAME", "Images that are scored: test, val, official-test ... Else the paper's.")
]
Regression = Annotated[
    str | None, _convention("NAME", "Images that keypoints are regressed on, those that are scored left out.")
]
Normaliser = Annotated[
    str | None,
    _convention("object|inter-ocular|edge|taichi", "What landmark errors are divided by."),
]
Origin = Annotated[
    str | None,
    _convention(
        "released|centred|affine",
        "Landmark regression: (0, 0) in the top-left corner (the default) or in the centre, or with a bias.",
    ),
]
Taichi = Annotated[
    str | None,
    _convention("l1|l2", "MAE: errors of coordinates (l1, released, the default) or distances, summed."),
]
Iou = Annotated[str | None, _convention("image|dataset", "IoU: mean over images (the default), or all pixels pooled.")]
Empty = Annotated[
    str | None,
    _convention("zero|one|skip", "IoU of an image without foreground in truth and prediction (by default zero)."),
]
Oracle = Annotated[
    str | None,
    _convention("none|max", "max: score the better of mask and complement in each image, as ReDO."),
]


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
    from ganseg.cli import open_run

    opened = open_run(run, results, device)
    from ganseg.cli.tables import print_metrics
    from ganseg.devices import make_fabric, place
    from ganseg.evaluation import evaluate as measure
    from ganseg.evaluation import unmeasured
    from ganseg.protocols import Protocol

    usual = Protocol.of(opened.config.data.name, data_dir)
    protocol = usual.changed(
        split=split, regression=regression, normaliser=normaliser, origin=origin, taichi=taichi, iou=iou,
        empty=empty, oracle=oracle,
    )  # fmt: skip
    fabric = make_fabric(device, wanted=opened.config.optim.precision)
    segmenter, generator = place(opened.segmenter(), fabric), place(opened.generator(), fabric)
    measured = measure(opened.config, segmenter, fabric, data_dir, protocol, generator=generator)
    written = write(opened.directory, measured, protocol, usual)
    print_metrics(measured)
    for sentence in unmeasured(measured, protocol):
        typer.secho(sentence, fg=typer.colors.YELLOW, err=True)
    print(written)


def write(directory: Path, measured: dict[str, Any], protocol: Protocol, usual: Protocol) -> Path:
    """Rewrite metrics.json; under a protocol of the user's own, write metrics-OPTION-VALUE.json instead."""
    from ganseg.files import read_json, write_json

    own = protocol.differences(usual)
    path = directory / paths.METRICS
    if not own:
        write_json(path, (read_json(path) if path.exists() else {}) | measured)
        return path
    suffix = "-".join(f"{name}-{value}" for name, value in sorted(own.items()))
    path = path.with_name(f"{path.stem}-{suffix}{path.suffix}")
    write_json(path, measured | {"protocol": own})
    return path
