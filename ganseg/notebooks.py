"""Notebooks as functions: their parameters, their experiments, and their execution with papermill.

A notebook's cell tagged `parameters` names everything that may be set from outside, each with a default whose
type is the parameter's type. Its metadata may list the experiments that it reads:
`"ganseg": {"experiments": [{"data": "{data}", "variant": "paper", "parts": 6, "seeds": ["{seed}"]}]}`.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganseg.files import UserError, atomic_path
from ganseg.provenance import describe_machine, git_state

PATHS = ("results_dir", "data_dir")  # parameters that name a machine's folders: never recorded
NOISE = ("papermill", "execution")  # timestamps and paths that papermill leaves behind


def read(path: str | Path) -> Any:
    """The notebook at `path`, in the current format."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise UserError(f"there is no notebook {path}") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a notebook: {error}") from None


def write(notebook: Any, path: str | Path) -> None:
    """Write `notebook` whole or not at all."""
    import nbformat

    with atomic_path(path) as temporary:
        nbformat.write(notebook, temporary)


def source_hash(notebook: Any) -> str:
    """16 hexadecimal digits of the cells' kinds, tags (but nbval's) and sources: executions of one text share it."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        tags = ",".join(tag for tag in cell.metadata.get("tags", []) if not tag.startswith("nbval"))
        digest.update(f"{cell.cell_type}\0{tags}\0{cell.source}\0\0".encode())
    return digest.hexdigest()[:16]


def execution_of(notebook: Any) -> dict[str, Any]:
    """What `execute` recorded of the execution whose outputs the notebook holds; empty where it holds none."""
    return dict(notebook.metadata.get("ganseg", {}).get("execution", {}))


def parameters_cell(notebook: Any) -> int | None:
    """Index of the cell tagged `parameters`, or None."""
    tagged = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    return next(tagged, None)


def parameters_of(notebook: Any) -> dict[str, Any]:
    """Names and default values that the cell tagged `parameters` holds, in its order."""
    index = parameters_cell(notebook)
    values: dict[str, Any] = {}
    for node in ast.parse(notebook.cells[index].source).body if index is not None else []:
        try:
            (target,) = node.targets if isinstance(node, ast.Assign) else [node.target]
            values[target.id] = ast.literal_eval(node.value)
        except (AttributeError, ValueError):
            raise UserError(f"the parameters cell holds more than `name = literal`: {ast.unparse(node)}") from None
    return values


def resolve(notebook: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every parameter of the notebook: its default, or the value given, in the default's type."""
    values = parameters_of(notebook)
    for name, value in given.items():
        if name not in values:
            known = ", ".join(values) or "none: it has no cell tagged `parameters`"
            raise UserError(f"unknown notebook parameter {name!r}; known: {known}")
        values[name] = _typed(name, value, values[name])
    return values


def _typed(name: str, value: Any, default: Any) -> Any:
    """`value` in the type of `default`; text such as "1e-4" becomes the number that it spells."""
    kind = type(default)
    try:
        if isinstance(value, str) and kind is not str:
            value = ast.literal_eval(value)
        if kind is float and type(value) is int:
            value = float(value)
    except (ValueError, SyntaxError):
        pass
    if default is not None and type(value) is not kind:
        raise UserError(f"notebook parameter {name}={value!r} must be of type {kind.__name__}, as {default!r} is")
    return value


def experiments_of(path: str | Path, **given: Any) -> list[dict[str, Any]]:
    """Arguments of `ganseg.Experiment` for every experiment that the notebook at `path` says it reads.

    `"{data}"`, `"{seed}"` and the like stand for the notebook's own parameters, `given` over their defaults;
    `seeds` lists one experiment a seed. `scale` and `data_dir` come from the parameters.
    """
    notebook = read(path)
    values = resolve(notebook, given)
    rows = []
    for entry in notebook.metadata.get("ganseg", {}).get("experiments", []):
        row = {key: _filled(value, values, path) for key, value in dict(entry).items()}
        seeds = row.pop("seeds", [row.pop("seed", values.get("seed", 0))])
        common = {"scale": values.get("scale", "tiny"), "data_dir": values.get("data_dir") or None}
        rows += [{**common, **row, "seed": seed} for seed in dict.fromkeys(seeds)]
    return rows


