"""Frechet distances: against Gaussians worked out by hand, worse images farther away, FID only where it is allowed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pytorch_fid import inception as published
from scipy import ndimage

from ganseg import image_quality
from ganseg.data import load
from ganseg.devices import make_fabric
from ganseg.files import DOWNLOADS, UserError
from ganseg.generator import Generator
from ganseg.image_quality import described, frechet_distance, random_network, relative_distance
from ganseg.recipes import resolve

CPU = make_fabric("cpu", precision="32-true")


@pytest.fixture(scope="module")
def birds() -> np.ndarray:
    return np.asarray(load("synthetic-bird", "test", 32, limit=120).images)


@pytest.fixture(autouse=True)
def nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DOWNLOADS, raising=False)
    image_quality.inception.cache_clear()


def exact(mean: tuple[float, ...], deviations: tuple[float, ...]) -> np.ndarray:
    """Features whose mean and (diagonal) covariance are exactly these."""
    signs = np.array(np.meshgrid(*[(-1.0, 1.0)] * len(mean))).reshape(len(mean), -1).T
    return np.array(mean) + signs * np.array(deviations) * np.sqrt((len(signs) - 1) / len(signs))


def test_the_distance_of_two_gaussians_is_that_of_the_formula() -> None:
    one, other = exact((0, 0, 0), (1, 2, 3)), exact((1, 0, -2), (2, 2, 0))
    assert frechet_distance(one, other) == pytest.approx(1 + 4 + 1 + 0 + 9)  # |m|^2 + sum (s1 - s2)^2
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert relative_distance(one, other) == pytest.approx(15 / (1 + 4 + 9))


def test_correlated_gaussians_agree_with_the_matrix_square_root() -> None:
    from scipy.linalg import sqrtm

    draws = np.random.default_rng(0)
    one, other = (draws.normal(size=(40, 5)) @ draws.normal(size=(5, 5)) for _ in range(2))
    covariances = [np.cov(x, rowvar=False) for x in (one, other)]
    wanted = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(
        sum(covariances) - 2 * sqrtm(covariances[0] @ covariances[1]).real
    )
    assert frechet_distance(one, other) == pytest.approx(wanted)


def test_worse_images_are_farther_away(birds: np.ndarray) -> None:
    real, rest = birds[:60], birds[60:]
    noise = np.random.default_rng(0).normal(size=rest.shape)
    levels = ([ndimage.gaussian_filter(rest, (0, s, s, 0)) for s in (0, 1, 2)],
              [(rest + s * noise).clip(0, 255).astype(np.uint8) for s in (0, 10, 40)])  # fmt: skip
    for images in levels:
        distances = [relative_distance(*(described(x, random_network(), CPU) for x in (real, y))) for y in images]
        assert distances == sorted(distances) and distances[2] > 2 * distances[0]


def test_the_random_network_is_the_same_each_time_and_leaves_no_trace(birds: np.ndarray) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = described(birds[:4], random_network(), CPU)
    random_network.cache_clear()
    assert (first == described(birds[:4], random_network(), CPU)).all() and first.shape == (4, 512)
    assert (before == torch.get_rng_state()).all()


def test_a_generator_is_compared_with_as_many_images_and_always_alike(birds: np.ndarray) -> None:
    generator = Generator(resolve("synthetic-bird", "paper", "tiny").generator).eval()
    found = image_quality.image_quality(generator, birds, CPU)
    assert found == image_quality.image_quality(generator, birds, CPU)
    assert found.keys() == {"frechet_images", "frechet_distance"} and found["frechet_images"] == len(birds)
    assert found["frechet_distance"] > 2 * relative_distance(
        *(described(x, random_network(), CPU) for x in (birds[:60], birds[60:]))
    )
    assert image_quality.image_quality(generator, birds[:1], CPU) == {}


def test_fid_is_measured_where_its_weights_may_be_fetched(birds: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=f"{DOWNLOADS}=1"):
        image_quality.inception()
    weights = published._inception_v3(weights=None, num_classes=1008, aux_logits=False)
    monkeypatch.setattr(published, "load_state_dict_from_url", lambda *args, **kwargs: _as_published(weights))
    monkeypatch.setenv(DOWNLOADS, "1")
    generator = Generator(resolve("synthetic-bird", "paper", "tiny").generator).eval()
    found = image_quality.image_quality(generator, birds[:3], CPU)
    assert described(birds[:3], image_quality.inception(), CPU).shape == (3, 2048)
    assert np.isfinite(found["fid"]) and found["fid"] > 0


def _as_published(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights with the names and shapes of the file that would be fetched."""
    for mixed, block in (("Mixed_5b", published.FIDInceptionA(192, pool_features=32)),
                         ("Mixed_5c", published.FIDInceptionA(256, pool_features=64)),
                         ("Mixed_5d", published.FIDInceptionA(288, pool_features=64)),
                         ("Mixed_6b", published.FIDInceptionC(768, channels_7x7=128)),
                         ("Mixed_6c", published.FIDInceptionC(768, channels_7x7=160)),
                         ("Mixed_6d", published.FIDInceptionC(768, channels_7x7=160)),
                         ("Mixed_6e", published.FIDInceptionC(768, channels_7x7=192)),
                         ("Mixed_7b", published.FIDInceptionE_1(1280)),
                         ("Mixed_7c", published.FIDInceptionE_2(2048))):  # fmt: skip
        setattr(network, mixed, block)
    return network.state_dict()


def test_two_images_are_the_least() -> None:
    with pytest.raises(UserError, match="two images"):
        frechet_distance(np.zeros((1, 3)), np.zeros((2, 3)))
