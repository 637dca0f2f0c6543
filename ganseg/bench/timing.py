"""Measuring time: synchronised, warmed up, interleaved, as medians with quartiles; and what the device can
do at most."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

QUARTER_SECOND = 0.25
MATMUL_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192, 16384)}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(run: Callable[[], object], device: torch.device, repeat: int = 1) -> float:
    """Wall-clock seconds of one `run`, the mean of `repeat` in a row."""
    synchronise(device)
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    synchronise(device)
    return (time.perf_counter() - start) / repeat


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of samples, and how many there are."""
    low, middle, high = np.percentile(samples, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high), "n": len(samples)}


def repeats(seconds: float, device: torch.device) -> int:
    """Runs in a row for one sample: several on an accelerator, so that a short run's launches are not
    waited for one by one."""
    return 1 if device.type == "cpu" else int(np.clip(np.ceil(0.05 / max(seconds, 1e-6)), 1, 20))


def interleave(
    runs: Mapping[str, Callable[[], object]],
    device: torch.device,
    budget: float,
    least: int = 3,
    most: int = 200,
    warm: Mapping[str, float] | None = None,
) -> dict[str, list[float]]:
    """Time `runs` in turn (ABAB...), so that the machine's noise meets all alike: samples in seconds, by
    name.

    Each is run once before, unless `warm` says how many seconds that took. At least `least` rounds, at most
    `most`; between them until `budget` seconds are over.
    """
    warm = warm or {name: seconds_of(run, device) for name, run in runs.items()}
    rows = {name: repeats(warm[name], device) for name in runs}
    start, samples = time.perf_counter(), {name: [] for name in runs}
    for done in range(most):
        if done >= least and time.perf_counter() - start > budget:
            break
        for name, run in runs.items():
            samples[name].append(seconds_of(run, device, rows[name]))
    return samples


def best(run: Callable[[], object], device: torch.device, budget: float = QUARTER_SECOND) -> float:
    """The shortest of the runs that fit into `budget` seconds, at least three."""
    return min(interleave({"run": run}, device, budget)["run"])


def ceilings(device: torch.device) -> dict[str, Any]:
    """The device's measured limits: FLOP/s of large square matrix products (best of a few sizes), bytes/s of
    a large copy.

    `matmul_32-true` uses the float32 precision that is set (on CUDA, TF32 where it is allowed). A copy reads
    and writes.
    """
    found: dict[str, Any] = {}
    for name, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        found[f"matmul_{name}"] = max(_matmul(n, dtype, device) for n in MATMUL_SIZES.get(device.type, (2048,)))
    source = torch.empty(COPY_BYTES.get(device.type, 2**28), dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.numel() / best(lambda: target.copy_(source), device)
    return found


def _matmul(n: int, dtype: torch.dtype, device: torch.device) -> float:
    """FLOP/s of an n x n matrix product."""
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty(n, n, dtype=dtype, device=device)
    return 2 * n**3 / best(lambda: torch.mm(a, b, out=out), device)
