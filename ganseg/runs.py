"""What an experiment leaves on disk: a run, found by what it is; and where its numbers come from."""

import datetime
import difflib
import functools
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import nn

from ganseg import metrics
from ganseg.config import Config
from ganseg.data import warn_once
from ganseg.files import PACKAGE, UserError, place, read_json, reading, results_dir, shipped_models
from ganseg.generator import Generator
from ganseg.loop import load_weights
from ganseg.recipes import resolve
from ganseg.segmenter import Segmenter

CONFIG, METRICS, PROVENANCE = "config.json", "metrics.json", "provenance.json"
SAMPLES = "samples.npz"
CHECKPOINT, GENERATOR, SEGMENTER = "checkpoint", "generator.safetensors", "segmenter.safetensors"
RARE = 0.05  # a part that is seen in fewer images than this has vanished
COLLAPSED = 0.05, 0.8  # a run whose parts cover less or more of the images has collapsed; or half of its parts vanished
TOLD = ("scale", "overrides", "finished")  # of every provenance


@dataclass(frozen=True)
class Run:
    """A finished experiment, read from its directory; or an imported one, without metrics until it is evaluated."""

    directory: Path

    @classmethod
    def open(cls, directory: str | Path) -> Self:
        """UserError when `directory` is not a run, or not a finished one."""
        run = cls(Path(directory))
        if not (run.directory / CONFIG).exists():
            raise UserError(f"{directory} is not a run: it has no {CONFIG}")
        if not (run.directory / METRICS).exists() and not run.imported:
            raise UserError(f"{directory} is not finished: the `ganseg train` command that began it goes on with it")
        return run

    @classmethod
    def find(cls, name: str, results: str | Path | None = None) -> Self:
        """The run of a shipped model, or that `name` means: a directory, a part of SCALE/NAME that no other has."""
        models = shipped_models(results)
        name = models.get(name, {"run": name})["run"]
        path, root = place(name), results_dir(results)
        known = {f"{p.parts[-4]}/{p.parts[-2]}": p.parent for p in sorted(root.glob(f"*/runs/*/{CONFIG}"))}
        matches = [full for full in known if full.endswith(f"/{name}")] or [full for full in known if name in full]
        if path.is_dir() and ((path / CONFIG).exists() or not matches):
            return cls.open(path)
        if len(matches) != 1:
            near = [model for model in models if name in model] + matches
            near = near or difflib.get_close_matches(name, [*models, *known]) or [*models, *known]
            there = ", ".join(near[:20]) + ", ..." * (len(near) > 20) or "none; train one with `ganseg train`"
            raise UserError(f"{len(matches) or 'no'} runs are called {name!r} in {root}; there are {there}")
        return cls.open(known[matches[0]])

    @functools.cached_property
    def config(self) -> Config:
        """The resolved configuration."""
        return read_json(self.directory / CONFIG, lambda told: Config.from_dict(told["config"]))

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """All measured numbers; none for an imported run that was not evaluated."""
        return read_json(self.directory / METRICS, dict) if (self.directory / METRICS).exists() else {}

    @functools.cached_property
    def provenance(self) -> dict[str, Any]:
        """Data, variant, parts, seed, scale, key, commit, device, versions, wall time."""
        return read_json(self.directory / PROVENANCE, lambda told: {name: told[name] for name in (*TOLD, *told)})

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """Losses: stage, step, seconds, one column a loss."""
        with reading(path := self.directory / "history.csv", "Delete it; the numbers of the run do not need it."):
            return pd.read_csv(path)

    def samples(self) -> tuple[np.ndarray, np.ndarray]:
        """The images (N, H, W, 3) and labels (N, H, W) that it generated, uint8, always from the same noise."""
        path = self.directory / SAMPLES
        with reading(path, "Get it from the project again, or train the run again."), np.load(path) as arrays:
            return arrays["images"], arrays["labels"]

    @functools.cached_property
    def counts(self) -> dict[str, float]:
        """How many parts vanished on held-out images, whether it has `COLLAPSED`, and statistics of `samples`."""
        usage, foreground = np.array(self.metrics["part_usage"]), self.metrics["foreground_fraction"]
        vanished = int((usage < RARE).sum())
        healthy = COLLAPSED[0] <= foreground <= COLLAPSED[1] and vanished < len(usage) / 2
        found = {"vanished_parts": vanished, "collapsed": int(not healthy)}
        if not (self.directory / SAMPLES).exists():
            return found
        (_, labels), parts = self.samples(), self.provenance["parts"]
        return found | {
            "generated_pieces": metrics.components_per_part(labels, parts),
            "generated_vanished": int((metrics.part_usage(labels, parts) < RARE).sum()),
            "generated_foreground": metrics.foreground_fraction(labels),
        }

    @property
    def imported(self) -> bool:
        """Whether the run was made of released files (`ganseg import-released`) instead of trained."""
        return (self.directory / PROVENANCE).exists() and "imported" in self.provenance

    @property
    def has_weights(self) -> bool:
        """Whether both networks are there; most published runs come without."""
        return all((self.directory / name).exists() for name in (GENERATOR, SEGMENTER))

    @property
    def is_current(self) -> bool:
        """Whether its experiment resolves to its configuration today; others are read by name, but never compared."""
        told = ("data", "variant", "scale", "parts", "seed", "overrides")
        try:
            return self.config == resolve(*(self.provenance[name] for name in told))
        except UserError:  # it has names or fields that are no more
            return False

    def generator(self) -> Generator:
        """The trained generator (the averaged one where there is one), in eval mode."""
        return self._load(GENERATOR, Generator(self.config.generator))

    def segmenter(self) -> Segmenter:
        """The trained segmentation network, in eval mode."""
        if self.imported and not (self.directory / SEGMENTER).exists():
            take = "`ganseg import-released` takes it with --segmenter FILE"
            raise UserError(f"{self.directory} was imported without a segmentation network; {take}")
        return self._load(SEGMENTER, Segmenter.of(self.config))

    def _load(self, name: str, module: nn.Module) -> nn.Module:
        """Weights into `module`, held to the checksum in the provenance; early runs have none."""
        return load_weights(self.directory / name, module, self.provenance.get("weights", {}).get(name)).eval()


