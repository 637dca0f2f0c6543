"""`python -m book COMMAND`: execute a notebook, store executions, build the book, check its links, write a branch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from book import build as building
from book import execute as executing
from ganseg.files import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
HERE = Path()


@app.command()
def execute(
    notebook: Path,
    output: Path,
    pairs: Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE", help="a parameter of the notebook")] = [],  # noqa: B006
) -> None:
    """Execute one notebook with papermill."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UserError(f"-p {wrong[0]}: write NAME=VALUE")
    executing.execute(notebook, output, dict(pair.split("=", 1) for pair in pairs))


@app.command()
def store(notebooks: Path, executed: Path) -> None:
    """Put the executions in one folder into the place of the notebooks in another."""
    for path in sorted(notebooks.glob("*.ipynb")):
        executing.store(path, executed / path.name)


@app.command()
def build(output: Path, results: Path = Path("results"), prefer: str = "best", builder: str = "html") -> None:
    """Build the book of the project in this folder, at scale PREFER where it was run; or `--builder linkcheck`."""
    print(building.build(HERE, output, results, prefer, builder))


@app.command()
def launch(output: Path, url: str = "") -> None:
    """Write the branch whose notebooks Colab and Binder open, from the project in this folder."""
    print(building.launch(HERE, output, url))


if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")
