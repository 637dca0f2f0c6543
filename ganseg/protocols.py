"""The conventions in which evaluations of part segmentation differ, and the scores that depend on them.

A score's headline follows one `Protocol`. Beside it stands what it would be with one convention changed,
named after both: `iou` and `iou_dataset`, `landmark_error` and `landmark_error_affine`.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ganseg import metrics
from ganseg.data import Split, describe
from ganseg.files import UserError

DRAWN = 2000  # images that regressions are fitted on where images are drawn, and do not run out
EMPTY = {"zero": 0.0, "one": 1.0, "skip": float("nan")}
FRAME = 256  # px, the side of a Taichi frame, in which its MAE is measured
MISSING = -1.0


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

        Flowers with trimaps instead of the publisher's masks is scored on test and validation images
        together, because only some of them have one.
        """
        spec = describe(data)
        trimaps = spec.name == "flowers" and not (Path(data_dir or ".").expanduser() / "segmim").is_dir()
        return cls(
            split="test+val" if trimaps else "test",
            regression=spec.regression,
            regression_images=0 if spec.needs_dir else DRAWN,
            normaliser=spec.normaliser,
        )

    def changed(self, **options: str | None) -> Protocol:
        """With the options that are not None."""
        given = {name: value for name, value in options.items() if value is not None}
        return dataclasses.replace(self, **given)

    def differences(self, other: Protocol) -> dict[str, Any]:
        """The options of this protocol that `other` has otherwise."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in dataclasses.fields(self))
        return {name: mine for name, mine, theirs in pairs if mine != theirs}


CHOICES = {
    name: typing.get_args(kind)
    for name, kind in typing.get_type_hints(Protocol).items()
    if typing.get_origin(kind) is Literal
}


def coverage(labels: np.ndarray, truth: np.ndarray | None, protocol: Protocol) -> dict[str, Any]:
    """Foreground IoU (Tables 2 and 3) of label maps (N, S, S) over the images with a mask; {} without any.

    Beside it the IoU with the other pooling and the other oracle, and that of the best constant mask.
    """
    if truth is None:
        return {}
    truth = np.asarray(truth)
    known = (truth != 255).any(axis=(1, 2))
    if not known.any():
        return {}
    truth, plain, empty = truth[known], labels[known], EMPTY[protocol.empty]
    masks = {"none": plain, "max": metrics.better_side(plain, truth)}

    def iou(pooling: str, oracle: str) -> float:
        if pooling == "dataset":
            return metrics.dataset_iou(masks[oracle], truth)
        return metrics.mean_iou(masks[oracle], truth, empty=empty)

    others = {f"iou_{p}": iou(p, protocol.oracle) for p in CHOICES["iou"] if p != protocol.iou}
    name, oracle = ("iou_oracle", "max") if protocol.oracle == "none" else ("iou_no_oracle", "none")
    values = {"iou": iou(protocol.iou, protocol.oracle), **others, name: iou(protocol.iou, oracle)}
    constant = metrics.best_constant_mask(truth, empty=empty)[1]
    return values | {"iou_constant_mask": constant, "iou_images": int(known.sum())}


def agreement(labels: np.ndarray, test: Split) -> dict[str, float]:
    """NMI and ARI of label maps (N, S, S) with the true parts, by which pixels count, and with keypoints."""
    scores = {}
    if test.parts is not None:
        scores = {over: metrics.nmi_ari(labels, test.parts, over) for over in ("foreground", "both", "all")}
    if test.keypoints is not None:
        scores["keypoints"] = metrics.keypoint_nmi_ari(labels, test.keypoints, test.visible)
    pairs = [(over, *both) for over, both in scores.items()]
    return {f"nmi_{over}": nmi for over, nmi, _ in pairs} | {f"ari_{over}": ari for over, _, ari in pairs}


def landmarks(train: Split, train_centres: np.ndarray, test: Split, test_centres: np.ndarray,
              protocol: Protocol) -> dict[str, float]:  # fmt: skip
    """Keypoints regressed from part centres (N, K, 2): landmark errors (Table 1, CUB), MAE (Table 3).

    The mean predictor's error stands beside each. {} where no keypoint is visible in both train and test.
    """
    seen = [shown(split) for split in (train, test)]
    if not (seen[0].any(axis=0) & seen[1].any(axis=0)).any():
        return {}
    values = taichi(train, train_centres, test, test_centres, protocol)
    arguments = (train_centres, train.keypoints, test_centres, test.keypoints)
    common = {"size": test.size, "train_visible": seen[0], "test_visible": seen[1]}
    for name, lengths in normalisers(test).items():
        given = {**common, "normaliser": lengths}
        error = metrics.landmark_regression(*arguments, origin=protocol.origin, **given)
        mean = metrics.mean_predictor_error(train.keypoints, test.keypoints, **given)
        if name != protocol.normaliser:
            key = f"landmark_error_{name.replace('-', '_')}"
            values |= {key: error, f"{key}_mean": mean}
            continue
        values |= {"landmark_error": error, "landmark_error_mean": mean, "landmark_error_ratio": error / mean}
        for other in (origin for origin in CHOICES["origin"] if origin != protocol.origin):
            values[f"landmark_error_{other}"] = metrics.landmark_regression(*arguments, origin=other, **given)
    return values


def predicted_keypoints(train: Split, train_centres: np.ndarray, test_centres: np.ndarray,
                        protocol: Protocol) -> np.ndarray:  # fmt: skip
    """Keypoints (N', J, 2) in pixels that `protocol` regresses from part centres (N', K, 2)."""
    shift = (train.size - 1) / 2 if protocol.origin == "centred" else 0.0
    bias = protocol.origin == "affine" or protocol.normaliser == "taichi"
    given = (train_centres - shift, np.asarray(train.keypoints) - shift, test_centres - shift)
    return metrics.predict_landmarks(*given, bias=bias, train_visible=shown(train)) + shift


def taichi(train: Split, train_centres: np.ndarray, test: Split, test_centres: np.ndarray,
           protocol: Protocol) -> dict[str, float]:  # fmt: skip
    """MAE of Table 3 in the pixels of 256 px frames, with either distance, and of the mean predictor."""
    targets = [frame_keypoints(split) for split in (train, test)]

    def mae(distance: str, centres: tuple[np.ndarray, np.ndarray]) -> float:
        pairs = (centres[0], targets[0], centres[1], targets[1])
        return metrics.taichi_mae(*pairs, distance=distance, missing=MISSING)

    found = (train_centres, test_centres)
    other = "l2" if protocol.taichi == "l1" else "l1"
    nothing = tuple(np.zeros((len(centres), 0, 2)) for centres in found)
    values = {}
    for name, distance in (("taichi_mae", protocol.taichi), (f"taichi_mae_{other}", other)):
        values |= {name: mae(distance, found), f"{name}_mean": mae(distance, nothing)}
    return values


def frame_keypoints(split: Split) -> np.ndarray:
    """Keypoints (N, J, 2) in pixels of a 256 px frame, pixel centres at integers; invisible ones are -1."""
    scaled = (np.asarray(split.keypoints, np.float64) + 0.5) * FRAME / split.size - 0.5
    return np.where(shown(split)[..., None], scaled, MISSING)


def normalisers(test: Split) -> dict[str, np.ndarray | str]:
    """What the errors on `test` can be divided by, by name, as `metrics.landmark_regression` takes it."""
    known: dict[str, np.ndarray | str] = {"edge": "edge"}
    if test.foreground is not None:
        known["object"] = object_sizes(test.foreground)
    first = [name.replace("_", " ").split()[-1:] for name in test.keypoint_names[:2]]
    if first == [["eye"], ["eye"]]:
        known["inter-ocular"] = "inter-ocular"
    return known


def shown(split: Split) -> np.ndarray:
    """Visibility (N, J) of the keypoints; all where the split does not say."""
    given = np.asarray(split.keypoints)
    return np.ones(given.shape[:2], bool) if split.visible is None else np.asarray(split.visible)


def object_sizes(foreground: np.ndarray) -> np.ndarray:
    """(N,) root of the area of the bounding box of masks (N, S, S), in pixels; at least 1."""
    inside = np.asarray(foreground) == 1
    return np.sqrt(np.maximum(_extent(inside.any(axis=2)) * _extent(inside.any(axis=1)), 1))


def _extent(occupied: np.ndarray) -> np.ndarray:
    """(N, S) booleans -> (N,) distance from the first to the last True, both included; 0 where none is."""
    first, last = occupied.argmax(axis=1), occupied.shape[1] - occupied[:, ::-1].argmax(axis=1)
    return np.where(occupied.any(axis=1), last - first, 0)
