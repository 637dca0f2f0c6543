"""From images to a finished run: train the generator, train the segmentation network on its pairs, evaluate."""

from __future__ import annotations

import datetime
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganseg import pictures, provenance
from ganseg.config import Config
from ganseg.data import Batches, Split, describe, load
from ganseg.devices import Fabric
from ganseg.evaluation import evaluate, held_out, predict
from ganseg.files import UserError, atomic_path, write_json
from ganseg.generator import Generator
from ganseg.loop import Clock, fit, save_weights
from ganseg.segmenter import Segmenter
from ganseg.training import GanTrainer, SegmenterTrainer

METRICS, CONFIG, PROVENANCE, HISTORY = "metrics.json", "config.json", "provenance.json", "history.csv"
GENERATOR, SEGMENTER, SAMPLES = "generator.safetensors", "segmenter.safetensors", "samples.npz"
SHEET = 12  # pictures in a sample sheet


def train(
    config: Config,
    about: Mapping[str, Any],
    data_dir: str | Path | None,
    directory: Path,
    fabric: Fabric,
    time_limit: float | None = None,
    progress: bool = True,
) -> None:
    """Both stages and the evaluation; each file in `directory` appears whole, and `metrics.json` last.

    `about`: what provenance says of the experiment. OutOfTime is raised when `time_limit` seconds are over; calling
    again goes on from the last checkpoint.
    """
    check_shares(config, fabric.world_size)
    clock, images = Clock(time_limit), training_images(config, data_dir)
    if fabric.is_global_zero:
        content = {"config": config.to_dict(), "variant": about["variant"], "scale": about["scale"]}
        write_json(directory / CONFIG, content)
    gan, seconds = GanTrainer(config, fabric, batches(config, images, fabric.device)), {}
    draw = lambda step: draw_samples(gan.result, fabric, directory)
    seconds["seconds_gan"] = fit(gan, config.optim.steps, directory, clock, progress=progress, on_checkpoint=draw)
    stage2 = SegmenterTrainer(config, fabric, gan.result)
    seconds["seconds_segmenter"] = fit(stage2, config.segmenter.steps, directory, clock, progress=progress)
    if fabric.is_global_zero:
        start = time.monotonic()
        save_weights(directory / GENERATOR, gan.result)
        save_weights(directory / SEGMENTER, stage2.result)
        draw_segmentation(config, stage2.result, fabric, directory, data_dir)
        metrics = evaluate(config, stage2.result, fabric, data_dir, generator=gan.result)
        seconds["seconds_evaluation"] = time.monotonic() - start
        write_json(directory / PROVENANCE, {**about, **origin(config, images, fabric, seconds)})
        write_json(directory / METRICS, metrics)
        shutil.rmtree(directory / "checkpoint", ignore_errors=True)
    fabric.barrier()


def check_shares(config: Config, processes: int) -> None:
    """Refuse batches that cannot be shared out evenly."""
    for name, batch in (("optim", config.optim.batch_size), ("segmenter", config.segmenter.batch_size)):
        if batch % processes:
            fitting = -(-batch // processes) * processes
            raise UserError(
                f"{name}.batch_size={batch} cannot be shared by {processes} processes; make it a multiple: "
                f"--set {name}.batch_size={fitting}"
            )


def origin(config: Config, images: Split, fabric: Fabric, seconds: Mapping[str, float]) -> dict[str, Any]:
    """What provenance says of how a run was made."""
    return {
        "steps": config.optim.steps,
        "segmenter_steps": config.segmenter.steps,
        "train_images": len(images),
        "data_fingerprint": images.fingerprint,
        "precision": str(fabric._precision.precision),
        "processes": fabric.world_size,
        **{name: round(value, 1) for name, value in seconds.items()},
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **provenance.git_state(),
        **provenance.describe_machine(fabric.device),
    }


def training_images(config: Config, data_dir: str | Path | None) -> Split:
    """The images that stage 1 learns from."""
    return load(config.data.name, "train", config.data.size, data_dir=data_dir, limit=config.data.train_limit or None)


def batches(config: Config, images: Split, device: torch.device) -> Batches:
    """The stream of real images, held on `device` where it is a GPU with room for them."""
    augment = describe(config.data.name).augment if config.data.augment == "auto" else config.data.augment
    return Batches(images, config.optim.batch_size, config.seed, augment, device)


@torch.no_grad()
def draw_samples(generator: Generator, fabric: Fabric, directory: Path) -> None:
    """Generated images, always from the same noise: `samples.png` with their masks, and both together; `samples.npz`
    with `images` (N, H, W, 3) and `labels` (N, H, W), uint8."""
    training = generator.training
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []), fabric.autocast():
        torch.manual_seed(0)
        scene = generator.eval()(generator.noise(SHEET))
    generator.train(training)
    images, labels = pictures.to_pictures(scene.image), scene.labels.cpu().numpy().astype(np.uint8)
    pictures.sample_sheet(images, labels, directory / "samples.png")
    with atomic_path(directory / SAMPLES) as temporary:
        np.savez_compressed(temporary, images=images, labels=labels)


def draw_segmentation(
    config: Config, segmenter: Segmenter, fabric: Fabric, directory: Path, data_dir: str | Path | None
) -> None:
    """`segmentation.png`: held-out images and the parts found in them, evenly spaced over those that have labels."""
    test = held_out(config, data_dir)
    labelled = [i for i in range(len(test)) if test.foreground is None or (test.foreground[i] == 1).any()]
    chosen = labelled[:: max(1, len(labelled) // SHEET)][:SHEET]
    labels = predict(segmenter, test.images[chosen], fabric).argmax(dim=1).numpy()
    truth = None if test.foreground is None else test.foreground[chosen]
    pictures.segmentation_sheet(test.images[chosen], labels, truth, directory / "segmentation.png")
