"""Where a number comes from: commit, machine, versions, time."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

from ganseg.files import PACKAGE


def git_state() -> dict[str, Any]:
    """Commit of the package's checkout, and whether tracked files in it differ; unknown outside a checkout."""
    git = lambda *words: subprocess.check_output(["git", "-C", PACKAGE, *words], text=True, stderr=subprocess.DEVNULL)
    try:
        commit = git("rev-parse", "HEAD").strip()
        return {"commit": commit, "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", "."))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": os.environ.get("GANSEG_COMMIT", "unknown"), "dirty": False}


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Device, of a CPU the cores that may be used, too; its threads, the versions of what computes, and the day."""
    info = Path("/proc/cpuinfo")  # where Linux names the processor
    named = re.search(r"^model name\s*: (.+)", info.read_text() if info.exists() else "", re.MULTILINE)
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cpu = f"{named[1] if named else platform.machine()} ({count} {'core' if count == 1 else 'cores'})"
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "accelerator": device.type,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": now()[:10],
    }


def now() -> str:
    """The time in UTC, to the second: 2026-01-31T12:00:00+00:00."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
