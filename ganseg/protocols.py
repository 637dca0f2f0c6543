"""The conventions in which evaluations of part segmentation differ, and the scores that depend on them.

A score's headline follows one `Protocol`. Beside it stands what it would be with one convention changed, named after
both: `iou` and `iou_dataset`, `landmark_error` and `landmark_error_affine`.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage

from ganseg import metrics
from ganseg.data import Split, describe
from ganseg.files import UserError

DRAWN = 2000  # images that regressions are fitted on where images are drawn, and do not run out
EMPTY = {"zero": 0.0, "one": 1.0, "skip": float("nan")}
FRAME = 256  # px, the side of a Taichi frame, in which its MAE is measured


@dataclass(frozen=True)
class Protocol:
    """How a run is scored (section 4.1). Defaults are the released code's; `of` fills in the data set's."""

    split: str = "test"  # the images that are scored
    regression: str = "train"  # the images that regressions are fitted on; those that are scored are left out
    regression_images: int = 0  # at most so many of them; 0 = all
    # What a landmark error is divided by: the root of the area of the object's box, the distance of the eyes
    # (keypoints 0 and 1), the image's edge. "taichi": no error, but the MAE of Table 3.
    normaliser: Literal["object", "inter-ocular", "edge", "taichi"] = "object"
    # Where a regression without bias has its (0, 0): the top-left corner, the centre; affine: with bias.
    origin: Literal["released", "centred", "affine"] = "released"
    taichi: Literal["l1", "l2"] = "l1"  # 2 J absolute errors (released), or J distances (section 4.1), summed
    iou: Literal["image", "dataset"] = "image"  # mean over images (released), or all pixels pooled
    empty: Literal["zero", "one", "skip"] = "zero"  # an image without foreground in truth and prediction
    oracle: Literal["none", "max"] = "none"  # max: the better of mask and complement, an image (ReDO)

    def __post_init__(self) -> None:
        """Refuse what is not among the choices."""
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise UserError(f"{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}")

    @classmethod
    def of(cls, data: str, data_dir: str | Path | None = None) -> Protocol:
        """The paper's protocol for the data set `data`.

        Flowers with trimaps instead of the publisher's masks is scored on test and validation images together, because
        only some of them have one.
        """
        found = describe(data)
        trimaps = found.name == "flowers" and not (Path(data_dir or ".").expanduser() / "segmim").is_dir()
        images = 0 if found.needs_dir else DRAWN
        return cls("test+val" if trimaps else "test", found.regression, images, found.normaliser)

    def changed(self, **options: str | None) -> Protocol:
        """With the options that are not None."""
        return dataclasses.replace(self, **{name: value for name, value in options.items() if value is not None})

    def differences(self, other: Protocol) -> dict[str, Any]:
        """The options of this protocol that `other` has otherwise."""
        return dict(dataclasses.asdict(self).items() - dataclasses.asdict(other).items())


CHOICES = {name: typing.get_args(kind) for name, kind in typing.get_type_hints(Protocol).items()
           if typing.get_origin(kind) is Literal}  # fmt: skip


def coverage(labels: np.ndarray, truth: np.ndarray | None, protocol: Protocol) -> dict[str, Any]:
    """Foreground IoU (Tables 2 and 3) of label maps (N, S, S) over the images with a mask; {} without any.

    Beside it the IoU with the other pooling and the other oracle, and that of the best constant mask.
    """
    known = np.zeros(0, bool) if truth is None else (np.asarray(truth) != 255).any(axis=(1, 2))
    if not known.any():
        return {}
    truth, plain, empty = np.asarray(truth)[known], labels[known], EMPTY[protocol.empty]
    masks = {"none": plain, "max": metrics.better_side(plain, truth)}
    image = {oracle: metrics.mean_iou(mask, truth, empty=empty) for oracle, mask in masks.items()}
    pooled = {oracle: metrics.dataset_iou(mask, truth) for oracle, mask in masks.items()}
    oracle, other = ("none", "max") if protocol.oracle == "none" else ("max", "none")
    own, others = (image, pooled) if protocol.iou == "image" else (pooled, image)
    values = {"iou": own[oracle], "iou_oracle" if other == "max" else "iou_no_oracle": own[other]}
    values["iou_dataset" if others is pooled else "iou_image"] = others[oracle]
    constant = metrics.best_constant_mask(truth, empty=empty)[1]
    return values | {"iou_constant_mask": constant, "iou_images": int(known.sum())}


def agreement(labels: np.ndarray, test: Split) -> dict[str, float]:
    """NMI and ARI of label maps (N, S, S) with the true parts, by which pixels count, and with keypoints."""
    scores = {}
    if test.parts is not None:
        scores = {over: metrics.nmi_ari(labels, test.parts, over) for over in ("foreground", "both", "all")}
    if test.keypoints is not None:
        scores["keypoints"] = metrics.keypoint_nmi_ari(labels, test.keypoints, shown(test))
    return {f"{name}_{over}": both[i] for over, both in scores.items() for i, name in enumerate(("nmi", "ari"))}


def landmarks(train: Split, train_centres: np.ndarray, test: Split, test_centres: np.ndarray,
              protocol: Protocol) -> dict[str, float]:  # fmt: skip
    """Keypoints regressed from part centres (N, K, 2): landmark errors (Table 1, CUB), MAE (Table 3).

    The mean predictor's error stands beside each. {} where no keypoint is visible in both train and test.
    """
    seen, visible = shown(train), shown(test)
    if not (seen.any(axis=0) & visible.any(axis=0)).any():
        return {}
    found = {o: predicted_keypoints(train, train_centres, test_centres, o) for o in CHOICES["origin"]}
    mean = predicted_keypoints(train, train_centres[:, :0], test_centres[:, :0], "affine")
    mae = lambda marks, distance: metrics.taichi_mae(marks, test.keypoints, distance, visible) * FRAME / test.size
    values, other = {}, "l2" if protocol.taichi == "l1" else "l1"
    for key, distance in (("taichi_mae", protocol.taichi), (f"taichi_mae_{other}", other)):
        values |= {key: mae(found["affine"], distance), f"{key}_mean": mae(mean, distance)}
    error = lambda marks, lengths: metrics.landmark_error(marks, test.keypoints, lengths, visible)
    for name, lengths in normalisers(test).items():
        key = "landmark_error" + ("" if name == protocol.normaliser else f"_{name.replace('-', '_')}")
        values |= {key: error(found[protocol.origin], lengths), f"{key}_mean": error(mean, lengths)}
        if name == protocol.normaliser:
            values["landmark_error_ratio"] = values[key] / values[f"{key}_mean"]
            values |= {f"{key}_{o}": error(found[o], lengths) for o in found if o != protocol.origin}
    return values


def predicted_keypoints(train: Split, train_centres: np.ndarray, test_centres: np.ndarray, origin: str) -> np.ndarray:
    """Keypoints (N', J, 2) in pixels, regressed from part centres (N', K, 2); images of both splits have one size."""
    given = (train_centres, np.asarray(train.keypoints), test_centres)
    return metrics.predict_landmarks(*given, origin=origin, size=train.size, visible=shown(train))


def normalisers(test: Split) -> dict[str, float | np.ndarray]:
    """What the errors on `test` can be divided by: a length in pixels, or one an image (N,)."""
    known: dict[str, float | np.ndarray] = {"edge": test.size}
    if test.foreground is not None:
        known["object"] = object_sizes(test.foreground)
    if [name.replace("_", " ").split()[-1] for name in test.keypoint_names[:2]] == ["eye", "eye"]:
        eyes = np.asarray(test.keypoints[:, :2], np.float64)  # (N, 2, 2)
        known["inter-ocular"] = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    return known


def object_sizes(foreground: np.ndarray) -> np.ndarray:
    """(N,) root of the area of the bounding box of masks (N, S, S), in pixels; at least 1."""
    boxes = (ndimage.find_objects((mask == 1).astype(np.uint8)) for mask in foreground)
    return np.sqrt([math.prod(side.stop - side.start for side in sum(box, ())) for box in boxes])


def shown(split: Split) -> np.ndarray:
    """Visibility (N, J) of the keypoints; all where the split does not say."""
    given = np.asarray(split.keypoints)
    return np.ones(given.shape[:2], bool) if split.visible is None else np.asarray(split.visible, bool)
