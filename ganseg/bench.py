"""What a training step on random images costs: FLOPs, least bytes, images/s, memory; and against another setting."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ganseg.config import Config
from ganseg.data import Batches, Split
from ganseg.devices import make_fabric
from ganseg.experiments import Experiment
from ganseg.files import UserError
from ganseg.runs import origin
from ganseg.training import GanTrainer


class Counter(TorchDispatchMode):
    """FLOPs and least bytes of convolutions and matrix products, forward and backward, while they run.

    `flops`: a multiplication and an addition are two (torch's registry; its own counter cannot count second
    derivatives). `bytes`: inputs and outputs, weights included, each moved once, as if all else were fused into them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func`; count it where torch knows its FLOPs."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return out


def other(text: str, base: Experiment) -> Experiment:
    """`base`, but for the variant and settings in `text`, as in "released optim.ema=0"."""
    words = [word.partition("=") for word in text.split()]
    variants, settings = [name for name, equals, _ in words if not equals], {n: v for n, equals, v in words if equals}
    if len(variants) > 1 or not words:
        raise UserError(f'--against {text!r}: write a variant and settings: "released optim.share_fakes=false"')
    return replace(base, variant=(variants or [base.variant])[0], overrides={**base.overrides, **settings})


class Step:
    """A configuration, built. Of all its steps, of `batch` images, the `share` has the gradient penalty."""

    def __init__(self, config: Config, device: str = "auto") -> None:
        self.config, self.batch, size = config, config.optim.batch_size, config.data.size
        self.every, self.t = config.losses.penalty_every, 0
        self.share = 1 / self.every if config.losses.lambda_gp else 0.0
        self.fabric = make_fabric(device, wanted=config.optim.precision)
        images = np.random.default_rng(0).integers(0, 256, (max(256, self.batch), size, size, 3), np.uint8)
        split = Split(images, tuple(map(str, range(len(images)))))
        self.trainer = GanTrainer(config, self.fabric, Batches(split, self.batch, 0, "flip", self.fabric.device))

    def take(self, penalty: bool = False) -> None:
        """A step with the penalty, or the next one without it."""
        self.t += 2 if (self.t + 1) % self.every == 0 else 1
        self.trainer.step(0 if penalty else self.t)


def clock() -> float:
    """Wall-clock seconds, once an accelerator has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def interleaved(takes: Mapping[str, Callable[[], object]], budget: float) -> dict[str, np.ndarray]:
    """Seconds (rounds,) of each of `takes`, which come in turn, so that the machine's noise meets them alike.

    After two rounds to warm up, in the second of which a GPU records, three follow at least, and more until `budget`
    seconds are over.
    """
    rounds, begin = [], time.perf_counter()
    while len(rounds) < 5 or time.perf_counter() - begin < budget:
        marks = [clock()]
        for take in takes.values():
            take()
            marks.append(clock())
        rounds.append(np.diff(marks))
    return dict(zip(takes, np.transpose(rounds[2:]), strict=True))


def compare(steps: Mapping[str, Step], budget: float) -> tuple[dict[str, float], dict[str, float]]:
    """Images/s of each step, the penalty in its share; how many times the last's the first makes in a round."""
    penalised = interleaved({name: partial(step.take, True) for name, step in steps.items()}, budget / 4)
    ordinary = interleaved({name: step.take for name, step in steps.items()}, budget * 3 / 4)
    rounds = {}
    for name, step in steps.items():
        rounds[name] = step.batch / ((1 - step.share) * ordinary[name] + step.share * np.median(penalised[name]))
    low, middle, high = np.percentile(next(iter(rounds.values())) / rounds[name], [25, 50, 75]).tolist()
    ratio = {"value": middle, "q1": low, "q3": high, "n": len(rounds[name])}
    return {name: float(np.median(rates)) for name, rates in rounds.items()}, ratio


def ceilings(device: torch.device) -> dict[str, float]:
    """The device's measured limits: FLOP/s of large matrix products by precision, bytes/s of a large copy."""
    least = lambda run: interleaved({"": run}, 0.25)[""].min()
    found = {}
    for name, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        n = 8192 if device.type == "cuda" else 512 if dtype == torch.bfloat16 else 1024  # many CPUs only emulate bf16
        a = torch.randn(n, n, device=device).to(dtype)
        found[f"matmul_{name}"] = 2 * n**3 / least(lambda a=a: a @ a)
    source = torch.ones(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return found | {"copy": 2 * source.numel() / least(lambda: target.copy_(source))}


def measure(experiments: Mapping[str, Experiment], device: str = "auto", seconds: float = 10) -> dict[str, Any]:
    """The report on the first of `experiments`, compared with any second; each measurement takes about `seconds`."""
    steps = {label: Step(experiment.config, device) for label, experiment in experiments.items()}
    first, machine = next(iter(experiments.values())), make_fabric(device).device
    limits, (rates, ratio) = ceilings(machine), compare(steps, seconds * len(steps))
    rows = {label: measured(step, rates[label], limits) for label, step in steps.items()}
    peaks = [row["memory"]["bytes"] for row in rows.values() if "memory" in row]
    memory = {"peak_memory": peaks[0] / peaks[-1]} if peaks else {}
    return {
        "data": first.data, "scale": first.scale, "variant": first.variant, "overrides": dict(first.overrides),
        "parts": first.config.generator.parts, "blocks": len(first.config.generator.block_sizes), "seconds": seconds,
        "provenance": origin(machine), "ceilings": limits,
        "settings": rows,
    } | ({"ratio": {"of": [*rows], "images_per_second": ratio, **memory}} if len(rows) > 1 else {})  # fmt: skip


def measured(step: Step, rate: float, limits: Mapping[str, float]) -> dict[str, Any]:
    """What was measured of one configuration, and its shares of the device's ceilings.

    `memory`, on a GPU: the largest allocation in two steps, with weights, in bytes.
    """
    precision, seconds = str(step.fabric._precision.precision), step.batch / rate
    with Counter() as counter:
        step.take()
    matmul = limits["matmul_bf16-mixed" if "bf16" in precision else "matmul_32-true"]
    row = {
        "precision": precision, "batch_size": step.batch, "size": step.config.data.size,
        "flops": counter.flops, "bytes": counter.bytes, "images_per_second": rate, "seconds": seconds,
        "share_of_matmul": counter.flops / seconds / matmul, "share_of_copy": counter.bytes / seconds / limits["copy"],
    }  # fmt: skip
    if step.fabric.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        fresh = Step(step.config, "cuda")
        fresh.take(True), fresh.take()
        row["memory"] = {"bytes": torch.cuda.max_memory_allocated() - before}
    return row
