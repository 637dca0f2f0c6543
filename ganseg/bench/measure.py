"""Steps measured against each other, part by part, and along image size, number of parts and batch size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ganseg.bench.counting import count, optimiser_bytes
from ganseg.bench.parts import GanParts, Part
from ganseg.bench.steps import Setting, Step
from ganseg.bench.timing import interleave, seconds_of, spread
from ganseg.config import Config
from ganseg.files import UserError

AXES = ("size", "parts", "batch")
LONG = 5.0  # seconds


def compare(steps: Mapping[str, Step], budget: float, least: int = 3) -> dict[str, Any]:
    """Time whole steps, interleaved: for each name `seconds` a step, the penalty's share of steps included;
    `ratio` of the last to the first.

    `first_seconds` is the first step's, with all that is prepared in it (compilation among it). `budget`:
    seconds; `least` rounds are done in any case. Steps of many seconds are not warmed up a second time.
    """
    device = next(iter(steps.values())).fabric.device
    first = {name: seconds_of(step.penalised if step.every else step.ordinary, device) for name, step in steps.items()}
    penalised = {name: step.penalised for name, step in steps.items() if step.every}
    ordinary = {name: step.ordinary for name, step in steps.items() if step.every != 1}
    warm = first if max(first.values()) > LONG else None
    with_penalty = interleave(penalised, device, 0.25 * budget, 1, warm=warm) if penalised else {}
    without = interleave(ordinary, device, 0.75 * budget, least, warm=warm) if ordinary else {}
    found: dict[str, Any] = {}
    for name, step in steps.items():
        kinds = {
            kind: spread(samples[name])
            for kind, samples in (("ordinary", without), ("penalised", with_penalty))
            if name in samples
        }
        found[name] = {"first_seconds": first[name], "seconds": _mean(kinds, step.every)} | kinds
    found["ratio"] = _ratio(found, list(steps), without)
    return found


def _mean(kinds: Mapping[str, Mapping[str, float]], every: int) -> float:
    """Seconds a step on average, from the medians of its kinds."""
    share = 1 / every if every else 0
    return sum(
        kinds[kind]["median"] * weight for kind, weight in (("penalised", share), ("ordinary", 1 - share)) if weight
    )


def _ratio(found: Mapping[str, Any], names: Sequence[str], without: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Seconds of the last over those of the first; quartiles are those of the rounds of ordinary steps,
    scaled to it."""
    first, last = names[0], names[-1]
    value = found[last]["seconds"] / found[first]["seconds"]
    if not {first, last} <= set(without):
        return {"value": value}
    rounds = spread([b / a for a, b in zip(without[first], without[last], strict=True)])
    return {
        "value": value,
        "q1": value * rounds["q1"] / rounds["median"],
        "q3": value * rounds["q3"] / rounds["median"],
        "n": rounds["n"],
    }


def measure_parts(parts: Mapping[str, Part], device: torch.device, budget: float) -> dict[str, dict[str, Any]]:
    """For each part: FLOPs, least bytes and seconds a step (with quartiles), timed in turn; counted in the
    first run."""
    counts, warm = {}, {}
    for name, part in parts.items():
        warm[name] = seconds_of(lambda name=name, part=part: counts.setdefault(name, count(part.run)), device)
    samples = interleave({name: part.run for name, part in parts.items()}, device, budget, warm=warm)
    found = {}
    for name, part in parts.items():
        times = spread([second * part.per_step for second in samples[name]])
        found[name] = {
            "per_step": part.per_step,
            "flops": counts[name].flops * part.per_step,
            "bytes": counts[name].bytes * part.per_step,
            "seconds": times,
        }
    return found


def step_parts(step: Step, budget: float) -> dict[str, dict[str, Any]]:
    """`measure_parts` of stage 1, with the least bytes of the update."""
    found = measure_parts(GanParts(step).all(), step.fabric.device, budget)
    trainer = step.trainer
    found["optimiser"]["bytes"] = optimiser_bytes([trainer.g_optim, trainer.d_optim], trainer.ema)
    return found


def along(config: Config, axis: str, value: int) -> Config:
    """`config` with another image size (all resolutions in proportion), number of parts, or batch size."""
    if axis == "parts":
        return config.replace({"generator.parts": value})
    if axis == "batch":
        return config.replace({"optim.batch_size": value})
    if axis != "size":
        raise UserError(f"--sweep {axis}: it is {', '.join(AXES)}, or one with its values, as in size=64,128")
    sizes = tuple(s * value // config.data.size for s in config.generator.block_sizes)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, size=value),
        generator=dataclasses.replace(config.generator, block_sizes=sizes),
    )


def values_of(config: Config, axis: str) -> tuple[int, ...]:
    """Half, once and twice what `config` has."""
    middle = {
        "size": config.data.size,
        "parts": config.generator.parts,
        "batch": config.optim.batch_size,
    }.get(axis, 0)
    return tuple(v for v in (middle // 2, middle, 2 * middle) if v)


def sweep(
    settings: Sequence[Setting], axis: str, device: str, budget: float, values: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Seconds a step of each setting along `axis`, `budget` seconds a point: rows with `axis`, `value`,
    `label`, `seconds`, `images_per_second`."""
    rows = []
    for value in values or values_of(settings[0].config, axis):
        steps = {s.label: Step(dataclasses.replace(s, config=along(s.config, axis, value)), device) for s in settings}
        found = compare(steps, budget, least=2)
        rows += [
            {
                "axis": axis,
                "value": value,
                "label": name,
                "seconds": found[name]["seconds"],
                "images_per_second": step.config.optim.batch_size / found[name]["seconds"],
            }
            for name, step in steps.items()
        ]
    return rows
