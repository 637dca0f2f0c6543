"""The package computes what it computed at commit 297c1f5: references frozen from that code (tests/golden/frozen.json).

`python tests/test_unchanged.py` writes them again from the code that is imported. A tensor is kept as its norm and its
product with a fixed random vector. Where numbers change on purpose, say so in the commit that writes them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from typer.main import get_command

from ganseg import find_runs, losses
from ganseg.cli import app
from ganseg.config import Config
from ganseg.data import Batches, load
from ganseg.discriminator import Discriminator
from ganseg.evaluation import evaluate
from ganseg.generator import Generator
from ganseg.recipes import DIFFERENCES, OPTIONS, SCALES, resolve
from ganseg.segmenter import Segmenter
from ganseg.training import GanTrainer

ROOT = Path(__file__).resolve().parent.parent
FROZEN = ROOT / "tests" / "golden" / "frozen.json"
DRAWN = ("synthetic-bird", "synthetic-face")
DATA = ("synthetic-bird", "flowers", "cub", "celeba-wild", "taichi")
VARIANTS = ("paper", "released", *(f"paper+{name}" for name in (*DIFFERENCES, *OPTIONS)))
SMALL = {
    "data.size": 32, "generator.block_sizes": (16, 32), "generator.block_widths": (16, 16), "optim.batch_size": 4,
    "discriminator.widths": (16, 32), "losses.penalty_every": 2, "data.train_limit": 60, "data.test_limit": 50,
}  # fmt: skip


def digest(value: Any) -> str:
    content = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def summary(tensor: torch.Tensor) -> list[float]:
    """Norm, and the product with a fixed vector of variance 1 an entry, which is about as large."""
    values = tensor.detach().float().flatten()
    probe = torch.randn(len(values), generator=torch.Generator().manual_seed(len(values)))
    return [values.norm().item(), (values @ probe).item()]


def build(variant: str, scale: str = "laptop", **more: Any) -> tuple[Config, Generator, Discriminator]:
    """The networks of a variant at 32 px in two narrow blocks, or as scale laptop has them, from seed 0."""
    plain = variant.replace("+imagenet-segmenter", "")
    config = resolve("synthetic-bird", plain, scale, overrides={**SMALL, **more} if more or scale != "laptop" else {})
    torch.manual_seed(0)
    return config, Generator(config.generator), Discriminator(config.discriminator, config.data.size)


def configurations(scale: str) -> dict[str, str]:
    return {f"{d}/{v}": digest(resolve(d, v, scale).to_dict()) for d in DATA for v in VARIANTS}


def weights(variant: str) -> dict[str, str]:
    """Names, shapes and values of what a training begins with."""
    config, generator, discriminator = build(variant)
    states = {"generator": generator.state_dict(), "discriminator": discriminator.state_dict()}
    named = {k: [(n, list(t.shape), digest(t.numpy().tobytes())) for n, t in s.items()] for k, s in states.items()}
    return {name: digest(value) for name, value in named.items()}


def scenes(variant: str) -> dict[str, Any]:
    """Every field of a scene in both modes, and the gradients of the objective in train mode."""
    config, generator, discriminator = build(variant, "tiny")
    noise, found = generator.noise(3, torch.Generator().manual_seed(1)), {}
    with torch.no_grad():
        evaluated = generator.eval()(noise)
    found["eval"] = {name: summary(value) for name, value in evaluated._asdict().items()}
    trained = generator.train()(noise)
    found["train"] = {name: summary(value) for name, value in trained._asdict().items()}
    loss = losses.generator_loss(discriminator(trained.image)) + trained.masks[:, 1:].square().mean()
    loss.backward()
    gradients = {n: p.grad for n, p in generator.named_parameters() if p.grad is not None}
    return found | {"gradients": {name: summary(value) for name, value in gradients.items()}}


def steps(count: int, precision: str = "32-true") -> list[dict[str, float]]:
    """Losses of the first steps of stage 1 on drawn birds."""
    config = resolve("synthetic-bird", "paper", "tiny", overrides=SMALL)
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    images = load("synthetic-bird", "train", 32, limit=60)
    trainer = GanTrainer(config, fabric, Batches(images, 4, 0, "flip", fabric.device))
    return [{name: float(value) for name, value in trainer.step(t).items()} for t in range(count)]


def metrics(data: str) -> dict[str, Any]:
    """All scores of an untrained segmentation network on 50 images."""
    slim = {"segmenter.backbone": "resnet18-light", "segmenter.output_stride": 4}
    config = resolve(data, "paper", "tiny", overrides={**SMALL, **slim})
    torch.manual_seed(0)
    network, generator = Segmenter(config.segmenter, config.generator.parts), Generator(config.generator)
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return evaluate(config, network.eval(), fabric, None, generator=generator.eval())


def images(data: str, size: int) -> dict[str, str]:
    split = load(data, "test", size, limit=64)
    arrays = {name: getattr(split, name) for name in ("images", "foreground", "parts", "keypoints", "visible")}
    return {name: digest(np.ascontiguousarray(array).tobytes()) for name, array in arrays.items()}


def commands() -> dict[str, list[str]]:
    """Every command with its options and arguments."""

    def below(group: Any, prefix: str) -> dict[str, list[str]]:
        found = {}
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                found |= below(command, f"{prefix}{name} ")
            else:
                found[f"{prefix}{name}"] = sorted(max(p.opts, key=len) for p in command.params)
        return found

    return below(get_command(app), "")


def runs() -> list[list[str]]:
    """The committed runs that are found, with what identifies each."""
    keys = ("data", "variant", "parts", "seed", "scale", "commit", "finished")
    found = find_runs(ROOT / "results", own_settings=True, older=True)
    facts = [[run.directory.name, digest([run.provenance[k] for k in keys]), digest(run.metrics)] for run in found]
    return sorted(facts)


CASES: dict[str, Callable[[], Any]] = {
    **{f"G1 configurations {s}": lambda s=s: configurations(s) for s in SCALES if s != "tiny"},
    **{f"G2 weights {v}": lambda v=v: weights(v) for v in VARIANTS if "imagenet" not in v},
    **{f"G3, G4 scenes {v}": lambda v=v: scenes(v) for v in VARIANTS if "imagenet" not in v},
    "G5 steps": lambda: steps(6),
    **{f"G6 metrics {d}": lambda d=d: metrics(d) for d in DRAWN},
    **{f"G7 images {d} {s}": lambda d=d, s=s: images(d, s) for d in DRAWN for s in (32, 48, 128)},
    "G8 commands": commands,
    "G9 runs": runs,
}  # fmt: skip
TOLERANCES = {"G3": 1e-5, "G5": 1e-3, "G6": 1e-5}


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{path}/{key}").items()}
    if isinstance(value, list):
        return {k: v for i, item in enumerate(value) for k, v in leaves(item, f"{path}/{i}").items()}
    return {path: value}


@pytest.mark.parametrize("case", CASES)
def test_the_package_computes_what_it_computed(case: str) -> None:
    frozen, now = leaves(json.loads(FROZEN.read_text())[case]), leaves(json.loads(json.dumps(CASES[case]())))
    assert frozen.keys() == now.keys()
    largest = max((v for name, v in frozen.items() if "/gradients/" in name), default=0)
    wrong = {}
    for name, value in frozen.items():
        if isinstance(value, float):
            size = abs(frozen[f"{name[:-2]}/0"]) if name.endswith("/1") else abs(value)  # a product's size is the norm
            within = 1e-4 * largest if "/gradients/" in name else TOLERANCES[case[:2]] * max(size, 1e-3)
            wrong |= {} if abs(now[name] - value) <= within else {name: (value, now[name])}
        elif now[name] != value:
            wrong[name] = (value, now[name])
    assert not wrong


def test_the_first_steps_losses_in_bf16_are_close_to_those_in_fp32() -> None:
    (full,), (half,) = steps(1), steps(1, "bf16-mixed")
    assert half.keys() == full.keys() >= {"d", "gp", "g", "con", "area"}
    for name, value in full.items():
        assert half[name] == pytest.approx(value, rel=0.02, abs=1e-3), name


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {name: case() for name, case in CASES.items()}
    FROZEN.write_text(json.dumps(found, separators=(",", ":"), sort_keys=True).replace('},"G', '},\n"G') + "\n")
