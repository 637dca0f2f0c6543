"""Where a number comes from: code, machine, versions, time."""

from __future__ import annotations

import ast
import datetime
import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganseg.paths import PACKAGE

if TYPE_CHECKING:
    import torch

# What cannot change a number: presentation, and what is in the key already as the resolved configuration.
HARMLESS = {"__init__", "__main__", "book", "checkpoints", "cli", "config", "errors", "experiments", "figures", "files", "inference",
            "notebooks", "paths", "pictures", "provenance", "registry", "released", "released_files", "released_runs", "reported", "scales",
            "sizes", "tables"}
# One file a data set: those of other data sets do not count.
READERS = {"bird": "synthetic-bird", "face": "synthetic-face", "flowers": "flowers", "folder": "folder",
           "folder_labels": "folder"}


@cache
def code_hash(data: str) -> str:
    """Hash of the package's code that can change a result on `data`; comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE).with_suffix("")
        if HARMLESS.isdisjoint(place.parts) and READERS.get(path.stem, data) == data:
            digest.update(place.as_posix().encode() + b"\0" + bare_source(path.read_text()).encode())
    return digest.hexdigest()


def bare_source(source: str) -> str:
    """What `source` does, as text: its syntax tree without docstrings; comments and layout leave no trace.

    Written out here because `ast.dump` differs between versions of Python; empty fields, which differ too, are left out.
    """
    return _dump(ast.parse(source))


def _dump(node: object) -> str:
    if isinstance(node, list):
        return "[" + ",".join(_dump(item) for item in node if not _is_text(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []) and name != "kind")
    return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in fields)})"


def _is_text(node: object) -> bool:
    """Whether a statement is a bare string: a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def git_state() -> dict[str, Any]:
    """Commit of the checkout, and whether tracked code differs from it; unknown outside a checkout."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(PACKAGE), *arguments], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", "."))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": os.environ.get("GANSEG_COMMIT", "unknown"), "dirty": False}


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Device, its threads or memory, and the versions of what computes."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {"device": name, "accelerator": device.type, "threads": torch.get_num_threads(), "python": platform.python_version(),
            "torch": torch.__version__, "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")}


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return f"{names[0] if names else platform.machine()} ({len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores)"
