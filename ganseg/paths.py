"""Where things are: one place for every path."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def project_root() -> Path:
    """The checkout this package runs from, or the current folder when it is installed elsewhere."""
    return PACKAGE.parent if (PACKAGE.parent / "_config.yml").exists() else Path.cwd()


def results_dir(results: str | Path | None = None) -> Path:
    """`results`, else $GANSEG_RESULTS, else `results/` of the project."""
    return Path(results or os.environ.get("GANSEG_RESULTS") or project_root() / "results")


def global_rank() -> int:
    """Number of this process among all of a training on several devices or machines; 0 alone. As torchrun, SLURM or Fabric set it."""
    environment = os.environ
    return int(environment.get("RANK", environment.get("SLURM_PROCID", environment.get("LOCAL_RANK", 0))))
