"""Metrics of section 4.1: IoU, NMI and ARI, use of parts, landmarks, equivariance of the masks found.

Label maps are integers (N, H, W): background 0, parts 1..K; in ground truth 255 means ignore. A foreground mask is a
label map whose only part is 1. Coordinates are (x, y) in pixels, pixel centres at integers. Sizes: N images, K parts,
J landmarks. NumPy in, NumPy or float out; fractions, not per cent.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from ganseg.files import UserError

SPECK = 0.002  # of the image's area: 2 px at 32 x 32, 33 px at 128 x 128; smaller is not counted as a part
SHIFTS = ((4, 0), (-4, 0), (0, 4), (0, -4))  # of images, by (x, y) pixels


def iou_per_image(prediction: np.ndarray, truth: np.ndarray, *, empty: float = 0.0) -> np.ndarray:
    """Intersection over union (N,) of the foregrounds (the union of all parts) of two label maps (N, H, W).

    `empty` is the value where both are empty: 0 in the released code, 1 by other conventions, NaN to leave it out.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape or truth.ndim != 3:
        raise UserError(f"prediction has shape {prediction.shape} and truth {truth.shape}; both must be (N, H, W)")
    ours, theirs, counted = prediction > 0, truth > 0, truth != 255
    intersection = (ours & theirs & counted).sum(axis=(1, 2))
    union = ((ours | theirs) & counted).sum(axis=(1, 2))
    return np.where(union > 0, intersection / np.maximum(union, 1), empty)


def mean_iou(prediction: np.ndarray, truth: np.ndarray, *, empty: float = 0.0) -> float:
    """IoU of Tables 2 and 3: the mean of `iou_per_image` (NaN left out)."""
    return float(np.nanmean(iou_per_image(prediction, truth, empty=empty)))


def dataset_iou(prediction: np.ndarray, truth: np.ndarray) -> float:
    """IoU with the pixels of all images pooled, so that large objects weigh more; 0 without foreground."""
    return mean_iou(np.concatenate(prediction)[None], np.concatenate(truth)[None])


