"""`python -m book COMMAND`: what `make` does with notebooks, results and the book."""

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from book import execute, warm
from ganseg.files import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
HOMES = {"store": "store", "build": "build", "launch": "build", "compare": "compare", "front": "front"}
for name, home in HOMES.items():
    if sys.argv[1:2] in ([name], [], ["--help"]):  # notebooks are executed one a process, which needs no more
        app.command(name)(getattr(import_module(f"book.{home}"), name))
Pairs = Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE", help="A parameter of the notebooks.")]


def parameters(pairs: list[str]) -> dict[str, str]:
    """What -p was given."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UserError(f"-p {wrong[0]}: write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


@app.command("execute")
def run(notebook: Path, output: Path, pairs: Pairs = []) -> None:  # noqa: B006
    """Execute one notebook with papermill."""
    start = time.monotonic()
    execute.execute(notebook, output, parameters(pairs))
    print(f"{notebook}: executed in {time.monotonic() - start:.0f} s")


@app.command("copies")
def copy(notebooks: Path, folder: Path, pairs: Pairs = []) -> None:  # noqa: B006
    """Fill FOLDER with copies of the NOTEBOOKS at other parameters, for nbval."""
    execute.copies(notebooks, folder, parameters(pairs))


@app.command("warm", context_settings={"ignore_unknown_options": True})
def serve(words: list[str]) -> None:
    """Run a module, and programs that it calls, in forks of a process that has imported what they need."""
    warm.serve(words)


if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")
