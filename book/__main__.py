"""`python -m book COMMAND`: execute a notebook, store executions, build the book, its branch, README's numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from book import build, execute, front
from ganseg.files import UserError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command()(execute.store)
app.command()(build.build)
app.command()(build.launch)
app.command()(front.front)


@app.command("execute")
def run(
    notebook: Path,
    output: Path,
    pairs: Annotated[list[str], typer.Option("-p", metavar="NAME=VALUE")] = [],  # noqa: B006
) -> None:
    """Execute one notebook with papermill; -p sets one of its parameters."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise UserError(f"-p {wrong[0]}: write NAME=VALUE")
    execute.execute(notebook, output, dict(pair.split("=", 1) for pair in pairs))


if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")
