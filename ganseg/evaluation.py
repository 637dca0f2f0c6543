"""How a run is scored, and shown, on held-out images: by every score that the labels allow (section 4.1).

A score follows the released code. Beside it stands what it would be with one convention changed, named after both:
`iou` and `iou_dataset`, `landmark_error` and `landmark_error_affine`.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ganseg import metrics, pictures
from ganseg.config import Config
from ganseg.data import Split, describe, load
from ganseg.devices import Fabric
from ganseg.files import UserError, atomic_path, place, reading
from ganseg.generator import Generator
from ganseg.probes import BATCH, batches, imagined, probe
from ganseg.segmenter import Segmenter

EQUIVARIANCE_IMAGES = 200
SHEET = 12  # pictures in a sheet
TRAINING, FOLLOWED = "training.npz", 4  # the first of them, kept of earlier steps as well
DRAWN = 2000  # images that regressions are fitted on where images are drawn, and do not run out
ENDS = (("beak tip", "tail tip"), ("beak", "tail"))  # keypoints at the two ends of an object
FRAME = 256  # px, the side of a Taichi frame, in which its MAE is measured


class Protocol(NamedTuple):
    """How a run is scored (section 4.1)."""

    split: str  # the images that are scored
    regression: str  # the images that regressions are fitted on; those that are scored are left out
    # What a landmark error is divided by: the root of the area of the object's box, the distance of the eyes
    # (keypoints 0 and 1), the image's edge. "taichi": no error, but the MAE of Table 3.
    normaliser: str

    @classmethod
    def of(cls, data: str, data_dir: str | Path | None = None) -> Self:
        """The paper's protocol for the data set `data`.

        Flowers with trimaps, not the publisher's masks, is scored on test and validation images: few of them have one.
        """
        known = describe(data)
        trimaps = known.name == "flowers" and not (place(data_dir or ".") / "segmim").is_dir()
        return cls("test+val" if trimaps else "test", known.regression, known.normaliser)


class Found(NamedTuple):
    """What the network finds in N images of S x S pixels."""

    labels: np.ndarray  # (N, S, S) uint8, the most likely of K + 1 labels, background 0
    centres: np.ndarray  # (N, K, 2), centres of mass of the soft masks, (x, y) in pixels


@torch.no_grad()
def predict(segmenter: Segmenter, images: np.ndarray, fabric: Fabric) -> Tensor:
    """Part probabilities (N, K + 1, S, S), background first, of uint8 `images` (N, S, S, 3)."""
    most = 10 if fabric.device.type == "cpu" else BATCH  # so few stay in its cache: a quarter faster
    with fabric.autocast():
        found = [segmenter.eval().probabilities(unit).cpu() for unit in batches(images, fabric.device, most)]
    return torch.cat(found).float()


def find_parts(segmenter: Segmenter, images: np.ndarray, fabric: Fabric) -> Found:
    """Labels and part centres of uint8 `images` (N, S, S, 3), a batch in memory at a time."""
    parts = (predict(segmenter, images[start : start + BATCH], fabric) for start in range(0, len(images), BATCH))
    found = [(one.argmax(dim=1).numpy().astype(np.uint8), metrics.part_centres(one[:, 1:].numpy())) for one in parts]
    return Found(*map(np.concatenate, zip(*found, strict=True)))


def held_out(config: Config, data_dir: str | Path | None, protocol: Protocol | None = None) -> Split:
    """The images that numbers are measured on: those of `protocol`, by default the paper's."""
    protocol, data = protocol or Protocol.of(config.data.name, data_dir), config.data
    return load(data.name, protocol.split, data.size, data_dir=data_dir, limit=data.test_limit or None)


def regression_images(config: Config, test: Split, protocol: Protocol, data_dir: str | Path | None) -> Split:
    """The images with keypoints that landmark regressions are fitted on: none of `test`; UserError without any."""
    data, scored = config.data, set(test.names)
    train = load(data.name, protocol.regression, data.size, data_dir=data_dir, limit=data.train_limit or None)
    most = None if describe(data.name).needs_dir else DRAWN
    rows = [i for i, name in enumerate(train.names) if name not in scored][:most]
    if not rows:
        raise UserError(f"all images of split {protocol.regression} are among those that are scored; "
                        "--regression names the split that keypoints are regressed on")  # fmt: skip
    names = tuple(train.names[i] for i in rows)
    rows = slice(len(rows)) if rows[-1] < len(rows) else rows  # the first ones stay memory-mapped
    arrays = {name: array[rows] for name, array in vars(train).items() if isinstance(array, np.ndarray)}
    return dataclasses.replace(train, names=names, **arrays)


def evaluate(config: Config, segmenter: Segmenter, fabric: Fabric, data_dir: str | Path | None = None,
             protocol: Protocol | None = None, generator: Generator | None = None) -> dict[str, Any]:  # fmt: skip
    """All metrics of `metrics.json`, as plain numbers, by `protocol`, else the paper's; what has no labels is absent.

    What `ganseg.probes` asks of `generator`, where there is one, is among them.
    """
    protocol, parts = protocol or Protocol.of(config.data.name, data_dir), config.generator.parts
    find = lambda images: find_parts(segmenter, images, fabric)
    test = held_out(config, data_dir, protocol)
    labels, centres = find(test.images)
    values = {"test_images": len(test), "foreground_fraction": metrics.foreground_fraction(labels)}
    values |= {f.__name__: f(labels, parts) for f in (metrics.part_usage, metrics.components_per_part)}
    values |= coverage(labels, test.foreground) | agreement(labels, test)
    values |= {} if test.boxes is None else metrics.box_scores(labels, test.boxes)
    if test.keypoints is not None:
        train = regression_images(config, test, protocol, data_dir)
        values |= landmarks(train, find(train.images).centres, test, centres, protocol.normaliser)
        values["regression_images"] = len(train)
    some, known = np.asarray(test.images[:EQUIVARIANCE_IMAGES]), labels[:EQUIVARIANCE_IMAGES]
    values["equivariance_error"] = metrics.equivariance_error(lambda moved: find(moved).labels, some, labels=known)
    if generator is not None:
        values |= probe(generator, test.images, fabric)
    measured = {name: np.round(value, 6) for name, value in values.items()}  # more is noise between machines
    return {name: value.tolist() for name, value in measured.items() if not np.isnan(value).any()}


