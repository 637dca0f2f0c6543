"""What a training step costs: FLOPs, least bytes, seconds of its parts, images/s, memory; and against another setting.

Images are random: nothing is read. Settings that are compared take their steps in turn, in one process.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ganseg import provenance
from ganseg.config import Config
from ganseg.data import Batches, Split
from ganseg.devices import make_fabric
from ganseg.files import UserError
from ganseg.recipes import resolve, settings_for_size
from ganseg.segment import segment_images
from ganseg.training import GanTrainer, SegmenterTrainer

Report = dict[str, Any]
WHAT = ("step", "parts", "memory", "segmenter", "inference")
AXES = {"size": "data.size", "parts": "generator.parts", "batch": "optim.batch_size"}


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


class Setting(NamedTuple):
    """One way to take a training step."""

    label: str
    config: Config
    precision: str = "auto"


def other(text: str, base: Setting, data: str, scale: str, parts: int | None, overrides: dict[str, Any]) -> Setting:
    """`base`, but for the variant and settings that `text` names, as in "released optim.ema=0 precision=32-true"."""
    pairs = dict(word.split("=", 1) for word in text.split() if "=" in word)
    variants = [word for word in text.split() if "=" not in word]
    if len(variants) > 1 or not text.split():
        raise UserError(f'--against {text!r}: write a variant and settings: "released optim.share_fakes=false"')
    precision = pairs.pop("precision", base.precision)
    config = resolve(data, variants[0], scale, parts, base.config.seed, overrides) if variants else base.config
    return Setting(text, config.replace(pairs), precision)


class Step:
    """A setting, built. Of all its steps, of `batch` images, the `share` has the gradient penalty."""

    def __init__(self, setting: Setting, device: str = "auto") -> None:
        self.setting, self.config, size = setting, setting.config, setting.config.data.size
        self.batch, self.every, self.t = self.config.optim.batch_size, self.config.losses.penalty_every, 0
        self.share = 1 / self.every if self.config.losses.lambda_gp else 0.0
        self.fabric = make_fabric(device, precision=setting.precision, wanted=self.config.optim.precision)
        images = np.random.default_rng(0).integers(0, 256, (max(256, self.batch), size, size, 3), np.uint8)
        split = Split(images, tuple(map(str, range(len(images)))))
        self.trainer = GanTrainer(self.config, self.fabric, Batches(split, self.batch, 0, "flip"))

    def take(self, penalty: bool = False) -> None:
        """A step with the penalty, or the next one without it."""
        self.t += 2 if (self.t + 1) % self.every == 0 else 1
        self.trainer.step(0 if penalty else self.t)


def clock() -> float:
    """Wall-clock seconds, once an accelerator has done what it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Median and quartiles of samples, and how many there are."""
    low, middle, high = np.percentile(samples, [25, 50, 75])
    return {"median": float(middle), "q1": float(low), "q3": float(high), "n": len(samples)}


def watch(take: Callable[[], object], methods: Mapping[str, tuple[Any, str]], budget: float) -> dict[str, np.ndarray]:
    """FLOPs, least bytes and seconds, (rounds, 3), of all that `take()` does, "whole", and of what it calls.

    `methods`: part -> an object and which method of it is that part. Round 0 warms up, and it alone counts FLOPs and
    bytes; its seconds say nothing. Three rounds follow at least, and more until `budget` seconds are over.
    """
    counter, rounds = Counter(), []

    def watched(part: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            before = [counter.flops, counter.bytes, clock()]
            result = method(*arguments)
            rounds[-1][part] += np.subtract([counter.flops, counter.bytes, clock()], before)
            return result

        return call

    whole, begin = watched("whole", take), time.perf_counter()
    for part, (owner, method) in methods.items():
        setattr(owner, method, watched(part, getattr(owner, method)))
    while len(rounds) < 4 or time.perf_counter() - begin < budget:
        with nullcontext() if rounds else counter:
            rounds.append({part: np.zeros(3) for part in ("whole", *methods)})
            whole()
    for owner, method in methods.values():
        delattr(owner, method)
    return {part: np.array([spent[part] for spent in rounds]) for part in rounds[0]}


def compare(steps: Mapping[str, Step], budget: float) -> tuple[dict[str, float], dict[str, float]]:
    """Images/s of each step, the penalty in its share; how many times the last's the first makes, with quartiles."""

    methods, rounds = {name: (step, "take") for name, step in steps.items()}, {}
    # all in turn, A, B, A, B, so that the machine's noise meets them alike
    penalised = watch(lambda: [step.take(True) for step in steps.values()], methods, budget / 4)
    ordinary = watch(lambda: [step.take() for step in steps.values()], methods, budget * 3 / 4)
    for name, step in steps.items():
        seconds = (1 - step.share) * ordinary[name][1:, 2] + step.share * np.median(penalised[name][1:, 2])
        rounds[name] = step.batch / seconds
    rates = {name: float(np.median(values)) for name, values in rounds.items()}
    first, last = [*steps][0], [*steps][-1]
    value, ratios = rates[first] / rates[last], spread(rounds[first] / rounds[last])
    scaled = {key: value * ratios[key] / ratios["median"] for key in ("q1", "q3")}
    return rates, {"value": value, "n": ratios["n"], **scaled}


