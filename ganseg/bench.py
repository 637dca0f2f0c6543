"""What a training step costs: FLOPs, least bytes, seconds of its parts, images/s, memory; and against another setting.

Images are random: nothing is read. Settings that are compared take their steps in turn, in one process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ganseg import provenance
from ganseg.config import Config
from ganseg.data import Batches, Split
from ganseg.devices import make_fabric
from ganseg.evaluation import predict
from ganseg.files import UserError
from ganseg.recipes import resolve, settings_for_size
from ganseg.segment import segment_images
from ganseg.training import GanTrainer, SegmenterTrainer

WHAT = ("step", "parts", "memory", "segmenter", "inference")
AXES = {"size": "data.size", "parts": "generator.parts", "batch": "optim.batch_size"}
PARTS = {  # the trainer's methods, and what they are called
    "scene": "scene",
    "discriminator_step": "discriminator",
    "generator_step": "generator",
    "average": "average",
}


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


@dataclass(frozen=True)
class Setting:
    """One way to take a training step."""

    label: str
    config: Config
    precision: str = "auto"


def other(text: str, base: Setting, data: str, scale: str, parts: int | None, overrides: dict[str, Any]) -> Setting:
    """The setting that `text` asks to compare with: a variant and settings, "released optim.ema=0 precision=32-true".

    Everything that `text` does not name is as in `base`.
    """
    pairs = dict(word.split("=", 1) for word in text.split() if "=" in word)
    variants = [word for word in text.split() if "=" not in word]
    if len(variants) > 1 or not text.split():
        raise UserError(f'--against {text!r}: write a variant and settings: "released optim.share_fakes=false"')
    precision = pairs.pop("precision", base.precision)
    config = resolve(data, variants[0], scale, parts, base.config.seed, overrides) if variants else base.config
    return Setting(text, config.replace(pairs), precision)


class Step:
    """A setting, built: `ordinary()` and `penalised()` take a step without and with the gradient penalty."""

    def __init__(self, setting: Setting, device: str = "auto") -> None:
        self.config, size = setting.config, setting.config.data.size
        self.fabric = make_fabric(device, precision=setting.precision, wanted=self.config.optim.precision)
        count = max(256, self.config.optim.batch_size)
        images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
        split = Split(images, tuple(map(str, range(count))))
        self.trainer = GanTrainer(self.config, self.fabric, Batches(split, self.config.optim.batch_size, 0, "flip"))
        self.every = self.config.losses.penalty_every if self.config.losses.lambda_gp else 0
        self.t = 0

    def ordinary(self) -> None:
        """A step without the penalty."""
        self.t += 1 + (self.every > 1 and (self.t + 1) % self.every == 0)
        self.trainer.step(self.t)

    def penalised(self) -> None:
        """A step with the penalty."""
        self.trainer.step(0)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one `run`."""
    synchronise(device)
    start = time.perf_counter()
    run()
    synchronise(device)
    return time.perf_counter() - start


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of samples, and how many there are."""
    low, middle, high = np.percentile(samples, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high), "n": len(samples)}


def interleave(runs: Mapping[str, Callable[[], object]], device: torch.device, budget: float) -> dict[str, list[float]]:
    """Seconds of `runs` by name, taken in turn (ABAB...) so that the machine's noise meets all alike.

    Each is run once before. Three rounds at least, 200 at most; between them until `budget` seconds are over.
    """
    for run in runs.values():
        run()
    start, samples = time.perf_counter(), {name: [] for name in runs}
    for done in range(200):
        if done >= 3 and time.perf_counter() - start > budget:
            break
        for name, run in runs.items():
            samples[name].append(seconds_of(run, device))
    return samples


def compare(steps: Mapping[str, Step], budget: float) -> dict[str, Any]:
    """For each name `seconds` a step, the penalty's share of steps included; `ratio` of the last to the first."""
    device, found = next(iter(steps.values())).fabric.device, {}
    penalised = interleave({n: s.penalised for n, s in steps.items() if s.every}, device, budget / 4)
    ordinary = interleave({n: s.ordinary for n, s in steps.items()}, device, budget * 3 / 4)
    for name, step in steps.items():
        found[name] = {"ordinary": spread(ordinary[name])}
        found[name] |= {"penalised": spread(penalised[name])} if step.every else {}
        share = 1 / step.every if step.every else 0
        extra = found[name].get("penalised", found[name]["ordinary"])["median"] - found[name]["ordinary"]["median"]
        found[name]["seconds"] = found[name]["ordinary"]["median"] + share * extra
    first, last = list(steps)[0], list(steps)[-1]
    value = found[last]["seconds"] / found[first]["seconds"]
    rounds = spread([b / a for a, b in zip(ordinary[first], ordinary[last], strict=True)])
    scaled = {key: value * rounds[key] / rounds["median"] for key in ("q1", "q3")}
    return found | {"ratio": {"value": value, "n": rounds["n"], **scaled}}


