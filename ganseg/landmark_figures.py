"""Figures of landmark regression: predicted keypoints on their images, and errors under each convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganseg.canvas import INK, LINES, QUIET, dress, new_figure, panels, picture, spread_colours
from ganseg.data import DATASETS
from ganseg.pictures import colour_labels

ORIGINS = {
    "top-left corner (released)": "landmark_error",
    "centre of the image": "landmark_error_centred",
    "with a bias": "landmark_error_affine",
}
ANCHOR = "average keypoints"


def drawable(runs: Iterable[Any], data: str) -> list[Any]:
    """The runs whose networks and images are on this machine: of the data set `data`, or of drawn images."""
    here = (run for run in runs if run.has_weights)
    return [run for run in here if (name := run.provenance["data"]) == data or not DATASETS[name].needs_dir]


def held_out_keypoints(
    run: Any, data_dir: str | Path | None = None, count: int = 12, **conventions: str
) -> tuple[Figure, pd.DataFrame]:
    """`keypoints_figure` of some images that `run` is scored on, and its data; `conventions`: options of `Protocol`.

    Photographs that may not be passed on are replaced by the parts found in them: figures are stored and published.
    """
    from ganseg.devices import make_fabric
    from ganseg.evaluation import find_parts, regress_keypoints
    from ganseg.protocols import Protocol, shown

    where = data_dir or None
    protocol = Protocol.of(run.config.data.name, where).changed(**conventions)
    fabric = make_fabric(precision="32-true")
    segmenter = run.segmenter().to(fabric.device)
    test, predicted = regress_keypoints(run.config, segmenter, fabric, where, protocol)
    few = np.arange(min(count, len(test))) * len(test) // min(count, len(test))  # evenly spaced
    images = test.images[few]
    if not DATASETS[run.config.data.name].redistributable:
        images = colour_labels(find_parts(segmenter, images, fabric).labels)
    truth, found, visible = test.keypoints[few], predicted[few], shown(test)[few]
    lines = [{"image": test.names[i], "keypoint": j, "visible": bool(visible[n, j]), "x": truth[n, j, 0],
              "y": truth[n, j, 1], "x_predicted": found[n, j, 0], "y_predicted": found[n, j, 1]}
             for n, i in enumerate(few) for j in range(truth.shape[1])]  # fmt: skip
    return keypoints_figure(images, truth, found, visible), pd.DataFrame(lines).round(3)


def errors_by_convention(
    runs: Sequence[Any], conventions: Mapping[str, tuple[str, str]], factor: float = 1.0
) -> pd.DataFrame:
    """What `conventions_figure` draws: title -> (metric of the parts, metric of the mean predictor)."""
    lines = []
    for run in runs:
        for title, names in conventions.items():
            for predictor, name in zip(("part centres", ANCHOR), names, strict=True):
                line = {"convention": title, "predictor": predictor, "error": factor * run.metrics[name]}
                lines.append(line | {"seed": run.provenance["seed"]})
    return pd.DataFrame(lines)


def errors_by_origin(runs: Sequence[Any]) -> pd.DataFrame:
    """Landmark errors of `runs` in %, by where the regression has its origin, beside the mean predictor's."""
    pairs = {title: (name, "landmark_error_mean") for title, name in ORIGINS.items()}
    return errors_by_convention(runs, pairs, 100)


def keypoints_figure(
    images: np.ndarray, truth: np.ndarray, predicted: np.ndarray, visible: np.ndarray, columns: int = 6
) -> Figure:
    """Images (N, S, S, 3) with their keypoints (N, J, 2) in pixels: a ring the truth, a dot the prediction.

    A line joins the two; keypoints that are not `visible` (N, J) in the truth are left out.
    """
    rows = -(-len(images) // columns)
    figure, axes = panels(rows, columns, 1.0)
    colours = spread_colours(truth.shape[1], lightness=0.62)
    to_unit = lambda points: (points + 0.5) * 2 / images.shape[1] - 1
    for i, ax in enumerate(axes.ravel()):
        picture(ax, images[i] if i < len(images) else None)
        for j in np.flatnonzero(visible[i]) if i < len(images) else ():
            true, found = to_unit(truth[i, j]), to_unit(predicted[i, j])
            ax.plot(*zip(true, found, strict=True), color="white", linewidth=1.0, zorder=2)
            ax.scatter(*true, s=38, facecolor="none", edgecolor="white", linewidths=2.4, zorder=3)
            ax.scatter(*true, s=38, facecolor="none", edgecolor=colours[j], linewidths=1.3, zorder=3)
            ax.scatter(*found, s=20, color=colours[j], edgecolor="black", linewidths=0.5, zorder=4)
    _legend(figure)
    return figure


def conventions_figure(errors: pd.DataFrame, unit: str) -> Figure:
    """Bars of `errors` (columns convention, predictor, error): a group a convention, a colour a predictor."""
    import seaborn as sns

    figure = new_figure(0.55 * errors["convention"].nunique() + 0.9)
    ax = figure.subplots()
    palette = dict(zip(dict.fromkeys(errors["predictor"]), (LINES[0], "#b9b9b4"), strict=False))
    sns.barplot(errors, x="error", y="convention", hue="predictor", palette=palette, errorbar="sd",
                err_kws={"color": INK, "linewidth": 1.2}, ax=ax)  # fmt: skip
    for bars, ink in zip(ax.containers, ("white", INK), strict=True):  # inside the bars: whiskers stand at their ends
        ax.bar_label(bars, fmt="%.3g", label_type="center", fontsize=8, color=ink)
    dress(ax, unit)
    ax.margins(x=0.12)
    ax.legend(fontsize=9, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _legend(figure: Figure) -> None:
    """What rings and dots mean, below the pictures."""
    dot, style = {"linestyle": "", "marker": "o", "color": QUIET}, {"fontsize": 9, "labelcolor": INK}
    handles = [
        Line2D([], [], **dot, fillstyle="none", markersize=7, label="true keypoint"),
        Line2D([], [], **dot, markeredgecolor="black", markersize=5, label="predicted from part centres"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, **style)
