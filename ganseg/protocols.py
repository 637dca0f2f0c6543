"""The conventions in which evaluations of part segmentation differ, and the scores that depend on them.

A score follows the released code. Beside it stands what it would be with one convention changed, named after both:
`iou` and `iou_dataset`, `landmark_error` and `landmark_error_affine`.
"""

import functools
import math
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import ndimage

from ganseg import metrics
from ganseg.data import Split, describe
from ganseg.files import place

DRAWN = 2000  # images that regressions are fitted on where images are drawn, and do not run out
ENDS = (("beak tip", "tail tip"), ("beak", "tail"))  # keypoints at the two ends of an object
FRAME = 256  # px, the side of a Taichi frame, in which its MAE is measured


class Protocol(NamedTuple):
    """How a run is scored (section 4.1)."""

    split: str  # the images that are scored
    regression: str  # the images that regressions are fitted on; those that are scored are left out
    regression_images: int  # at most so many of them; 0 = all
    # What a landmark error is divided by: the root of the area of the object's box, the distance of the eyes
    # (keypoints 0 and 1), the image's edge. "taichi": no error, but the MAE of Table 3.
    normaliser: str

    @classmethod
    def of(cls, data: str, data_dir: str | Path | None = None) -> Self:
        """The paper's protocol for the data set `data`.

        Flowers with trimaps instead of the publisher's masks is scored on test and validation images together, because
        only some of them have one.
        """
        known = describe(data)
        trimaps = known.name == "flowers" and not (place(data_dir or ".") / "segmim").is_dir()
        images = 0 if known.needs_dir else DRAWN
        return cls("test+val" if trimaps else "test", known.regression, images, known.normaliser)


