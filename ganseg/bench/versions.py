"""An earlier version of this package against this one: steps/s at a scale, and what their configurations end with.

Three rows: `before`, the earlier code with its own settings of the scale; `code`, this code with those settings;
`now`, this code with its own. Each takes its steps in a process of its own, in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import ganseg
from ganseg import provenance
from ganseg.bench import stepper
from ganseg.bench.timing import interleave, spread
from ganseg.config import Config
from ganseg.files import PACKAGE, UserError

CPU = torch.device("cpu")
STEPS = 32  # in a row: two of them with the gradient penalty
SEEDS = (0, 1, 2)
METRICS = ("iou", "nmi_both", "ari_both", "landmark_error", "frechet_distance")
Settings = Mapping[str, Any]


class Version:
    """A checkout of the package that takes training steps on the CPU, with as many threads as this process.

    `settings` go on top of what its own `scale` says; `config` is what that made, as a dictionary.
    """

    def __init__(self, checkout: str | Path, data: str, scale: str, settings: Settings) -> None:
        self.checkout = Path(checkout).resolve()
        if not (self.checkout / "ganseg" / "training.py").is_file():
            raise UserError(f"{checkout} is no checkout of this package: it has no ganseg/training.py")
        own = {"PYTHONPATH": str(self.checkout), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        self.process = subprocess.Popen(
            [sys.executable, "-P", stepper.__file__],  # -P: modules do not come from the script's folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | own,
        )
        self.config = json.loads(self._ask(json.dumps({"data": data, "scale": scale, "settings": dict(settings)})))

    def step(self) -> None:
        """Take `STEPS` training steps."""
        self._ask(str(STEPS))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _ask(self, line: str) -> str:
        with suppress(BrokenPipeError):  # then there is no answer either
            print(line, file=self.process.stdin, flush=True)
        if answer := self.process.stdout.readline():
            return answer
        raise UserError(f"the package in {self.checkout} could not take these steps; what it said is above")


def settings_of(config: Settings) -> dict[str, Any]:
    """A version's configuration as settings of this one: the fields that both have, but how many images are scored."""
    now = Config().to_dict()
    sections = {name: fields for name, fields in config.items() if isinstance(fields, Mapping)}
    flat = {
        f"{s}.{field}": v for s, fields in sections.items() for field, v in fields.items() if field in now.get(s, ())
    }
    return {name: value for name, value in flat.items() if name != "data.test_limit"}


def measure(
    checkout: str | Path,
    data: str,
    scale: str,
    settings: Settings | None = None,
    seconds: float = 10,
    seeds: Sequence[int] = SEEDS,
) -> dict[str, Any]:
    """The report: under `versions` the three rows, where `ratio` is the seconds of a step before over the row's."""
    settings, rows = settings or {}, {"before": Version(checkout, data, scale, settings or {})}
    own = {"code": settings_of(rows["before"].config), "now": settings}
    rows |= {name: Version(PACKAGE.parent, data, scale, own[name]) for name in own}
    times = interleave({name: row.step for name, row in rows.items()}, CPU, seconds * len(rows))
    for row in rows.values():
        row.close()
    found = {name: _timed(row, times[name], times["before"]) for name, row in rows.items()}
    for name in own:
        found[name]["scores"] = scores(data, scale, own[name], seeds)
    about = provenance.git_state() | provenance.describe_machine(CPU)
    return {"data": data, "scale": scale, "versions": found, "provenance": about}


def _timed(row: Version, times: Sequence[float], before: Sequence[float]) -> dict[str, Any]:
    return {
        "commit": provenance.git_state(row.checkout)["commit"],
        "config": row.config,
        "seconds": spread(np.divide(times, STEPS)),
        "ratio": spread(np.divide(before, times)),
    }


def scores(data: str, scale: str, settings: Settings, seeds: Sequence[int]) -> dict[str, list[float]]:
    """What this code's training with `settings` ends with: metrics, a value a seed."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [ganseg.run(ganseg.Experiment(data, seed=s, scale=scale, overrides=settings), folder) for s in seeds]
        return {name: [run.metrics[name] for run in runs] for name in METRICS}


def table(reports: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A line for each row of each report: configuration, steps/s, ratio with quartiles, every seed's scores."""
    return pd.DataFrame([_line(report, name, row) for report in reports for name, row in report["versions"].items()])


def _line(report: Mapping[str, Any], name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    generator, optim = row["config"]["generator"], row["config"]["optim"]
    return {
        "data": report["data"],
        "scale": report["scale"],
        "version": name,
        "commit": row["commit"][:7],
        "batch": optim["batch_size"],
        "sizes": ", ".join(map(str, generator["block_sizes"])),
        "generator": ", ".join(map(str, generator["block_widths"])),
        "discriminator": ", ".join(map(str, row["config"]["discriminator"]["widths"])),
        "steps": optim["steps"],
        "steps_per_second": 1 / row["seconds"]["median"],
        "times": row["ratio"]["median"],
        "stage_seconds": optim["steps"] * row["seconds"]["median"],
        "q1": row["ratio"]["q1"],
        "q3": row["ratio"]["q3"],
    } | {metric: row.get("scores", {}).get(metric, []) for metric in METRICS}
