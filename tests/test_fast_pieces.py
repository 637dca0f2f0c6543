"""Each fast piece of a step computes what its plain formulation computes, gradients included."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from ganseg.bench import without
from ganseg.config import GeneratorConfig
from ganseg.embedding import EmbeddingMap
from ganseg.generator import Generator
from ganseg.layers import Modulation, Spade
from ganseg.points import heatmaps
from ganseg.resampling import Pyramid, pixel_grid
from ganseg.working import Working

WIDE = GeneratorConfig(
    parts=3, noise_dim=6, embedding_dim=16, block_sizes=(8, 8, 16), block_widths=(8, 8, 6), spade_hidden=4, margin=2
)


def equal_with_gradients(fast: Callable, plain: Callable, *inputs: torch.Tensor, tolerance: float = 1e-9) -> None:
    """Both make the same of `inputs` and send the same gradients back."""
    made, wanted = fast(*inputs), plain(*inputs)
    torch.testing.assert_close(made, wanted, rtol=tolerance, atol=tolerance)
    weight = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad((made * weight).sum(), inputs),
        torch.autograd.grad((wanted * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(autouse=True)
def double_precision():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, requires_grad=True)


@pytest.mark.parametrize("channels", [5, 12, 40])
def test_a_convolution_of_the_maps_is_one_of_the_embedding_map(channels: int) -> None:
    conv = nn.Conv2d(channels, 7, 3, padding=1)
    equal_with_gradients(
        lambda *inputs: EmbeddingMap(*inputs).convolve(conv),
        lambda *inputs: nn.functional.leaky_relu(conv(EmbeddingMap(*inputs).dense), 0.2),
        random(2, 3, 6, 5),
        random(2, 3, channels),
    )


def test_folding_begins_where_the_rank_is_far_below_the_channels() -> None:
    assert [EmbeddingMap(random(1, 8, 4, 4), random(1, 8, d)).folds for d in (16, 31, 32, 64)] == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("slope", [1, 0.2])
def test_the_modulations_gradient_is_autograds(slope: float) -> None:
    def plain(x: torch.Tensor, gamma_beta: torch.Tensor) -> torch.Tensor:
        gamma, beta = gamma_beta.chunk(2, dim=1)
        return nn.functional.leaky_relu(x * gamma + beta, slope)

    x, gamma_beta = random(2, 3, 4, 5), random(2, 6, 4, 5)
    equal_with_gradients(lambda *inputs: Modulation.apply(*inputs, slope), plain, x, gamma_beta)
    assert torch.autograd.gradcheck(lambda *inputs: Modulation.apply(*inputs, slope), (x, gamma_beta))


@pytest.mark.parametrize("margin", [0, 2, 10])
def test_one_matrix_upsamples_and_crops(margin: int) -> None:
    pyramid = Pyramid((8, 8, 16), margin, "cells").double()
    for i in range(3):
        size = pyramid.sizes[i] + 2 * margin
        # PyTorch's matrix is of float32 weights that are exact in binary
        equal_with_gradients(
            lambda x, i=i: pyramid.climb(x, i), lambda x, i=i: without.climb(pyramid, x, i), random(2, 3, size, size)
        )


@pytest.mark.parametrize("margin", [0, 3])
def test_one_matrix_resizes_and_pads_by_the_border(margin: int) -> None:
    pyramid = Pyramid((8, 16, 32), margin, "cells").double()
    for size in (8, 16, 32):
        equal_with_gradients(
            lambda x, size=size: pyramid.with_margin(x, size),
            lambda x, size=size: without.with_margin(pyramid, x, size),
            random(2, 3, 32, 32),
            tolerance=1e-6,
        )


@pytest.mark.parametrize("kind", ["gaussian", "gaussian_unsquared", "cone"])
def test_heatmaps_from_rows_and_columns(kind: str) -> None:
    grid, scales = pixel_grid(9, 2).double(), torch.rand(2, 3, requires_grad=True)
    equal_with_gradients(
        lambda *inputs: heatmaps(grid, *inputs, kind),
        lambda *inputs: without.heatmaps(grid, *inputs, kind),
        random(2, 3, 2),
        scales,
    )


def test_spade_with_one_convolution_for_gamma_and_beta() -> None:
    layer = Spade(5, 12, 4).double()
    for slope in (1, 0.2):

        def through(forward: Callable, slope: float = slope) -> Callable:
            return lambda x, *parts: forward(layer, x, EmbeddingMap(*parts), slope)

        equal_with_gradients(
            through(Spade.forward), through(without.spade), random(3, 5, 6, 6), random(3, 2, 6, 6), random(3, 2, 12)
        )


@pytest.mark.parametrize(
    "plain",
    [
        without.resampling_by_pytorch,
        without.dense_embedding_maps,
        without.separate_gamma_and_beta,
        without.direct_heatmaps,
    ],
)
def test_a_whole_generator_with_one_piece_plain_makes_the_same_scene(plain: Callable) -> None:
    torch.set_default_dtype(torch.float32)  # points are made in it
    generator = Generator(WIDE)
    noise = generator.noise(2)
    ours = generator(noise)
    with plain():
        theirs = generator(noise)
    for name, wanted in zip(ours._fields, theirs, strict=True):
        torch.testing.assert_close(
            getattr(ours, name), wanted, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_an_early_crop_changes_no_pixel() -> None:
    torch.set_default_dtype(torch.float32)
    generator = Generator(WIDE).eval()
    noise = generator.noise(2)
    early, whole = generator(noise).image, copy.deepcopy(generator)
    whole.composition.reach = WIDE.margin
    torch.testing.assert_close(early, whole(noise).image, rtol=1e-5, atol=1e-5)


@pytest.fixture
def network() -> nn.Module:
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    return layers.float().to(memory_format=torch.channels_last)


def test_a_working_copy_has_autocasts_outputs_and_gradients(network: nn.Module) -> None:
    x, theirs = torch.randn(4, 3, 6, 6, dtype=torch.float32), copy.deepcopy(network)
    work = Working(network, "bf16-mixed")
    with torch.autocast("cpu", torch.bfloat16):
        ours, wanted = work.module(x), theirs(x)
    assert torch.equal(ours, wanted)
    ours.float().square().sum().backward(inputs=work.parameters)
    wanted.float().square().sum().backward()
    work.collect()
    gradients = dict(zip(work.names, work.gradients, strict=True))
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-6, atol=1e-6)


def test_the_vector_is_the_networks_own_memory_and_the_copy_follows_it(network: nn.Module) -> None:
    work = Working(network, "bf16-mixed")
    with torch.no_grad():
        work.vector.mul_(2)
    assert network[0].weight.data_ptr() == work.vector.data_ptr()
    work.refresh()
    assert torch.equal(work.module[0].weight, network[0].weight.bfloat16())
    network.load_state_dict({name: torch.zeros_like(value) for name, value in network.state_dict().items()})
    assert not work.vector.any() and not work.module[4].weight.any(), "reading a checkpoint must reach the copy"
    assert work.module[1].running_mean is network[1].running_mean


def test_in_full_precision_the_working_copy_is_the_network(network: nn.Module) -> None:
    assert Working(network, "32-true").module is network
