"""Executing notebooks where jupyter is absent, as on a machine that has a GPU and little else.

`python -m ganseg.plain_execute NOTEBOOK OUTPUT -p NAME=VALUE` keeps the contract of
`ganseg.notebooks.execute`: the same parameters, outputs, record and messages. The code cells run in one
namespace of one process; what they print, `display` or end in becomes outputs of notebook format 4.5. What it
cannot show as a kernel would (pyplot's open figures; magics) is an error.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import linecache
import os
import sys
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganseg import notebooks
from ganseg.files import UserError, atomic_path

REPRESENTATIONS = {
    "text/html": "_repr_html_",
    "text/markdown": "_repr_markdown_",
    "text/latex": "_repr_latex_",
}


class Node(dict):
    """A JSON object whose fields are attributes too, as nbformat's are."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def read(path: str | Path) -> Node:
    """The notebook at `path` (format 4.5), each source one string. UserError where it is none."""
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"), object_hook=Node)
    except FileNotFoundError:
        raise UserError(f"there is no notebook {path}") from None
    except ValueError as error:
        raise UserError(f"{path} is not a notebook: {error}") from None
    if "cells" not in notebook:
        raise UserError(f"{path} is not a notebook: it has no cells")
    for cell in notebook.cells:
        cell.source = "".join(cell.source)
    return notebook


def write(notebook: Mapping[str, Any], path: str | Path) -> None:
    """Write `notebook` as nbformat does, texts as lists of lines; whole or not at all."""
    cells = [{**cell, "source": _lines(cell["source"])} for cell in notebook["cells"]]
    for cell in cells:
        if "outputs" in cell:
            cell["outputs"] = [_in_lines(output) for output in cell["outputs"]]
    with atomic_path(path) as temporary:
        text = json.dumps({**notebook, "cells": cells}, indent=1, ensure_ascii=False, sort_keys=True)
        temporary.write_text(text + "\n", encoding="utf-8")


def _lines(text: Any) -> Any:
    return text.splitlines(True) if isinstance(text, str) else text


def _in_lines(output: dict[str, Any]) -> dict[str, Any]:
    """An output with its texts as lists of lines."""
    if "data" in output:
        return {**output, "data": {kind: _lines(value) for kind, value in output["data"].items()}}
    return {**output, "text": _lines(output["text"])} if "text" in output else output


def experiments_of(path: str | Path, **given: Any) -> list[dict[str, Any]]:
    """`notebooks.experiments_of` without jupyter; `given` may name parameters that the notebook lacks."""
    notebook = read(path)
    values = notebooks.resolve(notebook, known(notebook, given))
    rows = []
    for entry in notebook.metadata.get("ganseg", {}).get("experiments", []):
        row = {key: notebooks._filled(value, values, path) for key, value in entry.items()}
        seeds = row.pop("seeds", [row.pop("seed", values.get("seed", 0))])
        common = {"scale": values.get("scale", "tiny"), "data_dir": values.get("data_dir") or None}
        rows += [{**common, **row, "seed": seed} for seed in dict.fromkeys(seeds)]
    return rows


