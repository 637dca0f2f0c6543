"""An experiment is trained once, from images to metrics; what that leaves is a run."""

import copy
import functools
import math
import shutil
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganseg.config import Config
from ganseg.data import Batches, describe, fingerprint, load, warn_once
from ganseg.data.files import digest
from ganseg.devices import Fabric, make_fabric
from ganseg.evaluation import draw_samples, draw_segmentation, evaluate
from ganseg.files import UserError, global_rank, locked, read_json, results_dir, sweep, write_json
from ganseg.loop import fit, save_weights
from ganseg.recipes import resolve
from ganseg.runs import CHECKPOINT, CONFIG, GENERATOR, METRICS, PROVENANCE, SEGMENTER, Run, now, origin, sound
from ganseg.training import GanTrainer, SegmenterTrainer, untrained_segmenter

DRAWN_AT = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)  # of stage 1: what is generated then is drawn
RECIPE = 3  # raised by hand where the same configuration learns other numbers; tests/test_trace.py tells when


@dataclass(frozen=True)
class Experiment:
    """(data set, variant, K, seed, scale), and settings on top; see `ganseg.recipes` for what they resolve to.

    `parts` None is the data set's usual K. `data_dir` says where the data lies: the place is no part of the
    experiment's identity, but the images there are. UserError for unknown names.
    """

    data: str = "synthetic-bird"
    variant: str = "paper"
    parts: int | None = None
    seed: int = 0
    scale: str = "tiny"
    data_dir: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse unknown names at once, and settings that would contradict what the run is called."""
        for name in self.overrides.keys() & {"data.name", "seed"}:
            raise UserError(f"{name} is no setting; choose it by --{name.removesuffix('.name')}")
        _ = self.config

    @functools.cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return resolve(describe(self.data).name, self.variant, self.scale, self.parts, self.seed, self.overrides)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What the images and labels are; empty where they are not at hand."""
        return fingerprint(self.data, self.data_dir)

    @functools.cached_property
    def key(self) -> str:
        """Hash of the configuration, of the data, and of RECIPE."""
        return digest(self.config.identity, self.fingerprint, RECIPE)[:8]

    @property
    def name(self) -> str:
        """What is the same whatever the images, the recipe and single settings."""
        return f"{self.config.data.name}-{self.variant}-k{self.config.generator.parts}-s{self.seed}"

    def directory(self, results: str | Path | None = None) -> Path:
        """The run directory."""
        return results_dir(results) / self.scale / "runs" / f"{self.name}-{self.key}"

    def finished(self, results: str | Path | None = None, need: str = "metrics") -> Run | None:
        """The finished run under its own key, else the newest of the same name, configuration and images.

        So published runs are read, whatever RECIPE made them. `need`: "metrics", or "weights": then another run than
        its own will do only where the images are not at hand to train on.
        """
        own, data, weights = self.directory(results), describe(self.data), need == "weights"
        told_by_name = not data.needs_dir or (data.name != "folder" and not self.fingerprint)  # which images they are

        def equal(run: Run) -> bool:
            if run.config != self.config or (weights and self.fingerprint):
                return False
            return told_by_name or run.provenance.get("data_fingerprint") == self.fingerprint

        runs = sound(own.parent.glob(f"{self.name}-*/{METRICS}"))
        ready = [run for run in runs if (run.has_weights or not weights) and (run.directory == own or equal(run))]
        found = max(ready, key=lambda run: (run.directory == own, run.provenance["finished"]), default=None)
        images = found.provenance.get("train_images") if found and data.needs_dir and told_by_name else None
        if images not in (None, self.config.data.train_limit, data.counts.get("train")):
            warn_once(f"{found.directory.name} learned from {images:,} images, the paper from {data.counts['train']:,}")
        return found


def run(experiment: Experiment, results: str | Path | None = None, *, need: Literal["weights", "metrics"] = "weights",
        time_limit: float | None = None, device: str = "auto", devices: int | str = 1, num_nodes: int = 1,
        precision: str = "auto", progress: bool = True) -> Run:  # fmt: skip
    """Train `experiment`, resume it, or read it if it is there.

    `need`: "metrics" is content with a published run, which has no weights. `time_limit`: seconds; OutOfTime is raised
    when they are over, and the same call goes on later. Two processes do not train one experiment twice.
    """
    if found := experiment.finished(results, need):
        shutil.rmtree(found.directory / CHECKPOINT, ignore_errors=True)  # of a process that was killed at its end
        return found
    deadline = math.inf if time_limit is None else time.monotonic() + time_limit
    directory = experiment.directory(results)
    lock = locked(directory.parent / f".{directory.name}.lock", f"the training of {directory.name}", deadline)
    with nullcontext() if global_rank(devices, num_nodes) else lock:  # of one training the first process holds it
        if not experiment.finished(results, need):
            fabric = make_fabric(device, devices, num_nodes, precision, experiment.config.optim.precision)
            train(experiment, directory, fabric, deadline, progress)
    return experiment.finished(results, need) or Run.open(directory)


