"""From executed notebooks to the published book: stage its sources, run jupyter-book.

`python -m ganseg.book execute|store|stage|build|links|launch --help`. The graph behind `make book` and
continuous integration call these.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganseg.files import UserError
from ganseg.notebooks import execute, execution_of, parameters_cell, read, resolve, source_hash, store, write
from ganseg.publishing import write_config, write_launch

SCALES = ("paper", "gpu", "laptop", "tiny")  # best first
BUILDS = {
    "stage": "lay out the book's sources",
    "build": "stage, then run jupyter-book",
    "links": "stage, then check the links to other hosts",
}
COPIES = shutil.ignore_patterns("__pycache__", "*.tmp*", ".ipynb_checkpoints")


def choose(path: str | Path, results: str | Path, prefer: str | None = None) -> Any:
    """The execution of the notebook at `path` to publish: scale `prefer` if it was run, else the best.

    Executions are those among the results, and the outputs stored in the notebook itself; of another text, they do
    not count.
    """
    path = Path(path)
    stored = read(path)
    files = (Path(results) / scale / "notebooks" / path.name for scale in SCALES)
    found: dict[str, Any] = {}
    for notebook in [*(read(file) for file in files if file.is_file()), stored]:
        execution = execution_of(notebook)
        if execution.get("source") == source_hash(stored):
            found.setdefault(execution["parameters"].get("scale", "tiny"), notebook)
    if not found:
        raise UserError(f"{path} as it stands was not executed; run `make book`, or `make notebooks-run SCALE=tiny`")
    return found.get(prefer) or next(iter(found.values()))


def badge(execution: dict[str, Any]) -> str:
    """A box for the top of a page that says what its numbers were measured on."""
    values = execution["parameters"]
    scale = values.get("scale", "tiny")
    facts = [f"{name} {values[name]}" for name in ("data", "seed") if name in values]
    version = execution["torch"].split("+")[0]
    facts += [execution["device"], f"torch {version}", f"commit {execution['commit']}"]
    text = " · ".join([*facts, execution["date"]])
    kind = f":class: note ganseg-scale ganseg-{scale}"
    return f":::{{admonition}} Measured at scale {scale}\n{kind}\n\n{text}\n:::"


def present(notebook: Any) -> Any:
    """A page of the book: the scale's badge under the title, parameters as they were, no failed output."""
    execution = execution_of(notebook)
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        raise UserError("a notebook begins with a markdown cell whose first line is `# Title`")
    title, _, rest = first.source.partition("\n")
    first.source = f"{title}\n\n{badge(execution)}\n\n{rest.lstrip()}"
    index = parameters_cell(notebook)
    if index is not None:
        shown = resolve(notebook, execution["parameters"])
        notebook.cells[index].source = "\n".join(f"{name} = {value!r}" for name, value in shown.items())
    for number, cell in enumerate(notebook.cells, 1):
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            raise UserError(f"cell {number} holds an error: execute the notebook again")
    return notebook


def stage(root: str | Path, target: str | Path, results: str | Path | None = None, prefer: str | None = None) -> None:
    """Lay out the book's sources in `target`: book/*, the package, the best execution of each notebook.

    Notebooks include code as `../ganseg/points.py`, a path that is right in notebooks/ and in `target`.
    `results` is `<root>/results` by default; `prefer` names a scale that is shown where it was run.
    """
    root, target = Path(root), Path(target)
    pages = {}
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        try:
            pages[path.name] = present(choose(path, results or root / "results", prefer))
        except UserError as error:
            raise UserError(f"{path.name}: {error}") from None
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(root / "book", target, ignore=COPIES)
    shutil.copytree(root / "ganseg", target / "ganseg", ignore=COPIES)
    for name, notebook in pages.items():
        write(notebook, target / "notebooks" / name)


def build(root: str | Path, output: str | Path, results: str | Path | None = None, prefer: str | None = None) -> Path:
    """Stage into `<output>/_build/source` and build `<output>/_build/html` from nothing; every warning fails.

    Returns the path of the book's first page.
    """
    return _jupyter_book("html", root, output, results, prefer) / "index.html"


def links(root: str | Path, output: str | Path, results: str | Path | None = None, prefer: str | None = None) -> Path:
    """Ask every address that the pages link to whether it is there; UserError names those that are not.

    Returns the path of the list of all links.
    """
    return _jupyter_book("linkcheck", root, output, results, prefer) / "output.txt"


def _jupyter_book(
    builder: str, root: str | Path, output: str | Path, results: str | Path | None, prefer: str | None
) -> Path:
    """The folder that jupyter-book's `builder` fills, `<output>/_build/<builder>`."""
    root, made = Path(root), Path(output) / "_build"
    stage(root, made / "source", results, prefer)
    shutil.rmtree(made / builder, ignore_errors=True)
    entry = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    config = write_config(root, made / "config.yml")
    options = ["--path-output", str(output), "--config", str(config), "--builder", builder]
    strict = ["-W", "-n", "--keep-going", "--all", "-q"]
    command = [*entry, "build", str(made / "source"), *options, *strict]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise UserError(f"jupyter-book found mistakes:\n{done.stdout[-6000:]}")
    return made / builder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ganseg.book", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("execute", help="execute one notebook with papermill")
    run.add_argument("notebook", type=Path)
    run.add_argument("output", type=Path)
    run.add_argument(
        "-p",
        dest="parameters",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter of the notebook; may be repeated",
    )
    run.add_argument("--cwd", type=Path, help="folder that the kernel starts in (the notebook's by default)")
    keep = commands.add_parser("store", help="copy outputs of executed notebooks into their sources")
    keep.add_argument("notebooks", type=Path)
    keep.add_argument("executed", type=Path)
    launch = commands.add_parser("launch", help="write the branch whose notebooks Colab and Binder open")
    launch.add_argument("output", type=Path, help="new or empty folder to write into")
    launch.add_argument("--root", type=Path, default=Path.cwd(), help="the project's folder, a checkout")
    launch.add_argument("--url", help="the repository's address, where the settings do not name it")
    for name, text in BUILDS.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("output", type=Path, help="folder to write into")
        command.add_argument("--root", type=Path, default=Path.cwd(), help="the project's folder")
        command.add_argument("--results", type=Path, help="folder of results (ROOT/results by default)")
        command.add_argument("--prefer", metavar="SCALE", choices=("best", *SCALES), help="a scale to show first")
    return parser


def _parameters(pairs: Sequence[str]) -> dict[str, str]:
    """`["scale=tiny"]` as a dictionary."""
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UserError(f"-p {wrong[0]}: write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _dispatch(given: argparse.Namespace) -> None:
    if given.command == "execute":
        execute(given.notebook, given.output, _parameters(given.parameters), given.cwd)
    elif given.command == "store":
        for path in sorted(given.notebooks.glob("*.ipynb")):
            print(f"{path}: {'refreshed' if store(path, given.executed / path.name) else 'unchanged'}")
    elif given.command == "stage":
        stage(given.root, given.output, given.results, given.prefer)
    elif given.command == "launch":
        print(write_launch(given.root, given.output, given.url))
    else:
        make = {"build": build, "links": links}[given.command]
        print(make(given.root, given.output, given.results, given.prefer))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 and a message where the user can mend what went wrong."""
    try:
        _dispatch(_parser().parse_args(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
