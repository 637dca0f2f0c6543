"""What a generator answers when one part is changed, where the answer is known, and how far its images are off."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor, nn

from ganseg import probes
from ganseg.config import GeneratorConfig
from ganseg.data import load
from ganseg.files import UserError
from ganseg.generator import Generator, Noise, Scene
from ganseg.points import Parts
from ganseg.probes import described, frechet_distance, random_network, relative_distance
from ganseg.recipes import resolve

SIZE, START = 32, 8
PLACES = torch.tensor([[-0.5, -0.5], [0.5, 0.5]])  # of two square parts


class Level1(nn.Module):
    """Two parts at their places; embeddings are the appearance's noise."""

    def forward(self, point: Tensor, appearance: Tensor) -> Parts:
        centres = PLACES.expand(len(point), 2, 2)
        return Parts(centres[:, :, None], centres, torch.full((len(point), 2), 0.25), appearance.unflatten(1, (2, 3)))


class Drawn(nn.Module):
    """Striped squares in the colours of their embeddings, or stripes that answer nothing.

    `follows`: the former; `leak`: how much of its colour a part takes from the other;
    `blur`: how much of its pixels a part leaves to others.
    """

    def __init__(self, follows: bool = True, leak: float = 0.0, blur: float = 0.0) -> None:
        super().__init__()
        self.point_generator, self.follows, self.leak, self.blur = Level1(), follows, leak, blur
        self.config = SimpleNamespace(parts=2, use_points=True, start_size=START)

    def noise(self, batch: int, generator: torch.Generator | None = None) -> Noise:
        return Noise(*(torch.randn(batch, 6, generator=generator) for _ in range(3)), torch.zeros(batch, 2))

    def forward(self, noise: Noise) -> Scene:
        parts = self.point_generator(noise.point, noise.appearance)
        line = (2 * torch.arange(SIZE) + 1) / SIZE - 1
        y, x = torch.meshgrid(line, line, indexing="ij")
        dx, dy = x - parts.centres[..., :1, None], y - parts.centres[..., 1:, None]  # (B, 2, S, S)
        inside = ((dx.abs() < 0.3) & (dy.abs() < 0.3)).float()
        stripes = torch.cos(20 * dx)
        colours = parts.embeddings + self.leak * parts.embeddings.flip(1)  # (B, 2, 3)
        image = torch.einsum("bkc,bkyx->bcyx", colours, inside) + (inside * stripes).sum(dim=1, keepdim=True)
        image = image if self.follows else torch.cos(20 * x).expand_as(image)
        masks = torch.cat([1 - inside.sum(dim=1, keepdim=True), inside], dim=1)
        masks = (1 - self.blur) * masks + self.blur / 3
        return Scene(*parts, masks, image, image, image)


@pytest.mark.parametrize(("follows", "wanted"), [(True, 0.0), (False, 1.0)])
def test_a_moved_part_takes_its_pixels_along_or_leaves_them(follows: bool, wanted: float) -> None:
    generator = Drawn(follows)
    assert probes.moved_part(generator, generator.noise(4)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("leak", [0.0, 0.5, 1.0])
def test_an_embedding_leaks_as_much_as_it_was_made_to(leak: float) -> None:
    generator = Drawn(leak=leak)
    assert probes.embedding_leak(generator, generator.noise(16)) == pytest.approx(leak, abs=1e-6)


@pytest.mark.parametrize("blur", [0.0, 0.3])
def test_masks_are_as_soft_as_they_were_made(blur: float) -> None:
    generator = Drawn(blur=blur)
    assert probes.mask_blur(generator, generator.noise(4)) == pytest.approx(blur * 2 / 3, abs=1e-6)


# ---- Frechet distances


@pytest.fixture(scope="module")
def birds() -> np.ndarray:
    return np.asarray(load("synthetic-bird", "test", 32, limit=120).images)


def exact(mean: tuple[float, ...], deviations: tuple[float, ...]) -> np.ndarray:
    """Features whose mean and (diagonal) covariance are exactly these."""
    signs = np.array(np.meshgrid(*[(-1.0, 1.0)] * len(mean))).reshape(len(mean), -1).T
    return np.array(mean) + signs * np.array(deviations) * np.sqrt((len(signs) - 1) / len(signs))


def test_the_distance_of_two_gaussians_is_that_of_the_formula_and_of_the_published_code() -> None:
    one, other = exact((0, 0, 0), (1, 2, 3)), exact((1, 0, -2), (2, 2, 0))
    assert frechet_distance(one, other) == pytest.approx(1 + 4 + 1 + 0 + 9)  # |m|^2 + sum (s1 - s2)^2
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert relative_distance(one, other) == pytest.approx(15 / (1 + 4 + 9))
    with pytest.raises(UserError, match="two images"):
        frechet_distance(one[:1], other)
    draws = np.random.default_rng(0)
    sides = [draws.normal(size=(40, 5)) @ draws.normal(size=(5, 5)) for _ in range(2)]
    moments = [moment for side in sides for moment in (side.mean(axis=0), np.cov(side, rowvar=False))]
    assert frechet_distance(*sides) == pytest.approx(calculate_frechet_distance(*moments))


def test_the_random_network_is_the_same_each_time_and_leaves_no_trace(birds: np.ndarray, fabric: Fabric) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = described(birds[:4], fabric)
    random_network.cache_clear()
    assert (first == described(birds[:4], fabric)).all() and first.shape == (4, 512)
    assert (before == torch.get_rng_state()).all()


def test_a_generator_is_compared_with_as_many_images_always_alike_and_left_as_it_was(birds, fabric, monkeypatch):
    monkeypatch.setattr(probes, "SCENES", 4)
    generator = Generator(resolve("synthetic-bird", "paper", "tiny").generator).eval()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    found = probes.probe(generator, birds, fabric)
    assert found == probes.probe(generator, birds, fabric) and found["embedding_leak"] > 0
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())
    assert not generator.training and not generator.point_generator._forward_hooks
    halves = (described(x, fabric) for x in (birds[:60], birds[60:]))
    assert found["frechet_distance"] > 2 * relative_distance(*halves)
    without = Generator(resolve("synthetic-bird", "paper+no-points", "tiny").generator).eval()
    assert not {"moved_part", "frechet_distance"} & probes.probe(without, birds[:1], fabric).keys()


# ---- the switches that the ledger compares with


def small(**fields: object) -> GeneratorConfig:
    return resolve("synthetic-bird", "paper", "tiny").generator.model_copy(update=fields)


def test_one_noise_for_place_and_appearance_leaves_the_other_draws_as_they_are() -> None:
    noises = []
    for shared in (False, True):
        torch.manual_seed(0)
        noises.append(Generator(small(shared_noise=shared)).eval().noise(3, torch.Generator().manual_seed(1)))
    two, one = noises
    assert torch.equal(one.appearance, one.point) and not torch.equal(two.appearance, two.point)
    assert torch.equal(one.point, two.point) and torch.equal(one.background, two.background)
    assert torch.equal(one.position, two.position)


def test_a_single_point_is_its_parts_place_and_its_scale_is_predicted() -> None:
    config = resolve("synthetic-bird", "paper+single-point", "tiny").generator
    level1 = Generator(config).point_generator
    z = torch.randn(5, config.noise_dim)
    raw = level1.points(z).unflatten(1, (config.parts, 2, 2))
    parts = level1(z, z)
    assert torch.equal(parts.centres, raw[:, :, 0]) and torch.equal(parts.points, raw[:, :, [0, 0]])
    torch.testing.assert_close(parts.scales, raw[:, :, 1].norm(dim=-1) + 1e-6)