def _filled(value: Any, values: Mapping[str, Any], path: str | Path) -> Any:
    """`value` with "{name}" replaced by the parameter of that name, its type kept."""
    if isinstance(value, list):
        return [_filled(item, values, path) for item in value]
    if isinstance(value, Mapping):
        return {key: _filled(item, values, path) for key, item in value.items()}
    if not (isinstance(value, str) and value.startswith("{") and value.endswith("}")):
        return value
    if value[1:-1] not in values:
        raise UserError(f"{path}: its experiments name {value}, but its parameters are {', '.join(values)}")
    return values[value[1:-1]]


def execute(
    path: str | Path,
    output: str | Path,
    parameters: Mapping[str, Any] | None = None,
    cwd: str | Path | None = None,
) -> Any:
    """Execute the notebook at `path` with papermill and write it, with its provenance, to `output`.

    `parameters` may name only what the notebook's `parameters` cell holds. The kernel starts in `cwd` (by
    default the notebook's own folder). A failing cell raises UserError with its number and the exception's
    last line, and leaves the notebook up to there beside `output` as `*.failed.ipynb`.
    """
    import papermill

    path, output = Path(path), Path(output)
    source = read(path)
    values = resolve(source, parameters or {})
    failed = output.with_suffix(".failed.ipynb")
    with atomic_path(output) as temporary:
        try:
            papermill.execute_notebook(
                str(path),
                str(temporary),
                parameters=values,
                cwd=str(cwd or path.parent),
                kernel_name="python3",
                language="python",
                progress_bar=sys.stderr.isatty(),
                extra_arguments=["--log-level=CRITICAL"],
            )
        except Exception as error:
            if temporary.exists():
                shutil.move(temporary, failed)
            raise _failure(path, source, failed, error) from error
        executed = _cleaned(read(temporary), source)
        executed.metadata.setdefault("ganseg", {})["execution"] = _record(source, values)
        write(executed, temporary)
    failed.unlink(missing_ok=True)
    return executed


def _failure(path: Path, source: Any, failed: Path, error: Exception) -> UserError:
    """What stopped the notebook: its cell, counted from 1 in the source, and the exception's last line."""
    import papermill

    left = f"\nIts cells up to there: {failed}" if failed.exists() else ""
    if not isinstance(error, papermill.PapermillExecutionError):
        return UserError(f"{path}: {type(error).__name__}: {error}{left}")
    start = parameters_cell(source)
    number = error.cell_index + 1 - (start is not None and error.cell_index > start)
    line = next((line for line in error.source.splitlines() if line.strip()), "")
    return UserError(f"{path}, cell {number} ({line.strip()}): {error.ename}: {error.evalue}{left}")


def _cleaned(executed: Any, source: Any) -> Any:
    """The executed notebook without injected cell, timestamps and machine paths: the cells of `source`."""
    executed.cells = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell, original in zip(executed.cells, source.cells, strict=True):
        cell.id = original.id
        for key in NOISE:
            cell.metadata.pop(key, None)
    executed.metadata.pop("papermill", None)
    return executed


def _record(source: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Where an execution came from: its text, parameters, machine, commit (`+`: not as committed) and day."""
    import torch

    state = git_state()
    return {
        "source": source_hash(source),
        "parameters": {name: value for name, value in values.items() if name not in PATHS},
        "commit": state["commit"][:10] + "+" * state["dirty"],
        **describe_machine(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
    }


def store(path: str | Path, executed: str | Path) -> bool:
    """Put outputs and provenance of `executed`, a run of the same text, into the notebook `path`; True if changed."""
    source, run = read(path), read(executed)
    if execution_of(run).get("source") != source_hash(source):
        raise UserError(f"{executed} is not an execution of {path} as it stands: execute it again")
    before = Path(path).read_text(encoding="utf-8")
    for cell, result in zip(source.cells, run.cells, strict=True):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = result.outputs, result.execution_count
    source.metadata["ganseg"]["execution"] = execution_of(run)
    write(source, path)
    os.utime(executed)  # the text did not change: the execution is not stale
    return Path(path).read_text(encoding="utf-8") != before
