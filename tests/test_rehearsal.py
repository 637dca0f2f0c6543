"""A GPU rehearsed without one: whole steps on the device `meta`, forward passes on fake CUDA tensors.

Both have shapes and devices but no values: mixing devices raises, and so does whatever makes the host wait for a value.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from ganseg import loop
from ganseg.config import Config
from ganseg.data import Batches, Split
from ganseg.devices import Replayed, make_fabric
from ganseg.generator import Generator
from ganseg.recipes import INGREDIENTS, resolve
from ganseg.segmenter import Segmenter
from ganseg.training import GanTrainer, SegmenterTrainer

BEYOND, SIZES = "+".join(("plus", *INGREDIENTS)), ("laptop", "paper")  # at gpu: the networks of paper
EXPERIMENTS = [*((variant, scale) for variant in ("paper", "released") for scale in SIZES), (BEYOND, "laptop")]


def configured(variant: str, scale: str) -> Config:
    return resolve("flowers", variant, scale, overrides={"segmenter.pretrained": False, "optim.ema": 0.9})


class Meta:
    """What a training asks of Fabric, on a device without values."""

    device, world_size, global_rank, is_global_zero = torch.device("meta"), 1, 0, True
    autocast = contextlib.nullcontext
    strategy = SimpleNamespace(precision=None)

    def setup_optimizers(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        return optimizer

    def backward(self, loss: Tensor, inputs: list[Tensor]) -> None:
        loss.backward(inputs=inputs)

    def all_reduce(self, value: Tensor) -> Tensor:
        return value


class Stream:
    """Batches of real images as the host holds them."""

    def __init__(self, config: Config) -> None:
        self.shape = (config.optim.batch_size, 3, config.data.size, config.data.size)

    def batch(self, step: int) -> Tensor:
        return torch.zeros(self.shape, dtype=torch.uint8, device="cpu")


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meta]:
    """The device `meta` has neither autocast nor a fused Adam."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())
    adam = torch.optim.Adam
    monkeypatch.setattr(torch.optim, "Adam", lambda given, **options: adam(given, **options | {"fused": False}))
    with torch.device("meta"):
        yield Meta()


@pytest.mark.parametrize(("variant", "scale"), EXPERIMENTS)
def test_steps_of_stage_1_never_wait_for_a_value(variant: str, scale: str, meta: Meta) -> None:
    config = configured(variant, scale)
    trainer = GanTrainer(config, meta, Stream(config))
    first, second = trainer.step(0), trainer.step(1)
    assert first.keys() - second.keys() >= {"gp"}, "the first step has a gradient penalty, the second has none"
    assert {value.device.type for value in (first | second).values()} == {"meta"}
    assert trainer.g_optim.state and trainer.d_optim.state


@pytest.mark.parametrize(("variant", "scale"), EXPERIMENTS)
def test_steps_of_stage_2_never_wait_for_a_value(variant: str, scale: str, meta: Meta) -> None:
    config = configured(variant, scale)
    trainer = SegmenterTrainer(config, meta, Generator(config.generator).to("meta"), Stream(config))
    values = trainer.step(config.segmenter.steps - 1)
    assert {value.device.type for value in values.values()} == {"meta"} and trainer.s_optim.state
    assert values.keys() == {"segmentation"} | ({"self", "trusted"} if variant == BEYOND else set())