def cost(rounds: np.ndarray) -> Report:
    """FLOPs, bytes and seconds of what was watched, (rounds, 3)."""
    return {"flops": rounds[0, 0], "bytes": rounds[0, 1], "seconds": spread(rounds[1:, 2])}


def step_parts(step: Step, budget: float) -> Report:
    """What the trainer's own methods cost in a step; the rest is called data."""
    names = ("scene", "discriminator_step", "generator_step", "average")
    found = watch(step.take, {name.removesuffix("_step"): (step.trainer, name) for name in names}, budget)
    found["data"] = found.pop("whole") - sum(found.values())
    return {part: cost(rounds) for part, rounds in found.items()}


def segmenter_parts(step: Step, budget: float) -> Report:
    """What a step of stage 2 costs: making pairs, and the segmentation network's training on them."""
    trainer = SegmenterTrainer(step.config, step.fabric, step.trainer.generator)
    found = watch(lambda: trainer.step(0), {"pairs": (trainer.generator, "pairs")}, budget)
    return {"pairs": cost(found["pairs"]), "segmenter": cost(found["whole"] - found["pairs"])}


def inference(step: Step, budget: float, count: int = 64) -> Report:
    """Images/s of `segment_images` as a whole, of its network alone, and of its files alone."""
    network = SegmenterTrainer(step.config, step.fabric, step.trainer.generator).segmenter
    with tempfile.TemporaryDirectory() as folder:
        run = SimpleNamespace(config=step.config, directory=Path(folder), segmenter=lambda: network)
        images = [Path(folder) / f"{i}.jpg" for i in range(count)]
        for path in images:
            Image.effect_noise((50, 38), 64).resize((500, 375)).convert("RGB").save(path, quality=92)
        segment = lambda: segment_images(run, images, Path(folder) / "masks", device=step.fabric.device.type)
        found = watch(segment, {"network": (network, "probabilities")}, budget)
    found["files"] = found["whole"] - found["network"]
    rates = {part: count / cost(rounds)["seconds"]["median"] for part, rounds in found.items()}
    return {"images": count, "pixels": [500, 375], "network_size": step.config.data.size, **rates}