def coverage(labels: np.ndarray, truth: np.ndarray | None) -> dict[str, Any]:
    """Foreground IoU (Tables 2 and 3) of label maps (N, S, S) over the images with a mask; {} without any.

    Beside the mean over images: pooled pixels, ReDO's oracle (mask or complement, the better), the best constant mask.
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
    pixels = () if test.parts is None else ("foreground", "both", "all")
    scores = {over: metrics.nmi_ari(labels, test.parts, over) for over in pixels}
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
    fit, known = metrics.predict_landmarks, {"landmarks": train.keypoints, "size": train.size, "visible": shown(train)}
    regressed = lambda origin: fit(train_centres, new_centres=test_centres, origin=origin, **known)
    mean = fit(train_centres[:, :0], new_centres=test_centres[:, :0], origin="affine", **known)
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
    ends = next((pair for pair in ENDS if set(pair) <= set(test.keypoint_names)), ())
    rows = [test.keypoint_names.index(name) for name in ends]
    both = shown(test)[:, rows].all(axis=1) & bool(rows)
    predicted, true = marks[both][:, rows], np.asarray(test.keypoints)[both][:, rows]  # (N', 2, 2)
    straight, crossed = (np.linalg.norm(predicted - t, axis=-1).sum(axis=1) for t in (true, true[:, ::-1]))
    return {"swapped_ends": float((crossed < straight).mean())} if both.any() else {}


def normalisers(test: Split) -> dict[str, float | np.ndarray]:
    """What the errors on `test` can be divided by: a length in pixels, or one an image (N,)."""
    known: dict[str, float | np.ndarray] = {"edge": test.size}
    if test.foreground is not None:  # the box of the object, at least a pixel
        boxes = (ndimage.find_objects((mask == 1).astype(np.uint8)) for mask in test.foreground)
        known["object"] = np.sqrt([np.prod([side.stop - side.start for side in sum(box, ())]) for box in boxes])
    if [name.replace("_", " ").split()[-1] for name in test.keypoint_names[:2]] == ["eye", "eye"]:
        eyes = np.asarray(test.keypoints[:, :2], np.float64)  # (N, 2, 2)
        known["inter-ocular"] = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1)
    return known


def shown(split: Split) -> np.ndarray:
    """Visibility (N, J) of the keypoints; all where the split does not say."""
    return np.ones(split.keypoints.shape[:2], bool) if split.visible is None else np.asarray(split.visible, bool)


def unmeasured(values: dict[str, Any], protocol: Protocol) -> list[str]:
    """What `evaluate` could not measure and for want of what, a sentence each."""
    reasons = {
        "iou": "no foreground masks: IoU is",
        "nmi_all": "no part masks: NMI and ARI over pixels are",
        "nmi_keypoints": "no keypoints: NMI and ARI at keypoints are",
        "taichi_mae": f"splits {protocol.regression} and {protocol.split} show no keypoint both: MAE is",
        "landmark_error": "nothing shows the length to divide it by, or no keypoint: the landmark error is",
    }
    return [f"{why} not measured" for name, why in reasons.items() if name not in values]


def draw_samples(generator: Generator, fabric: Fabric, directory: Path, step: int) -> None:
    """`samples.png`: images generated after `step`, their masks, both together; `samples.npz`: these `images` and
    `labels`; `training.npz`: the first of them, beside those of earlier `steps`. Written by the first process."""
    images, labels = imagined(generator, SHEET, fabric)
    if fabric.is_global_zero:
        kept = {"steps": np.array([step]), "images": images[None, :FOLLOWED], "labels": labels[None, :FOLLOWED]}
        if (path := directory / TRAINING).exists():
            with reading(path, "Delete it: only pictures of earlier steps are lost."), np.load(path) as known:
                before = known["steps"] < step
                kept = {name: np.concatenate([known[name][before], one]) for name, one in kept.items()}
        for name, arrays in (("samples.npz", {"images": images, "labels": labels}), (path.name, kept)):
            with atomic_path(directory / name) as temporary:  # samples.npz first: it tells that the folder is a run's
                np.savez_compressed(temporary, **arrays)
        pictures.sample_sheet(images, labels, directory / "samples.png")


def draw_segmentation(config: Config, segmenter: Segmenter, fabric: Fabric, directory: Path,
                      data_dir: str | Path | None) -> None:  # fmt: skip
    """`segmentation.png`: held-out images and the parts found in them, evenly spaced over those that have labels."""
    test = held_out(config, data_dir)
    labelled = [i for i in range(len(test)) if test.foreground is None or (test.foreground[i] == 1).any()]
    chosen = labelled[:: max(1, len(labelled) // SHEET)][:SHEET]
    labels = find_parts(segmenter, test.images[chosen], fabric).labels
    truth = None if test.foreground is None else test.foreground[chosen]
    pictures.sample_sheet(test.images[chosen], labels, directory / "segmentation.png", truth)
