"""An experiment runs once and is then read from its run directory."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganseg.code_hash import code_hash, evaluation_hash
from ganseg.config import Config
from ganseg.files import UserError, global_rank, read_json, results_dir
from ganseg.recipes import resolve

METRICS, CONFIG, PROVENANCE, HISTORY = "metrics.json", "config.json", "provenance.json", "history.csv"
GENERATOR, SEGMENTER = "generator.safetensors", "segmenter.safetensors"


@dataclass(frozen=True)
class Experiment:
    """(data set, variant, K, seed, scale), and settings on top; see `ganseg.recipes` for what they resolve to.

    `parts` None is the data set's usual K. `data_dir` says where the data lies and is not part of the experiment's
    identity, but for `folder`: other images, another experiment.
    """

    data: str = "synthetic-bird"
    variant: str = "paper"
    parts: int | None = None
    seed: int = 0
    scale: str = "tiny"
    data_dir: str | Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Resolve aliases and refuse unknown names at once."""
        from ganseg.data import DATASETS

        if self.data not in DATASETS:
            raise UserError(f"unknown data set {self.data!r}; known are {', '.join(DATASETS)}")
        object.__setattr__(self, "data", DATASETS[self.data].name)
        object.__setattr__(self, "data_dir", self.data_dir or None)
        object.__setattr__(self, "parts", self.config.generator.parts)

    @functools.cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return resolve(self.data, self.variant, self.scale, self.parts, self.seed, dict(self.overrides))

    @functools.cached_property
    def key(self) -> str:
        """Hash of the configuration, of the code that can change its numbers, and of which images are in a `folder`."""
        text = json.dumps(self.config.to_dict(), sort_keys=True) + code_hash(self.data)
        if self.data == "folder" and self.data_dir:
            from ganseg.data import content_key

            text += content_key(self.data, self.data_dir)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def name(self) -> str:
        """What is the same when only the code or single settings differ."""
        return f"{self.data}-{self.variant}-k{self.parts}-s{self.seed}"

    def directory(self, results: str | Path | None = None) -> Path:
        """The run directory."""
        return results_dir(results) / self.scale / "runs" / f"{self.name}-{self.key}"


@dataclass(frozen=True)
class Run:
    """A finished experiment, read from its directory; or an imported one, without metrics until it is evaluated."""

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> Run:
        """UserError when `directory` is not a run, or not a finished one."""
        directory = Path(directory)
        if not (directory / CONFIG).exists():
            raise UserError(f"{directory} is not a run: it has no {CONFIG}")
        if not (directory / METRICS).exists() and not cls(directory).imported:
            raise UserError(
                f"{directory} is not finished: it has no {METRICS}; "
                "the `ganseg train` command that began it goes on with it"
            )
        return cls(directory)

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
    def history(self) -> Any:
        """Losses as a pandas DataFrame: stage, step, seconds, one column a loss."""
        import pandas as pd

        return pd.read_csv(self.directory / HISTORY)

    @property
    def imported(self) -> bool:
        """Whether the run was made of released files (`ganseg import-released`) instead of trained."""
        return (self.directory / PROVENANCE).exists() and "imported" in self.provenance

    @property
    def has_weights(self) -> bool:
        """Whether both networks are there; published runs come without."""
        return all((self.directory / name).exists() for name in (GENERATOR, SEGMENTER))

    def generator(self) -> Any:
        """The trained generator (the averaged one where there is one), in eval mode."""
        from ganseg.checkpoints import load_weights
        from ganseg.generator import Generator

        return load_weights(self.directory / GENERATOR, Generator(self.config.generator)).eval()

    def segmenter(self) -> Any:
        """The trained segmentation network, in eval mode."""
        from ganseg.checkpoints import load_weights
        from ganseg.segmenter import Segmenter

        if self.imported and not (self.directory / SEGMENTER).exists():
            raise UserError(
                f"{self.directory} was imported without a segmentation network; "
                "`ganseg import-released` takes it with --segmenter FILE"
            )
        return load_weights(
            self.directory / SEGMENTER, Segmenter(self.config.segmenter, self.config.generator.parts)
        ).eval()


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
    directory, wanted = experiment.directory(results), experiment.config.optim.precision
    if not _finished(directory, need):
        from ganseg.devices import make_fabric  # seconds to import, and most calls only read
        from ganseg.pipeline import train

        with _lock(directory):
            if not _finished(directory, need):
                fabric = make_fabric(device, devices, num_nodes, precision, wanted)
                train(experiment, directory, fabric, time_limit, progress)
    if _outdated(directory, experiment.data):
        from ganseg.devices import make_fabric
        from ganseg.pipeline import measure

        with _lock(directory):
            if _outdated(directory, experiment.data):
                measure(experiment, Run(directory), make_fabric(device, precision=precision, wanted=wanted))
    return Run.open(directory)


def _finished(directory: Path, need: str) -> bool:
    return (directory / METRICS).exists() and (need == "metrics" or Run(directory).has_weights)


def _outdated(directory: Path, data: str) -> bool:
    """Whether other code measured the run than there is now, and it can be measured again."""
    return Run(directory).has_weights and Run(directory).provenance.get("evaluation_code") != evaluation_hash(data)[:8]


def _lock(directory: Path) -> Any:
    """One trainer at a time; the further processes of a multi-device run belong to the one that holds the lock."""
    from filelock import FileLock

    if global_rank():
        return nullcontext()
    directory.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(directory.parent / f".{directory.name}.lock")
