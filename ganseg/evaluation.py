"""How a run is scored, and shown, on held-out images: its segmentation network by every score that the labels allow
(section 4.1), its generator by the Frechet distance of its images from real ones (Heusel et al. 2017).

The features are those of a network with random weights, so that nothing has to be fetched: Naeem et al. (2020) find
them no worse than those of ImageNet's Inception network (FID) for images unlike ImageNet's.
"""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from ganseg import metrics, pictures
from ganseg.config import Config
from ganseg.data import Split, load
from ganseg.devices import Fabric
from ganseg.files import UserError, atomic_path
from ganseg.generator import Generator
from ganseg.probes import probe
from ganseg.protocols import Protocol, agreement, coverage, landmarks
from ganseg.segmenter import Segmenter
from ganseg.training import to_unit

BATCH = 100
EQUIVARIANCE_IMAGES = 200
FRECHET_IMAGES = 1000  # at most, generated and real ones each
SHEET = 12  # pictures in a sheet


class Found(NamedTuple):
    """What the network finds in N images of S x S pixels."""

    labels: np.ndarray  # (N, S, S) uint8, the most likely of K + 1 labels, background 0
    centres: np.ndarray  # (N, K, 2), centres of mass of the soft masks, (x, y) in pixels


@torch.no_grad()
def predict(segmenter: Segmenter, images: np.ndarray, fabric: Fabric) -> Tensor:
    """Part probabilities (N, K + 1, S, S), background first, of uint8 `images` (N, S, S, 3)."""
    with fabric.autocast():
        found = [segmenter.eval().probabilities(unit).cpu() for unit in batches(images, fabric.device)]
    return torch.cat(found).float()


def find_parts(segmenter: Segmenter, images: np.ndarray, fabric: Fabric) -> Found:
    """Labels and part centres of uint8 `images` (N, S, S, 3), a batch in memory at a time."""
    parts = (predict(segmenter, images[start : start + BATCH], fabric) for start in range(0, len(images), BATCH))
    found = [(one.argmax(dim=1).numpy().astype(np.uint8), metrics.part_centres(one[:, 1:].numpy())) for one in parts]
    return Found(*map(np.concatenate, zip(*found, strict=True)))


