"""Shapes, sizes, memory, determinism and precision of the three networks."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganseg.config import DiscriminatorConfig, GeneratorConfig, SegmenterConfig
from ganseg.discriminator import Discriminator
from ganseg.generator import Generator, Noise
from ganseg.segmenter import Segmenter


def tiny(sizes: tuple[int, ...] = (8, 16), parts: int = 3, **fields: object) -> Generator:
    """A generator with hardly any channels."""
    torch.manual_seed(0)
    usual = {"noise_dim": 8, "embedding_dim": 6, "block_widths": (8, *[6] * (len(sizes) - 1)), "spade_hidden": 4}
    return Generator(GeneratorConfig(**{"parts": parts, "block_sizes": sizes, "margin": 2, **usual, **fields}))


@pytest.fixture
def still() -> Generator:
    """A tiny generator in eval mode; nothing records gradients."""
    with torch.no_grad():
        yield tiny().eval()


def flipped(noise: Noise, *names: str) -> Noise:
    """The noise with the sign of some of its parts turned."""
    return noise._replace(**{name: -getattr(noise, name) for name in names})


class Largest(TorchDispatchMode):
    """Records the largest number of elements that any operation's result has."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(leaf.numel() for leaf in tree_leaves(result) if torch.is_tensor(leaf))])
        return result


@pytest.mark.parametrize(
    "fields",
    [
        {"sizes": (32,), "parts": 1},
        {"sizes": (8, 16, 32), "parts": 6},
        {"sizes": (12, 24, 48), "parts": 2},
        {"sizes": (4, 8, 16, 32, 64), "parts": 3},
        {"sizes": (32, 32, 64, 64, 128, 128), "parts": 12},
        {"sizes": (32, 64, 128, 256), "parts": 1},
        {"heatmap": "cone", "part_scale": "mean_abs", "point_spread": 1.0},  # cones that reach pixels
        {"heatmap": "gaussian_unsquared", "part_scale": "distance_variance"},
        {"grid": "endpoints", "background_shift": "horizontal", "adain_norm": "batch"},
        {"rgb_layers": 1},
        {"rgb_layers": 3, "rgb_kernel": 5},
        {"rgb_crop": "before", "rgb_activation": True},
        {"margin": 0},
        {"margin": 10, "points_per_part": 2},
        {"point_squash": "tanh", "point_divisor": 3.0},
        {"point_layers": 5, "appearance_layers": 1},
        {"use_points": False},
        {"separate_background": False},
        {"use_points": False, "separate_background": False},
    ],
)
def test_every_size_and_option_makes_a_scene_and_gradients_reach_every_parameter(fields: dict[str, object]) -> None:
    generator = tiny(**{"sizes": (8, 8, 16)} | fields).train()
    config, scene = generator.config, generator(generator.noise(4))
    parts, size, margin = config.parts, config.size, config.margin
    points = config.points_per_part if config.use_points else 1
    assert scene.points.shape == (4, parts, points, 2) and scene.centres.shape == (4, parts, 2)
    assert scene.scales.shape == (4, parts) and scene.embeddings.shape == (4, parts, 6)
    assert scene.masks.shape == (4, parts + 1, size, size)
    assert scene.foreground.shape == scene.background.shape == (4, 6, size + 2 * margin, size + 2 * margin)
    assert scene.image.shape == (4, 3, size, size)
    assert scene.labels.shape == (4, size, size) and generator.grid.shape == (size, size, 2)
    assert generator.heatmaps(scene).shape == (4, parts, size, size)
    assert all(t.isfinite().all() for t in scene)
    (scene.image.square().mean() + scene.masks[:, 0].square().mean()).backward()
    reached = lambda p: p.grad is not None and p.grad.isfinite().all() and p.grad.any()
    assert [name for name, parameter in generator.named_parameters() if not reached(parameter)] == []


def test_no_tensor_has_parts_times_channels_times_pixels() -> None:
    generator = tiny((8, 16, 32), parts=12, embedding_dim=32, block_widths=(32, 32, 32), spade_hidden=8)
    noise = generator.noise(2)
    with Largest() as largest:
        generator(noise).image.sum().backward()
    padded = 36 * 36
    assert largest.numel < 2 * 12 * 32 * padded / 2  # B K D H W, and no half of it
    assert largest.numel >= 2 * 32 * padded  # it did see the feature maps