def known(notebook: Node, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `given` that the notebook has a parameter for."""
    names = notebooks.parameters_of(notebook)
    return {name: value for name, value in given.items() if name in names}


class Kernel:
    """The namespace of the cells, and where what they show goes: one `display` for all of them."""

    def __init__(self) -> None:
        self.main, self.show = types.ModuleType("__main__"), types.ModuleType("IPython.display")
        self.show.Markdown, self.show.HTML, self.show.display = Markdown, HTML, self.display
        self.outputs: list[dict[str, Any]] = []  # of the cell that runs

    def stream(self, name: str, text: str) -> None:
        """Add printed text; what follows on the same stream belongs to the same output."""
        if self.outputs and self.outputs[-1].get("name") == name:
            self.outputs[-1]["text"] += text
        elif text:
            self.outputs.append({"output_type": "stream", "name": name, "text": text})

    def display(self, *values: Any, raw: bool = False, metadata: dict[str, Any] | None = None, **_: Any) -> None:
        """What `IPython.display.display` does; `raw` values are bundles already."""
        for value in values:
            data = dict(value) if raw else bundle(value)
            self.outputs.append({"output_type": "display_data", "data": data, "metadata": metadata or {}})

    @contextlib.contextmanager
    def running(self, folder: Path) -> Iterator[None]:
        """Be `__main__`, `IPython.display` and the standard streams, in `folder`; give all back afterwards.

        No module `IPython` itself: libraries look for it to learn whether a kernel runs.
        """
        modules = {module.__name__: module for module in (self.main, self.show)}
        before = {name: sys.modules[name] for name in modules if name in sys.modules}
        os.environ.setdefault("MPLBACKEND", "agg")
        sys.modules.update(modules)
        out, err = Stream("stdout", self), Stream("stderr", self)
        try:
            with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield
        finally:
            for name in modules:
                del sys.modules[name]
            sys.modules.update(before)


class Stream(io.TextIOBase):
    """Standard output or error of the cells."""

    def __init__(self, name: str, kernel: Kernel) -> None:
        self.name, self.kernel = name, kernel

    def write(self, text: str) -> int:
        """Keep `text` as an output of the cell that runs."""
        self.kernel.stream(self.name, text)
        return len(text)


class Markdown(str):
    """`IPython.display.Markdown`: a text that shows itself as Markdown."""

    _repr_markdown_ = str.__str__

    def __repr__(self) -> str:
        return f"<IPython.core.display.{type(self).__name__} object>"


class HTML(Markdown):
    """`IPython.display.HTML`: a text that shows itself as HTML."""

    _repr_html_, _repr_markdown_ = str.__str__, lambda self: None


def bundle(value: Any) -> dict[str, Any]:
    """`value` by media type: its `repr` and each rich representation that it has."""
    found = {kind: getattr(value, name)() for kind, name in REPRESENTATIONS.items() if hasattr(value, name)}
    return {kind: text for kind, text in found.items() if text is not None} | {"text/plain": repr(value)}


def execute(path: str | Path, output: str | Path, parameters: Mapping[str, Any] | None = None) -> Node:
    """Execute the notebook at `path`, in its folder, and write it with its provenance to `output`.

    `parameters` may name only what the notebook's `parameters` cell holds. A failing cell raises UserError
    with its number and the exception's last line; what came before stays beside `output` as `*.failed.ipynb`.
    """
    notebook, folder, output = read(path), Path(path).resolve().parent, Path(output).resolve()
    values = notebooks.resolve(notebook, parameters or {})
    failed = output.with_suffix(".failed.ipynb")
    try:
        _run_cells(notebook, path, values, folder)
    except UserError as error:
        write(notebook, failed)
        raise UserError(f"{error}\nIts cells up to there: {failed}") from error
    notebook.metadata.setdefault("ganseg", Node())["execution"] = notebooks._record(notebook, values)
    write(notebook, output)
    failed.unlink(missing_ok=True)
    return notebook


def _run_cells(notebook: Node, path: str | Path, values: dict[str, Any], folder: Path) -> None:
    """Execute the code cells in order, the parameters right after their cell; fills in the outputs."""
    kernel, chosen = Kernel(), notebooks.parameters_cell(notebook)
    code = [(index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for _, cell in code:
        cell.outputs, cell.execution_count = [], None
    for count, (index, cell) in enumerate(((i, c) for i, c in code if c.source.strip()), 1):
        cell.execution_count, kernel.outputs = count, cell.outputs
        try:
            with kernel.running(folder):
                _run_cell(cell, f"<cell {index + 1}>", kernel)
        except (Exception, SystemExit) as error:
            line = next(line for line in cell.source.splitlines() if line.strip())
            cell.outputs.append(
                {
                    "output_type": "error",
                    "ename": type(error).__name__,
                    "evalue": str(error),
                    "traceback": traceback.format_exception(error),
                }
            )
            raise UserError(f"{path}, cell {index + 1} ({line.strip()}): {type(error).__name__}: {error}") from error
        if index == chosen:
            kernel.main.__dict__.update(values)


def _run_cell(cell: Node, name: str, kernel: Kernel) -> None:
    """Execute one cell; its last expression, unless a semicolon ends it, is its result."""
    linecache.cache[name] = (
        len(cell.source),
        None,
        cell.source.splitlines(True),
        name,
    )  # tracebacks show the line
    body, namespace = ast.parse(cell.source, name).body, kernel.main.__dict__
    shown = bool(body) and isinstance(body[-1], ast.Expr) and not cell.source.rstrip().endswith(";")
    last = body.pop() if shown else None
    exec(compile(ast.Module(body, []), name, "exec", dont_inherit=True), namespace)
    value = eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace) if last else None
    if value is not None:
        cell.outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": cell.execution_count,
                "data": bundle(value),
                "metadata": {},
            }
        )
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot and pyplot.get_fignums():
        pyplot.close("all")
        raise UserError("pyplot left a figure open, which only a kernel shows; use ganseg.figures.show")


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute one notebook; 1 and a message where the user can mend what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m ganseg.plain_execute", description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument(
        "-p",
        dest="parameters",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the notebook",
    )
    given = parser.parse_args(arguments)
    try:
        execute(given.notebook, given.output, dict(pair.partition("=")[::2] for pair in given.parameters))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
