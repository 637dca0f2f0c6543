"""Our modules against tensors that the authors' released code produced (float32, CPU): 1e-4 relative everywhere."""

import itertools
import json
from typing import NamedTuple

import pytest
import torch
from conftest import GOLDEN
from released_fixture import released_network
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ganseg import losses
from ganseg.config import GeneratorConfig
from ganseg.files import UserError
from ganseg.generator import Generator, Noise, Scene
from ganseg.layers import crop, pixel_grid
from ganseg.points import heatmaps
from ganseg.released import COMPUTED, convert_generator, released_name
from ganseg.segmenter import segmentation_loss

TOLERANCE = 1e-4


def error(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference, relative to the largest expected value."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()


class Golden(NamedTuple):
    """One golden generator: its tensors by section, and our configuration of it."""

    tensors: dict[str, Tensor]
    config: GeneratorConfig

    def section(self, name: str) -> dict[str, Tensor]:
        own = [key for key in self.tensors if key.startswith(f"{name}/")]
        return {key.removeprefix(f"{name}/"): self.tensors[key] for key in own}

    @property
    def noise(self) -> Noise:
        return released_noise(self.section("input"))

    def generator(self) -> Generator:
        generator = Generator(self.config)
        generator.load_state_dict(convert_generator(self.section("weights"), self.config))
        return generator


def released_noise(given: dict[str, Tensor]) -> Noise:
    """The released code's random numbers in our order."""
    position = given["bg_trans"][:, 0].flip(1) * torch.tensor([1.0, 0.0])  # (row, column) -> (x, y), no vertical shift
    return Noise(given["input_noise0"], given["input_noise2"], given["input_noise1"], position)


def released_config(theirs: dict) -> GeneratorConfig:
    """The released code's options in our fields."""
    fields = "parts points_per_part noise_dim embedding_dim block_sizes block_widths".split()
    names = "n_keypoints n_per_kp z_dim n_embedding feature_map_sizes feature_map_channels".split()
    own = {field: theirs[name] for field, name in zip(fields, names, strict=True)}
    return released_network(bool(theirs["single_final"]), bool(theirs["use_linear"]), **own)


@pytest.fixture(scope="module")
def golden() -> Golden:
    path = GOLDEN / "generator_gaussian.safetensors"
    with safe_open(path, "pt") as file:
        theirs = json.loads(file.metadata()["config"])
    return Golden(load_file(path), released_config(theirs))


def penalties(generator: Generator, scene: Scene) -> tuple[Tensor, Tensor]:
    """The released code's two geometric penalties in our terms."""
    masks, grid = scene.masks[:, 1:], generator.grid
    concentration = losses.concentration_loss(masks, scene.centres, grid, over_parts="mean")
    return concentration, losses.area_loss(masks, scene.centres, scene.scales, grid, area="disc")


def scene_of(generator: Generator, scene: Scene) -> dict[str, Tensor]:
    """All that a released network makes, by its names, and its two penalties."""
    concentration, area = penalties(generator, scene)
    margin = generator.config.margin
    return {
        "points": scene.points.flatten(1, 2).flip(-1), "keypoints": scene.centres.flip(-1), "kp_emb": scene.embeddings,
        "init_mask": generator.heatmaps(scene), "mask": scene.masks.roll(-1, dims=1),
        "fg": crop(scene.foreground, margin), "bg": crop(scene.background, margin), "img": scene.image,
        "center_penalty": concentration, "area_penalty": area,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "margin"), [(16, 0), (16, 10), (8, 4)])
@pytest.mark.parametrize(("theirs", "ours"), [("gaussian", "gaussian_unsquared"), ("linear", "cone")])
def test_grids_and_heatmaps(size: int, margin: int, theirs: str, ours: str) -> None:
    tensors = load_file(GOLDEN / "heatmaps.safetensors")
    grid = pixel_grid(size, margin, "endpoints")
    assert error(grid.flip(-1), tensors[f"grid/{size}_{margin}"]) < TOLERANCE
    made = heatmaps(grid, tensors["points"].flip(-1), tensors["tau"].squeeze(-1), ours)
    assert error(made, tensors[f"{theirs}/{size}_{margin}"]) < TOLERANCE


