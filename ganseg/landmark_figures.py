"""Figures of landmark regression: predicted keypoints on their images, and errors under each convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ganseg.data import DATASETS
from ganseg.pictures import colour_labels
from ganseg.plots import conventions_figure, keypoints_figure  # noqa: F401

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
