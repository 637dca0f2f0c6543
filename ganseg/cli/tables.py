"""What the commands print: the metrics of a run, and the table of all runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ganseg.cli.paths import CONFIG, METRICS, PROVENANCE, run_directories
from ganseg.files import UserError, read_json, results_dir

MEANINGS = {
    "iou": "IoU of the foreground",
    "iou_constant_mask": "IoU of the best constant mask, mean of images",
    "iou_image": "IoU of the foreground, mean of images",
    "iou_dataset": "IoU of the foreground, pixels pooled",
    "iou_oracle": "IoU of the better of mask and complement",
    "iou_no_oracle": "IoU of the foreground, without the oracle",
    "nmi_both": "NMI of the parts, where both have foreground",
    "ari_both": "ARI of the parts, where both have foreground",
    "nmi_foreground": "NMI of the parts, on the true foreground",
    "ari_foreground": "ARI of the parts, on the true foreground",
    "nmi_all": "NMI of the parts, on all pixels",
    "ari_all": "ARI of the parts, on all pixels",
    "nmi_keypoints": "NMI of parts and visible keypoints",
    "ari_keypoints": "ARI of parts and visible keypoints",
    "landmark_error": "landmark error",
    "landmark_error_mean": "landmark error of the mean predictor",
    "landmark_error_ratio": "ratio of the two",
    "landmark_error_released": "landmark error, origin in the top-left corner",
    "landmark_error_centred": "landmark error, origin at the image's centre",
    "landmark_error_affine": "landmark error, regression with a bias",
    "landmark_error_object": "landmark error over the object's size",
    "landmark_error_object_mean": "the same of the mean predictor",
    "landmark_error_inter_ocular": "landmark error over the distance of the eyes",
    "landmark_error_inter_ocular_mean": "the same of the mean predictor",
    "landmark_error_edge": "landmark error over the image's edge",
    "landmark_error_edge_mean": "the same of the mean predictor",
    "taichi_mae": "MAE of Table 3, in pixels of 256",
    "taichi_mae_mean": "MAE of the mean predictor",
    "taichi_mae_l1": "MAE, sum over coordinates",
    "taichi_mae_l1_mean": "the same of the mean predictor",
    "taichi_mae_l2": "MAE, sum of distances",
    "taichi_mae_l2_mean": "the same of the mean predictor",
    "foreground_fraction": "fraction of pixels in the foreground",
    "part_usage": "fraction of images that show each part",
    "part_areas": "mean area of each part",
    "components_per_part": "connected components of a part (1 is best)",
    "equivariance_error": "equivariance error under shifts (0 is best)",
    "equivariance_error_affine": "equivariance error under turns and scalings",
    "fid": "FID of generated images",
    "frechet_distance": "Frechet distance of generated images, random features (0 is best)",
    "frechet_images": "generated images that were compared with real ones",
    "test_images": "test images",
    "iou_images": "test images with a mask",
    "regression_images": "images that landmarks are regressed on",
}
SHORT = (
    "iou", "iou_constant_mask", "nmi_both", "ari_both", "landmark_error", "landmark_error_mean",
    "foreground_fraction", "part_usage",
)  # fmt: skip
# heading, and how it is read from (config, metrics, provenance)
COLUMNS = {
    "scale": lambda c, m, p: p.get("scale"),
    "data": lambda c, m, p: c.get("data", {}).get("name"),
    "variant": lambda c, m, p: p.get("variant"),
    "K": lambda c, m, p: c.get("generator", {}).get("parts"),
    "seed": lambda c, m, p: c.get("seed"),
    "IoU": lambda c, m, p: m.get("iou"),
    "NMI": lambda c, m, p: m.get("nmi_both"),
    "landmarks": lambda c, m, p: m.get("landmark_error_ratio"),
    "steps": lambda c, m, p: c.get("optim", {}).get("steps"),
    "time": lambda c, m, p: duration(p),
    "key": lambda c, m, p: p.get("key"),
}
NOTE = (
    "IoU of the foreground; NMI of the parts where truth and prediction have foreground; landmark error as a "
    "part of the mean predictor's. A dash: the data has no such labels, or the run is not finished."
)


def print_metrics(metrics: dict[str, Any], short: bool = False) -> None:
    """A table of the metrics, with what they mean; `short`: the main ones."""
    names = [*MEANINGS, *(name for name in metrics if name not in MEANINGS)]
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in names:
        if name in metrics and (name in SHORT or not short):
            table.add_row(MEANINGS.get(name, name), text(metrics[name]), "" if short else f"[dim]{name}[/dim]")
    console().print(table)


def print_runs(results: Path | None = None, scale: str | None = None) -> None:
    """A table of all runs, unfinished ones too. UserError where there are none."""
    directories = run_directories(results, scale)
    if not directories:
        of_scale = f" of scale {scale!r}" if scale else ""
        raise UserError(
            f"no runs{of_scale} in {results_dir(results)}; train one with `ganseg train`, or give --results"
        )
    table = Table(box=None, pad_edge=False, header_style="bold", caption=NOTE, caption_justify="left")
    for heading in COLUMNS:
        table.add_column(
            heading,
            justify="left" if heading in ("scale", "data", "variant", "key") else "right",
            overflow="fold",
        )
    for directory in directories:
        table.add_row(*row(directory))
    console().print(table)


def row(directory: Path) -> list[str]:
    """The cells of a run; what its name alone tells where its provenance is not yet written."""
    began, metrics, provenance = (_read(directory / name) for name in (CONFIG, METRICS, PROVENANCE))
    named = {"key": directory.name.rpartition("-")[2], "variant": began.get("variant")}
    named["scale"] = directory.parent.parent.name
    values = (began.get("config", {}), metrics, named | provenance)
    cells = [text(read(*values)) for read in COLUMNS.values()]
    state = "imported, not evaluated" if "imported" in provenance else "unfinished"
    return cells if metrics else [*cells[:-1], f"{cells[-1]} ({state})"]


def text(value: Any) -> str:
    """A value for people: three decimals, a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return " ".join(f"{v:.2f}" if isinstance(v, float) else str(v) for v in value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def duration(provenance: dict[str, Any]) -> str | None:
    """Training time of both stages: 45 s, 12 min or 3.4 h; None where it is not known."""
    stages = [provenance.get(name) for name in ("seconds_gan", "seconds_segmenter")]
    if None in stages:
        return None
    seconds = sum(stages)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def console() -> Console:
    """Standard output; wide where it is not a terminal, so that nothing is folded in a file."""
    return Console(width=None if sys.stdout.isatty() else 160)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where the file is missing or damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
