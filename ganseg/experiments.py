"""An experiment runs once, from images to metrics, and is then read from its run directory."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from filelock import FileLock

from ganseg import pipeline
from ganseg.config import Config
from ganseg.data import describe, fingerprint
from ganseg.devices import make_fabric, place
from ganseg.evaluation import evaluate
from ganseg.files import UserError, global_rank, read_json, results_dir, write_json
from ganseg.generator import Generator
from ganseg.pipeline import CONFIG, GENERATOR, HISTORY, METRICS, PROVENANCE, SEGMENTER
from ganseg.protocols import Protocol
from ganseg.recipes import resolve
from ganseg.segmenter import Segmenter
from ganseg.training import load_weights

RECIPE = "1"  # raised by hand when code changes what a configuration learns: such experiments are others
SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Experiment:
    """(data set, variant, K, seed, scale), and settings on top; see `ganseg.recipes` for what they resolve to.

    `parts` None is the data set's usual K. `data_dir` says where the data lies; which images are there is part of the
    experiment's identity, but not the place. UserError for unknown names.
    """

    data: str = "synthetic-bird"
    variant: str = "paper"
    parts: int | None = None
    seed: int = 0
    scale: str = "tiny"
    data_dir: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuse unknown names at once."""
        _ = self.config

    @functools.cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        data = describe(self.data).name  # an alias's own
        return resolve(data, self.variant, self.scale, self.parts, self.seed, dict(self.overrides))

    @functools.cached_property
    def key(self) -> str:
        """Hash of the configuration, of which images are there, and of the recipe."""
        text = json.dumps(self.config.to_dict(), sort_keys=True) + self.images + RECIPE
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @functools.cached_property
    def images(self) -> str:
        """Fingerprint of the training images; empty where they are drawn, or not at hand."""
        return fingerprint(self.config.data.name, self.data_dir, self.config.data.train_limit)

    @property
    def name(self) -> str:
        """What is the same when only single settings differ."""
        return f"{self.config.data.name}-{self.variant}-k{self.config.generator.parts}-s{self.seed}"

    @property
    def about(self) -> dict[str, Any]:
        """What provenance says of the experiment."""
        config = self.config
        told = {"data": config.data.name, "variant": self.variant, "parts": config.generator.parts, "seed": self.seed}
        return told | {"scale": self.scale, "key": self.key, "recipe": RECIPE, "overrides": dict(self.overrides)}

    def directory(self, results: str | Path | None = None) -> Path:
        """The run directory."""
        return results_dir(results) / self.scale / "runs" / f"{self.name}-{self.key}"

    def finished(self, results: str | Path | None = None, need: str = "metrics") -> Path | None:
        """A finished run of this experiment: its own directory, else the newest of the same configuration and images.

        `need`: "weights" or "metrics"; published runs have no weights. So runs are found that other recipes made.
        """
        own = self.directory(results)
        runs = [Run(path.parent) for path in own.parent.glob(f"{self.name}-*/{METRICS}")]
        same = [run for run in runs if run.directory == own or self._is(run)]
        ready = [run for run in same if need == "metrics" or run.has_weights]
        best = max(ready, key=lambda run: (run.directory == own, run.provenance.get("finished", "")), default=None)
        return best.directory if best else None

    def _is(self, run: Run) -> bool:
        """Whether `run` learned with this configuration from these images, as far as it can be known."""
        known, needed = run.provenance.get("data_fingerprint"), describe(self.data).needs_dir
        other_images = self.images not in ("", known) or (self.config.data.name == "folder" and not self.images)
        return run.config == self.config and not (needed and other_images)


