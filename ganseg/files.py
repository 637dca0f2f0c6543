"""The user's mistakes, where things lie, and files that are written whole or not at all."""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

PACKAGE = Path(__file__).resolve().parent
DOWNLOADS = "GANSEG_ALLOW_DOWNLOADS"  # set to 1 by who allows ImageNet weights to be fetched
RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # what torchrun, SLURM and Fabric number their processes by
log = logging.getLogger(__name__)


class UserError(Exception):
    """A mistake in the input. The message says what was wrong, where, and what would be right."""


class OutOfTime(Exception):
    """The wall-clock budget ended before the steps did; everything is saved and the run can be resumed."""


def place(words: str | Path) -> Path:
    """A path as it was typed, `~` being a home; UserError where there is none, or nothing was typed."""
    if not str(words):
        raise UserError("an empty path was given; write . for the current folder")
    try:
        return Path(words).expanduser()
    except RuntimeError as error:
        raise UserError(f"{words}: {error} Write this path in full, or set HOME.") from error


def results_dir(results: str | Path | None = None) -> Path:
    """`results`, else $GANSEG_RESULTS, else `results/` of the checkout, or of the current folder without one."""
    checkout = PACKAGE.parent if (PACKAGE.parent / "_config.yml").exists() else Path.cwd()
    return place(results or os.environ.get("GANSEG_RESULTS") or checkout / "results")


def shipped_models(results: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """Models that come with the project, by short name: `run` with the weights, `licence`, `live` for the book's."""
    path = results_dir(results) / "models.yml"
    with reading(path, "Mend it, or get it from the project again."):
        told = yaml.safe_load(path.read_text()) if path.exists() else {}
        return {n: {"live": False} | one | {k: str(one[k]) for k in ("run", "licence")} for n, one in told.items()}


def imagenet_at_hand() -> bool:
    """Whether ResNet-50's ImageNet weights lie in PyTorch's cache, or may be fetched into it."""
    cache = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return os.environ.get(DOWNLOADS) == "1" or any(place(cache).glob("hub/checkpoints/resnet50-0676ba61.pth"))


def global_rank(devices: int | str = 1, num_nodes: int = 1) -> int:
    """Number of this process among all of a training on so many devices; tasks that train alone are each the first."""
    alone = (str(devices), num_nodes) == ("1", 1)
    return 0 if alone else int(next(filter(None, map(os.environ.get, RANKS)), 0))


@contextmanager
def locked(path: Path, what: str, deadline: float = math.inf) -> Iterator[None]:
    """Hold the lock file `path`. Where another process does, that is said and waited for: OutOfTime at `deadline`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process is at %s; waiting for it", what)
        try:
            held = lock.acquire(timeout=-1 if deadline == math.inf else max(0, deadline - time.monotonic()))
        except Timeout as error:
            raise OutOfTime(f"another process is still at {what}; the same command waits for it again") from error
    with held:
        yield


def sweep(folder: Path) -> None:
    """Remove what processes that were killed began to write below `folder`; nobody may be writing there now."""
    for path in folder.rglob(".*.tmp*"):
        path.unlink(missing_ok=True)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it onto `path` on success, delete it on an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:  # of writing, which names no file
        raise OSError(error.errno or 0, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """UserError that names the file for whatever goes wrong in its parser, which may be anything."""
    try:
        yield
    except Exception as error:
        words = " ".join(str(error).split())[:500] or type(error).__name__
        raise UserError(f"{path} is missing or cannot be read ({words}). {remedy}") from error


def read_json(path: str | Path, take: Callable[[Any], Any] = lambda value: value) -> Any:
    """What a JSON file holds, or what `take` makes of it; UserError that names the file where it is damaged."""
    with reading(Path(path), "Mend it, or delete it to have it made anew."):
        return take(json.loads(Path(path).read_bytes()))
