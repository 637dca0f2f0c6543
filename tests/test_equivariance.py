"""Translation equivariance (section 3.2, Eq. 12): points moved by n coarse cells move masks by n S / H0 pixels.

Random networks in eval mode (BatchNorm statistics over a shifted picture would differ), fp32. Where a test says that
something is *not* equivariant, it shows that the comparison would notice.
"""

import pytest
import torch
from torch import Tensor

from ganseg.config import GeneratorConfig
from ganseg.generator import Generator, Noise, Scene
from ganseg.points import Parts

EXACT, VISIBLE = 5e-5, 1e-3  # float32: the networks start with masks that are sharp and images of contrast 1


def random_generator(**fields: object) -> Generator:
    """Tiny widths, and BatchNorm statistics as of a network that has trained."""
    torch.manual_seed(0)
    tiny = {"noise_dim": 8, "embedding_dim": 8, "spade_hidden": 6, "block_widths": (8,) * len(fields["block_sizes"])}
    generator = Generator(GeneratorConfig(**tiny | fields)).eval()
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return generator


@torch.no_grad()
def scene_at(generator: Generator, noise: Noise, offset: Tensor) -> Scene:
    """The scene of `noise` with all points and the background's position moved by `offset` (x, y)."""
    parts = generator.point_generator(noise.point, noise.appearance)
    parts = Parts(parts.points + offset, parts.centres + offset, parts.scales + 0.3, parts.embeddings)
    masks = generator.mask_generator(parts)
    foreground = generator.foreground_generator(masks[:, 1:], parts.embeddings, parts.centres)
    background = generator.background_generator(noise.background, noise.position + offset)
    return Scene(*parts, masks, foreground, background, generator.composition(masks, foreground, background))


def differences(generator: Generator, cells: tuple[int, int] = (1, -2), cell: float | None = None) -> dict[str, Tensor]:
    """|moved - expected| where both pictures show the place, (H', W') maxima over batch and channels."""
    config = generator.config
    factor = config.size // config.start_size
    noise = generator.noise(2, torch.Generator().manual_seed(1))
    offset = torch.tensor(cells) * (2 / config.start_size if cell is None else cell)
    still, moved = scene_at(generator, noise, 0 * offset), scene_at(generator, noise, offset)
    dx, dy = cells[0] * factor, cells[1] * factor
    result = {}
    for name in ("masks", "background", "image"):
        a, b = getattr(still, name), getattr(moved, name)
        size = a.shape[-1]
        a = a[..., max(0, -dy) : size - max(0, dy), max(0, -dx) : size - max(0, dx)]
        b = b[..., max(0, dy) : size - max(0, -dy), max(0, dx) : size - max(0, -dx)]
        assert a.std() > 1e-2, "a flat picture would be equivariant by itself"
        result[name] = (a - b).abs().amax(dim=(0, 1))
    return result


def interior(difference: Tensor, reach: int) -> Tensor:
    """Without `reach` pixels at each border."""
    return difference[reach:-reach, reach:-reach]


@pytest.mark.parametrize(
    ("block_sizes", "parts", "margin"),
    [
        ((32,), 1, 10),
        ((8, 16, 32), 6, 10),
        ((32, 32, 64), 4, 10),
        ((16, 32, 32, 64), 12, 10),
        ((32, 32, 64, 128), 8, 10),
        ((16, 16, 32, 32, 64, 64), 3, 10),
        ((8, 16, 32), 6, 6),
    ],
)
def test_masks_move_with_the_points(block_sizes: tuple[int, ...], parts: int, margin: int) -> None:
    generator = random_generator(block_sizes=block_sizes, parts=parts, margin=margin)
    assert differences(generator)["masks"].max() < EXACT


@pytest.mark.parametrize("cells", [(0, 1), (1, 0), (-3, 2), (5, 5)])
def test_masks_move_in_every_direction_and_differ_when_the_points_move_by_a_part_of_a_cell(cells) -> None:
    generator = random_generator(block_sizes=(16, 32), parts=3)
    assert differences(generator, cells)["masks"].max() < EXACT
    assert differences(generator, cells, cell=1.5 / 16)["masks"].max() > VISIBLE


@pytest.mark.parametrize("spacing", [2 / 16, 2 / 15])
def test_the_released_endpoint_grids_break_it(spacing: float) -> None:
    generator = random_generator(block_sizes=(16, 32, 64), parts=3, grid="endpoints")
    assert interior(differences(generator, cell=spacing)["masks"], 20).max() > VISIBLE


@pytest.mark.parametrize(("margin", "leak"), [(0, 10 * VISIBLE), (2, VISIBLE)])
def test_a_short_margin_leaks_at_the_border(margin: int, leak: float) -> None:
    difference = differences(random_generator(block_sizes=(8, 16, 32), parts=6, margin=margin))["masks"]
    assert difference.max() > leak
    assert margin == 0 or interior(difference, 10).max() < VISIBLE


@pytest.mark.parametrize(("block_sizes", "reach"), [((32, 64), 16), ((32, 32, 64, 128), 44)])
def test_images_move_with_points_and_background_position(block_sizes: tuple[int, ...], reach: int) -> None:
    """`reach`: the foreground sees masks that end at the border (Eq. 7 is continued into the margin by replication)."""
    generator = random_generator(block_sizes=block_sizes, parts=3, adain_norm="batch")
    assert interior(differences(generator)["image"], reach).max() < EXACT


def test_backgrounds_move_with_their_position_up_to_the_border() -> None:
    generator = random_generator(block_sizes=(16, 32), parts=3, adain_norm="batch")
    assert interior(differences(generator)["background"], generator.config.margin).max() < EXACT


def test_instance_normalisation_over_the_picture_is_not_equivariant() -> None:
    generator = random_generator(block_sizes=(32, 64), parts=3, adain_norm="instance")
    assert interior(differences(generator)["image"], 16).max() > 1e-4


def test_absolute_coordinates_break_it(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random_generator(block_sizes=(16, 32), parts=3)
    start = generator.mask_generator.start
    relative = start.forward
    monkeypatch.setattr(start, "forward", lambda grid, points: relative(grid, points) + grid[..., 0])
    assert interior(differences(generator)["masks"], 8).max() > VISIBLE
