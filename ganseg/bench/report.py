"""One benchmark as one JSON file: results/<scale>/bench/NAME.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganseg import provenance
from ganseg.bench.gains import measure_gains
from ganseg.bench.inference import measure_inference
from ganseg.bench.measure import compare, measure_parts, step_parts, sweep
from ganseg.bench.memory import peak_memory
from ganseg.bench.parts import segmenter_parts, weights
from ganseg.bench.steps import Setting, Step, launch
from ganseg.bench.timing import ceilings
from ganseg.files import UserError, read_json, results_dir, write_json

WHAT = ("step", "parts", "memory", "segmenter", "gains", "inference")
USUAL = ("step", "parts", "memory", "segmenter")


def measure(
    settings: Sequence[Setting],
    device: str = "auto",
    seconds: float = 10,
    what: Iterable[str] = USUAL,
    sweeps: Mapping[str, Sequence[int]] | None = None,
    **about: Any,
) -> dict[str, Any]:
    """Measure the first of `settings`, and compare it with the second where there is one.

    `seconds`: for each measurement, about; slow steps are taken a few times in any case. `what`: any of
    `WHAT`. `sweeps`: axis -> values, or none for half, once and twice. `about` is written at the top. See
    `compare`, `step_parts` and `peak_memory` for what each number is.
    """
    what = set(what)
    if unknown := what - set(WHAT):
        raise UserError(f"--what {','.join(sorted(unknown))}: it is any of {', '.join(WHAT)}")
    place = launch(settings[0], device).device
    report: dict[str, Any] = {
        **about,
        "seconds": seconds,
        "provenance": provenance.git_state() | provenance.describe_machine(place),
    }
    report["ceilings"] = ceilings(place)
    memory = {s.label: peak_memory(s, place) for s in settings} if "memory" in what else {}
    report["settings"] = _steps(settings, device, seconds, what, report)
    for label, peak in memory.items():
        report["settings"][label]["memory"] = peak
    if "segmenter" in what:
        report["segmenter"] = measure_parts(segmenter_parts(settings[0], device), place, seconds)
    if "gains" in what:
        report["gains"] = measure_gains(settings[0], device, seconds)
    if "inference" in what:
        report["inference"] = measure_inference(settings[0], device)
    report["sweeps"] = [
        row for axis, values in (sweeps or {}).items() for row in sweep(settings, axis, device, seconds, values)
    ]
    if len(settings) > 1:
        report["ratio"] = _ratios(report, [s.label for s in settings[:2]])
    return report


def _steps(
    settings: Sequence[Setting], device: str, seconds: float, what: set[str], report: dict[str, Any]
) -> dict[str, Any]:
    """Whole steps and their parts, by label; the compared times go to `report`."""
    steps = {s.label: Step(s, device) for s in settings}
    if len(steps) < len(settings):
        raise UserError(f"--against {settings[-1].label!r} is what is measured anyway")
    times = compare(steps, seconds * len(steps)) if "step" in what else {}
    report["step_ratio"] = times.pop("ratio", None)
    found = {}
    for label, step in steps.items():
        row = {
            "kind": step.setting.kind,
            "precision": step.precision,
            "batch_size": step.config.optim.batch_size,
            "size": step.config.data.size,
            "parameters": sum(p.numel() for p in weights(step.trainer.g)),
        }
        row |= times.get(label, {})
        if "parts" in what:
            row["parts"] = step_parts(step, seconds)
        found[label] = row | _rates(row, report["ceilings"])
    return found


def _rates(row: Mapping[str, Any], limits: Mapping[str, float]) -> dict[str, float]:
    """Images/s, and the shares of the device's ceilings."""
    if "seconds" not in row:
        return {}
    rates = {"images_per_second": row["batch_size"] / row["seconds"], "steps_per_second": 1 / row["seconds"]}
    if "parts" in row:
        flops, moved = (sum(part[kind] for part in row["parts"].values()) for kind in ("flops", "bytes"))
        ceiling = limits["matmul_bf16-mixed" if "bf16" in row["precision"] else "matmul_32-true"]
        rates |= {
            "flops": flops,
            "bytes": moved,
            "share_of_matmul": flops / row["seconds"] / ceiling,
            "share_of_copy": moved / row["seconds"] / limits["copy"],
        }
    return rates


def _ratios(report: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    """How many times the images/s of the second setting the first makes, and its part of the second's peak
    memory."""
    ours, other = (report["settings"][label] for label in labels)
    ratios: dict[str, Any] = {"of": list(labels)}
    if report["step_ratio"]:
        batches = ours["batch_size"] / other["batch_size"]
        ratios["images_per_second"] = {k: v if k == "n" else v * batches for k, v in report["step_ratio"].items()}
    peaks = [row.get("memory", {}).get("bytes") for row in (ours, other)]
    if all(peaks):
        ratios["peak_memory"] = peaks[0] / peaks[1]
    return ratios


def save(report: Mapping[str, Any], path: str | Path) -> Path:
    """Write the report, numbers with 6 digits."""
    write_json(path, _rounded(report))
    return Path(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def reports(results: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """The reports in `results`, of all scales, by `<scale>/NAME`."""
    paths = sorted(results_dir(results).glob("*/bench/*.json"))
    read = {f"{path.parent.parent.name}/{path.stem}": read_json(path) for path in paths}
    return {name: report for name, report in read.items() if isinstance(report, dict) and "settings" in report}


def tried(results: str | Path | None = None) -> list[dict[str, Any]]:
    """What was tried and did not pay: the `tried` of every results/<scale>/bench/tried.json."""
    found = []
    for path in sorted(results_dir(results).glob("*/bench/tried.json")):
        content = read_json(path)
        found += [row | {"scale": path.parent.parent.name} for row in content["tried"]]
    return found


def versions(results: str | Path | None = None) -> list[dict[str, Any]]:
    """Comparisons with earlier versions of this package: every results/<scale>/bench/versions.json."""
    return [read_json(path) for path in sorted(results_dir(results).glob("*/bench/versions.json"))]


def default_name(device: str, data: str, variant: str, against: str | None) -> str:
    """A file name: the kind of device, what was measured, and against what."""
    words = [device, data, variant, *(["vs", *against.split()] if against else [])]
    return "-".join("".join(c if c.isalnum() or c in "._" else "-" for c in word) for word in words)
