"""How a command fails: one line on stderr and an exit code, no traceback for what the user can mend."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from ganseg.files import UserError

MISTAKE, OUT_OF_TIME, INTERRUPTED = 2, 3, 130
CODES = (
    "Exit codes: 0 done, 2 a mistake that you can mend, 3 out of time (the same command goes on), "
    "130 stopped by Ctrl-C. 'ganseg --debug COMMAND' shows where a failure came from."
)
MEMORY = "the device has not enough memory; a smaller --scale, --batch-size or --set optim.batch_size needs less"


class Commands(TyperGroup):
    """A group of commands whose failures are told; what is no user's mistake keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (Exception, KeyboardInterrupt) as error:
            message, code = verdict(error)
            if not code or ctx.params.get("debug"):
                raise
            colour = typer.colors.RED if code == MISTAKE else typer.colors.YELLOW
            typer.secho(message, fg=colour, err=True)
            raise typer.Exit(code) from None


def verdict(error: BaseException) -> tuple[str, int]:
    """What to tell the user, and the exit code; 0 where it is not for us to tell."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: importing the classes imports torch
    if isinstance(error, UserError) or (isinstance(error, OSError) and not isinstance(error, BrokenPipeError)):
        return f"error: {error}", MISTAKE
    if "OutOfTime" in kinds:
        return f"out of time: {error}", OUT_OF_TIME
    if "OutOfMemoryError" in kinds:
        return f"error: {MEMORY}", MISTAKE
    if isinstance(error, KeyboardInterrupt):
        return "stopped; a training goes on from its last checkpoint with the same command", INTERRUPTED
    return "", 0
