"""The released networks at 128 px, in train mode, with the released discriminator and its losses (float32, CPU).

The files in tests/golden hold no weights: a recipe makes them from the released names of the parameters.
"""

import json
import statistics
import zlib
from typing import NamedTuple

import pytest
import torch
from conftest import GOLDEN
from released_fixture import released_tensors
from safetensors import safe_open
from safetensors.torch import load_file
from test_golden import error, released_config, released_noise, scene_of
from torch import Tensor

from ganseg import losses
from ganseg.config import DiscriminatorConfig
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator
from ganseg.recipes import resolve
from ganseg.released import COMPUTED, convert_generator, released_name

TOLERANCE = 1e-3  # float32 through some forty layers, batch statistics of two images
DISCRIMINATOR = {"conv1": "net.0", "conv2": "net.2", "down": "downsample.0", "shortcut": "conv_res"}


def made(name: str, like: Tensor) -> Tensor:
    """The value of a parameter, by its released name."""
    if "running" in name or "num_batches" in name or name == COMPUTED:
        return torch.zeros_like(like) if "mean" in name or "num_batches" in name else torch.ones_like(like)
    value = torch.randn(like.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name == "keypoints_embedding.weight":
        return value
    value *= (2 / 1.04 / like[0].numel()) ** 0.5 if like.ndim > 1 else 0.01
    return value * (12 if name == "gen_keypoints_layer.4.weight" else 1)


def discriminator_name(ours: str) -> str:
    """The released name of a parameter of D."""
    module, number, *rest = ours.split(".")
    if module == "head":
        return f"fc.{int(number) - 1}.{rest[0]}"
    return f"conv.{number}.{DISCRIMINATOR[rest[0]]}.{rest[1]}"


class Full(NamedTuple):
    """A released pair of networks, and what they made."""

    golden: dict[str, Tensor]
    told: dict[str, str]
    generator: Generator
    discriminator: Discriminator


@pytest.fixture(scope="module", params=["celeba_wild_k4_cone", "flower_k8_single"])
def full(request: pytest.FixtureRequest) -> Full:
    path = GOLDEN / f"full_{request.param}.safetensors"
    with safe_open(path, "pt") as file:
        told = file.metadata()
    theirs = json.loads(told["config"])
    lists = {name: theirs[name].split(",") for name in ("feature_map_sizes", "feature_map_channels")}
    config = released_config(theirs | lists)
    released = {name: made(name, like) for name, like in released_tensors(config).items()}
    generator, discriminator = Generator(config), Discriminator(DiscriminatorConfig(), 128)
    generator.load_state_dict(convert_generator(released, config))
    state = {name: made(discriminator_name(name), like) for name, like in discriminator.state_dict().items()}
    discriminator.load_state_dict(state)
    return Full(load_file(path), told, generator.train(), discriminator)


def test_there_are_as_many_parameters(full: Full) -> None:
    for name in ("generator", "discriminator"):
        ours = sum(p.numel() for p in getattr(full, name).parameters())
        assert ours == int(full.told[f"{name}_parameters"]), name
    config = resolve("celeba-wild", "paper", "paper")
    assert sum(p.numel() for p in Discriminator(config.discriminator, 128).parameters()) == 23_726_721


def test_the_scene_its_losses_and_every_gradient_are_the_released_ones(full: Full) -> None:
    """Gradients by their norms; on the larger network, for the time it takes, the forward pass alone."""
    with torch.set_grad_enabled("celeba" in full.told["config"]):
        given = {name.removeprefix("input/"): value for name, value in full.golden.items() if name[:6] == "input/"}
        scene = full.generator(released_noise(given))
        made = scene_of(full.generator, scene)
        found = {name if value.ndim < 4 else f"{name}_every_4th": value if value.ndim < 4 else value[..., ::4, ::4]
                 for name, value in made.items()}  # fmt: skip
        found |= {"part_areas": scene.masks[:, 1:].sum(dim=(2, 3)), "logits": full.discriminator(scene.image)}
        gan = losses.generator_loss(found["logits"])
        found["loss"] = gan + 10 * found["center_penalty"] + found["area_penalty"]
    assert found["area_penalty"] > 1, "an area penalty of zero cannot tell a sum over the parts from a mean"
    errors = {name: error(value, full.golden[f"train/{name}"]) for name, value in found.items()}
    assert {name: e for name, e in errors.items() if e > TOLERANCE} == {}
    if found["loss"].requires_grad:
        found["loss"].backward()
        norms = dict(zip(json.loads(full.told["grad_names"]), full.golden["grad_norm"], strict=True))
        ours = {released_name(n, full.generator.config): p.grad for n, p in full.generator.named_parameters()}
        assert ours.keys() == norms.keys()
        # weights moved by a millionth move single norms by 2 % here, and their median by 6e-4
        counted = {name: norm for name, norm in norms.items() if norm > 1e-6 * max(norms.values())}
        errors = sorted(abs(ours[name].norm() / norm - 1).item() for name, norm in counted.items())
        assert statistics.median(errors) < 2e-3 and errors[-1] < 3e-2


@pytest.mark.parametrize("full", ["celeba_wild_k4_cone"], indirect=True)  # both files have the same one
def test_the_discriminator_its_gradients_and_their_penalty_are_the_released_ones(full: Full) -> None:
    real = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(7)) * 2 - 1
    real.requires_grad_()
    logits = full.discriminator(real)
    (gradient,) = torch.autograd.grad(logits.sum(), real)
    penalty = losses.gradient_penalty(full.discriminator, real, "unit_norm").detach()
    assert error(logits.detach(), full.golden["d/real_logits"]) < TOLERANCE
    assert error(gradient.flatten(1).norm(dim=1), full.golden["d/grad_norms"]) < TOLERANCE
    assert error(penalty, full.golden["d/released_penalty_without_weight"]) < TOLERANCE
