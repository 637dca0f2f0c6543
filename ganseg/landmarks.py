"""Landmark metrics of section 4.1: part centres, regression to annotated landmarks, Taichi's mean error.

Coordinates are (x, y) pixels, x to the right, y down, pixel centres at integers, unless a docstring says
otherwise. Sizes: N images, K parts, J landmarks. NumPy in, NumPy or float out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ganseg.files import UserError

Origin = Literal["released", "centred", "affine"]
Normaliser = Literal["inter-ocular", "edge"] | float | np.ndarray


def part_centres(probabilities: np.ndarray, units: Literal["pixels", "unit"] = "pixels") -> np.ndarray:
    """Soft-mask centres of mass (x, y), shape (N, K, 2), of part probabilities (N, K, H, W), no background.

    `unit` puts the first pixel centre at -1 and the last at +1, the grid of the released code. That code
    returns (row, column) pairs on a 128 px scale, `64 * (1 + unit)[..., ::-1]`: its pixels are 128/127 of
    ours at 128 px, a factor that a linear regression takes up. A part without mass gets the image's centre.
    """
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 4:
        raise UserError(f"part probabilities have shape {probabilities.shape}; expected (N, K, H, W)")
    height, width = probabilities.shape[2:]
    along_x = probabilities.sum(axis=2, dtype=np.float64)  # (N, K, W)
    along_y = probabilities.sum(axis=3, dtype=np.float64)  # (N, K, H)
    mass = along_x.sum(axis=2)  # (N, K)
    moment = np.stack([along_x @ np.arange(width), along_y @ np.arange(height)], axis=-1)  # (N, K, 2)
    last = np.array([width - 1, height - 1], dtype=np.float64)
    safe = np.where(mass > 0, mass, 1.0)[..., None]
    pixels = np.where(mass[..., None] > 0, moment / safe, last / 2)
    return pixels if units == "pixels" else 2 * pixels / last - 1


def predict_landmarks(
    train_centres: np.ndarray,
    train_landmarks: np.ndarray,
    test_centres: np.ndarray,
    *,
    bias: bool = False,
    train_visible: np.ndarray | None = None,
) -> np.ndarray:
    """Landmarks (N', J, 2) of `test_centres` (N', K, 2) by least squares fitted on the training pairs.

    Each landmark is fitted on the images that show it (`train_visible` (N, J), all by default); one that no
    training image shows is predicted as NaN. Fewer images than unknowns: the solution of least norm.
    """
    targets = np.asarray(train_landmarks, dtype=np.float64)  # (N, J, 2)
    flat = targets.reshape(len(targets), -1)  # (N, 2 J)
    known = np.repeat(_visible(train_visible, targets), 2, axis=1)  # (N, 2 J)
    predicted = _regress(_design(train_centres, bias), flat, known, _design(test_centres, bias))
    return predicted.reshape(len(predicted), -1, 2)  # (N', J, 2)


def landmark_regression(
    train_centres: np.ndarray,
    train_landmarks: np.ndarray,
    test_centres: np.ndarray,
    test_landmarks: np.ndarray,
    *,
    normaliser: Normaliser,
    origin: Origin = "released",
    size: int | tuple[int, int] | None = None,
    train_visible: np.ndarray | None = None,
    test_visible: np.ndarray | None = None,
    per_landmark: bool = False,
) -> float | tuple[float, np.ndarray]:
    """Landmark regression error of Table 1 as a fraction (0.0618 is the paper's 6.18 %).

    K part centres (N, K, 2) are regressed to J landmarks (N, J, 2) on train; the error is the L2 distance on
    test divided by the image's `normaliser`, averaged over all visible landmarks of all test images.

    - `origin`: where (0, 0) lies matters to a regression without bias. "released": the top-left corner, as in
      the released code; "centred": the image's centre (needs `size`, an edge or (width, height)); "affine":
      with bias, for which the origin does not matter.
    - `normaliser`: "inter-ocular" (CelebA: distance of landmarks 0 and 1), "edge" (CUB: the image edge `size`),
      a number, or one number an image (N',), such as the object's size, in the landmarks' unit.
    - `per_landmark`: also return the error of each landmark (J,), NaN where none is visible.
    """
    if origin not in ("released", "centred", "affine"):
        raise UserError(f"origin is {origin!r}; it must be 'released', 'centred' or 'affine'")
    shift = _image_centre(size) if origin == "centred" else np.zeros(2)
    predicted = predict_landmarks(
        np.asarray(train_centres) - shift,
        np.asarray(train_landmarks) - shift,
        np.asarray(test_centres) - shift,
        bias=origin == "affine",
        train_visible=train_visible,
    )
    scale = _scale(normaliser, np.asarray(test_landmarks), size)
    return _normalised(predicted + shift, test_landmarks, scale, test_visible, per_landmark)


def mean_predictor_error(
    train_landmarks: np.ndarray,
    test_landmarks: np.ndarray,
    *,
    normaliser: Normaliser,
    size: int | tuple[int, int] | None = None,
    train_visible: np.ndarray | None = None,
    test_visible: np.ndarray | None = None,
    per_landmark: bool = False,
) -> float | tuple[float, np.ndarray]:
    """Error of predicting each landmark's training mean everywhere: the anchor of `landmark_regression`."""
    return landmark_regression(
        np.zeros((len(train_landmarks), 0, 2)),
        train_landmarks,
        np.zeros((len(test_landmarks), 0, 2)),
        test_landmarks,
        normaliser=normaliser,
        origin="affine",
        size=size,
        train_visible=train_visible,
        test_visible=test_visible,
        per_landmark=per_landmark,
    )


def taichi_mae(
    train_centres: np.ndarray,
    train_landmarks: np.ndarray,
    test_centres: np.ndarray,
    test_landmarks: np.ndarray,
    *,
    distance: Literal["l1", "l2"] = "l1",
    missing: float = -1,
) -> float:
    """MAE of Table 3, in the landmarks' pixels (256 px frames): summed over landmarks, averaged over frames.

    Each coordinate is regressed with bias; a value equal to `missing` is left out of its fit and of its mean.
    "l1", the released code: mean absolute error of each of the 2 J coordinates, summed over them.
    "l2", as section 4.1 words it: mean L2 distance of each of the J landmarks, summed over them.
    The training mean is scored by passing centres of shape (N, 0, 2). A landmark that train or test never
    shows adds nothing to the sum.
    """
    if distance not in ("l1", "l2"):
        raise UserError(f"distance is {distance!r}; it must be 'l1' or 'l2'")
    truth = np.asarray(test_landmarks, dtype=np.float64)  # (N', J, 2)
    flat = np.asarray(train_landmarks, dtype=np.float64).reshape(len(train_landmarks), -1)  # (N, 2 J)
    predicted = _regress(_design(train_centres, True), flat, flat != missing, _design(test_centres, True))
    difference = predicted.reshape(truth.shape) - truth  # (N', J, 2)
    difference[truth == missing] = np.nan
    errors = np.abs(difference) if distance == "l1" else np.linalg.norm(difference, axis=-1)
    return float(np.nansum(_mean_over_images(errors)))


def _design(centres: np.ndarray, bias: bool) -> np.ndarray:
    """Regression inputs (N, 2 K [+ 1]) of centres (N, K, 2)."""
    centres = np.asarray(centres, dtype=np.float64)
    flat = centres.reshape(len(centres), centres.shape[1] * centres.shape[2])  # (N, 2 K)
    return np.hstack([flat, np.ones((len(flat), 1))]) if bias else flat


def _regress(inputs: np.ndarray, targets: np.ndarray, known: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Least squares a target: inputs (N, D), targets and known (N, T), queries (N', D) -> (N', T).

    A target is fitted on the rows where it is known, and predicted as NaN where there are none.
    """
    if len(inputs) != len(targets):
        raise UserError(f"part centres of {len(inputs)} images, landmarks of {len(targets)}: not pairs")
    if known.all():
        return queries @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
    predicted = np.full((len(queries), targets.shape[1]), np.nan)
    for t in np.flatnonzero(known.any(axis=0)):
        rows = known[:, t]
        predicted[:, t] = queries @ np.linalg.lstsq(inputs[rows], targets[rows, t], rcond=None)[0]
    return predicted


def _visible(visible: np.ndarray | None, landmarks: np.ndarray) -> np.ndarray:
    """Visibility (N, J); all True by default."""
    if visible is None:
        return np.ones(landmarks.shape[:2], dtype=bool)
    visible = np.asarray(visible, dtype=bool)
    if visible.shape != landmarks.shape[:2]:
        raise UserError(f"visibility is {visible.shape}, landmarks are {landmarks.shape}; expected (N, J)")
    return visible


def _image_centre(size: int | tuple[int, int] | None) -> np.ndarray:
    """Centre (x, y) of an image whose pixel centres are integers from 0."""
    if size is None:
        raise UserError("origin 'centred' needs the image's size in pixels: size=128 or size=(width, height)")
    return (np.broadcast_to(np.asarray(size, dtype=np.float64), (2,)) - 1) / 2


def _scale(normaliser: Normaliser, landmarks: np.ndarray, size: int | tuple[int, int] | None) -> np.ndarray:
    """The length (N',) that one image's distances are divided by."""
    if isinstance(normaliser, str) and normaliser == "inter-ocular":
        scale = np.linalg.norm(landmarks[:, 0].astype(np.float64) - landmarks[:, 1], axis=-1)
    elif isinstance(normaliser, str) and normaliser == "edge":
        if size is None or np.ndim(size):
            raise UserError("normaliser 'edge' needs the edge of a square image in pixels: size=128")
        scale = np.float64(size)
    elif isinstance(normaliser, str):
        raise UserError(f"normaliser is {normaliser!r}; it must be 'inter-ocular', 'edge' or numbers (N,)")
    else:
        scale = np.asarray(normaliser, dtype=np.float64)
    scale = np.broadcast_to(scale, (len(landmarks),))
    if not (scale > 0).all():
        worst = int(np.argmin(scale > 0))
        raise UserError(f"test image {worst} has normaliser {scale[worst]}; it must be a positive length")
    return scale


def _normalised(
    predicted: np.ndarray,
    truth: np.ndarray,
    scale: np.ndarray,
    visible: np.ndarray | None,
    per_landmark: bool,
) -> float | tuple[float, np.ndarray]:
    """Mean of distance / scale over visible landmarks; landmarks without a fit are left out."""
    errors = np.linalg.norm(predicted - np.asarray(truth), axis=-1) / scale[:, None]  # (N', J)
    errors[~_visible(visible, np.asarray(truth))] = np.nan
    if np.isnan(errors).all():
        raise UserError("no landmark is visible in both train and test images, so there is no landmark error")
    error = float(np.nanmean(errors))
    return (error, _mean_over_images(errors)) if per_landmark else error


def _mean_over_images(errors: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is not NaN; NaN, without a warning, where there is nothing."""
    count = (~np.isnan(errors)).sum(axis=0)
    return np.where(count > 0, np.nansum(errors, axis=0) / np.maximum(count, 1), np.nan)