def step_parts(step: Step, budget: float) -> dict[str, dict[str, Any]]:
    """FLOPs, least bytes and seconds of what the trainer's step is made of, by a stopwatch around its own methods."""
    trainer, device = step.trainer, step.fabric.device
    costs: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}

    def watched(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result: list[Any] = []
            if name not in costs:
                with Counter() as counter:
                    result.append(method(*arguments))
                costs[name] = {"flops": counter.flops, "bytes": counter.bytes}
            else:
                times.setdefault(name, []).append(seconds_of(lambda: result.append(method(*arguments)), device))
            return result[0]

        return call

    for method, name in PARTS.items():
        setattr(trainer, method, watched(name, getattr(trainer, method)))
    start, taken = time.perf_counter(), 0
    while min(map(len, times.values()), default=0) < 3 or time.perf_counter() - start < budget:
        step.ordinary()
        taken += 1
    for method in PARTS:
        delattr(trainer, method)
    found = {}
    for name, samples in times.items():
        often = (len(samples) + 1) / taken  # calls a step; the first was counted, not timed
        counted = {kind: value * often for kind, value in costs[name].items()}
        found[name] = {"per_step": often, **counted, "seconds": spread([s * often for s in samples])}
    return found


def ceilings(device: torch.device) -> dict[str, float]:
    """The device's measured limits: FLOP/s of large matrix products by precision, bytes/s of a large copy."""
    found = {}
    for name, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        n = 8192 if device.type == "cuda" else 512 if dtype == torch.bfloat16 else 2048  # many CPUs only emulate bf16
        a = torch.randn(n, n, device=device).to(dtype)
        found[f"matmul_{name}"] = 2 * n**3 / min(interleave({"run": lambda a=a: a @ a}, device, 0.25)["run"])
    source = torch.ones(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy"] = 2 * source.numel() / min(interleave({"run": lambda: target.copy_(source)}, device, 0.25)["run"])
    return found


def segmenter_parts(setting: Setting, device: str, budget: float) -> dict[str, dict[str, Any]]:
    """FLOPs, least bytes and seconds of a step of stage 2: making pairs, and all of it."""
    step = Step(setting, device)
    trainer = SegmenterTrainer(setting.config, step.fabric, step.trainer.generator)
    noise = trainer.generator.noise(setting.config.segmenter.batch_size)
    runs = {"pairs": torch.no_grad()(lambda: trainer.generator.pairs(noise)), "step": lambda: trainer.step(0)}
    samples, found = interleave(runs, step.fabric.device, budget), {}
    for name, run in runs.items():
        with Counter() as counter:
            run()
        found[name] = {"flops": counter.flops, "bytes": counter.bytes, "seconds": spread(samples[name])}
    return found


def peak_memory(setting: Setting, device: torch.device) -> dict[str, Any]:
    """`bytes`: the largest allocation of two steps on CUDA, weights included; None elsewhere."""
    if device.type != "cuda":
        return {"bytes": None, "how": f"not measured on {device.type}"}
    torch.cuda.reset_peak_memory_stats(device)
    step = Step(setting, "cuda")
    step.penalised()
    step.ordinary()
    return {"bytes": torch.cuda.max_memory_allocated(device), "how": "largest allocation of two steps"}


def inference(setting: Setting, device: str, count: int = 64) -> dict[str, Any]:
    """Images/s of `segment_images` as a whole, of its files alone (a network that costs nothing), of its network."""
    fabric = make_fabric(device, precision=setting.precision, wanted=setting.config.optim.precision)
    parts, size = setting.config.generator.parts, setting.config.data.size
    network = SegmenterTrainer(setting.config, fabric, Step(setting, device).trainer.generator).result.eval()
    nothing = nn.Module()
    nothing.parts, nothing.probabilities = parts, lambda x: x.new_zeros(len(x), parts + 1, *x.shape[2:])
    noise = np.random.default_rng(0).integers(0, 256, (count, 375, 500, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        images.mkdir()
        for i, pixels in enumerate(noise):
            Image.fromarray(pixels).resize((50, 38)).resize((500, 375)).save(images / f"{i:04}.jpg", quality=92)

        def whole(model: nn.Module) -> float:
            run = SimpleNamespace(config=setting.config, directory=Path(folder), segmenter=lambda: model)
            out = Path(folder) / "masks"
            return seconds_of(lambda: segment_images(run, images, out, device=device), fabric.device)

        rates = {"whole": count / whole(network), "files": count / whole(nothing)}
    small = np.zeros((count, size, size, 3), np.uint8)
    alone = min(interleave({"run": lambda: predict(network, small, fabric)}, fabric.device, 1)["run"])
    return {"images": count, "pixels": [500, 375], "network_size": size, "network": count / alone, **rates}


def sweep(settings: Sequence[Setting], axis: str, values: Sequence[int], device: str, budget: float) -> list[Any]:
    """Seconds a step and images/s of each setting along size, parts or batch: half, once and twice, or `values`."""
    if axis not in AXES:
        raise UserError(f"--sweep {axis}: it is {', '.join(AXES)}, or one with its values, as in size=64,128")
    config, rows = settings[0].config, []
    middle = {"size": config.data.size, "parts": config.generator.parts, "batch": config.optim.batch_size}[axis]
    for value in values or (middle // 2, middle, 2 * middle):
        changed = [
            s.config.replace(settings_for_size(s.config, value) if axis == "size" else {AXES[axis]: value})
            for s in settings
        ]
        steps = {s.label: Step(replace(s, config=c), device) for s, c in zip(settings, changed, strict=True)}
        times = compare(steps, budget)
        for name, step in steps.items():
            rate = step.config.optim.batch_size / times[name]["seconds"]
            row = {"axis": axis, "value": value, "label": name}
            rows.append(row | {"seconds": times[name]["seconds"], "images_per_second": rate})
    return rows


def measure(
    settings: Sequence[Setting],
    device: str = "auto",
    seconds: float = 10,
    what: Iterable[str] = WHAT[:4],
    sweeps: Mapping[str, Sequence[int]] | None = None,
    **about: Any,
) -> dict[str, Any]:
    """The report on the first of `settings`, compared with the second where there is one; `about` stands at its top.

    `seconds`: for each measurement, about. `what`: any of `WHAT`; `sweeps`: axis -> values, or none.
    """
    what = set(what)
    if unknown := what - set(WHAT):
        raise UserError(f"--what {','.join(sorted(unknown))}: it is any of {', '.join(WHAT)}")
    steps = {setting.label: Step(setting, device) for setting in settings}
    if len(steps) < len(settings):
        raise UserError(f"--against {settings[-1].label!r} is what is measured anyway")
    place = next(iter(steps.values())).fabric.device
    machine = provenance.git_state() | provenance.describe_machine(place)
    report: dict[str, Any] = {**about, "seconds": seconds, "provenance": machine, "ceilings": ceilings(place)}
    times = compare(steps, seconds * len(steps)) if "step" in what else {}
    report["settings"] = {
        setting.label: _row(setting, steps[setting.label], times, what, seconds, report["ceilings"])
        for setting in settings
    }
    if "segmenter" in what:
        report["segmenter"] = segmenter_parts(settings[0], device, seconds)
    if "inference" in what:
        report["inference"] = inference(settings[0], device)
    chosen = (sweeps or {}).items()
    report["sweeps"] = [row for axis, values in chosen for row in sweep(settings, axis, values, device, seconds)]
    if len(settings) > 1:
        report["ratio"] = {"of": list(steps), **_ratio(list(report["settings"].values()), times.get("ratio"))}
    return report


def _row(
    setting: Setting, step: Step, times: Mapping[str, Any], what: set[str], seconds: float, limits: Mapping[str, float]
) -> dict[str, Any]:
    """What was measured of one setting, its images/s, and its shares of the device's ceilings."""
    batch, precision = step.config.optim.batch_size, str(step.fabric._precision.precision)
    row = {"precision": precision, "batch_size": batch, "size": step.config.data.size, **times.get(setting.label, {})}
    row["parameters"] = sum(p.numel() for p in step.trainer.generator.parameters())
    if "memory" in what:
        row["memory"] = peak_memory(setting, step.fabric.device)
    if "parts" in what:
        row["parts"] = step_parts(step, seconds)
        row |= {kind: sum(part[kind] for part in row["parts"].values()) for kind in ("flops", "bytes")}
    if "seconds" in row:
        row |= {"images_per_second": batch / row["seconds"], "steps_per_second": 1 / row["seconds"]}
    if {"seconds", "flops"} <= set(row):
        ceiling = limits["matmul_bf16-mixed" if "bf16" in precision else "matmul_32-true"]
        row["share_of_matmul"] = row["flops"] / row["seconds"] / ceiling
        row["share_of_copy"] = row["bytes"] / row["seconds"] / limits["copy"]
    return row


def _ratio(rows: Sequence[Mapping[str, Any]], seconds: Mapping[str, float] | None) -> dict[str, Any]:
    """How many times the images/s of the second row the first makes, and its part of the second's peak memory."""
    batches, found = rows[0]["batch_size"] / rows[1]["batch_size"], {}
    if seconds:
        found["images_per_second"] = {k: v if k == "n" else v * batches for k, v in seconds.items()}
    peaks = [row.get("memory", {}).get("bytes") for row in rows]
    return found | ({"peak_memory": peaks[0] / peaks[1]} if all(peaks) else {})


def rounded(value: Any) -> Any:
    """A report with numbers of 6 digits."""
    if isinstance(value, Mapping):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
