"""From images to a finished run: train the generator, train the segmentation network on its pairs, evaluate."""

from __future__ import annotations

import datetime
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ganseg import pictures, provenance
from ganseg.code_hash import code_hash, evaluation_hash
from ganseg.config import Config
from ganseg.data import DATASETS, Batches, Split, load
from ganseg.devices import Fabric, place
from ganseg.evaluation import evaluate, held_out, predict
from ganseg.experiments import CONFIG, GENERATOR, METRICS, PROVENANCE, SEGMENTER
from ganseg.files import UserError, write_json
from ganseg.generator import Generator
from ganseg.loop import Clock, fit, save_weights
from ganseg.segmenter import Segmenter
from ganseg.training import GanTrainer, SegmenterTrainer

if TYPE_CHECKING:
    from ganseg.experiments import Experiment, Run

SHEET = 12  # pictures in a sample sheet


def train(
    experiment: Experiment, directory: Path, fabric: Fabric, time_limit: float | None = None, progress: bool = True
) -> None:
    """Both stages and the evaluation of `experiment`; each file appears whole and `metrics.json` last.

    OutOfTime is raised when `time_limit` seconds are over; calling again goes on from the last checkpoint.
    """
    config, clock = experiment.config, Clock(time_limit)
    _check_shares(config, fabric.world_size)
    images = training_images(config, experiment.data_dir)
    if fabric.is_global_zero:
        write_json(
            directory / CONFIG, {"config": config.to_dict(), "variant": experiment.variant, "scale": experiment.scale}
        )
    gan = GanTrainer(config, fabric, batches(config, images, fabric.device))
    seconds = {
        "seconds_gan": fit(
            gan,
            config.optim.steps,
            directory,
            clock,
            progress=progress,
            on_checkpoint=lambda step: draw_samples(gan.result, fabric, directory),
        )
    }
    stage2 = SegmenterTrainer(config, fabric, gan.result)
    seconds["seconds_segmenter"] = fit(stage2, config.segmenter.steps, directory, clock, progress=progress)
    if fabric.is_global_zero:
        finish(experiment, directory, fabric, gan.result, stage2.result, images, seconds)
    fabric.barrier()


def _check_shares(config: Config, processes: int) -> None:
    """Refuse batches that cannot be shared out evenly."""
    for name, batch in (("optim", config.optim.batch_size), ("segmenter", config.segmenter.batch_size)):
        if batch % processes:
            raise UserError(
                f"{name}.batch_size={batch} cannot be shared by {processes} processes; make it a multiple: "
                f"--set {name}.batch_size={-(-batch // processes) * processes}"
            )


def finish(
    experiment: Experiment,
    directory: Path,
    fabric: Fabric,
    generator: Generator,
    segmenter: Segmenter,
    images: Split,
    seconds: dict[str, float],
) -> None:
    """Write weights, pictures, provenance and metrics, then drop the checkpoints."""
    config, start = experiment.config, time.monotonic()
    save_weights(directory / GENERATOR, generator)
    save_weights(directory / SEGMENTER, segmenter)
    draw_segmentation(config, segmenter, fabric, directory, experiment.data_dir)
    metrics = evaluate(config, segmenter, fabric, experiment.data_dir, generator=generator)
    seconds = seconds | {"seconds_evaluation": time.monotonic() - start}
    write_json(
        directory / PROVENANCE,
        {
            "data": experiment.data,
            "variant": experiment.variant,
            "parts": experiment.parts,
            "seed": experiment.seed,
            "scale": experiment.scale,
            "key": experiment.key,
            "overrides": dict(experiment.overrides),
            "steps": config.optim.steps,
            "segmenter_steps": config.segmenter.steps,
            "train_images": len(images),
            "data_fingerprint": images.fingerprint,
            "training_code": code_hash(experiment.data)[:8],
            "precision": str(fabric._precision.precision),
            "processes": fabric.world_size,
            **{name: round(value, 1) for name, value in seconds.items()},
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **provenance.git_state(),
            **provenance.describe_machine(fabric.device),
            **_measured(experiment),
        },
    )
    write_json(directory / METRICS, metrics)
    shutil.rmtree(directory / "checkpoint", ignore_errors=True)


def measure(experiment: Experiment, run: Run, fabric: Fabric) -> None:
    """Evaluate a finished run again, with the evaluation as it is now."""
    generator, segmenter = place(run.generator(), fabric), place(run.segmenter(), fabric)
    metrics = evaluate(experiment.config, segmenter, fabric, experiment.data_dir, generator=generator)
    write_json(run.directory / METRICS, metrics)
    write_json(run.directory / PROVENANCE, run.provenance | _measured(experiment))


def _measured(experiment: Experiment) -> dict[str, str]:
    """Which code measures."""
    return {
        "evaluation_code": evaluation_hash(experiment.data)[:8],
        "evaluation_commit": str(provenance.git_state()["commit"]),
    }


def training_images(config: Config, data_dir: str | Path | None) -> Split:
    """The images that stage 1 learns from."""
    return load(config.data.name, "train", config.data.size, data_dir=data_dir, limit=config.data.train_limit or None)


def batches(config: Config, images: Split, device: torch.device) -> Batches:
    """The stream of real images, held on `device` where it is a GPU with room for them."""
    augment = DATASETS[config.data.name].augment if config.data.augment == "auto" else config.data.augment
    return Batches(images, config.optim.batch_size, config.seed, augment, device)


@torch.no_grad()
def draw_samples(generator: Generator, fabric: Fabric, directory: Path) -> None:
    """`samples.png`: generated images, their masks and both together, always from the same noise."""
    training = generator.training
    with torch.random.fork_rng(devices=[fabric.device] if fabric.device.type == "cuda" else []), fabric.autocast():
        torch.manual_seed(0)
        scene = generator.eval()(generator.noise(SHEET))
    generator.train(training)
    pictures.sample_sheet(pictures.to_pictures(scene.image), scene.labels.cpu().numpy(), directory / "samples.png")


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