def ceilings(device: torch.device) -> dict[str, float]:
    """The device's measured limits: FLOP/s of large matrix products by precision, bytes/s of a large copy."""
    least = lambda run: watch(run, {}, 0.25)["whole"][1:, 2].min()
    found = {}
    for name, dtype in (("bf16-mixed", torch.bfloat16), ("32-true", torch.float32)):
        n = 8192 if device.type == "cuda" else 512 if dtype == torch.bfloat16 else 2048  # many CPUs only emulate bf16
        a = torch.randn(n, n, device=device).to(dtype)
        found[f"matmul_{name}"] = 2 * n**3 / least(lambda a=a: a @ a)
    source = torch.ones(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return found | {"copy": 2 * source.numel() / least(lambda: target.copy_(source))}


def sweep(settings: Sequence[Setting], axis: str, values: Sequence[int], device: str, budget: float) -> list[Any]:
    """Images/s of each setting along size, parts or batch: half, once and twice, or `values`."""
    section, field = AXES[axis].split(".")
    middle, rows = getattr(getattr(settings[0].config, section), field), []
    for value in values or (middle // 2, middle, 2 * middle):
        steps = {}
        for setting in settings:
            changed = settings_for_size(setting.config, value) if axis == "size" else {AXES[axis]: value}
            steps[setting.label] = Step(setting._replace(config=setting.config.replace(changed)), device)
        for name, rate in compare(steps, budget)[0].items():
            rows.append({"axis": axis, "value": value, "label": name, "images_per_second": rate})
    return rows


def measure(
    settings: Sequence[Setting], device: str = "auto", seconds: float = 10, what: Iterable[str] = WHAT[:4],
    sweeps: Mapping[str, Sequence[int]] | None = None, **about: Any,
) -> Report:  # fmt: skip
    """The report on the first of `settings`, compared with the second where there is one; `about` stands at its top.

    `seconds`: for each measurement, about. `what`: any of `WHAT`; `sweeps`: axis -> values, or none.
    """
    if unknown := set(what) - set(WHAT):
        raise UserError(f"--what {','.join(sorted(unknown))}: it is any of {', '.join(WHAT)}")
    steps = {setting.label: Step(setting, device) for setting in settings}
    first = steps[settings[0].label]
    machine = provenance.git_state() | provenance.describe_machine(first.fabric.device)
    limits = ceilings(first.fabric.device)
    rates, ratio = compare(steps, seconds * len(steps)) if "step" in what else ({}, None)
    rows = {name: _row(step, what, seconds, rates.get(name), limits) for name, step in steps.items()}
    report = about | {"seconds": seconds, "provenance": machine, "ceilings": limits, "settings": rows, "sweeps": []}
    if len(rows) > 1:
        peaks = [row["memory"]["bytes"] for row in rows.values() if "memory" in row]
        report["ratio"] = {"of": [*rows]} | ({"images_per_second": ratio} if ratio else {})
        report["ratio"] |= {"peak_memory": peaks[0] / peaks[1]} if peaks else {}
    stages = {"segmenter": segmenter_parts, "inference": inference}
    report |= {name: run(first, seconds) for name, run in stages.items() if name in what}
    for axis, values in (sweeps or {}).items():
        report["sweeps"] += sweep(settings, axis, values, device, seconds)
    return report


def _row(step: Step, what: Iterable[str], budget: float, rate: float | None, limits: Mapping[str, float]) -> Report:
    """What was measured of one setting, and its shares of the device's ceilings."""
    precision = str(step.fabric._precision.precision)
    row: Report = {"precision": precision, "batch_size": step.batch, "size": step.config.data.size}
    if "memory" in what and step.fabric.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        again = Step(step.setting, "cuda")
        again.take(True), again.take()
        row["memory"] = {"bytes": torch.cuda.max_memory_allocated() - before}  # the largest in two steps, with weights
    if "parts" in what:
        row["parts"] = step_parts(step, budget)
        row |= {kind: sum(part[kind] for part in row["parts"].values()) for kind in ("flops", "bytes")}
    if rate:
        row |= {"images_per_second": rate, "seconds": step.batch / rate}
    if rate and "parts" in what:
        matmul = limits["matmul_bf16-mixed" if "bf16" in precision else "matmul_32-true"]
        row["share_of_matmul"] = row["flops"] / row["seconds"] / matmul
        row["share_of_copy"] = row["bytes"] / row["seconds"] / limits["copy"]
    return row


def rounded(report: dict[str, Any]) -> dict[str, Any]:
    """A report with numbers of 6 digits."""
    return json.loads(json.dumps(report), parse_float=lambda text: float(f"{float(text):.6g}"))