def coverage(labels: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    """Foreground IoU (Tables 2 and 3) of label maps (N, S, S) over the images with a mask; {} without any.

    Beside the mean over images: of pixels pooled, with ReDO's oracle (the better of mask and complement in each image),
    and of the best constant mask.
    """
    known = np.zeros(0, bool) if truth is None else (np.asarray(truth) != 255).any(axis=(1, 2))
    if not known.any():
        return {}
    truth, found = np.asarray(truth)[known], labels[known]
    return {
        "iou": metrics.mean_iou(found, truth),
        "iou_dataset": metrics.dataset_iou(found, truth),
        "iou_oracle": metrics.mean_iou(metrics.better_side(found, truth), truth),
        "iou_constant_mask": metrics.best_constant_mask(truth)[1],
        "iou_images": int(known.sum()),
    }


def agreement(labels: np.ndarray, test: Split) -> dict[str, float]:
    """NMI and ARI of label maps (N, S, S) with the true parts, by which pixels count, and keypoints; `lingering`."""
    scores = {}
    if test.parts is not None:
        scores = {over: metrics.nmi_ari(labels, test.parts, over) for over in ("foreground", "both", "all")}
    if test.keypoints is not None:
        scores["keypoints"] = metrics.keypoint_nmi_ari(labels, test.keypoints, shown(test))
    found = {f"{name}_{over}": both[i] for over, both in scores.items() for i, name in enumerate(("nmi", "ari"))}
    return found | ({} if test.parts is None else lingering(labels, test.parts))


def lingering(labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """`lingering_parts`: of the images that hide a true part, the share where a found part that stands for it shows.

    A found part stands for the true one that it shares most pixels with. {} where no such part is hidden.
    """
    truth = np.asarray(truth)
    known, found = range(1, int(truth.max()) + 1), range(1, int(labels.max()) + 1)
    shared = np.array([[((labels == k) & (truth == t)).sum() for t in known] for k in found]).reshape(-1, len(known))
    stands = (shared == shared.max(axis=1, keepdims=True, initial=0)) & (shared > 0)  # (K, T)
    shows = metrics.part_areas(labels, len(found)) >= metrics.SPECK if len(found) else np.zeros((len(labels), 0))
    hidden = (metrics.part_areas(truth, len(known)) == 0) & stands.any(axis=0)  # (N, T)
    return {"lingering_parts": float((shows @ stands > 0)[hidden].mean())} if hidden.any() else {}


def landmarks(train: Split, train_centres: np.ndarray, test: Split, test_centres: np.ndarray,
              normaliser: str) -> dict[str, float]:  # fmt: skip
    """Keypoints regressed from part centres (N, K, 2): landmark errors (Table 1, CUB), MAE (Table 3).

    The mean predictor's error stands beside each. {} where no keypoint is visible in both train and test.
    """
    visible, values = shown(test), {}
    if not (shown(train).any(axis=0) & visible.any(axis=0)).any():
        return values
    regressed = functools.partial(predicted_keypoints, train, train_centres, test_centres)
    mean = predicted_keypoints(train, train_centres[:, :0], test_centres[:, :0], "affine")
    found = {"": regressed("released"), "_mean": mean, "_centred": regressed("centred"), "_affine": regressed("affine")}
    for key, distance in (("taichi_mae", "l1"), ("taichi_mae_l2", "l2")):
        for name, marks in {key: found["_affine"], f"{key}_mean": mean}.items():
            values[name] = metrics.taichi_mae(marks, test.keypoints, distance, visible) * FRAME / test.size
    for unit, lengths in normalisers(test).items():
        own, unit = unit == normaliser, unit.replace("-", "_")
        for name in found if own else ("", "_mean"):
            key = f"landmark_error{'' if own else f'_{unit}'}{name}"
            values[key] = metrics.landmark_error(found[name], test.keypoints, lengths, visible)
    if "landmark_error" in values:
        values["landmark_error_ratio"] = values["landmark_error"] / values["landmark_error_mean"]
    return values | swapped(found["_affine"], test)


def swapped(marks: np.ndarray, test: Split) -> dict[str, float]:
    """`swapped_ends`: share of the images whose `ENDS`, predicted in `marks` (N, J, 2), fit better when exchanged."""
    for ends in (pair for pair in ENDS if set(pair) <= set(test.keypoint_names)):
        rows = [test.keypoint_names.index(name) for name in ends]
        both = shown(test)[:, rows].all(axis=1)
        predicted, true = marks[both][:, rows], np.asarray(test.keypoints)[both][:, rows]  # (N', 2, 2)
        straight, crossed = (np.linalg.norm(predicted - t, axis=-1).sum(axis=1) for t in (true, true[:, ::-1]))
        return {"swapped_ends": float((crossed < straight).mean())} if both.any() else {}
    return {}


def predicted_keypoints(train: Split, train_centres: np.ndarray, test_centres: np.ndarray, origin: str) -> np.ndarray:
    """Keypoints (N', J, 2) in pixels, regressed from part centres (N', K, 2); images of both splits have one size."""
    given = (train_centres, np.asarray(train.keypoints), test_centres)
    return metrics.predict_landmarks(*given, origin=origin, size=train.size, visible=shown(train))


def normalisers(test: Split) -> dict[str, float | np.ndarray]:
    """What the errors on `test` can be divided by: a length in pixels, or one an image (N,)."""
    known: dict[str, float | np.ndarray] = {"edge": test.size}
    if test.foreground is not None:  # the box of the object, at least a pixel
        boxes = (ndimage.find_objects((mask == 1).astype(np.uint8)) for mask in test.foreground)
        known["object"] = np.sqrt([math.prod(side.stop - side.start for side in sum(box, ())) for box in boxes])
    if [name.replace("_", " ").split()[-1] for name in test.keypoint_names[:2]] == ["eye", "eye"]:
        eyes = np.asarray(test.keypoints[:, :2], np.float64)  # (N, 2, 2)
        known["inter-ocular"] = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    return known


def shown(split: Split) -> np.ndarray:
    """Visibility (N, J) of the keypoints; all where the split does not say."""
    given = np.asarray(split.keypoints)
    return np.ones(given.shape[:2], bool) if split.visible is None else np.asarray(split.visible, bool)
