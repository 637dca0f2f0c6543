"""Where a trained model fails on held-out images, and whether the causes that section 5 names are there (Fig. 10)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ganseg import metrics, protocols
from ganseg.data import Split
from ganseg.devices import make_fabric
from ganseg.evaluation import find_parts, held_out, regress_keypoints, regression_images
from ganseg.protocols import Protocol
from ganseg.runs import Run

CAUSES = ("keypoints hidden", "rarity of the pose")


class Cases(NamedTuple):
    """Every held-out image, what was found in it, and how well."""

    images: Split
    labels: np.ndarray  # (N, S, S), found
    scores: pd.DataFrame  # image, iou; with keypoints also error (in image sides) and `CAUSES`


def cases(run: Run, data_dir: str | Path | None = None) -> Cases:
    """Score the held-out images of `run` one by one; needs its weights. Without foreground masks the IoU is NaN.

    error: mean distance of the *visible* keypoints from those that are regressed from part centres.
    """
    protocol, fabric = Protocol.of(run.config.data.name, data_dir), make_fabric(precision="32-true")
    test, segmenter = held_out(run.config, data_dir), run.segmenter().to(fabric.device)
    labels = find_parts(segmenter, test.images, fabric).labels
    masks = test.foreground
    iou = np.nan if masks is None else metrics.iou_per_image(labels, masks, empty=np.nan)
    scores = pd.DataFrame({"image": test.names, "iou": iou})
    if test.keypoints is not None:
        train = regression_images(run.config, test, protocol, data_dir)
        predicted = regress_keypoints(run.config, segmenter, fabric, data_dir, protocol)[1]
        seen = protocols.shown(test)
        distance = np.linalg.norm(predicted - test.keypoints, axis=-1) / test.size  # (N, J)
        scores["error"] = np.where(seen, distance, 0).sum(axis=1) / np.where(seen.any(axis=1), seen.sum(axis=1), np.nan)
        scores["keypoints hidden"] = (~seen).sum(axis=1)
        scores["rarity of the pose"] = rarity(train.keypoints / train.size, test.keypoints / test.size)
    return Cases(test, labels, scores)


def rarity(usual: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Mahalanobis distance (N,) of keypoints `poses` (N, J, 2) from the distribution of `usual` (M, J, 2).

    Each image's keypoints are taken relative to their mean, so that the object's place does not count.
    """
    usual, poses = ((p - p.mean(axis=1, keepdims=True)).reshape(len(p), -1).astype(float) for p in (usual, poses))
    offset = poses - usual.mean(axis=0)
    precision = np.linalg.pinv(np.cov(usual.T), hermitian=True)
    return np.sqrt(np.maximum(np.einsum("nd,de,ne->n", offset, precision, offset), 0))


def relations(scores: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of the error with each cause, a line each; p is that of no or a negative relation."""
    lines = []
    for cause in (cause for cause in CAUSES if cause in scores):
        known = scores[[cause, "error"]].dropna()
        result = stats.spearmanr(known[cause], known["error"], alternative="greater")
        lines.append({"cause": cause, "correlation": result.statistic, "p": result.pvalue, "images": len(known)})
    return pd.DataFrame(lines, columns=["cause", "correlation", "p", "images"])


def ranked(scores: pd.DataFrame, count: int = 8, worst: bool = True) -> np.ndarray:
    """Positions of the `count` images with the lowest IoU, or the highest; images without an IoU are left out."""
    return scores["iou"].dropna().sort_values(ascending=worst, kind="stable").index.to_numpy()[:count]