def train(experiment: Experiment, directory: Path, fabric: Fabric, deadline: float = math.inf,
          progress: bool = True) -> None:  # fmt: skip
    """Both stages and the evaluation of `experiment`, as `run`; each file appears whole, and `metrics.json` last."""
    config, data, schedule = experiment.config, experiment.config.data, {"deadline": deadline, "progress": progress}
    if config.segmenter.pretrained:
        untrained_segmenter(config)  # what stage 2 lacks is said before stage 1
    for name, batch in (("optim", config.optim.batch_size), ("segmenter", config.segmenter.batch_size)):
        if batch % fabric.world_size:
            raise UserError(f"{name}.batch_size={batch} must be a multiple of {fabric.world_size}, the processes")
    images = load(data.name, "train", data.size, data_dir=experiment.data_dir, limit=data.train_limit or None)
    augment = describe(data.name).augment if data.augment == "auto" else data.augment
    stream = Batches(images, config.optim.batch_size, config.seed, augment, fabric.device)
    if fabric.is_global_zero:
        sweep(directory)
        path, known = directory / CONFIG, {"variant": experiment.variant, "scale": experiment.scale}
        before = read_json(path, lambda told: told.get("commits", [])) if path.exists() else []  # of what is resumed
        commits = list(dict.fromkeys([*before, origin(fabric.device)["commit"]]))
        write_json(path, known | {"config": config.model_dump(), "commits": commits})
    gan = GanTrainer(config, fabric, stream)
    trained = {"train_images": len(images)}
    steps, current = config.optim.steps, lambda: copy.deepcopy(gan.ema or gan.generator)  # statistics of the batch
    draw = lambda step: draw_samples(current(), fabric, directory, step)
    marks = {math.ceil(steps * share) for share in DRAWN_AT} - {steps}
    trained["seconds_gan"] = fit(gan, steps, directory, marks=marks, on_mark=draw, **schedule)
    stage2 = SegmenterTrainer(config, fabric, gan.result(), stream)
    trained["seconds_segmenter"] = fit(stage2, config.segmenter.steps, directory, **schedule)
    if fabric.is_global_zero:
        finish(experiment, directory, stage2, trained)
    fabric.barrier()


def finish(experiment: Experiment, directory: Path, stage2: SegmenterTrainer, trained: Mapping[str, Any]) -> None:
    """Write weights, pictures, provenance (with what is known of how it was `trained`) and metrics, in this order."""
    config, fabric, segmenter = experiment.config, stage2.fabric, stage2.result()
    data_dir, start = experiment.data_dir, time.monotonic()
    networks = {GENERATOR: stage2.generator, SEGMENTER: segmenter}
    weights = {name: save_weights(directory / name, network, half=True) for name, network in networks.items()}
    draw_samples(stage2.generator, fabric, directory, config.optim.steps)
    draw_segmentation(config, segmenter, fabric, directory, data_dir)
    metrics = evaluate(config, segmenter, fabric, data_dir, generator=stage2.generator)
    facts = {name: getattr(experiment, name) for name in ("variant", "seed", "scale", "key")} | {
        "data": config.data.name, "parts": config.generator.parts, "overrides": dict(experiment.overrides),
        "commits": read_json(directory / CONFIG, lambda told: told["commits"]),
        "data_fingerprint": experiment.fingerprint, "recipe": RECIPE, "finished": now(),
        "steps": config.optim.steps, "segmenter_steps": config.segmenter.steps, **trained, "weights": weights,
        "seconds_evaluation": round(time.monotonic() - start, 1),
        "precision": str(fabric._precision.precision), "processes": fabric.world_size,
    }  # fmt: skip
    write_json(directory / PROVENANCE, facts | origin(fabric.device))
    write_json(directory / METRICS, metrics)
    shutil.rmtree(directory / CHECKPOINT, ignore_errors=True)
