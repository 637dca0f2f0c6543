"""How far a long computation is: a bar on a terminal and in a notebook, in a log a line every tenth."""

import sys
from typing import Any

from tqdm import tqdm
from tqdm.notebook import IProgress, tqdm_notebook

LINE = "{desc}: {percentage:.0f} % of {total}{unit}, {rate_fmt}, {remaining} left{postfix}"


class Lines(tqdm):
    """A tqdm for logs: it writes a line at every tenth of `total`, at most one a `mininterval`, and draws over none."""

    told = 0  # tenths

    def display(self, *args: Any, **options: Any) -> None:
        """Write a line, where another tenth is done."""
        if (tenth := 10 * self.n // max(1, self.total)) > self.told:
            self.told = tenth
            self.fp.write(f"{self}\n")
            self.fp.flush()

    def close(self) -> None:
        """Write the last line, if there were any before."""
        if self.told and not self.disable:
            self.display()
        self.disable = True  # tqdm's own end is that of a bar


def bar_of_place() -> type[tqdm]:
    """The bar that a notebook shows, where this is one's kernel; else that of terminals.

    tqdm.auto takes every process for a kernel that has imported what kernels do.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return tqdm_notebook if IProgress and hasattr(shell, "kernel") else tqdm


def follow(*args: Any, **options: Any) -> tqdm:
    """A `tqdm` of these arguments: a bar where someone watches, else `Lines`, which jobs side by side do not garble."""
    if sys.stderr.isatty() or bar_of_place() is tqdm_notebook:
        return bar_of_place()(*args, **options)
    return Lines(*args, **options, bar_format=LINE, position=0)