@dataclass(frozen=True)
class Run:
    """A finished experiment, read from its directory; or an imported one, without metrics until it is evaluated."""

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """UserError when `directory` is not a run, or not a finished one."""
        run = cls(Path(directory))
        if not (run.directory / CONFIG).exists():
            raise UserError(f"{directory} is not a run: it has no {CONFIG}")
        if not (run.directory / METRICS).exists() and not run.imported:
            again = "the `ganseg train` command that began it goes on with it"
            raise UserError(f"{directory} is not finished: it has no {METRICS}; {again}")
        return run

    @classmethod
    def find(cls, name: str, results: Path | None = None) -> Run:
        """The run that `name` means: its directory, name or key, or a part of SCALE/NAME that no other has."""
        if (Path(name).expanduser() / CONFIG).is_file():
            return cls.open(Path(name).expanduser())
        known = {path: f"{path.parent.parent.name}/{path.name}" for path in run_directories(results)}
        exact = [path for path in known if name in (path.name, path.name.rpartition("-")[2])]
        matches = exact or [path for path, full in known.items() if name in full]
        if len(matches) == 1:
            return cls.open(matches[0])
        place = results_dir(results)
        if matches:
            listed = some([known[path] for path in matches])
            raise UserError(
                f"{len(matches)} runs are called {name!r}: {listed}; add letters, or give the key at the end"
            )
        if Path(name).is_dir():
            raise UserError(f"{name} is not a run: it has no {CONFIG}")
        if not known:
            train_one = "train one with `ganseg train`, or give --results"
            raise UserError(f"no run {name!r}: there are no runs in {place}; {train_one}")
        raise UserError(f"no run {name!r} in {place}; there are {some(list(known.values()))}")

    @functools.cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return Config.from_dict(read_json(self.directory / CONFIG)["config"])

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """All measured numbers; none for an imported run that was not evaluated."""
        return read_json(self.directory / METRICS) if (self.directory / METRICS).exists() else {}

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Data, variant, parts, seed, scale, key, commit, device, versions, wall time."""
        return read_json(self.directory / PROVENANCE)

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """Losses: stage, step, seconds, one column a loss."""
        return pd.read_csv(self.directory / HISTORY)

    @property
    def imported(self) -> bool:
        """Whether the run was made of released files (`ganseg import-released`) instead of trained."""
        return (self.directory / PROVENANCE).exists() and "imported" in self.provenance

    @property
    def has_weights(self) -> bool:
        """Whether both networks are there; published runs come without."""
        return all((self.directory / name).exists() for name in (GENERATOR, SEGMENTER))

    def generator(self) -> Generator:
        """The trained generator (the averaged one where there is one), in eval mode."""
        return load_weights(self.directory / GENERATOR, Generator(self.config.generator)).eval()

    def segmenter(self) -> Segmenter:
        """The trained segmentation network, in eval mode."""
        if self.imported and not (self.directory / SEGMENTER).exists():
            take = "`ganseg import-released` takes it with --segmenter FILE"
            raise UserError(f"{self.directory} was imported without a segmentation network; {take}")
        network = Segmenter(self.config.segmenter, self.config.generator.parts)
        return load_weights(self.directory / SEGMENTER, network).eval()


def some(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def run_directories(results: Path | None = None, scale: str | None = None) -> list[Path]:
    """All run directories under `results`, finished or not, by scale and name."""
    return sorted(path.parent for path in results_dir(results).glob(f"{scale or '*'}/runs/*/{CONFIG}"))


def summary(directory: Path) -> list[Any]:
    """What `ganseg runs` lists of a run, finished or not: scale, data, variant, K, seed, IoU, NMI, landmark error
    ratio, steps, time and key; what cannot be read is None."""
    config, metrics, told = (_lenient(directory / name) for name in (CONFIG, METRICS, PROVENANCE))
    fields, name = config.get("config", {}), directory.name.rpartition("-")
    seconds = [told.get(f"seconds_{stage}") for stage in ("gan", "segmenter")]
    key = told.get("key", name[2])
    if not metrics:
        key += " (imported, not evaluated)" if "imported" in told else " (unfinished)"
    numbers = [metrics.get(m) for m in ("iou", "nmi_both", "landmark_error_ratio")]
    return [
        told.get("scale", directory.parent.parent.name), fields.get("data", {}).get("name"),
        told.get("variant", config.get("variant")), fields.get("generator", {}).get("parts"), fields.get("seed"),
        *numbers, fields.get("optim", {}).get("steps"), None if None in seconds else duration(sum(seconds)), key,
    ]  # fmt: skip


def _lenient(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where the file is missing or damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def duration(seconds: float) -> str:
    """45 s, 12 min or 3.4 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def find_runs(
    results: str | Path | None = None,
    scale: str = "*",
    *,
    older: bool = False,
    own_settings: bool = False,
    **wanted: Any,
) -> list[Run]:
    """Finished runs under `results` whose provenance has the `wanted` values (a tuple: any of them).

    Of each name and settings the newest; with `older`, those too that earlier code made. Runs with settings of their
    own (`overrides`) only with `own_settings`.
    """
    newest: dict[tuple[str, ...], Run] = {}
    for path in sorted(results_dir(results).glob(f"{scale}/runs/*/{METRICS}")):
        run, (name, _, key) = Run(path.parent), path.parent.name.rpartition("-")
        own = json.dumps(run.provenance["overrides"], sort_keys=True)
        slot = (run.provenance["scale"], name, own, key if older else "")
        newer = slot not in newest or run.provenance["finished"] >= newest[slot].provenance["finished"]
        if newer and (own_settings or own == "{}") and all(_is(run.provenance.get(k), v) for k, v in wanted.items()):
            newest[slot] = run
    return list(newest.values())


