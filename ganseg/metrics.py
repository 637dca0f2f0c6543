"""Metrics: IoU, NMI and ARI, part usage, fragmentation; landmarks and equivariance from files of their own.

Label maps are integers (N, H, W): background 0, parts 1..K; in ground truth 255 means ignore. A foreground
mask is a label map whose only part is 1. NumPy in, NumPy or float out; fractions, not per cent.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from ganseg.equivariance import affine_equivariance_error, equivariance_error
from ganseg.files import UserError
from ganseg.landmarks import (
    landmark_regression,
    mean_predictor_error,
    part_centres,
    predict_landmarks,
    taichi_mae,
)

__all__ = [
    "affine_equivariance_error",
    "best_constant_mask",
    "better_side",
    "components_per_part",
    "dataset_iou",
    "equivariance_error",
    "foreground_fraction",
    "iou_per_image",
    "keypoint_nmi_ari",
    "landmark_regression",
    "mean_iou",
    "mean_predictor_error",
    "nmi_ari",
    "part_areas",
    "part_centres",
    "part_usage",
    "predict_landmarks",
    "taichi_mae",
]

SPECK = 0.002  # of the image's area: 2 px at 32 x 32, 33 px at 128 x 128; smaller is not counted as a part


def iou_per_image(
    prediction: np.ndarray, truth: np.ndarray, *, ignore: int | None = 255, empty: float = 0.0
) -> np.ndarray:
    """Intersection over union (N,) of the foregrounds (the union of all parts) of two label maps (N, H, W).

    Pixels whose truth is `ignore` count neither way (None: every pixel counts). `empty` is the value where
    prediction and truth are both empty: 0 in the released code, 1 by other conventions, NaN to leave it out.
    """
    intersection, union = _overlap(prediction, truth, ignore)
    return np.where(union > 0, intersection / np.maximum(union, 1), empty)


def mean_iou(prediction: np.ndarray, truth: np.ndarray, *, ignore: int | None = 255, empty: float = 0.0) -> float:
    """IoU of Tables 2 and 3: the mean of `iou_per_image` (NaN left out)."""
    return float(np.nanmean(iou_per_image(prediction, truth, ignore=ignore, empty=empty)))


def dataset_iou(prediction: np.ndarray, truth: np.ndarray, *, ignore: int | None = 255) -> float:
    """IoU with the pixels of all images pooled, so that large objects weigh more; 0 without foreground."""
    intersection, union = _overlap(prediction, truth, ignore)
    return float(intersection.sum() / max(union.sum(), 1))


def better_side(prediction: np.ndarray, truth: np.ndarray, *, ignore: int | None = 255) -> np.ndarray:
    """Foregrounds (N, H, W) of 0 and 1: the predicted one or its complement, whichever has the higher IoU.

    The oracle of ReDO (Chen et al. 2019), whose two regions have no names: the truth chooses in each image.
    """
    sides = [np.asarray(prediction) > 0, np.asarray(prediction) == 0]
    mask, complement = (iou_per_image(side, truth, ignore=ignore) for side in sides)
    return np.where((complement > mask)[:, None, None], sides[1], sides[0]).astype(np.uint8)


def best_constant_mask(
    foregrounds: np.ndarray,
    evaluated_on: np.ndarray | None = None,
    *,
    ignore: int | None = 255,
    empty: float = 0.0,
) -> tuple[np.ndarray, float]:
    """The centre prior: the best mask that looks at no image, and its mean per-image IoU.

    Of all thresholds of the mean of `foregrounds` (N, H, W), the mask (H, W) bool with the highest mean IoU
    on them. The IoU is the mask's on `evaluated_on` (M, H, W), by default `foregrounds` themselves: the
    strictest baseline, chosen on the very masks that it is scored on.
    """
    foregrounds = np.asarray(foregrounds)
    valid = np.ones(foregrounds.shape, dtype=bool) if ignore is None else foregrounds != ignore
    positive = (foregrounds > 0) & valid
    frequency = (positive.sum(axis=0) / np.maximum(valid.sum(axis=0), 1)).ravel()  # (H W,)
    order = np.argsort(-frequency, kind="stable")
    scores = np.zeros(frequency.size)  # the sum of IoUs of the masks of the 1, 2, ... most frequent pixels
    for inside, counted in zip(positive, valid, strict=True):
        intersection = np.cumsum(inside.ravel()[order])  # (H W,)
        union = np.cumsum(counted.ravel()[order]) + inside.sum() - intersection
        scores += np.where(union > 0, intersection / np.maximum(union, 1), empty)
    ends = np.append(np.diff(frequency[order]) < 0, True)  # pixels of one frequency enter together
    threshold = frequency[order][np.argmax(np.where(ends, scores, -1.0))]
    mask = (frequency >= threshold).reshape(foregrounds.shape[1:])  # (H, W)
    truth = foregrounds if evaluated_on is None else np.asarray(evaluated_on)
    return mask, mean_iou(np.broadcast_to(mask, truth.shape), truth, ignore=ignore, empty=empty)


def nmi_ari(
    prediction: np.ndarray,
    truth: np.ndarray,
    over: Literal["foreground", "both", "all"] = "foreground",
    *,
    ignore: int | None = 255,
) -> tuple[float, float]:
    """Normalised mutual information (arithmetic mean) and adjusted Rand index of part labels (N, H, W).

    The pixels of all images are pooled, so that a part must mean the same in every image. `over` names them:
    "foreground", where the truth shows a part (predicted background is then one more cluster); "both", where
    prediction and truth show a part; "all". Equal to scikit-learn's scores of the same pixels, but from one
    contingency table; (0, 0) where no pixel is left.
    """
    prediction, truth = _label_maps(prediction, truth)
    chosen = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    if over not in ("foreground", "both", "all"):
        raise UserError(f"over is {over!r}; it must be 'foreground', 'both' or 'all'")
    if over != "all":
        chosen &= truth > 0
    if over == "both":
        chosen &= prediction > 0
    if not chosen.any():
        return 0.0, 0.0
    return _agreement(truth[chosen], prediction[chosen])


def keypoint_nmi_ari(
    labels: np.ndarray, keypoints: np.ndarray, visible: np.ndarray | None = None
) -> tuple[float, float]:
    """NMI and ARI of the label at each visible keypoint against which keypoint it is, pooled over all images.

    labels (N, H, W), the background being one more cluster; keypoints (N, J, 2) as (x, y) in pixels, read at
    the nearest pixel; visible (N, J), all by default. (0, 0) where none is visible. Later work on CUB has it.
    """
    labels, keypoints = np.asarray(labels), np.asarray(keypoints)
    if keypoints.ndim != 3 or len(labels) != len(keypoints):
        raise UserError(f"labels are {labels.shape}, keypoints {keypoints.shape}; not (N, H, W), (N, J, 2)")
    chosen = np.ones(keypoints.shape[:2], bool) if visible is None else np.asarray(visible, bool)
    image, identity = np.nonzero(chosen)  # (M,) each
    last = np.array(labels.shape[:0:-1]) - 1  # of x and y
    x, y = np.clip(np.rint(keypoints[chosen]).astype(np.int64), 0, last).T
    return _agreement(identity, labels[image, y, x]) if len(image) else (0.0, 0.0)


def part_areas(labels: np.ndarray, parts: int) -> np.ndarray:
    """Mean fraction (K,) of the image that each of the K = `parts` parts covers in label maps (N, H, W)."""
    return _areas(labels, parts).mean(axis=0)


def part_usage(labels: np.ndarray, parts: int, minimum_area: float = SPECK) -> np.ndarray:
    """Fraction (K,) of the label maps (N, H, W) where each part covers at least `minimum_area` of the image.

    At least one pixel in any case; a part that died has 0.
    """
    areas = _areas(labels, parts)
    return ((areas > 0) & (areas >= minimum_area)).mean(axis=0)


def foreground_fraction(labels: np.ndarray, ignore: int | None = 255) -> float:
    """Fraction of the counted pixels of label maps (N, H, W) that are not background."""
    labels = np.asarray(labels)
    counted = np.ones(labels.shape, dtype=bool) if ignore is None else labels != ignore
    return float(((labels > 0) & counted).sum() / max(counted.sum(), 1))


def components_per_part(labels: np.ndarray, parts: int, minimum_area: float = SPECK) -> float:
    """Connected components of a part, averaged over all visible parts of all images; 1.0 is unfragmented.

    Pixels that touch at a corner are connected. Components smaller than `minimum_area` of the image are
    specks and not counted; a part with specks only is not visible. NaN where no part is visible.
    """
    labels = np.asarray(labels)
    within_image = np.zeros((3, 3, 3), dtype=bool)
    within_image[1] = True
    threshold = max(1.0, minimum_area * labels[0].size)
    counts = np.zeros((parts, len(labels)), dtype=np.int64)
    for k in range(parts):
        components, number = ndimage.label(labels == k + 1, structure=within_image)  # (N, H, W)
        sizes = np.bincount(components.ravel(), minlength=number + 1)
        image_of = np.zeros(number + 1, dtype=np.int64)
        image_of[components] = np.arange(len(labels))[:, None, None]
        large = np.flatnonzero(sizes >= threshold)
        counts[k] = np.bincount(image_of[large[large > 0]], minlength=len(labels))
    return float(counts[counts > 0].mean()) if (counts > 0).any() else float("nan")


def _label_maps(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise UserError(f"prediction has shape {prediction.shape} and truth {truth.shape}; both must be (N, H, W)")
    return prediction, truth


def _overlap(prediction: np.ndarray, truth: np.ndarray, ignore: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N,) of the intersection and of the union."""
    prediction, truth = _label_maps(prediction, truth)
    counted = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    ours, theirs = prediction > 0, truth > 0
    return (ours & theirs & counted).sum(axis=(1, 2)), ((ours | theirs) & counted).sum(axis=(1, 2))