PLANTED = {  # what happens to generated images
    "reading": lambda image: image * (image.mean().item() > 0),
    "mixing": lambda image: image + torch.zeros(image.shape, device="cpu"),
    "choosing": lambda image: image[image.mean(dim=(1, 2, 3)) > 0],
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_rehearsal_sees_a_value_read_a_device_mixed_and_a_boolean_index(planted: str, meta: Meta) -> None:
    config = configured("paper", "laptop")
    trainer = GanTrainer(config, meta, Stream(config))
    step = trainer.generator_step
    faulty = lambda scene, *given: step(scene._replace(image=PLANTED[planted](scene.image)), *given)
    trainer.generator_step = faulty  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        trainer.step(1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *args, **options: True)
    with FakeTensorMode() as mode:
        yield mode


@pytest.mark.parametrize(("variant", "scale"), EXPERIMENTS)
@torch.no_grad()
def test_scenes_and_segmentations_stay_on_a_gpu_in_bf16(variant: str, scale: str, fake: FakeTensorMode) -> None:
    config = configured(variant, scale)
    with torch.device("cuda"):
        generator, network = Generator(config.generator), Segmenter.of(config)
    with torch.autocast("cuda", torch.bfloat16):
        for mode in (True, False):
            images, labels = generator.train(mode).pairs(generator.noise(2))
            probabilities = network.train(mode).probabilities(images)
    assert {t.device.type for t in (images, labels, probabilities)} == {"cuda"}
    assert probabilities.shape == (2, config.generator.parts + 1, config.data.size, config.data.size)
    with pytest.raises(DataDependentOutputException):
        images.mean().item()


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_batches_are_drawn_and_augmented_on_a_gpu(augment: str, fake: FakeTensorMode, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    split = Split(np.zeros((9, 16, 16, 3), np.uint8), tuple("abcdefghi"))
    batch = Batches(split, 4, 0, augment, torch.device("cuda")).batch(0)
    assert batch.device.type == "cuda" and batch.shape == (4, 3, 16, 16)
    with pytest.raises(DynamicOutputShapeException):
        batch[batch[:, 0, 0, 0] > 0]


def test_a_training_of_several_gpus_meets_at_the_ends_of_windows_only(monkeypatch, tmp_path) -> None:
    """A step sends no objects between processes: the first decides for all in every 20th."""
    meetings = []
    fabric = SimpleNamespace(
        world_size=2, is_global_zero=True, barrier=lambda: meetings.append("barrier"),
        broadcast=lambda value: meetings.append("broadcast") or value,
    )  # fmt: skip
    trainer = SimpleNamespace(fabric=fabric, name="gan", parts={}, step=lambda t: {"d": torch.tensor(1.0)})
    monkeypatch.setattr(loop, "save_state", lambda *args: None)
    loop.fit(trainer, 60, tmp_path, progress=False)
    assert meetings == ["broadcast"] * 3


class Recording:
    """CUDA graphs, imitated: what a `step` made while one was recorded is made again, in place, when it is replayed."""

    def __init__(self) -> None:
        self.now: Any = None

    def step(self, batch: Tensor, *kind: bool) -> dict[str, Tensor]:
        result = batch.sum() + 10 * sum(kind)
        if self.now is not None:
            self.now.made = batch, kind, result
            result.fill_(-1)  # recording makes nothing
        return {"loss": result}

    @contextlib.contextmanager
    def graph(self, graph: Any, stream: Any) -> Iterator[None]:
        self.now = graph
        yield
        self.now = None

    @staticmethod
    def replay(graph: Any) -> None:
        held, kind, result = graph.made
        result.copy_(held.sum() + 10 * sum(kind))


def on_gpu(scaler: dict[str, Any], world_size: int = 1) -> Any:
    precision = SimpleNamespace(state_dict=lambda: scaler)
    device, strategy = SimpleNamespace(type="cuda"), SimpleNamespace(precision=precision)
    return SimpleNamespace(world_size=world_size, device=device, strategy=strategy)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    found, stream = Recording(), SimpleNamespace(wait_stream=lambda other: None)
    graphs = type("CUDAGraph", (), {"replay": lambda self: found.replay(self)})
    fakes = {"CUDAGraph": graphs, "graph": found.graph, "Stream": lambda: stream}
    fakes |= {"current_stream": lambda: stream, "stream": contextlib.nullcontext}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return found


def test_a_gpu_repeats_each_kind_of_step_from_a_graph_on_new_batches_and_hands_out_copies(recording: Recording) -> None:
    replayed, seen = Replayed(recording.step, on_gpu({})), []
    for t in range(8):
        batch, kind = torch.full((3,), float(t)), (t % 4 == 0, True)
        seen.append((replayed(batch, *kind)["loss"], 3.0 * t + 10 * sum(kind)))
    assert [loss.item() for loss, _ in seen] == [expected for _, expected in seen], "also those of earlier steps"
    assert replayed.recorded.keys() == {(True, True), (False, True)}


def test_a_scaler_of_gradients_several_gpus_and_cpus_have_no_graph(recording: Recording) -> None:
    others = on_gpu({"scale": 2.0}), on_gpu({}, world_size=2), make_fabric("cpu")
    for fabric in others:
        replayed = Replayed(recording.step, fabric)
        assert [replayed(torch.ones(2), True)["loss"].item() for _ in range(3)] == [12, 12, 12]
        assert not replayed.recorded