def _is(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, tuple) else value == wanted


def run(
    experiment: Experiment,
    results: str | Path | None = None,
    *,
    need: Literal["weights", "metrics"] = "weights",
    time_limit: float | None = None,
    device: str = "auto",
    devices: int | str = 1,
    num_nodes: int = 1,
    precision: str = "auto",
    progress: bool = True,
) -> Run:
    """Train `experiment`, resume it, or read it if it is there.

    `need`: "metrics" is content with a published run, which has no weights. `time_limit`: seconds; OutOfTime is raised
    when they are over and the same call goes on later. Two processes that want the same experiment wait for each other.
    """
    directory = experiment.directory(results)
    if experiment.finished(results, need) is None:
        with _lock(directory):
            if experiment.finished(results, need) is None:
                fabric = make_fabric(device, devices, num_nodes, precision, experiment.config.optim.precision)
                pipeline.train(
                    experiment.config, experiment.about, experiment.data_dir, directory, fabric, time_limit, progress
                )
    return Run.open(experiment.finished(results, need) or directory)


def _lock(directory: Path) -> Any:
    """One trainer at a time; the further processes of a multi-device run belong to the one that holds the lock."""
    if global_rank():
        return nullcontext()
    directory.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(directory.parent / f".{directory.name}.lock")


def measure(
    run: Run, data_dir: str | Path | None = None, protocol: Protocol | None = None, device: str = "auto"
) -> tuple[dict[str, Any], Path]:
    """Evaluate a finished run again; the metrics and the file that they were written to.

    That is metrics.json; under a `protocol` that is not the usual one it is metrics-OPTION-VALUE.json beside it.
    """
    usual = Protocol.of(run.config.data.name, data_dir)
    protocol = protocol or usual
    fabric = make_fabric(device, wanted=run.config.optim.precision)
    segmenter, generator = place(run.segmenter(), fabric), place(run.generator(), fabric)
    measured = evaluate(run.config, segmenter, fabric, data_dir, protocol, generator=generator)
    own, path = protocol.differences(usual), run.directory / METRICS
    if own:
        suffix = "-".join(f"{name}-{value}" for name, value in sorted(own.items()))
        path = path.with_name(f"{path.stem}-{suffix}{path.suffix}")
    write_json(path, measured | {"protocol": own} if own else run.metrics | measured)
    return measured, path