def differing(made: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """The errors that are too large."""
    errors = {name: error(value, expected[name]) for name, value in made.items()}
    return {name: value for name, value in errors.items() if value > TOLERANCE}


def test_every_tensor_in_eval_mode(golden: Golden) -> None:
    generator = golden.generator().eval()
    with torch.no_grad():
        made = scene_of(generator, generator(golden.noise))
    assert differing(made, golden.section("eval")) == {}


@pytest.fixture(autouse=True)
def one_thread():
    """Rounding follows the order of summation, and that the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Kinks:
    """LeakyReLU that records units whose input is rounding noise, and can take the kink's other side at some.

    At such a unit either slope is right in float32, and the choice moves gradients by more than the tolerance.
    """

    def __init__(self, flipped: tuple[tuple[int, ...], ...]) -> None:
        self.flipped, self.seen = flipped, []

    def __call__(self, x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
        y = torch.where(self._positive(x), x, negative_slope * x)
        x.retain_grad(), y.retain_grad()
        self.seen.append((x, y))
        return y

    def _positive(self, x: Tensor) -> Tensor:
        positive = x > 0
        for call, *unit in self.flipped:
            if call == len(self.seen):
                positive[tuple(unit)] ^= True
        return positive

    def sides(self, golden: Golden, generator: Generator) -> tuple[tuple[int, ...], ...]:
        """The units to flip so that the gradients of biases become the golden ones: per layer and channel, of all
        subsets of its units at a kink, the one that explains what is missing; flipped ones stay."""
        theirs, found = golden_gradients(golden), []
        ours = {n: p.grad for n, p in generator.named_parameters() if p.grad is not None and p.grad.dim() == 1}
        for call, (x, y) in enumerate(self.seen):
            total = x.grad.transpose(0, 1).flatten(1).sum(1)  # the gradient of the bias that was added to x
            name = next((n for n, g in ours.items() if g.shape == total.shape and error(g, total) < 1e-3), None)
            units = ((x.abs() < 5e-7) & (y.grad.abs() > 1e-5 * total.abs().max())).nonzero().tolist()
            for channel in {unit[1] for unit in units} if name else ():
                mine = [tuple(unit) for unit in units if unit[1] == channel][:10]
                change = {u: ((-0.8 if y[u] > 0 else 0.8) * y.grad[u]).item() for u in mine}
                missing = (theirs[name] - ours[name])[channel].item()
                subsets = itertools.chain.from_iterable(itertools.combinations(mine, n) for n in range(len(mine) + 1))
                best = min(subsets, key=lambda s, c=change, m=missing: abs(m - sum(c[u] for u in s)))
                found += [(call, *unit) for unit in best]
        return tuple(set(self.flipped) ^ set(found))


def train_step(golden: Golden, kinks: Kinks, monkeypatch: pytest.MonkeyPatch) -> tuple[Generator, dict[str, Tensor]]:
    """Backpropagate the golden loss; returns the generator, with gradients, and what it made."""
    monkeypatch.setattr(torch.nn.functional, "leaky_relu", kinks)
    generator = golden.generator().train()
    scene = generator(golden.noise)
    concentration, area = penalties(generator, scene)
    loss = scene.image.square().mean() + 10 * concentration + area
    loss.backward()
    made = {"mask": scene.masks.roll(-1, dims=1), "img": scene.image}
    return generator, made | {"loss": loss, "center_penalty": concentration, "area_penalty": area}


def golden_gradients(golden: Golden) -> dict[str, Tensor]:
    """The golden gradients by our names."""
    return convert_generator(golden.section("weights") | golden.section("grad"), golden.config)  # weights: the buffers


def gradient_errors(golden: Golden, generator: Generator) -> dict[str, float]:
    """Error of each parameter's gradient; the mapping of weights is orthogonal, so gradients map as weights do."""
    theirs = golden_gradients(golden)
    scale = max(g.abs().max() for g in golden.section("grad").values())
    errors = {}
    for name, parameter in generator.named_parameters():
        vanishes = theirs[name].abs().max() < 1e-6 * scale  # a bias before BatchNorm: only rounding noise on both sides
        errors[name] = (parameter.grad.abs().max() / scale).item() if vanishes else error(parameter.grad, theirs[name])
    return errors


def test_masks_image_penalties_and_every_gradient_in_train_mode(golden, monkeypatch):
    kinks = Kinks(())
    generator, made = train_step(golden, kinks, monkeypatch)
    assert differing(made, golden.section("train")) == {}
    errors = gradient_errors(golden, generator)
    for _ in range(3):
        if max(errors.values()) > TOLERANCE:
            kinks = Kinks(kinks.sides(golden, generator))
            generator, _ = train_step(golden, kinks, monkeypatch)
            errors = gradient_errors(golden, generator)
    assert {name: e for name, e in errors.items() if e > TOLERANCE} == {}


def test_train_mode_updates_batchnorm_statistics_once(golden: Golden) -> None:
    generator = golden.generator().train()
    norm = generator.mask_generator.blocks[0].spade1.norm
    before, count, seen = norm.running_mean.clone(), norm.num_batches_tracked.item(), []
    norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().mean(dim=(0, 2, 3))))
    generator(golden.noise)
    assert norm.num_batches_tracked.item() == count + 1
    torch.testing.assert_close(norm.running_mean, 0.9 * before + 0.1 * seen[0])


def test_every_released_name_is_used_and_every_weight_of_ours_is_set(golden: Golden) -> None:
    released = golden.section("weights")
    used = [released_name(ours, golden.config) for ours in golden.generator().state_dict()]
    assert sorted(used) == sorted(set(released) - {COMPUTED})


def test_a_checkpoint_whose_masks_cannot_be_reordered_is_refused() -> None:
    blocks = {"block_sizes": (8, 8), "block_widths": (8, 8), "spade_hidden": 4, "adain_norm": "batch"}
    config = GeneratorConfig(parts=7, noise_dim=4, embedding_dim=8, **blocks)
    released = {released_name(name, config): tensor for name, tensor in Generator(config).state_dict().items()}
    for name in [name for name in released if name.endswith(".pe.weight")]:
        released[name] = released[name][..., None, None]
    with pytest.raises(UserError, match="background first"):
        convert_generator(released, config)


def test_segmentation_loss() -> None:
    tensors = load_file(GOLDEN / "segmentation_loss.safetensors")
    assert error(segmentation_loss(tensors["logits"], tensors["labels"]), tensors["expected_loss"]) < TOLERANCE
