"""`python -m book COMMAND`: what `make` does with notebooks, results and the book."""

import sys
from pkgutil import resolve_name

import typer

from ganseg.files import UserError

# `callback`: commands keep their names where one alone is known.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, callback=lambda: None)
HOMES = {
    "execute": "execute:execute", "copies": "execute:copies", "store": "execute:store", "build": "build:build",
    "launch": "build:launch", "compare": "compare:compare", "front": "front:front", "warm": "warm:serve",
}  # fmt: skip
for name, home in HOMES.items():
    if sys.argv[1:2] in ([name], [], ["--help"]):  # notebooks are executed one a process, which needs no more
        settings = {"ignore_unknown_options": name == "warm"}  # they are what it runs is given
        app.command(name, context_settings=settings)(resolve_name(f"book.{home}"))

if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        sys.exit(f"error: {error}")
