"""What a step costs: counts against arithmetic, ratios against steps that only wait, and the command that writes it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from commands import SETTINGS, done
from torch import nn

from ganseg import bench
from ganseg.experiments import Experiment

SMALL = SETTINGS | {"losses.penalty_every": 2}
OURS = Experiment(parts=3, overrides=SMALL)


def test_flops_and_bytes_of_layers_are_those_of_arithmetic() -> None:
    with bench.Counter() as counter:
        nn.Linear(10, 6, bias=False)(torch.randn(4, 10))
    assert counter.flops == 2 * 4 * 10 * 6 and counter.bytes == 4 * (4 * 10 + 10 * 6 + 4 * 6)
    conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    with bench.Counter() as counter:
        conv(torch.randn(2, 3, 8, 8)).sum().backward()
    assert counter.flops == 2 * (2 * 2 * 5 * 64 * 27)  # forward, and the gradient of the weights
    layer, x = nn.Linear(8, 8, bias=False), torch.randn(4, 8, requires_grad=True)
    with bench.Counter() as counter:
        (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        gradient.square().sum().backward()
    assert counter.flops > 3 * 2 * 4 * 8 * 8  # second derivatives, too


class Waiting(bench.Step):
    """A step of 2 images that lets a clock go on by `seconds`, and five times as far with the penalty."""

    def __init__(self, seconds: float, share: float, taken: list[float]) -> None:
        self.seconds, self.share, self.taken, self.batch = seconds, share, taken, 2

    def take(self, penalty: bool = False) -> None:
        self.taken.append(5 * self.seconds if penalty else self.seconds)


def test_the_penalty_counts_by_its_share_and_the_ratio_is_that_of_the_first_to_the_last(monkeypatch):
    taken: list[float] = []
    monkeypatch.setattr(bench, "clock", lambda: sum(taken))
    rates, ratio = bench.compare({"fast": Waiting(1, 1 / 4, taken), "slow": Waiting(3, 0, taken)}, 0)
    assert rates == pytest.approx({"fast": 2 / 2, "slow": 2 / 3})  # 3 of 4 fast steps take 1, one takes 5
    assert [ratio[key] for key in ("q1", "value", "q3")] == pytest.approx([3 / 2] * 3)
    assert taken[:4] == [5, 15] * 2 and taken[-4:] == [1, 3] * 2  # in turn


def test_steps_have_the_penalty_when_they_are_asked_to() -> None:
    step, seen = bench.Step(OURS.config, "cpu"), []
    whole = step.trainer.step
    step.trainer.step = lambda t: seen.append("gp" in whole(t))
    step.take(), step.take(), step.take(True), step.take()
    assert seen == [False, False, True, False]


def test_another_setting_has_what_its_words_say_and_else_is_as_ours() -> None:
    other = bench.other("optim.share_fakes=false optim.precision=32-true", OURS)
    assert other.config == OURS.config.replace({"optim.share_fakes": False, "optim.precision": "32-true"})
    assert bench.other("released", OURS) == replace(OURS, variant="released")


def test_the_command_writes_a_report_with_rates_shares_and_the_ratio_among_the_results(tmp_path: Path) -> None:
    words = [f"--set={name}={value}" for name, value in SMALL.items()]
    quick = ["--parts=3", "--seconds=0", "--device=cpu", "--results", tmp_path]
    printed = done("bench --against 'released optim.batch_size=2'", *words, *quick).stdout
    (path,) = (tmp_path / "tiny" / "bench").iterdir()
    assert path.name == "cpu-synthetic-bird-paper-vs-released-optim.batch_size-2.json"
    assert "images/s" in printed and "released" in printed
    report = json.loads(path.read_text())
    ours, half = report["settings"].values()
    assert (ours["size"], report["scale"], half["batch_size"]) == (16, "tiny", 2)
    assert ours["images_per_second"] == pytest.approx(4 / ours["seconds"])
    rate = ours["flops"] / ours["seconds"]
    matmul = report["ceilings"]["matmul_bf16-mixed" if "bf16" in ours["precision"] else "matmul_32-true"]
    assert ours["share_of_matmul"] == pytest.approx(rate / matmul)
    times = report["ratio"]["images_per_second"]
    assert times["q1"] <= times["value"] <= times["q3"]
