"""Evaluating a segmentation network on held-out images: every score that the labels allow (section 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganseg import metrics, protocols
from ganseg.config import Config
from ganseg.data import Split, load
from ganseg.devices import Fabric
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.image_quality import image_quality
from ganseg.protocols import Protocol
from ganseg.segmenter import Segmenter
from ganseg.training import to_unit

EQUIVARIANCE_IMAGES = 200
# a score, and why it is not there when it is not
NEEDED = {
    "iou": "no foreground masks: IoU is not measured",
    "nmi_all": "no part masks: NMI and ARI over pixels are not measured",
    "nmi_keypoints": "no keypoints: landmark errors, MAE, and NMI and ARI at keypoints are not measured",
}

# What each metric is, for people; the order in which they are listed.
MEANINGS = {
    "iou": "IoU of the foreground",
    "iou_constant_mask": "IoU of the best constant mask, mean of images",
    "iou_image": "IoU of the foreground, mean of images",
    "iou_dataset": "IoU of the foreground, pixels pooled",
    "iou_oracle": "IoU of the better of mask and complement",
    "iou_no_oracle": "IoU of the foreground, without the oracle",
    "nmi_both": "NMI of the parts, where both have foreground",
    "ari_both": "ARI of the parts, where both have foreground",
    "nmi_foreground": "NMI of the parts, on the true foreground",
    "ari_foreground": "ARI of the parts, on the true foreground",
    "nmi_all": "NMI of the parts, on all pixels",
    "ari_all": "ARI of the parts, on all pixels",
    "nmi_keypoints": "NMI of parts and visible keypoints",
    "ari_keypoints": "ARI of parts and visible keypoints",
    "landmark_error": "landmark error",
    "landmark_error_mean": "landmark error of the mean predictor",
    "landmark_error_ratio": "ratio of the two",
    "landmark_error_released": "landmark error, origin in the top-left corner",
    "landmark_error_centred": "landmark error, origin at the image's centre",
    "landmark_error_affine": "landmark error, regression with a bias",
    "landmark_error_object": "landmark error over the object's size",
    "landmark_error_object_mean": "the same of the mean predictor",
    "landmark_error_inter_ocular": "landmark error over the distance of the eyes",
    "landmark_error_inter_ocular_mean": "the same of the mean predictor",
    "landmark_error_edge": "landmark error over the image's edge",
    "landmark_error_edge_mean": "the same of the mean predictor",
    "taichi_mae": "MAE of Table 3, in pixels of 256",
    "taichi_mae_mean": "MAE of the mean predictor",
    "taichi_mae_l1": "MAE, sum over coordinates",
    "taichi_mae_l1_mean": "the same of the mean predictor",
    "taichi_mae_l2": "MAE, sum of distances",
    "taichi_mae_l2_mean": "the same of the mean predictor",
    "foreground_fraction": "fraction of pixels in the foreground",
    "part_usage": "fraction of images that show each part",
    "part_areas": "mean area of each part",
    "components_per_part": "connected components of a part (1 is best)",
    "equivariance_error": "equivariance error under shifts (0 is best)",
    "equivariance_error_affine": "equivariance error under turns and scalings",
    "fid": "FID of generated images",
    "frechet_distance": "Frechet distance of generated images, random features (0 is best)",
    "frechet_images": "generated images that were compared with real ones",
    "test_images": "test images",
    "iou_images": "test images with a mask",
    "regression_images": "images that landmarks are regressed on",
}


class Found(NamedTuple):
    """What the network finds in N images of S x S pixels."""

    labels: np.ndarray  # (N, S, S) uint8, the most likely of K + 1 labels, background 0
    centres: np.ndarray  # (N, K, 2), centres of mass of the soft masks, (x, y) in pixels


def predict(segmenter: Segmenter, images: np.ndarray, fabric: Fabric, batch: int = 100) -> Tensor:
    """Part probabilities (N, K + 1, S, S), background first, of uint8 `images` (N, S, S, 3)."""
    return torch.cat(list(_predictions(segmenter, images, fabric, batch)))


def find_parts(segmenter: Segmenter, images: np.ndarray, fabric: Fabric, batch: int = 100) -> Found:
    """Labels and part centres of uint8 `images` (N, S, S, 3), a batch in memory at a time."""
    labels, centres = [], []
    for probabilities in _predictions(segmenter, images, fabric, batch):
        labels.append(probabilities.argmax(dim=1).numpy().astype(np.uint8))
        centres.append(metrics.part_centres(probabilities[:, 1:].numpy()))
    return Found(np.concatenate(labels), np.concatenate(centres))


@torch.no_grad()
def _predictions(segmenter: Segmenter, images: np.ndarray, fabric: Fabric, batch: int) -> Iterator[Tensor]:
    segmenter.eval()
    for start in range(0, len(images), batch):
        block = torch.from_numpy(np.array(images[start : start + batch])).permute(0, 3, 1, 2)  # (B, 3, S, S)
        with fabric.autocast():
            yield segmenter.probabilities(to_unit(block, fabric.device)).cpu().float()


def held_out(config: Config, data_dir: str | Path | None, cache_dir: str | Path | None = None,
             protocol: Protocol | None = None) -> Split:  # fmt: skip
    """The images that numbers are measured on: those of `protocol`, by default the paper's."""
    protocol = protocol or Protocol.of(config.data.name, data_dir)
    return load(config.data.name, protocol.split, config.data.size, data_dir=data_dir, cache_dir=cache_dir,
                limit=config.data.test_limit or None)  # fmt: skip


