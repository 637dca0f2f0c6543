"""Notebooks that hold the outputs of their executions, and say which runs these read."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from book.execute import execution_of, experiments_of, parameters_of, read, resolve, source_hash, told, write
from ganseg.experiments import Experiment
from ganseg.files import UserError, results_dir
from ganseg.recipes import SCALES
from ganseg.runs import METRICS, find_runs


def runs_of(path: str | Path, given: Mapping[str, Any]) -> dict[str, str]:
    """SCALE/RUN of every finished run that the notebook at `path` reads, and a digest of its metrics; none of tiny."""
    values = resolve(read(path), given)
    place = results_dir(values.get("results_dir"))
    runs = [Experiment(**row).finished(place) for row in experiments_of(path, **values)]
    for wanted in told(path, "finds", values):
        runs += find_runs(place, **{key: tuple(v) if isinstance(v, list) else v for key, v in wanted.items()})
    kept = {run.directory for run in runs if run and run.provenance["scale"] != next(iter(SCALES))}
    digest = lambda folder: hashlib.sha256((folder / METRICS).read_bytes()).hexdigest()[:8]
    return {f"{folder.parts[-3]}/{folder.name}": digest(folder) for folder in sorted(kept)}


def store(notebooks: Path, executed: Path) -> None:
    """Put the executions in the folder EXECUTED, RESULTS/SCALE/notebooks, into the place of the NOTEBOOKS.

    Their text must be the same. The metadata then says which runs were read.
    """
    for path in sorted(notebooks.glob("*.ipynb")):
        notebook = read(executed / path.name)
        known = execution_of(notebook)
        if known.get("source") != source_hash(read(path)):
            raise UserError(f"{executed / path.name} is not an execution of {path} as it stands: execute it again")
        given = {"results_dir": str(executed.parents[1])} if "results_dir" in parameters_of(notebook) else {}
        notebook.metadata["ganseg"]["execution"] = known | {"runs": runs_of(path, known["parameters"] | given)}
        write(notebook, path)