def better_side(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Foregrounds (N, H, W) of 0 and 1: in each image the predicted one or its complement, whichever has the higher
    IoU. The oracle of ReDO (Chen et al. 2019), whose two regions have no names."""
    mask, other = np.asarray(prediction) > 0, np.asarray(prediction) == 0
    better = iou_per_image(other, truth) > iou_per_image(mask, truth)
    return np.where(better[:, None, None], other, mask).astype(np.uint8)


def best_constant_mask(foregrounds: np.ndarray) -> tuple[np.ndarray, float]:
    """The centre prior: the best mask that looks at no image, and its mean per-image IoU.

    Of all thresholds of the mean of `foregrounds` (N, H, W), the mask (H, W) bool with the highest mean IoU on them:
    the strictest baseline, chosen on the very masks that it is scored on.
    """
    valid = np.asarray(foregrounds) != 255
    positive = (np.asarray(foregrounds) > 0) & valid
    frequency = (positive.sum(axis=0) / np.maximum(valid.sum(axis=0), 1)).ravel()  # (H W,)
    order = np.argsort(-frequency, kind="stable")
    scores = np.zeros(frequency.size)  # the sum of IoUs of the masks of the 1, 2, ... most frequent pixels
    for inside, counted in zip(positive, valid, strict=True):
        intersection = np.cumsum(inside.ravel()[order])  # (H W,)
        union = np.cumsum(counted.ravel()[order]) + inside.sum() - intersection
        scores += intersection / np.maximum(union, 1)
    ends = np.append(np.diff(frequency[order]) < 0, True)  # pixels of one frequency enter together
    threshold = frequency[order][np.argmax(np.where(ends, scores, -1.0))]
    mask = (frequency >= threshold).reshape(valid.shape[1:])  # (H, W)
    return mask, mean_iou(np.broadcast_to(mask, valid.shape), foregrounds)


def box_masks(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, H, W) bool for boxes (N, 4) of left, top, right and bottom edges: the pixels with their centre inside."""
    y, x = np.indices(shape) + 0.5
    left, top, right, bottom = np.moveaxis(boxes, 1, 0)[..., None, None]
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def box_scores(labels: np.ndarray, boxes: np.ndarray) -> dict[str, float]:
    """How label maps (N, H, W) agree with boxes (N, 4), which stand in for masks. `box_iou`: mean IoU of the box around
    the largest connected piece of foreground, 0 without any; `box_share`: share of all foreground pixels that lie
    inside. Beside each, what the average box gets."""
    truth, found = box_masks(boxes, labels.shape[1:]), np.zeros(labels.shape, bool)
    for box, mask in zip(found, labels > 0, strict=True):
        if mask.any():
            pieces, _ = ndimage.label(mask, np.ones((3, 3)))
            box[ndimage.find_objects(pieces)[np.bincount(pieces[mask]).argmax() - 1]] = True
    average = np.broadcast_to(box_masks(boxes.mean(axis=0, keepdims=True), labels.shape[1:]), truth.shape)
    share = lambda mask: float((mask & truth).sum() / max(mask.sum(), 1))
    ious = {"box_iou": mean_iou(found, truth), "box_iou_constant": mean_iou(average, truth)}
    return ious | {"box_share": share(labels > 0), "box_share_constant": share(average)}


def nmi_ari(
    prediction: np.ndarray, truth: np.ndarray, over: Literal["foreground", "both", "all"] = "foreground"
) -> tuple[float, float]:
    """Normalised mutual information (arithmetic mean) and adjusted Rand index of part labels (N, H, W).

    The pixels of all images are pooled, so that a part must mean the same in every image. `over` names them:
    "foreground", where the truth shows a part (predicted background is then one more cluster); "both", where
    prediction and truth show a part; "all". Pixels whose truth is 255 never count; (0, 0) where none is left.
    """
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    pixels = {"foreground": truth > 0, "both": (truth > 0) & (prediction > 0), "all": truth >= 0}
    if over not in pixels:
        raise UserError(f"over is {over!r}; it must be 'foreground', 'both' or 'all'")
    counted = pixels[over] & (truth != 255)
    if not counted.any():
        return 0.0, 0.0
    truth, prediction = truth[counted], prediction[counted]
    return float(normalized_mutual_info_score(truth, prediction)), float(adjusted_rand_score(truth, prediction))


def keypoint_nmi_ari(labels: np.ndarray, keypoints: np.ndarray, visible: np.ndarray) -> tuple[float, float]:
    """NMI and ARI of the label at each visible keypoint against which keypoint it is, pooled over all images.

    labels (N, H, W), background being one more cluster; keypoints (N, J, 2), read at the nearest pixel; visible (N, J).
    (0, 0) where none is visible. Later work on CUB has it.
    """
    image, identity = np.nonzero(visible)  # (M,) each
    last = np.array(labels.shape[:0:-1]) - 1  # of x and y
    x, y = np.clip(np.rint(keypoints[image, identity]).astype(np.int64), 0, last).T
    return nmi_ari(labels[image, y, x], 256 + identity, "all")  # 255 would be left out


def foreground_fraction(labels: np.ndarray) -> float:
    """Fraction of the counted pixels of label maps (N, H, W) that are not background."""
    counted = labels[labels != 255]
    return float((counted > 0).sum() / max(counted.size, 1))


def part_areas(labels: np.ndarray, parts: int) -> np.ndarray:
    """Fraction (N, K) of each image that each of the K = `parts` parts covers in label maps (N, H, W)."""
    return np.stack([(np.asarray(labels) == k).mean(axis=(1, 2)) for k in range(1, parts + 1)], axis=1)


def part_usage(labels: np.ndarray, parts: int) -> np.ndarray:
    """Fraction (K,) of the label maps (N, H, W) where each part covers the share SPECK of the image."""
    return (part_areas(labels, parts) >= SPECK).mean(axis=0)


def components_per_part(labels: np.ndarray, parts: int) -> float:
    """Connected components of a part, averaged over all visible parts of all images; 1.0 is unfragmented.

    Pixels that touch at a corner are connected. Components smaller than SPECK of the image are not counted; a
    part without others is not visible. NaN where no part is visible.
    """
    counts = []
    for image, k in itertools.product(labels, range(1, parts + 1)):
        components, _ = ndimage.label(image == k, structure=np.ones((3, 3)))
        sizes = np.bincount(components.ravel())[1:]  # in pixels, without what is not this part
        counts.append((sizes >= SPECK * image.size).sum())
    visible = [count for count in counts if count]
    return float(np.mean(visible)) if visible else float("nan")


def part_centres(probabilities: np.ndarray) -> np.ndarray:
    """Soft-mask centres of mass (N, K, 2) of part probabilities (N, K, H, W), without the background's.

    The released code returns (row, column) pairs on a grid from 0 to 128: 128/127 of our pixels at 128 px, a factor
    that a linear regression takes up. A part without mass gets the image's centre.
    """
    height, width = probabilities.shape[2:]
    along_x = probabilities.sum(axis=2, dtype=np.float64)  # (N, K, W)
    along_y = probabilities.sum(axis=3, dtype=np.float64)  # (N, K, H)
    mass = along_x.sum(axis=2)[..., None]  # (N, K, 1)
    moment = np.stack([along_x @ np.arange(width), along_y @ np.arange(height)], axis=-1)  # (N, K, 2)
    return np.where(mass > 0, moment / np.where(mass > 0, mass, 1), np.array([width - 1, height - 1]) / 2)


def predict_landmarks(
    centres: np.ndarray, landmarks: np.ndarray, new_centres: np.ndarray, *,
    origin: Literal["released", "centred", "affine"] = "released", size: int = 0, visible: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Landmarks (N', J, 2) of part centres (N', K, 2), by least squares fitted on centres and landmarks of N images.

    Where (0, 0) lies matters to a regression without bias. `origin` "released": the top-left corner, as in the released
    code; "centred": the middle of images of `size` pixels; "affine": with bias, so that it does not matter. A landmark
    is fitted on the images that show it (`visible` (N, J), all by default); without any, its prediction is NaN. Fewer
    images than unknowns: the solution of least norm. Centres of shape (N, 0, 2) with bias: the mean landmarks.
    """
    shift, bias = (size - 1) / 2 if origin == "centred" else 0.0, int(origin == "affine")
    design = lambda c: np.hstack([np.reshape(c - shift, (len(c), 2 * c.shape[1])), np.ones((len(c), bias))])
    inputs, queries = design(centres), design(new_centres)  # (N, 2 K [+ 1]), (N', 2 K [+ 1])
    predicted = np.full((len(queries), *landmarks.shape[1:]), np.nan)
    for j in range(landmarks.shape[1]):
        rows = slice(None) if visible is None else visible[:, j]
        if len(inputs[rows]):
            fit = np.linalg.lstsq(inputs[rows], landmarks[rows, j].astype(np.float64) - shift, rcond=None)[0]
            predicted[:, j] = queries @ fit + shift
    return predicted


def landmark_error(
    predicted: np.ndarray, truth: np.ndarray, normaliser: float | np.ndarray, visible: np.ndarray | None = None
) -> float:
    """Landmark error of Table 1 as a fraction (0.0618 is the paper's 6.18 %) of landmarks (N, J, 2).

    The L2 distance, divided by `normaliser`, a length or one an image (N,), and averaged over all landmarks of all
    images that are `visible` (N, J; by default all) and have a prediction.
    """
    lengths = np.broadcast_to(normaliser, len(truth))
    if not (lengths > 0).all():
        worst = int(np.argmin(lengths > 0))
        raise UserError(f"test image {worst} has normaliser {lengths[worst]}; it must be a positive length")
    errors = np.linalg.norm(predicted - truth, axis=-1) / lengths[:, None]  # (N, J)
    return float(np.nanmean(errors if visible is None else errors[visible]))


def taichi_mae(
    predicted: np.ndarray, truth: np.ndarray, distance: Literal["l1", "l2"] = "l1", visible: np.ndarray | None = None
) -> float:
    """MAE of Table 3 in the unit of the landmarks (N, J, 2): averaged over frames, summed over landmarks.

    "l1", the released code: mean absolute error of each of the 2 J coordinates. "l2", as section 4.1 words it: mean L2
    distance of each of the J landmarks. Where a landmark is not `visible` (N, J) or has no prediction, it adds nothing.
    """
    difference = predicted - truth  # (N, J, 2)
    errors = np.abs(difference).sum(axis=-1) if distance == "l1" else np.linalg.norm(difference, axis=-1)
    known = ~np.isnan(errors) if visible is None else ~np.isnan(errors) & visible  # (N, J)
    return float((np.where(known, errors, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)).sum())


def equivariance_error(
    predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray,
    shifts: Sequence[tuple[int, int]] = SHIFTS, labels: np.ndarray | None = None,
) -> float:  # fmt: skip
    """1 - IoU of predict(shifted image) and shifted predict(image), averaged over images, parts and shifts; 0 is best.

    Images (N, H, W, C) are shifted by (x, y) pixels and repeat their edge; only pixels whose origin lies in the image
    are compared. `labels`: predict(images), if known. All background has 0: read it beside the foreground fraction.
    """
    before, errors = predict(images) if labels is None else labels, []
    height, width = images.shape[1:3]
    for dx, dy in shifts:
        y, x = np.arange(height) - dy, np.arange(width) - dx  # where pixels come from
        rows, columns = y.clip(0, height - 1)[:, None], x.clip(0, width - 1)
        known = (y[:, None] == rows) & (x == columns)  # (H, W)
        if not known.any():
            raise UserError(f"a shift by {(dx, dy)} leaves nothing to compare of images {height, width}")
        moved, after = before[:, rows, columns], predict(images[:, rows, columns])
        parts = range(1, 1 + max(1, int(moved.max()), int(after.max())))
        ious = np.stack([iou_per_image((moved == k) & known, (after == k) & known, empty=np.nan) for k in parts])
        shown = ious[~np.isnan(ious)]  # of (part, image) pairs where either side shows the part
        errors.append(1 - shown.mean() if len(shown) else 0.0)
    return float(np.mean(errors))
