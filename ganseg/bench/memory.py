"""Peak memory of a training step, measured where nothing else runs.

On CUDA: torch's largest allocation while the setting is built and steps, less what was allocated before. On a
CPU: a fresh process builds the setting, notes its resident set, takes a step with the penalty and one
without, and reports how much higher its peak was; weights are not in it, activations, gradients, the
optimisers' state and the libraries' workspaces are.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ganseg.bench.steps import Setting, Step
from ganseg.bench.timing import synchronise
from ganseg.config import Config
from ganseg.files import PACKAGE

HOW = {
    "cuda": "largest allocation of two steps, weights included",
    "cpu": "peak resident set of a fresh process during two steps, less its level before them",
}


def peak_memory(setting: Setting, device: torch.device) -> dict[str, Any]:
    """`bytes`, and `how` it was measured; on other devices nothing is known. `adjust` and `around` cannot
    be sent to a child."""
    if device.type not in HOW:
        return {"bytes": None, "how": f"not measured on {device.type}"}
    return {
        "bytes": _on_cuda(setting, device) if device.type == "cuda" else _in_child(setting),
        "how": HOW[device.type],
    }


def _on_cuda(setting: Setting, device: torch.device) -> int:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    _two_steps(Step(setting, "cuda"))
    synchronise(device)
    return torch.cuda.max_memory_allocated(device) - before


def _in_child(setting: Setting) -> int:
    given = {"config": setting.config.to_dict(), "precision": setting.precision, "kind": setting.kind}
    environment = os.environ | {
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
        "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ganseg.bench.memory"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {setting.label!r} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _two_steps(step: Step) -> None:
    step.penalised()
    step.ordinary()


def _resident() -> tuple[int, int]:
    """Bytes of the resident set, now and at its peak; the peak alone where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return peak, peak
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return tuple(int(lines[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))


def main() -> None:
    """The child: a setting as JSON on standard input, bytes on standard output."""
    given = json.load(sys.stdin)
    step = Step(Setting("child", Config.from_dict(given["config"]), given["precision"], given["kind"]), "cpu")
    before = _resident()[0]
    _two_steps(step)
    print(_resident()[1] - before)


if __name__ == "__main__":
    main()
