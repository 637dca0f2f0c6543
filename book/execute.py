"""Notebooks as functions: their parameters, experiments, executions with papermill, and the runs that these read.

A notebook's cell tagged `parameters` names everything that may be set from outside, each with a default whose type is
the parameter's. Its metadata may list the experiments that it reads, and what it asks `find_runs` for:
`"ganseg": {"experiments": [{"data": "{data}", "parts": 6, "seeds": ["{seed}"]}], "finds": [{"variant": "paper"}]}`.
"""

import ast
import hashlib
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import nbformat
import papermill
import torch
from typer import Option

from ganseg.experiments import Experiment
from ganseg.files import UserError, atomic_path, results_dir
from ganseg.recipes import SCALES
from ganseg.runs import METRICS, find_runs, origin
from ganseg.terminal import setting

Pairs = Annotated[list[Any], Option("-p", parser=setting, metavar="NAME=VALUE", help="A parameter of the notebooks.")]
PATHS = ("results_dir", "data_dir")  # parameters that name a machine's folders: never recorded
BAR = "application/vnd.jupyter.widget-view+json"  # comes where images are decoded anew


def read(path: str | Path) -> Any:
    """The notebook at `path`, in the current format."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no notebook that can be read: {error}") from None


def write(notebook: Any, path: str | Path) -> None:
    """Write `notebook` whole or not at all."""
    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)


def source_hash(notebook: Any) -> str:
    """16 hexadecimal digits of the cells' kinds and sources: executions of one text share it."""
    text = "".join(f"{cell.cell_type}\0{cell.source}\0\0" for cell in notebook.cells)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def execution_of(notebook: Any) -> dict[str, Any]:
    """What `execute` recorded of the execution that the notebook holds; empty where it holds none."""
    return dict(notebook.metadata.get("ganseg", {}).get("execution", {}))


def parameters_cell(notebook: Any) -> Any:
    """The cell tagged `parameters`, or None."""
    return next((cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])), None)


def parameters_of(notebook: Any) -> dict[str, Any]:
    """Names and default values that the cell tagged `parameters` holds, in its order."""
    cell = parameters_cell(notebook)
    try:
        lines = ast.parse(cell.source if cell else "").body
        return {line.targets[0].id: ast.literal_eval(line.value) for line in lines}
    except (AttributeError, ValueError):
        raise UserError("a parameters cell holds lines `name = literal` and nothing else") from None


def resolve(notebook: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of the notebook: its default, or the value given (text such as "1e-4" too) in its type."""
    values = parameters_of(notebook)
    for name, value in given.items():
        if name not in values:
            raise UserError(f"unknown notebook parameter {name!r}; known: {', '.join(values) or 'none'}")
        kind = type(values[name])
        try:
            values[name] = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise UserError(f"notebook parameter {name}={value!r} must be of type {kind.__name__}") from None
    return values


def experiments_of(path: str | Path, **given: Any) -> list[dict[str, Any]]:
    """Arguments of `ganseg.Experiment` for every experiment that the notebook at `path` says it reads.

    `"{data}"`, `"{seed}"` and the like stand for the notebook's own parameters, `given` over their defaults; `seeds`
    lists one experiment a seed. `scale` and `data_dir` come from the parameters.
    """
    values = resolve(read(path), given)
    common = {"scale": values.get("scale", "tiny"), "data_dir": values.get("data_dir") or None}
    rows = [(row, row.pop("seeds", [values.get("seed", 0)])) for row in told(path, "experiments", values)]
    return [{**common, **row, "seed": seed} for row, seeds in rows for seed in dict.fromkeys(seeds)]


def told(path: str | Path, name: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The list `name` in the notebook's metadata, with the `values` of its parameters."""
    text = json.dumps(read(path).metadata.get("ganseg", {}).get(name, []))
    for parameter, value in values.items():
        text = text.replace(f'"{{{parameter}}}"', json.dumps(value))
    if unknown := re.search(r'"({\w+})"', text):
        raise UserError(f"{path}: its {name} name {unknown[1]}, but its parameters are {', '.join(values)}")
    return json.loads(text)


def copies(notebooks: Path, folder: Path, pairs: Pairs = ()) -> None:
    """Fill FOLDER with copies of the NOTEBOOKS at other parameters; their outputs are those stored.

    nbval runs the copies, and compares what does not depend on these parameters.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in sorted(notebooks.glob("*.ipynb")):
        values = resolve(read(path), dict(pairs))
        papermill.execute_notebook(path, folder / path.name, values, prepare_only=True)


def execute(path: Path, output: Path, pairs: Pairs = ()) -> Any:
    """Execute the notebook at PATH with papermill, in its own folder, and write it with its provenance to OUTPUT.

    Parameters may be only what the notebook's `parameters` cell holds. A failing cell raises UserError with its first
    line and the exception's last, and leaves the notebook up to there beside OUTPUT as `*.failed.ipynb`.
    """
    start, source, failed = time.monotonic(), read(path), output.with_suffix(".failed.ipynb")
    values = resolve(source, dict(pairs))
    options = {"kernel_name": "python3", "language": "python", "extra_arguments": ["--log-level=CRITICAL"]}
    options |= {"cwd": str(path.parent), "progress_bar": sys.stderr.isatty(), "request_save_on_cell_execute": False}
    with atomic_path(output) as temporary:
        try:
            try:
                papermill.execute_notebook(str(path), str(temporary), parameters=values, **options)
            except RuntimeError as error:  # a kernel chooses free ports, and another may take one before it does
                if "Kernel died before replying" not in str(error):
                    raise
                papermill.execute_notebook(str(path), str(temporary), parameters=values, **options)
        except Exception as error:  # of a cell; or the kernel died
            if temporary.exists():
                shutil.move(temporary, failed)
            line = getattr(error, "source", "").strip().partition("\n")[0]
            kind, said = getattr(error, "ename", type(error).__name__), getattr(error, "evalue", error)
            raise UserError(f"{path}, the cell that begins `{line}`: {kind}: {said}") from error
        executed = _cleaned(read(temporary), source)
        executed.metadata.setdefault("ganseg", {})["execution"] = _record(source, values)
        write(executed, temporary)
    failed.unlink(missing_ok=True)
    print(f"{path}: executed in {time.monotonic() - start:.0f} s")
    return executed


def _cleaned(executed: Any, source: Any) -> Any:
    """The executed notebook without injected cell, timestamps, machine paths, progress bars: the cells of `source`."""
    executed.cells = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell, original in zip(executed.cells, source.cells, strict=True):
        cell.id, cell.metadata = original.id, original.metadata
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if BAR not in output.get("data", ())]
    for name in ("papermill", "widgets"):  # times; the state of bars
        executed.metadata.pop(name, None)
    return executed


def _record(source: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Where an execution came from: its text, parameters, machine, commit (`+`: not as committed) and day."""
    found = origin(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    shown = {name: value for name, value in values.items() if name not in PATHS}
    commit = found["commit"][:10] + "+" * found.pop("dirty")
    return found | {"source": source_hash(source), "parameters": shown, "commit": commit}


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
