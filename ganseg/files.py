"""The user's mistakes, where things lie, and files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

PACKAGE = Path(__file__).resolve().parent
DOWNLOADS = "GANSEG_ALLOW_DOWNLOADS"  # set to 1 by who allows ImageNet weights to be fetched


class UserError(Exception):
    """A mistake in the input. The message says what was wrong, where, and what would be right."""


class OutOfTime(Exception):
    """The wall-clock budget ended before the steps did; everything is saved and the run can be resumed."""


def results_dir(results: str | Path | None = None) -> Path:
    """`results`, else $GANSEG_RESULTS, else `results/` of the checkout, or of the current folder without one."""
    checkout = PACKAGE.parent if (PACKAGE.parent / "_config.yml").exists() else Path.cwd()
    return Path(results or os.environ.get("GANSEG_RESULTS") or checkout / "results")


def shipped_models(results: str | Path | None = None) -> dict[str, dict[str, str]]:
    """Short names of the models that come with the project: the `run` that holds the weights of each, its `licence`."""
    path = results_dir(results) / "models.yml"
    return yaml.safe_load(path.read_text()) if path.exists() else {}


def downloads_allowed() -> bool:
    """Whether the user allows weights to be fetched."""
    return os.environ.get(DOWNLOADS) == "1"


def imagenet_at_hand() -> bool:
    """Whether ResNet-50's ImageNet weights lie in PyTorch's cache, or may be fetched into it."""
    cache = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return downloads_allowed() or any(Path(cache).expanduser().glob("hub/checkpoints/resnet50-0676ba61.pth"))


def global_rank() -> int:
    """Number of this process among all of a training, as torchrun, SLURM or Fabric set it; 0 alone."""
    environment = os.environ
    return int(environment.get("RANK", environment.get("SLURM_PROCID", environment.get("LOCAL_RANK", 0))))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` on success, delete it on an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file."""
    return json.loads(Path(path).read_text())
