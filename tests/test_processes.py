"""Training on two processes: the same weights on both, each its own images, and one writer of files."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import ROOT, WARM
from test_training import MINUTE, Noise

from ganseg.devices import make_fabric
from ganseg.loop import fit
from ganseg.training import GanTrainer, SegmenterTrainer


def train(folder: Path, processes: int) -> None:
    """What each process does, and writes down."""
    fabric = make_fabric("cpu", devices=processes, precision="32-true")
    trainer = GanTrainer(MINUTE, fabric, Noise(MINUTE))
    losses = [{k: v.item() for k, v in trainer.step(t).items()} for t in range(4)]
    stage2 = SegmenterTrainer(MINUTE.replace({"segmenter.batch_size": 4}), fabric, trainer.result())
    fit(stage2, 2, folder / f"run-{processes}", progress=False)
    networks = (trainer.generator, trainer.discriminator, trainer.ema, stage2.segmenter)
    torch.save((losses, [list(n.parameters()) for n in networks]), folder / f"{processes}-{fabric.global_rank}.pt")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple], Path]:
    """What two processes found that were started as a cluster would start them."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "import sys; sys.path[:0] = 'tests', '.'; from test_processes import Path, train; "
    code += f"train(Path({str(folder)!r}), 2)"
    known = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "CUDA_VISIBLE_DEVICES": ""}
    environments = [os.environ | known | {"LOCAL_RANK": str(rank)} for rank in range(2)]
    started = [subprocess.Popen([*WARM[:2], "-c", code], cwd=ROOT, env=environment) for environment in environments]
    assert [process.wait(300) for process in started] == [0, 0]
    return [torch.load(folder / f"2-{rank}.pt") for rank in range(2)], folder


def test_both_processes_keep_identical_weights_and_see_their_own_images(both: tuple[list[tuple], Path]) -> None:
    (own, first), (other, second) = both[0]
    pairs = zip(sum(first, []), sum(second, []), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [step["d"] for step in own] != [step["d"] for step in other]


def test_the_mean_gradient_is_that_of_the_whole_batch(both: tuple[list[tuple], Path]) -> None:
    """D has no batch statistics: its loss, averaged over the processes, is that of one process in the first step."""
    train(both[1], 1)
    alone, _ = torch.load(both[1] / "1-0.pt")
    halves = [losses[0]["gp"] for losses, _ in both[0]]
    assert sum(halves) / 2 == pytest.approx(alone[0]["gp"], rel=1e-4)


def test_one_process_writes_the_files(both: tuple[list[tuple], Path]) -> None:
    run = both[1] / "run-2"
    assert {path.name for path in run.rglob("*") if path.is_file()} == {"segmenter.pt", "history.csv"}
