"""The benchmark: the plain formulation computes what ours does; counts are exact; times are interleaved;
reports say all that."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ganseg.bench.counting import count, optimiser_bytes
from torch import nn
from typer.testing import CliRunner

from ganseg.bench import figures, gains, inference, measure, memory, parts, report, steps, timing
from ganseg.cli import app
from ganseg.config import Config
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.recipes import resolve

CPU = torch.device("cpu")
SMALL = {
    "data.size": 16,
    "generator.block_sizes": (8, 16),
    "generator.block_widths": (8, 8),
    "generator.noise_dim": 8,
    "generator.spade_hidden": 8,
    "discriminator.widths": (8, 8),
    "discriminator.hidden": 8,
    "optim.batch_size": 2,
    "segmenter.batch_size": 2,
}


def small(variant: str = "paper") -> Config:
    return resolve("synthetic-bird", variant, "tiny", 3, overrides=SMALL)


@pytest.fixture(scope="module")
def ours() -> steps.Setting:
    return steps.Setting("ours", small(), "32-true")


@pytest.fixture(scope="module")
def plain(ours: steps.Setting) -> steps.Setting:
    return steps.other("plain", ours, "synthetic-bird", "tiny", 3, SMALL)


def test_flops_and_bytes_of_a_convolution_are_exact() -> None:
    layer, x = nn.Conv2d(4, 8, 3, padding=1), torch.rand(2, 4, 10, 10)
    counted = count(lambda: layer(x))
    assert counted.flops == 2 * 2 * 8 * 10 * 10 * 4 * 9
    assert counted.bytes == 4 * (2 * 4 * 100 + 8 * 4 * 9 + 8 + 2 * 8 * 100)
    both = count(lambda: layer(x).sum().backward())
    assert both.flops == 2 * counted.flops  # x needs no gradient


def test_bytes_of_an_update_are_weights_gradients_moments_and_steps() -> None:
    layer = nn.Linear(10, 10)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.rand(1, 10)).sum().backward()
    optimizer.step()
    assert optimiser_bytes([optimizer]) == 4 * (4 * 110 + 2)
    assert optimiser_bytes([optimizer], averaged=layer) == 4 * (5 * 110 + 2)


def test_a_plain_step_does_the_generator_twice_and_ours_once(ours: steps.Setting, plain: steps.Setting) -> None:
    found = {s.label: measure.step_parts(steps.Step(s, "cpu"), 0) for s in (ours, plain)}
    assert [found[name]["generator"]["per_step"] for name in found] == [1, 2]
    assert found["plain"]["generator"]["flops"] > 1.5 * found["ours"]["generator"]["flops"]
    assert found["ours"]["penalty"]["per_step"] == 1 / 16 and found["ours"]["penalty"]["flops"] > 0
    assert all(part["seconds"]["median"] > 0 for row in found.values() for part in row.values())
    again = steps.Setting("again", ours.config.replace({"optim.share_fakes": False}), "32-true")
    assert "fakes" in parts.GanParts(steps.Step(again, "cpu")).all()


def test_runs_are_timed_in_turn_after_one_that_does_not_count() -> None:
    calls: list[str] = []
    samples = timing.interleave({name: lambda name=name: calls.append(name) for name in "AB"}, CPU, budget=0, least=3)
    assert "".join(calls) == "AB" + "ABABAB"
    assert [len(s) for s in samples.values()] == [3, 3]


def test_steps_with_and_without_penalty_count_as_often_as_they_occur() -> None:
    def step(milliseconds: float) -> Any:
        wait = lambda factor: lambda: time.sleep(factor * milliseconds / 1e3)
        return SimpleNamespace(every=4, ordinary=wait(1), penalised=wait(5), fabric=SimpleNamespace(device=CPU))

    found = measure.compare({"fast": step(4), "slow": step(12)}, budget=0.2)
    assert found["fast"]["seconds"] == pytest.approx((3 * 4 + 5 * 4) / 4e3, rel=0.3)
    assert found["ratio"]["value"] == pytest.approx(3, rel=0.3)
    assert (
        found["ratio"]["q1"] <= found["ratio"]["value"] * 1.001
        and found["ratio"]["q3"] >= found["ratio"]["value"] * 0.999
    )


def test_only_penalised_steps_have_the_penalty(ours: steps.Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    step, taken = steps.Step(ours, "cpu"), []
    monkeypatch.setattr(step.trainer, "step", taken.append)
    for _ in range(40):
        step.ordinary()
    assert all(t % 16 for t in taken) and len({t % 2 for t in taken}) == 2
    taken.clear()
    step.penalised()
    assert taken[0] % 16 == 0


def test_what_to_compare_with_is_a_variant_or_settings(ours: steps.Setting) -> None:
    arguments = ("synthetic-bird", "tiny", 3, SMALL)
    changed = steps.other("optim.share_fakes=false precision=32-true", ours, *arguments)
    assert changed.config == ours.config.replace({"optim.share_fakes": False}) and changed.precision == "32-true"
    assert steps.other("released", ours, *arguments).config == small("released")
    with pytest.raises(UserError, match="write plain, or a variant"):
        steps.other("released paper", ours, *arguments)


def test_a_sweep_scales_all_resolutions(ours: steps.Setting) -> None:
    larger = measure.along(ours.config, "size", 32)
    assert (larger.data.size, larger.generator.block_sizes) == (32, (16, 32))
    rows = measure.sweep([ours], "batch", "cpu", 0, (1, 2))
    assert [(row["axis"], row["value"]) for row in rows] == [("batch", 1), ("batch", 2)]
    assert all(row["images_per_second"] == pytest.approx(row["value"] / row["seconds"]) for row in rows)


def test_a_gain_is_measured_only_where_there_is_something_to_switch_off(ours: steps.Setting) -> None:
    seen: list[bool] = []
    chosen = [
        gains.Gain("shared fakes", "one batch", {"optim.share_fakes": False}),
        gains.Gain("nothing", "is as it was", {"optim.share_fakes": True}),
        gains.Gain("fp32", "is on", precision="32-true"),
        gains.Gain("fused Adam", "fused", adjust=lambda trainer: seen.append(trainer.g_optim is not None)),
    ]
    rows = gains.measure_gains(ours, "cpu", 0, chosen)
    assert [row["name"] for row in rows] == ["shared fakes", "fused Adam"] and seen == [True]
    assert all(row["ratio"]["value"] == pytest.approx(row["before"] / row["after"]) for row in rows)


def test_memory_of_a_cpu_step_holds_gradients_and_moments(ours: steps.Setting) -> None:
    peak = memory.peak_memory(ours, CPU)
    weights = sum(p.numel() for p in Generator(ours.config.generator).parameters())
    assert peak["bytes"] > 3 * 4 * weights and "fresh process" in peak["how"]
    assert memory.peak_memory(ours, torch.device("meta"))["bytes"] is None


def test_inference_tells_files_from_network(ours: steps.Setting) -> None:
    found = inference.measure_inference(ours, "cpu", count=4)
    assert found["images"] == 4 and 0 < found["whole"] < 1.5 * min(found["files"], found["network"])


def bench(*words: str) -> Any:
    return CliRunner().invoke(app, ["bench", "-K", "3", *(f"--set={k}={v}" for k, v in SMALL.items()), *words])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a command that compares ours with the plain step."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MATMUL_SIZES", {"cpu": (256,)})
        patch.setattr(timing, "COPY_BYTES", {"cpu": 2**20})
        done = bench(
            "--against",
            "plain",
            "--seconds",
            "0",
            "--what",
            "step,parts,segmenter,gains",
            "--sweep",
            "batch=1,2",
            "--results",
            str(folder),
            "--device",
            "cpu",
        )
    assert done.exit_code == 0, done.output
    path = Path(done.stdout.strip().splitlines()[-1])
    assert path == folder / "tiny" / "bench" / "cpu-synthetic-bird-paper-vs-plain.json"
    return path


def test_the_command_writes_a_small_report_with_its_provenance(written: Path) -> None:
    found = json.loads(written.read_text())
    assert written.stat().st_size < 50_000 and found["overrides"]["data.size"]
    assert {"commit", "device", "threads", "torch", "date"} <= set(found["provenance"])
    mine, other = found["settings"]["ours"], found["settings"]["plain"]
    assert found["ratio"]["images_per_second"]["value"] == pytest.approx(
        mine["images_per_second"] / other["images_per_second"], rel=1e-3
    )
    ceiling = found["ceilings"]["matmul_32-true"]
    assert other["share_of_matmul"] == pytest.approx(other["flops"] / other["seconds"] / ceiling, rel=1e-3)
    assert set(found["segmenter"]) == {"pairs", "segmenter"} and found["gains"]
    assert [row["label"] for row in found["sweeps"]] == ["ours", "plain"] * 2


def test_reports_are_found_and_drawn(written: Path) -> None:
    (written.parent / "tried.json").write_text(json.dumps({"tried": [{"what": "a"}]}))
    found = report.reports(written.parents[2])
    assert list(found) == ["tiny/cpu-synthetic-bird-paper-vs-plain"]
    assert report.tried(written.parents[2]) == [{"what": "a", "scale": "tiny"}]
    times = figures.times(found)
    (panel,) = figures.parts_figure(times).axes
    bars = [sum(p.get_width() for p in panel.patches if abs(p.get_y() + p.get_height() / 2 - y) < 0.1) for y in (0, 1)]
    assert bars == pytest.approx(times.groupby("setting")["milliseconds"].sum().tolist())
    assert [len(ax.lines) for ax in figures.sweep_figure(figures.sweeps(found)).axes] == [2]
    assert len(figures.roofline_figure(found).axes[0].lines) == 4
    ((_, whole),) = found.items()
    uncounted = {label: {k: v for k, v in row.items() if k != "flops"} for label, row in whole["settings"].items()}
    assert len(figures.roofline_figure(found | {"uncounted": whole | {"settings": uncounted}}).axes) == 1
    assert (
        figures.ratios(found)["value"].iloc[0]
        == found["tiny/cpu-synthetic-bird-paper-vs-plain"]["ratio"]["images_per_second"]["value"]
    )


def test_costs_are_means_over_runs_of_a_kind() -> None:
    common = {
        "scale": "tiny",
        "data": "flowers",
        "variant": "paper",
        "device": "d",
        "threads": 1,
        "steps": 600,
    }
    runs = [
        SimpleNamespace(provenance=common | {"seconds_gan": s, "seconds_segmenter": 60, "seconds_evaluation": 0})
        for s in (60, 180)
    ]
    (row,) = figures.costs(runs).to_dict("records")
    assert (row["runs"], row["gan"], row["minutes"]) == (2, 2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sweep", "colour"), "write size, parts or batch"),
        (("--what", "colour"), "it is any of step, parts"),
        (("--against", "nobody"), "unknown variant 'nobody'"),
        (("--device", "abacus"), "it is auto, cpu, cuda or mps"),
    ],
)
def test_mistakes_are_told(words: tuple[str, ...], message: str) -> None:
    done = bench(*words)
    assert done.exit_code == 2 and message in done.output