def batches(images: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    """uint8 `images` (N, S, S, 3) as networks take them: (B, 3, S, S) in [-1, 1]."""
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(np.array(images[start : start + BATCH]))
        yield to_unit(batch.permute(0, 3, 1, 2), device)


def held_out(config: Config, data_dir: str | Path | None, protocol: Protocol | None = None) -> Split:
    """The images that numbers are measured on: those of `protocol`, by default the paper's."""
    protocol, data = protocol or Protocol.of(config.data.name, data_dir), config.data
    return load(data.name, protocol.split, data.size, data_dir=data_dir, limit=data.test_limit or None)


def regression_images(config: Config, test: Split, protocol: Protocol, data_dir: str | Path | None) -> Split:
    """The images with keypoints that landmark regressions are fitted on, without those of `test`.

    UserError where none is left.
    """
    data, scored = config.data, set(test.names)
    train = load(data.name, protocol.regression, data.size, data_dir=data_dir, limit=data.train_limit or None)
    rows = [i for i, name in enumerate(train.names) if name not in scored][: protocol.regression_images or None]
    if not rows:
        raise UserError(f"all images of split {protocol.regression} are among those that are scored; "
                        "--regression names the split that keypoints are regressed on")  # fmt: skip
    names = tuple(train.names[i] for i in rows)
    rows = slice(len(rows)) if rows[-1] < len(rows) else rows  # the first ones stay memory-mapped
    arrays = {name: array[rows] for name, array in vars(train).items() if isinstance(array, np.ndarray)}
    return dataclasses.replace(train, names=names, **arrays)


def evaluate(config: Config, segmenter: Segmenter, fabric: Fabric, data_dir: str | Path | None = None,
             protocol: Protocol | None = None, generator: Generator | None = None) -> dict[str, Any]:  # fmt: skip
    """All metrics of `metrics.json`, as plain numbers; what the data has no labels for is absent.

    `protocol`: by default the paper's for the data set. The images of `generator`, where there is one, are compared
    with the real ones, and its answers are measured (`ganseg.probes`).
    """
    protocol, parts = protocol or Protocol.of(config.data.name, data_dir), config.generator.parts
    find = functools.partial(find_parts, segmenter, fabric=fabric)
    test = held_out(config, data_dir, protocol)
    labels, centres = find(test.images)
    values = {"test_images": len(test), "foreground_fraction": metrics.foreground_fraction(labels)}
    values["part_usage"] = metrics.part_usage(labels, parts)
    values["components_per_part"] = metrics.components_per_part(labels, parts)
    values |= coverage(labels, test.foreground) | agreement(labels, test)
    if test.keypoints is not None:
        train = regression_images(config, test, protocol, data_dir)
        values |= landmarks(train, find(train.images).centres, test, centres, protocol.normaliser)
        values["regression_images"] = len(train)
    some, known = np.asarray(test.images[:EQUIVARIANCE_IMAGES]), labels[:EQUIVARIANCE_IMAGES]
    values["equivariance_error"] = metrics.equivariance_error(lambda moved: find(moved).labels, some, labels=known)
    if generator is not None:
        values |= image_quality(generator, test.images, fabric) | probe(generator, fabric)
    measured = {name: np.round(value, 6) for name, value in values.items()}  # more is noise between machines
    return {name: value.tolist() for name, value in measured.items() if not np.isnan(value).any()}


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


def frechet_distance(one: np.ndarray, other: np.ndarray) -> float:
    r"""$\|\mu_1 - \mu_2\|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2 (\Sigma_1 \Sigma_2)^{1/2})$ of (N, C) and (M, C).

    The bias of few images is positive: compare numbers of equally many images only. UserError below two images.
    """
    if min(len(one), len(other)) < 2:
        raise UserError(f"a Frechet distance needs two images on both sides, not {len(one)} and {len(other)}")
    sides = [x.astype(np.float64) for x in (one, other)]
    means = [x.mean(axis=0) for x in sides]
    factors = [(x - mean) / np.sqrt(len(x) - 1) for x, mean in zip(sides, means, strict=True)]  # A: Sigma = A^T A
    roots = np.linalg.norm(factors[0] @ factors[1].T, "nuc")  # tr (S1 S2)^(1/2), without rounding below zero
    return max(0.0, float(np.square(means[0] - means[1]).sum() + sum(np.square(x).sum() for x in factors) - 2 * roots))


def relative_distance(real: np.ndarray, other: np.ndarray) -> float:
    """`frechet_distance` over the variance of the `real` features (N, C): it does not depend on the features' unit."""
    return frechet_distance(real, other) / float(real.var(axis=0, ddof=1).sum())


@functools.cache
def random_network() -> nn.Module:
    """A ResNet-18 with the same random weights on every machine, up to its average over places: C = 512."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = resnet18(weights=None)
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def described(images: np.ndarray, fabric: Fabric) -> np.ndarray:
    """Features (N, C) of uint8 `images` (N, S, S, 3) by `random_network`, in fp32."""
    network = random_network().to(fabric.device)
    return np.concatenate([network(unit).cpu().numpy() for unit in batches(images, fabric.device)])


@torch.no_grad()
def imagined(generator: Generator, count: int, fabric: Fabric, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Generated images (N, S, S, 3) and their labels (N, S, S), uint8; the same for one seed and device."""
    random = torch.Generator(fabric.device).manual_seed(seed)
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    with fabric.autocast():
        made = [generator.pairs(generator.noise(size, random)) for size in sizes]
    images, labels = map(torch.cat, zip(*made, strict=True))
    return pictures.to_pictures(images), labels.byte().cpu().numpy()


def image_quality(generator: Generator, real: np.ndarray, fabric: Fabric) -> dict[str, float]:
    """`frechet_distance` (relative) of at most `FRECHET_IMAGES` real images and as many generated ones; {} for one."""
    sides = real[:FRECHET_IMAGES], imagined(generator, len(real[:FRECHET_IMAGES]), fabric)[0]
    found = [described(images, fabric) for images in sides]
    return {"frechet_distance": relative_distance(*found)} if len(real) > 1 else {}


def draw_samples(generator: Generator, fabric: Fabric, directory: Path) -> None:
    """`samples.png`: generated images, their masks, both together; `samples.npz`: these `images` and `labels`. Written
    by the first process."""
    training = generator.training
    images, labels = imagined(generator.eval(), SHEET, fabric)
    generator.train(training)
    if fabric.is_global_zero:
        with atomic_path(directory / "samples.npz") as temporary:  # first: it tells that the folder is a run's
            np.savez_compressed(temporary, images=images, labels=labels)
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