def test_each_noise_decides_its_own_part_of_the_scene(still: Generator) -> None:
    noise, again = (still.noise(2, torch.Generator().manual_seed(3)) for _ in range(2))
    first, background = still(noise), still(flipped(noise, "background", "position"))
    points, appearance = still(flipped(noise, "point")), still(flipped(noise, "appearance"))
    assert all(torch.equal(a, b) for a, b in zip(first, still(again), strict=True))
    assert torch.equal(first.masks, background.masks) and torch.equal(first.foreground, background.foreground)
    assert not torch.equal(first.background, background.background)
    assert torch.equal(first.background, points.background) and torch.equal(first.embeddings, points.embeddings)
    assert not torch.equal(first.masks, points.masks)
    assert torch.equal(first.points, appearance.points) and not torch.equal(first.masks, appearance.masks)


def test_background_positions_cover_the_square_or_a_line() -> None:
    both, line = tiny().noise(500).position, tiny(background_shift="horizontal").noise(500).position
    assert both.min() >= -1 and both.max() <= 1 and both.amax(0).min() > 0.9 and both.amin(0).max() < -0.9
    assert (line[:, 1] == 0).all() and line[:, 0].abs().max() > 0.9


def test_images_of_a_batch_do_not_depend_on_each_other_in_eval_mode(still: Generator) -> None:
    noise = still.noise(3)
    alone = still(Noise(*(z[1:2] for z in noise)))
    together = still(noise).image[1:2]
    torch.testing.assert_close(together, alone.image, rtol=1e-4, atol=1e-5 * together.abs().max().item())


def test_bf16_autocast_is_close_to_fp32() -> None:
    generator = tiny((8, 16, 32), embedding_dim=16, block_widths=(32, 16, 16), spade_hidden=16).eval()
    discriminator = Discriminator(DiscriminatorConfig(widths=(4, 6), hidden=5), 32)
    with torch.no_grad():
        noise = generator.noise(4)
        exact = generator(noise)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = generator(noise)
            logits = discriminator(rough.image)
    assert rough.image.dtype == rough.masks.dtype == rough.points.dtype == logits.dtype == torch.float32
    assert (rough.masks - exact.masks).abs().mean() < 0.01, "masks start sharp, so that single pixels change sides"
    assert (rough.image - exact.image).square().mean() < 0.1**2 * exact.image.square().mean()
    assert (rough.labels == exact.labels).float().mean() > 0.97


def test_state_dict_holds_no_grid_so_that_it_loads_at_any_margin() -> None:
    tiny(margin=4).load_state_dict(tiny(margin=2).state_dict())


def test_discriminator_trains_in_fp32_without_corrupting_memory() -> None:
    """Some CPU builds write out of bounds in a strided 1x1 convolution's gradient: a process of its own."""
    code = (
        "import torch; from ganseg.config import DiscriminatorConfig; from ganseg.discriminator import Discriminator\n"
        "for size in (32, 64, 128, 256):\n"
        "    d = Discriminator(DiscriminatorConfig(widths=(4, 6, 8, 8, 8, 8), hidden=5), size)\n"
        "    for _ in range(6): d(torch.randn(2, 3, size, size)).sum().backward()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("stride", "size"), [(2, 32), (4, 32), (2, 48)])
def test_light_segmenter(stride: int, size: int) -> None:
    segmenter = Segmenter(SegmenterConfig(backbone="resnet18-light", output_stride=stride), parts=5).eval()
    with torch.no_grad():
        features = segmenter.network.backbone(torch.zeros(1, 3, size, size))["out"]
        logits = segmenter(torch.randn(2, 3, size, size))
        probabilities = segmenter.probabilities(torch.randn(1, 3, size, size))
    assert features.shape[-1] == size // stride and logits.shape == (2, 6, size, size)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(1, size, size))


def test_resnet50_segmenter_is_random_and_downloads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError(f"tried to download {args}")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    segmenter = Segmenter(SegmenterConfig(), parts=8).eval()
    with torch.no_grad():
        assert segmenter(torch.randn(1, 3, 64, 64)).shape == (1, 9, 64, 64)
    Segmenter(SegmenterConfig(pretrained=True), parts=8)


@pytest.mark.parametrize("size", [32, 48, 64, 128, 256])
def test_discriminator_at_any_size(size: int) -> None:
    discriminator = Discriminator(DiscriminatorConfig(widths=(4, 6, 8, 8, 8, 8), hidden=5), size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = discriminator(torch.randn(2, 3, size, size))
    assert logits.shape == (2,) and logits.dtype == torch.float32
    logits.sum().backward()
    assert all(p.grad is not None for p in discriminator.parameters())
