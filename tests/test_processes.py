"""Training on two processes: the losses and networks of one process with the same batch, and one writer of files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = """
import sys
import torch
from test_training import MINUTE, Noise
from ganseg.devices import make_fabric
from ganseg.loop import Clock, fit
from ganseg.training import GanTrainer, SegmenterTrainer

if __name__ == "__main__":
    folder, processes, precision = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    fabric = make_fabric("cpu", devices=processes, precision=precision)
    trainer = GanTrainer(MINUTE.replace({"losses.penalty_every": 2}), fabric, Noise(MINUTE))
    history = [trainer.step(t) for t in range(4)]
    values = {k: torch.stack([v[k] for v in history if k in v]) for k in history[0]}
    losses = {k: fabric.all_reduce(each, reduce_op="mean") for k, each in values.items()}
    modules = {n: getattr(trainer, n).state_dict() for n in ("generator", "discriminator", "ema")}
    stage2 = SegmenterTrainer(MINUTE, fabric, trainer.result)
    for layer in stage2.s.module.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
    segmentation = torch.stack([stage2.step(t)["segmentation"] for t in range(2)])
    losses["segmentation"] = fabric.all_reduce(segmentation, reduce_op="mean")
    own = [v["d"] for v in history]
    torch.manual_seed(0)
    with torch.no_grad():
        scene = trainer.result.eval()(trainer.result.noise(4))
    torch.save((losses, modules, own, (scene.image, scene.masks)), f"{folder}/{processes}-{fabric.global_rank}.pt")
    if processes > 1:
        fit(stage2, 2, __import__("pathlib").Path(folder) / "run", Clock(), progress=False)
        print("writes" if fabric.is_global_zero else "waits")
"""


def train(folder: Path, processes: int, precision: str = "32-true") -> list[tuple]:
    """Run the script on so many processes, started as a cluster would; what each of them found."""
    script, tests = folder / "train.py", Path(__file__).parent
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {
        "PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "NODE_RANK": "0",
    }
    command = [sys.executable, script, folder, str(processes), precision]
    started = [
        subprocess.Popen(
            command,
            env=env | ({"LOCAL_RANK": str(rank)} if processes > 1 else {}),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(processes)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * processes, outputs
    return [torch.load(folder / f"{processes}-{rank}.pt") for rank in range(processes)]


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple, list[tuple], Path]:
    folder = tmp_path_factory.mktemp("processes")
    return train(folder, 1)[0], train(folder, 2), folder


def test_two_processes_have_the_losses_of_one_with_the_same_global_batch(one_and_two: tuple) -> None:
    (losses, *_), both, _ = one_and_two
    assert losses.keys() == {"d", "gp", "g", "con", "area", "foreground", "segmentation"}
    for name, wanted in losses.items():
        for found, *_ in both:
            torch.testing.assert_close(
                found[name],
                wanted,
                rtol=2e-4 if name != "segmentation" else 1e-3,
                atol=2e-5,
                msg=lambda text, name=name: f"{name}: {text}",
            )


def test_two_processes_end_with_the_averaged_generator_and_the_statistics_of_one(one_and_two: tuple) -> None:
    (_, modules, _, scene), both, _ = one_and_two
    for _, found, _, other in both:
        for name, wanted, ours in zip(("image", "masks"), scene, other, strict=True):
            torch.testing.assert_close(ours, wanted, rtol=0, atol=2e-3, msg=lambda text, name=name: f"{name}: {text}")
        for name, wanted in modules["generator"].items():
            if "running" in name:
                torch.testing.assert_close(found["generator"][name], wanted, rtol=1e-2, atol=1e-2)


def test_each_process_sees_its_own_images_and_both_keep_identical_networks(one_and_two: tuple) -> None:
    _, ((_, first, own, _), (_, second, other, _)), _ = one_and_two
    assert not torch.equal(torch.stack(own), torch.stack(other))
    assert all(torch.equal(first[n][k], second[n][k]) for n in first for k in first[n])


def test_one_process_writes_the_files(one_and_two: tuple) -> None:
    run = one_and_two[2] / "run"
    assert {path.name for path in run.rglob("*") if path.is_file()} == {"segmenter.safetensors", "history.csv"}
