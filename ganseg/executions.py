"""Which notebooks can be executed after some training, and executing them within a limit of time."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganseg import notebooks, plain_execute
from ganseg.experiments import METRICS, Experiment, Run
from ganseg.files import project_root, results_dir


def pending(experiment: Experiment, results: str | Path | None = None) -> list[Path]:
    """Notebooks not executed since their experiments, on the data and seed of `experiment`, were finished.

    Only those whose weights are at hand: without them a notebook would train.
    """
    found = sorted((project_root() / "notebooks").glob("*.ipynb"))
    return [path for path in found if _is_pending(path, experiment, results)]


def _is_pending(path: Path, experiment: Experiment, results: str | Path | None) -> bool:
    rows = plain_execute.experiments_of(path, **_parameters(experiment, results))
    runs = [Run(Experiment(**row).directory(results)) for row in rows]
    if not all((found.directory / METRICS).exists() and found.has_weights for found in runs):
        return False
    output = results_dir(results) / experiment.scale / "notebooks" / path.name
    if not output.exists():
        return True
    record = plain_execute.read(output).metadata.get("ganseg", {}).get("execution", {})
    newest = max((found.directory / METRICS).stat().st_mtime for found in runs) if runs else 0
    return record.get("source") != notebooks.source_hash(plain_execute.read(path)) or output.stat().st_mtime < newest


def execute(path: Path, experiment: Experiment, results: str | Path | None, seconds: float) -> str:
    """Execute a notebook, with jupyter where it is there, for at most `seconds`; says what became of it."""
    tool = ["ganseg.book", "execute"] if has_jupyter() else ["ganseg.plain_execute"]
    given = plain_execute.known(plain_execute.read(path), _parameters(experiment, results))
    output = results_dir(results).resolve() / experiment.scale / "notebooks" / path.name
    command = [
        sys.executable,
        "-m",
        *tool,
        str(path),
        str(output),
        *(f"-p{name}={value}" for name, value in given.items()),
    ]
    search = os.pathsep.join(filter(None, [str(project_root()), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=os.environ | {"PYTHONPATH": search}
        )
    except subprocess.TimeoutExpired:
        return f"no time for notebook {path.name}: it takes more than {seconds:.0f} s"
    if done.returncode:
        return f"failed notebook {path.name}: {(done.stderr.strip() or 'no message').splitlines()[-1]}"
    return f"executed notebook {path.name}"


def has_jupyter() -> bool:
    """Whether papermill can execute notebooks here."""
    return all(importlib.util.find_spec(name) for name in ("papermill", "nbformat", "ipykernel"))


def _parameters(experiment: Experiment, results: str | Path | None) -> dict[str, Any]:
    """What a notebook is executed with."""
    folder = str(Path(experiment.data_dir).expanduser().resolve()) if experiment.data_dir else ""
    return {
        "scale": experiment.scale,
        "data": experiment.data,
        "seed": experiment.seed,
        "data_dir": folder,
        "results_dir": str(results_dir(results).resolve()),
    }