def _agreement(truth: np.ndarray, prediction: np.ndarray) -> tuple[float, float]:
    """NMI and ARI of two labellings (M,) by non-negative integers."""
    rows, columns = truth.astype(np.int64), prediction.astype(np.int64)
    width = int(columns.max()) + 1
    counts = np.bincount(rows * width + columns, minlength=(int(rows.max()) + 1) * width)
    table = counts.reshape(-1, width)  # (true labels, predicted labels), pixels
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    return _nmi(table), _ari(table)


def _areas(labels: np.ndarray, parts: int) -> np.ndarray:
    """Fraction (N, K) of each image that each part covers."""
    labels = np.asarray(labels)
    return np.stack([(labels == k).mean(axis=(1, 2)) for k in range(1, parts + 1)], axis=1)


def _entropy(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def _nmi(table: np.ndarray) -> float:
    if table.shape == (1, 1):
        return 1.0  # one cluster on both sides
    rows, columns, joint = _entropy(table.sum(axis=1)), _entropy(table.sum(axis=0)), _entropy(table.ravel())
    return max(0.0, (rows + columns - joint) / ((rows + columns) / 2))


def _pairs(counts: np.ndarray) -> int:
    return sum(n * (n - 1) // 2 for n in np.ravel(counts).tolist())


def _ari(table: np.ndarray) -> float:
    """Hubert and Arabie (1985) on pairs of pixels, counted in Python integers, which do not overflow."""
    together, rows, columns, total = map(_pairs, (table, table.sum(axis=1), table.sum(axis=0), table.sum()))
    expected = rows * columns / total if total else 0.0
    maximum = (rows + columns) / 2
    return 1.0 if maximum == expected else float((together - expected) / (maximum - expected))
