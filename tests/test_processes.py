"""Training on several processes: each sees its own images and all keep the same networks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

TWO_PROCESSES = """
import sys
import torch
from test_training import MINUTE, Noise
from ganseg.devices import make_fabric
from ganseg.training import GanTrainer

if __name__ == "__main__":
    fabric = make_fabric("cpu", devices=2, precision="bf16-mixed")
    trainer = GanTrainer(MINUTE, fabric, Noise())
    values = [trainer.step(t) for t in range(3)][-1]
    parameters = {f"{n}.{k}": p.detach() for n in ("generator", "discriminator", "ema") for k, p in getattr(trainer, n).named_parameters()}
    torch.save((parameters, values["d"], trainer.batch_size), f"{sys.argv[1]}/rank{fabric.global_rank}.pt")
"""


def test_two_processes_keep_identical_parameters(tmp_path: Path) -> None:
    script, tests = tmp_path / "train.py", Path(__file__).parent
    script.write_text(TWO_PROCESSES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | {"PYTHONPATH": f"{tests.parent}{os.pathsep}{tests}", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
                        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    both = [subprocess.Popen([sys.executable, script, tmp_path], env=env | {"LOCAL_RANK": str(rank)}, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for rank in (0, 1)]  # started as a cluster would
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    (first, loss, batch), (second, other_loss, _) = (torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1))
    assert batch == 2
    assert not torch.equal(loss, other_loss), "each process must see its own images"
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