def regression_images(config: Config, test: Split, protocol: Protocol, data_dir: str | Path | None,
                      cache_dir: str | Path | None = None) -> Split:  # fmt: skip
    """The images with keypoints that landmark regressions are fitted on, without those of `test`.

    UserError where none is left.
    """
    train = load(config.data.name, protocol.regression, config.data.size, data_dir=data_dir,
                 cache_dir=cache_dir, limit=config.data.train_limit or None)  # fmt: skip
    scored = set(test.names)
    chosen = [i for i, name in enumerate(train.names) if name not in scored]
    if not chosen:
        raise UserError(f"all images of split {protocol.regression} are among those that are scored; "
                        "--regression names the split that keypoints are regressed on")  # fmt: skip
    return _subset(train, chosen[: protocol.regression_images or None])


def _subset(split: Split, chosen: list[int]) -> Split:
    """The `chosen` images and their labels; the first ones stay memory-mapped."""
    first = chosen == list(range(len(chosen)))
    rows = slice(0, len(chosen)) if first else np.array(chosen, np.int64)
    names = ("images", "foreground", "parts", "keypoints", "visible")
    taken = {name: getattr(split, name)[rows] for name in names if getattr(split, name) is not None}
    return dataclasses.replace(split, names=tuple(split.names[i] for i in chosen), **taken)


def evaluate(
    config: Config, segmenter: Segmenter, fabric: Fabric, data_dir: str | Path | None = None,
    protocol: Protocol | None = None, cache_dir: str | Path | None = None, generator: Generator | None = None,
) -> dict[str, Any]:  # fmt: skip
    """All metrics of `metrics.json`, as plain numbers; what the data has no labels for is absent.

    `protocol`: by default the paper's for the data set, `Protocol.of`. The images of `generator`, where there is one,
    are compared with the real ones.
    """
    protocol = protocol or Protocol.of(config.data.name, data_dir)
    test = held_out(config, data_dir, cache_dir, protocol)
    found = find_parts(segmenter, test.images, fabric)
    values = usage(found.labels, config.generator.parts) | {"test_images": len(test)}
    values |= protocols.coverage(found.labels, test.foreground, protocol)
    values |= protocols.agreement(found.labels, test)
    if test.keypoints is not None:
        train = regression_images(config, test, protocol, data_dir, cache_dir)
        centres = find_parts(segmenter, train.images, fabric).centres
        values |= protocols.landmarks(train, centres, test, found.centres, protocol)
        values["regression_images"] = len(train)
    some = np.asarray(test.images[:EQUIVARIANCE_IMAGES])
    for name, error in (("equivariance_error", metrics.equivariance_error),
                        ("equivariance_error_affine", metrics.affine_equivariance_error)):  # fmt: skip
        values[name] = error(lambda images: find_parts(segmenter, images, fabric).labels, some)
    if generator is not None:
        values |= image_quality(generator, test.images, fabric)
    return {name: _plain(value) for name, value in values.items()}


def regress_keypoints(
    config: Config, segmenter: Segmenter, fabric: Fabric, data_dir: str | Path | None = None,
    protocol: Protocol | None = None, cache_dir: str | Path | None = None,
) -> tuple[Split, np.ndarray]:  # fmt: skip
    """The scored images, and keypoints (N, J, 2) in pixels that part centres predict there; for pictures."""
    protocol = protocol or Protocol.of(config.data.name, data_dir)
    test = held_out(config, data_dir, cache_dir, protocol)
    train = regression_images(config, test, protocol, data_dir, cache_dir)
    centres = [find_parts(segmenter, split.images, fabric).centres for split in (train, test)]
    return test, protocols.predicted_keypoints(train, *centres, protocol)


def unmeasured(values: dict[str, Any], protocol: Protocol) -> list[str]:
    """What `evaluate` could not measure and for want of what, a sentence each."""
    said = [why for name, why in NEEDED.items() if name not in values]
    if "nmi_keypoints" in values and "taichi_mae" not in values:
        splits = f"split {protocol.regression} and split {protocol.split}"
        said.append(f"no keypoint is visible in both {splits}: landmark errors and MAE are not measured")
    elif "taichi_mae" in values and "landmark_error" not in values and protocol.normaliser != "taichi":
        lacking = {"object": "no foreground masks", "inter-ocular": "keypoints 0 and 1 are no eyes"}
        error = f"the landmark error with normaliser {protocol.normaliser}"
        said.append(f"{lacking[protocol.normaliser]}: {error} is not measured")
    return said


def usage(labels: np.ndarray, parts: int) -> dict[str, Any]:
    """How the K parts are used: fraction of images, mean area, fragments."""
    values = {"foreground_fraction": metrics.foreground_fraction(labels)}
    values["part_usage"] = metrics.part_usage(labels, parts)
    values["part_areas"] = metrics.part_areas(labels, parts)
    fragments = metrics.components_per_part(labels, parts)
    return values | ({"components_per_part": fragments} if np.isfinite(fragments) else {})


def _plain(value: Any) -> Any:
    """JSON-ready, rounded to 6 digits: more is noise between machines."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    return int(value) if isinstance(value, int | np.integer) else round(float(value), 6)
