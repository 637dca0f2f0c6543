"""What an experiment leaves on disk: run directories, opened, found by name, listed by what they are."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ganseg.config import Config
from ganseg.files import UserError, read_json, results_dir
from ganseg.generator import Generator
from ganseg.loop import load_weights
from ganseg.segmenter import Segmenter

CONFIG, METRICS, PROVENANCE, HISTORY = "config.json", "metrics.json", "provenance.json", "history.csv"
GENERATOR, SEGMENTER = "generator.safetensors", "segmenter.safetensors"
SHOWN = 8  # names in a message


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
    def find(cls, name: str, results: str | Path | None = None) -> Run:
        """The run that `name` means: its directory, name or key, or a part of SCALE/NAME that no other has."""
        path = Path(name).expanduser()
        if (path / CONFIG).is_file():
            return cls.open(path)
        begun = sorted(results_dir(results).glob(f"*/runs/*/{CONFIG}"))
        known = {f"{config.parts[-4]}/{config.parts[-2]}": config.parent for config in begun}
        exact = [full for full in known if name in (full.partition("/")[2], full.rpartition("-")[2])]
        matches = exact or [full for full in known if name in full]
        if len(matches) == 1:
            return cls.open(known[matches[0]])
        if path.is_dir() and not matches:
            return cls.open(path)  # which says what it lacks
        names = [*(matches or known)]
        listed = ", ".join(names[:SHOWN] + ["..."] * (len(names) > SHOWN))
        if matches:
            raise UserError(f"{len(names)} runs are called {name!r}: {listed}; add letters, or the key at the end")
        place = results_dir(results)
        raise UserError(f"no run {name!r} in {place}; there are {listed or 'none: train one with `ganseg train`'}")

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
        """Whether both networks are there; most published runs come without."""
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


def find_runs(
    results: str | Path | None = None, scale: str = "*", *, older: bool = False, own_settings: bool = False,
    **wanted: Any,
) -> list[Run]:  # fmt: skip
    """Finished runs under `results` whose provenance has the `wanted` values (a tuple: any of them).

    Of each name and settings the newest; with `older`, the others too. Runs with settings of their own (`overrides`)
    only with `own_settings`.
    """
    newest: dict[tuple[str, ...], Run] = {}
    for path in sorted(results_dir(results).glob(f"{scale}/runs/*/{METRICS}")):
        run, (name, _, key) = Run(path.parent), path.parent.name.rpartition("-")
        told, own = run.provenance, json.dumps(run.provenance["overrides"], sort_keys=True)
        if own != "{}" and not own_settings:
            continue
        if any(told.get(k) not in (value if isinstance(value, tuple) else (value,)) for k, value in wanted.items()):
            continue
        slot = (told["scale"], name, own, key if older else "")
        newest[slot] = max(run, newest.get(slot, run), key=lambda found: found.provenance["finished"])
    return list(newest.values())
