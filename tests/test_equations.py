"""The `paper` configuration against values computed by hand, equation by equation."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from ganseg import losses
from ganseg.config import GeneratorConfig
from ganseg.generator import Generator
from ganseg.image import Composition
from ganseg.layers import AdaIn, RelativeEncoding, Spade, embedding_map, pixel_grid, upsample, with_margin
from ganseg.masks import located
from ganseg.points import Parts, PointGenerator, heatmaps, part_scales

SMALL = GeneratorConfig(
    parts=3, noise_dim=6, embedding_dim=8, block_sizes=(8, 16), block_widths=(8, 6), spade_hidden=4, margin=2
)


def close(ours: object, expected: object, tolerance: float = 1e-5) -> None:
    options = {"rtol": tolerance, "atol": tolerance, "check_dtype": False}
    torch.testing.assert_close(torch.as_tensor(ours), torch.as_tensor(expected), **options)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_the_defaults_are_the_equations_as_printed() -> None:
    config = GeneratorConfig()
    assert (config.point_layers, config.appearance_layers, config.margin, config.rgb_layers) == (3, 3, 10, 2)
    assert (config.part_scale, config.heatmap, config.grid, config.point_squash) == ("std", "gaussian", "cells", "none")


def test_eq1_location_and_scale_of_four_points() -> None:
    rectangle = torch.tensor([[[[0.0, 0.0], [0.4, 0.0], [0.0, 0.2], [0.4, 0.2]]]])  # (B, K, n_per, 2)
    close(part_scales(rectangle), [[math.sqrt(4 * (0.2**2 + 0.1**2)) / 3]])


def test_eq1_points_are_the_mlps_output() -> None:
    generator = PointGenerator(SMALL)
    z = torch.randn(5, 6)
    parts, points = generator(z, torch.randn(5, 6)), generator.points(z).reshape(5, 3, 4, 2)
    close(parts.points, points)
    close(parts.centres, points.mean(2))
    assert [type(m) for m in generator.points] == [nn.Linear, nn.LeakyReLU] * 2 + [nn.Linear]


def test_eq1_scale_of_coinciding_points_has_a_finite_gradient() -> None:
    points = torch.zeros(1, 1, 4, 2, requires_grad=True)
    part_scales(points).sum().backward()
    assert points.grad.isfinite().all()


def test_eq4_heatmap_is_one_at_the_centre_and_exp_minus_one_at_sigma() -> None:
    # at the centre, sigma beside it, 2 sigma above it, both
    grid = torch.tensor([[[0.1, 0.2], [0.4, 0.2]], [[0.1, -0.4], [0.4, -0.4]]])
    made = lambda kind: heatmaps(grid, torch.tensor([[[0.1, 0.2]]]), torch.tensor([[0.3]]), kind).flatten()
    close(made("gaussian"), [1, math.exp(-1), math.exp(-4), math.exp(-5)])
    close(made("gaussian_usual"), made("gaussian").sqrt())


def test_eq5_starting_tensor_against_a_loop_over_pixels() -> None:
    encoding, grid, points = RelativeEncoding(3, 8), pixel_grid(4, 1), torch.randn(2, 3, 2)
    made = encoding(grid, points)
    for b, row, column in [(0, 0, 0), (0, 3, 5), (1, 2, 1), (1, 5, 4)]:
        projected = encoding.linear(torch.cat([grid[row, column] - x for x in points[b]]))
        close(made[b, :, row, column], torch.cat([(math.pi * projected).sin(), (math.pi * projected).cos()]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoding(grid, points), made), "positions stay in fp32"


def test_eq6_masks_are_a_softmax_with_the_background_first() -> None:
    generator = Generator(SMALL).eval()
    last = generator.mask_generator.blocks[-1]
    with torch.no_grad():  # the last convolution alone decides: channel 0 wins everywhere
        for parameter in (*last.conv2.parameters(), *last.conv_shortcut.parameters()):
            parameter.zero_()
        last.conv2.bias.copy_(torch.tensor([2.0, 0.0, 1.0, 0.0]))
        scene = generator(generator.noise(2))
    close(scene.masks[:, :, 3, 7], torch.tensor([[2.0, 0.0, 1.0, 0.0]]).softmax(1).expand(2, -1))
    assert (scene.labels == 0).all()


def modulated(layer: nn.Module, x: Tensor, condition: Tensor, over: tuple[int, ...]) -> Tensor:
    """(1 + gamma) normal + beta, x being normalised over some of its dimensions."""
    hidden = nn.functional.leaky_relu(layer.shared(condition), 0.2)
    gamma, beta = layer.gamma(hidden), layer.beta(hidden)
    if hidden.dim() == 2:
        gamma, beta = gamma[..., None, None], beta[..., None, None]
    variance = x.var(over, keepdim=True, unbiased=False)
    return (1 + gamma) * (x - x.mean(over, keepdim=True)) / (variance + 1e-5).sqrt() + beta


def test_eq8_spade_modulates_normalised_features() -> None:
    spade, x = Spade(4, 3, 5), torch.randn(6, 4, 7, 7) * 3 + 1
    condition = embedding_map(torch.rand(6, 2, 7, 7), torch.randn(6, 2, 3))
    close(spade(x, condition), modulated(spade, x, condition, (0, 2, 3)))


def test_eq10_adain_normalises_each_instance() -> None:
    adain, x, style = AdaIn(4, 3, 5, "instance"), torch.randn(2, 4, 7, 7) * 3 + 1, torch.randn(2, 3)
    close(adain(x, style), modulated(adain, x, style, (2, 3)))


@pytest.mark.parametrize("value", [0.0, 1.0, 0.25])
def test_eq11_the_background_mask_blends(value: float) -> None:
    composition = Composition(SMALL)
    masks = torch.zeros(1, 4, 16, 16)
    masks[:, 0], masks[:, 1] = value, 1 - value
    f, b = torch.randn(1, 8, 20, 20), torch.randn(1, 8, 20, 20)
    close(composition(masks, f, b), composition.convs((1 - value) * f + value * b)[..., 2:-2, 2:-2])
    assert len([m for m in composition.convs if isinstance(m, nn.Conv2d)]) == 2


def test_eq12_grid_spans_the_margin_with_spacing_2_over_h0() -> None:
    grid = pixel_grid(32, 10)
    assert grid.shape == (52, 52, 2)
    close(grid[0, 1, 0] - grid[0, 0, 0], 2 / 32)
    half = 1 / 32  # a pixel sits at the middle of its cell
    close(grid[0, 0], [-1 - 20 / 32 + half] * 2)
    close(grid[-1, -1], [1 + 20 / 32 - half] * 2)
    close(grid[10, 10 + 31], [1 - half, -1 + half])  # (x, y) of the image's first row, last column


@pytest.mark.parametrize("margin", [1, 2, 10])
def test_upsampling_keeps_the_margin_and_the_coordinates(margin: int) -> None:
    coarse, fine = pixel_grid(8, margin), pixel_grid(16, margin)
    made = upsample(coarse.permute(2, 0, 1)[None], margin)[0].permute(1, 2, 0)
    assert made.shape == fine.shape
    close(made, fine, 1e-6)


def test_masks_are_resized_to_a_block_and_continued_into_its_margin_by_their_border() -> None:
    masks = torch.rand(2, 3, 16, 16)
    made = with_margin(masks, 8, 3)
    close(made[..., 3:-3, 3:-3], masks.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5)))
    close(made[..., :3, :], made[..., 3:4, :].expand(-1, -1, 3, -1))
    close(made[..., -3:], made[..., -4:-3].expand(-1, -1, -1, 3))


def test_eq13_and_14_at_known_logits() -> None:
    fake, real = torch.tensor([0.0, 2.0]), torch.tensor([1.0, -1.0])
    close(losses.generator_loss(fake), (math.log(2) + math.log(math.exp(-2) + 1)) / 2)
    on_fake, on_real = math.log(2) + math.log(math.exp(2) + 1), math.log(math.exp(-1) + 1) + math.log(math.exp(1) + 1)
    close(losses.discriminator_loss(fake, real), on_fake / 2 + on_real / 2)


@pytest.mark.parametrize(
    ("kind", "expected"), [("r1", lambda w: w.norm() ** 2), ("unit_norm", lambda w: (w.norm() - 1) ** 2)]
)
def test_eq15_penalty_of_a_linear_discriminator(kind: str, expected: object) -> None:
    w = torch.randn(3, 4, 4, requires_grad=True)
    penalty = losses.gradient_penalty(lambda x: (x * w).sum((1, 2, 3)), torch.randn(5, 3, 4, 4), kind)
    close(penalty, expected(w))
    close(torch.autograd.grad(penalty, w)[0], torch.autograd.grad(expected(w), w)[0], 1e-4)


def test_eq16_against_the_double_sum() -> None:
    masks, centres, grid = torch.rand(2, 3, 6, 6), torch.randn(2, 3, 2), pixel_grid(6, 0)
    per_part = torch.zeros(2, 3)
    for b, k, row, column in itertools.product(range(2), range(3), range(6), range(6)):
        weight = masks[b, k, row, column] / masks[b, k].sum()
        per_part[b, k] += weight * (grid[row, column] - centres[b, k]).square().sum()
    close(losses.concentration_loss(masks, centres, grid), per_part.sum(1).mean())
    close(losses.concentration_loss(masks, centres, grid, over_parts="mean"), per_part.mean())


def test_eq16_of_one_pixel_is_its_squared_distance_and_an_empty_mask_is_harmless() -> None:
    grid, masks = pixel_grid(4, 0), torch.zeros(1, 2, 4, 4)
    masks[0, 0, 1, 3] = 0.5
    centres = torch.tensor([[[0.75, 0.75], [0.0, 0.0]]], requires_grad=True)  # the pixel is at (0.75, -0.25)
    loss = losses.concentration_loss(masks, centres, grid)
    close(loss, 1.0)
    loss.backward()
    assert centres.grad.isfinite().all()


def test_eq17_asks_only_masks_smaller_than_their_heatmap_to_grow() -> None:
    centres, scales, grid = torch.randn(2, 3, 2) * 0.3, torch.rand(2, 3) * 0.5 + 0.1, pixel_grid(8, 0)
    masks = torch.rand(2, 3, 8, 8) * torch.tensor([0.0, 0.2, 1.0])[:, None, None]
    total = 0.0
    for b, k in itertools.product(range(2), range(3)):
        exponents = [float((p - centres[b, k]).square().sum() / scales[b, k] ** 2) for p in grid.flatten(0, 1)]
        total += max(0.0, sum(math.exp(-x) for x in exponents) - float(masks[b, k].sum())) / 2
    close(losses.area_loss(masks, centres, scales, grid), total)
    close(losses.area_loss(torch.ones(2, 3, 8, 8), centres, scales, grid), 0.0)
    cones = heatmaps(grid, centres, scales, "cone").sum() / 2
    close(losses.area_loss(torch.zeros(2, 3, 8, 8), centres, scales, grid, "cone"), cones)


def test_eq17_disc_variant_is_the_discs_area_in_pixels() -> None:
    masks, centres, scales = torch.zeros(1, 2, 8, 8), torch.full((1, 2, 2), 5.0), torch.tensor([[0.5, 0.25]])
    close(losses.area_loss(masks, centres, scales, pixel_grid(8, 0), area="disc"), math.pi * (2**2 + 1**2))


def varied(config: GeneratorConfig, **changes: object) -> Generator:
    return Generator(config.model_copy(update=changes)).eval()


def test_without_points_masks_depend_on_the_mean_embedding_alone() -> None:
    generator = varied(SMALL, use_points=False)
    noise = generator.noise(2)
    masks, parts = generator(noise).masks, generator(noise).centres
    close(parts[1, 1], (masks[1, 2, ..., None] * pixel_grid(16, 0)).sum((0, 1)) / masks[1, 2].sum())
    close(generator(noise._replace(point=torch.randn_like(noise.point))).masks, masks)
    assert not torch.allclose(generator(noise._replace(appearance=noise.appearance.flip(0))).masks, masks)
    close(masks.sum(dim=1), torch.ones(2, 16, 16))
    assert not [name for name, _ in generator.named_parameters() if "spade" in name and name.startswith("mask")]
    assert not hasattr(generator.point_generator, "points")


def test_without_a_separate_background_its_embedding_is_one_more_part() -> None:
    generator = varied(SMALL, separate_background=False)
    noise = generator.noise(2)
    scene = generator(noise)
    close(scene.image, generator.composition.convs(scene.foreground)[..., 2:-2, 2:-2], 1e-4)
    assert not torch.allclose(generator(noise._replace(background=noise.background.flip(0))).image, scene.image)
    assert not [name for name, _ in generator.named_parameters() if "adain" in name]


def test_without_points_a_part_lies_where_its_mask_does_and_is_as_wide() -> None:
    grid, masks = pixel_grid(8, 0), torch.zeros(1, 4, 8, 8)
    masks[0, 1, 2:4, 4:8], masks[0, 2] = 0.5, 1  # a rectangle of 4 x 2 pixels; all of the image; nothing
    empty = torch.zeros(1, 3, 1, 2)
    parts = located(Parts(empty, empty[:, :, 0], empty[:, :, 0, 0], torch.ones(1, 3, 5)), masks, grid)
    close(parts.centres, [[[0.5, -0.25], [0, 0], [0, 0]]])
    close(parts.points, parts.centres[:, :, None])
    variance = lambda pixels: (pixels**2 - 1) / 12 / 16  # of places a quarter of the unit apart
    close(parts.scales.square(), [[variance(4) + variance(2), 2 * variance(8), 0]])