@functools.cache
def _measured(directory: Path, *metrics: int) -> Run:
    """The run in `directory`, the same one until its `metrics` are others: nothing of it is read twice."""
    return Run(directory)


def sound(metrics: Iterable[Path]) -> Iterator[Run]:
    """The runs of these files. One with a damaged JSON file is told of and passed over."""
    for path in sorted(metrics):
        about = path.stat()
        run = _measured(path.parent, about.st_mtime_ns, about.st_size)
        try:
            if run.provenance and run.config and run.metrics:
                yield run
        except UserError as error:
            warn_once(f"a run is passed over: {error}")


def find_runs(results: str | Path | None = None, scale: str = "*", *, older: bool = False, own_settings: bool = False,
              **wanted: Any) -> list[Run]:  # fmt: skip
    """Finished runs under `results` whose provenance has the `wanted` values (a tuple: any of them).

    Of each experiment the newest that `is_current`, or with `older` of all; those with `overrides` if `own_settings`.
    """
    newest: dict[tuple[str, ...], Run] = {}
    choices = {name: value if isinstance(value, tuple) else (value,) for name, value in wanted.items()}
    for run in sound(results_dir(results).glob(f"{scale}/runs/*/{METRICS}")):
        name, told = run.directory.name.rpartition("-")[0], run.provenance
        own = sorted(told["overrides"].items())
        fits = (own_settings or not own) and all(told.get(key) in values for key, values in choices.items())
        if fits and (older or run.imported or run.is_current):
            slot = told["scale"], name, str(own)
            newest[slot] = max(run, newest.get(slot, run), key=lambda found: found.provenance["finished"])
    return list(newest.values())


def origin(device: torch.device) -> dict[str, Any]:
    """Where a number comes from: commit of the package, whether its files differ from it, machine, versions, day.

    Of a CPU the cores that may be used are named, too. Outside a checkout the commit is $GANSEG_COMMIT.
    """
    git = lambda *words: subprocess.check_output(["git", "-C", PACKAGE, *words], text=True, stderr=subprocess.DEVNULL)
    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # a copy within another checkout is no part of it
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        commit, changed = os.environ.get("GANSEG_COMMIT", "unknown"), ""
    info = Path("/proc/cpuinfo")  # where Linux names the processor
    named = re.search(r"^model name\s*: (.+)", info.read_text() if info.exists() else "", re.MULTILINE)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = f"{named[1] if named else platform.machine()} ({count} {'core' if count == 1 else 'cores'})"
    return {
        "commit": commit.strip(), "dirty": bool(changed), "accelerator": device.type,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "threads": torch.get_num_threads(), "python": platform.python_version(), "torch": torch.__version__,
        "date": now()[:10],
    }  # fmt: skip


def now() -> str:
    """The time in UTC, to the second: 2026-01-31T12:00:00+00:00."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
