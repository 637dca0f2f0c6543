"""Where things are, and what the environment allows."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
DOWNLOADS = "GANSEG_ALLOW_DOWNLOADS"  # set to 1 by who allows ImageNet weights to be fetched


def project_root() -> Path:
    """The checkout this package runs from, or the current folder when it is installed elsewhere."""
    return PACKAGE.parent if (PACKAGE.parent / "_config.yml").exists() else Path.cwd()


def results_dir(results: str | Path | None = None) -> Path:
    """`results`, else $GANSEG_RESULTS, else `results/` of the project."""
    return Path(results or os.environ.get("GANSEG_RESULTS") or project_root() / "results")


def downloads_allowed() -> bool:
    """Whether the user allows weights to be fetched."""
    return os.environ.get(DOWNLOADS) == "1"


def global_rank() -> int:
    """Number of this process among all of a training, as torchrun, SLURM or Fabric set it; 0 alone."""
    environment = os.environ
    return int(environment.get("RANK", environment.get("SLURM_PROCID", environment.get("LOCAL_RANK", 0))))
