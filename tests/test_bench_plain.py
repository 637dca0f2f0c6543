"""The benchmark's plain formulation computes what variant `released` does, and steps as the released code."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ganseg import losses
from ganseg.bench import steps
from ganseg.bench.plain import PlainGenerator, grid
from ganseg.bench.plain_step import PlainDiscriminator, PlainTrainer
from ganseg.discriminator import Discriminator
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.recipes import resolve

CPU = torch.device("cpu")
FOUR = {"generator.block_sizes": (8, 8, 16, 32), "generator.block_widths": (16, 16, 8, 8)}
SIX = {"generator.block_sizes": (8, 8, 16, 16, 32, 32), "generator.block_widths": (16, 16, 16, 8, 8, 8)}
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


@pytest.fixture
def plain() -> steps.Setting:
    config = resolve("synthetic-bird", "released", "tiny", 3, overrides=SMALL)
    return steps.Setting("plain", config, "32-true", "plain")


@pytest.mark.parametrize("blocks", [FOUR, SIX], ids=["four blocks", "six blocks"])
@pytest.mark.parametrize("rgb_layers", [1, 2])
def test_the_plain_generator_computes_what_the_released_variant_does(blocks: dict[str, Any], rgb_layers: int) -> None:
    config = resolve(
        "flowers", "released", "tiny", 5, overrides=blocks | {"generator.rgb_layers": rgb_layers}
    ).generator
    torch.manual_seed(0)
    generator, released = Generator(config).train(), PlainGenerator(config).train()
    released.load_state_dict(generator.state_dict())
    noise = generator.noise(3)
    mine, theirs = generator(noise), released(noise)
    for name in ("points", "centres", "scales", "masks", "image"):
        torch.testing.assert_close(getattr(mine, name), getattr(theirs, name), rtol=1e-4, atol=1e-4, msg=name)
    (mine.image.square().mean() + mine.masks[:, 1].mean()).backward()
    (theirs.image.square().mean() + theirs.masks[:, 1].mean()).backward()
    for name, parameter in generator.named_parameters():
        torch.testing.assert_close(parameter.grad, released.get_parameter(name).grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_plain_discriminator_and_losses_are_ours(plain: steps.Setting) -> None:
    trainer = steps.Step(plain, "cpu").trainer
    config, weights = trainer.config, trainer.config.losses
    discriminator = Discriminator(config.discriminator, config.data.size)
    theirs = PlainDiscriminator(config.discriminator, config.data.size)
    theirs.load_state_dict(discriminator.state_dict())
    image = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(discriminator(image), theirs(image), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trainer.penalty(image), losses.gradient_penalty(trainer.d, image, "unit_norm"))
    scene, points = trainer.g(trainer.g.noise(2)), grid(16, 0, CPU)
    con = losses.concentration_loss(scene.masks[:, 1:], scene.centres, points, "mean")
    area = losses.area_loss(scene.masks[:, 1:], scene.centres, scene.scales, points, "cone", "disc", "mean")
    torch.testing.assert_close(
        trainer.geometry(scene)[0],
        weights.lambda_con * con + weights.lambda_area * area,
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_plain_step_runs_the_generator_twice_and_trains_both_networks(plain: steps.Setting) -> None:
    step = steps.Step(plain, "cpu")
    trainer: PlainTrainer = step.trainer
    before = [p.detach().clone() for p in (*trainer.g.parameters(), *trainer.d.parameters())]
    step.ordinary()
    assert trainer.g.state_dict()["mask_generator.blocks.0.spade1.norm.num_batches_tracked"] == 2
    after = [*trainer.g.parameters(), *trainer.d.parameters()]
    moved = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert moved > 0.9 * len(before) and all(p.isfinite().all() for p in after)


def test_the_plain_generator_refuses_other_equations() -> None:
    with pytest.raises(UserError, match=r"generator\.heatmap=cone"):
        PlainGenerator(resolve("flowers", "paper", "tiny").generator)
