"""Where a number comes from: commit, machine, versions, time."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from ganseg.files import PACKAGE


def git_state(folder: Path = PACKAGE) -> dict[str, Any]:
    """Commit of the checkout of `folder`, and whether tracked files in it differ; unknown outside a checkout."""
    git = lambda *words: subprocess.check_output(["git", "-C", folder, *words], text=True, stderr=subprocess.DEVNULL)
    try:
        changes = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return {"commit": git("rev-parse", "HEAD").strip(), "dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": os.environ.get("GANSEG_COMMIT", "unknown"), "dirty": False}


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Device, its threads or memory, and the versions of what computes."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "accelerator": device.type,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
    }


def _cpu_name() -> str:
    """As Linux tells it, else the architecture, and the cores that may be used."""
    info, count = Path("/proc/cpuinfo"), cores()
    named = re.search(r"^model name\s*: (.+)", info.read_text() if info.exists() else "", re.MULTILINE)
    return f"{named[1] if named else platform.machine()} ({count} {'core' if count == 1 else 'cores'})"


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
