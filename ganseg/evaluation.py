"""Evaluating a segmentation network on held-out images: every metric that the data's labels allow (section 4.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganseg import metrics
from ganseg.config import Config
from ganseg.data import Split, load
from ganseg.devices import Fabric
from ganseg.segmenter import Segmenter
from ganseg.training import to_unit

REGRESSION_IMAGES = 2000  # training images with keypoints that the landmark regression is fitted on
EQUIVARIANCE_IMAGES = 200


@torch.no_grad()
def predict(segmenter: Segmenter, images: np.ndarray, fabric: Fabric, batch: int = 100) -> Tensor:
    """Part probabilities (N, K + 1, S, S), background first, of uint8 `images` (N, S, S, 3)."""
    segmenter.eval()
    chunks = []
    with fabric.autocast():
        for start in range(0, len(images), batch):
            block = torch.from_numpy(np.array(images[start:start + batch])).permute(0, 3, 1, 2)  # (B, 3, S, S)
            chunks.append(segmenter.probabilities(to_unit(block, fabric.device)).cpu())
    return torch.cat(chunks)


def held_out(config: Config, data_dir: str | Path | None, cache_dir: str | Path | None = None) -> Split:
    """The images that headline numbers are measured on.

    The paper's test split; for Flowers with trimaps instead of the publisher's masks, test and validation split together, because
    only some of their images have one.
    """
    trimaps = config.data.name == "flowers" and not (Path(data_dir or ".") / "segmim").is_dir()
    split = "test+val" if trimaps else "test"
    return load(config.data.name, split, config.data.size, data_dir=data_dir, cache_dir=cache_dir, limit=config.data.test_limit or None)


def evaluate(config: Config, segmenter: Segmenter, fabric: Fabric, data_dir: str | Path | None = None,
             cache_dir: str | Path | None = None) -> dict[str, Any]:
    """All metrics of `metrics.json`, as plain numbers; what the data has no labels for is absent."""
    test = held_out(config, data_dir, cache_dir)
    probabilities = predict(segmenter, test.images, fabric)
    labels = probabilities.argmax(dim=1).numpy().astype(np.uint8)
    values = usage(labels, config.generator.parts) | coverage(labels, test) | {"test_images": len(test)}
    if test.parts is not None:
        for over in ("foreground", "both"):
            nmi, ari = metrics.nmi_ari(labels, test.parts, over)
            values |= {f"nmi_{over}": nmi, f"ari_{over}": ari}
    if test.keypoints is not None:
        train = load(config.data.name, "train", config.data.size, data_dir=data_dir, cache_dir=cache_dir,
                     limit=config.data.train_limit or None)
        values |= landmarks(segmenter, fabric, probabilities, test, train)
    values["equivariance_error"] = metrics.equivariance_error(
        lambda images: predict(segmenter, images, fabric).argmax(dim=1).numpy(), np.asarray(test.images[:EQUIVARIANCE_IMAGES]))
    return {name: _plain(value) for name, value in values.items()}


def usage(labels: np.ndarray, parts: int) -> dict[str, Any]:
    """How the K parts are used: fraction of images, mean area, fragments."""
    values = {"foreground_fraction": metrics.foreground_fraction(labels), "part_usage": metrics.part_usage(labels, parts),
              "part_areas": metrics.part_areas(labels, parts)}
    fragments = metrics.components_per_part(labels, parts)
    return values | ({"components_per_part": fragments} if np.isfinite(fragments) else {})


def coverage(labels: np.ndarray, test: Split) -> dict[str, float]:
    """Foreground IoU (Tables 2 and 3) over the images that have a mask, and of the best constant mask."""
    if test.foreground is None:
        return {}
    known = (np.asarray(test.foreground) == 1).any(axis=(1, 2))
    truth, labels = np.asarray(test.foreground)[known], labels[known]
    return {"iou": metrics.mean_iou(labels, truth), "iou_dataset": metrics.dataset_iou(labels, truth),
            "iou_constant_mask": metrics.best_constant_mask(truth)[1], "iou_images": int(known.sum())}


def landmarks(segmenter: Segmenter, fabric: Fabric, probabilities: Tensor, test: Split, train: Split) -> dict[str, float]:
    """Landmark regression from part centres (section 4.1), in units of the object's size: the root of its bounding box's area."""
    chosen = slice(0, REGRESSION_IMAGES)
    of_train = metrics.part_centres(predict(segmenter, train.images[chosen], fabric)[:, 1:].numpy())
    of_test = metrics.part_centres(probabilities[:, 1:].numpy())
    sizes = object_sizes(test)
    common = {"normaliser": sizes, "size": test.size, "train_visible": train.visible[chosen], "test_visible": test.visible}
    errors = {origin: metrics.landmark_regression(of_train, train.keypoints[chosen], of_test, test.keypoints, origin=origin, **common)
              for origin in ("released", "centred", "affine")}
    mean = metrics.mean_predictor_error(train.keypoints[chosen], test.keypoints, **common)
    return {"landmark_error": errors["released"], "landmark_error_centred": errors["centred"],
            "landmark_error_affine": errors["affine"], "landmark_error_mean": mean, "landmark_error_ratio": errors["released"] / mean}


def object_sizes(split: Split) -> np.ndarray:
    """(N,) root of the area of the foreground's bounding box, in pixels; at least 1."""
    rows, columns = (np.asarray(split.foreground) == 1).any(axis=2), (np.asarray(split.foreground) == 1).any(axis=1)
    return np.sqrt(np.maximum(_extent(rows) * _extent(columns), 1))


def _extent(occupied: np.ndarray) -> np.ndarray:
    """(N, S) booleans -> (N,) distance from the first to the last True, both included; 0 where none is."""
    first, last = occupied.argmax(axis=1), occupied.shape[1] - occupied[:, ::-1].argmax(axis=1)
    return np.where(occupied.any(axis=1), last - first, 0)


def _plain(value: Any) -> Any:
    """JSON-ready, rounded to 6 digits: more is noise between machines."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(v) for v in value]
    return int(value) if isinstance(value, int | np.integer) else round(float(value), 6)
