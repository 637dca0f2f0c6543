"""What `plus` adds to the paper: each piece alone, and off by default."""

import math

import pytest
import torch
from commands import mistaken
from conftest import ROOT
from test_training import MINUTE, PLUS as EVERYTHING, flat, gan, same, segmenter
from torch import Tensor, nn

from ganseg import Experiment, find_runs, losses, plus, training
from ganseg.config import PlusConfig
from ganseg.data import DATASETS
from ganseg.devices import Fabric, make_fabric
from ganseg.recipes import INGREDIENTS, PLUS, resolve


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return make_fabric("cpu", precision="bf16-mixed")


def test_each_ingredient_is_an_option_that_is_added_alone_or_taken_away_and_none_is_on_by_default() -> None:
    everything, off = (resolve("flowers", v, "laptop") for v in ("+".join(("plus", *INGREDIENTS)), "paper"))
    assert off.plus == PlusConfig() and everything.generator == off.generator, "positions leak nowhere"
    for name in INGREDIENTS:
        taken = f"plus+no-{name}" if name in PLUS else "paper"
        alone, without = (resolve("flowers", v, "laptop") for v in (f"paper+{name}", taken))
        for key in (key.removeprefix("plus.") for key in INGREDIENTS[name] if key.startswith("plus.")):
            values = [getattr(config.plus, key) for config in (alone, everything, without, off)]
            assert values[0] == values[1] != values[2] == values[3], (name, key)
    found = [resolve(data, "plus", "tiny").plus for data in ("flowers", "folder", "cub", "synthetic-bird")]
    assert [(one.hue, one.geometric) for one in found] == [(0, 0), (0, 0), (0, 1), (1, 1)], "where they helped"
    assert "+no-self-training" in mistaken("train --variant plus+no-relativistic")
    weaker, usual = (resolve("flowers", v, "laptop").losses.lambda_con for v in ("paper+part-floor", "paper"))
    assert weaker < usual == resolve("flowers", "plus+no-part-floor", "laptop").losses.lambda_con
    assert resolve("flowers", "plus+no-concentration", "laptop").losses.lambda_con == 0, "what is asked for wins"


def test_committed_runs_keep_their_keys(monkeypatch) -> None:
    drawn = tuple(name for name in DATASETS if name.startswith("synthetic-"))
    found = find_runs(ROOT / "results", "laptop", data=drawn, own_settings=True)
    for told in (run.provenance for run in found):
        monkeypatch.setattr("ganseg.experiments.RECIPE", told["recipe"])
        names = ("data", "variant", "parts", "seed", "scale", "overrides")
        assert Experiment(**{name: told[name] for name in names}).key == told["key"]
    assert len(found) > 10


def test_an_augmentation_can_be_penalised_moves_little_and_leaves_images_alone_where_it_is_not_asked_for() -> None:
    torch.manual_seed(0)
    images, draws = torch.rand(4, 3, 16, 16) * 2 - 1, torch.rand(4, plus.AUGMENT_DRAWS)
    torch.testing.assert_close(plus.augment(images, draws, 0.0), images)
    small, few = images[:2, :, :4, :4].double().requires_grad_(), draws[:2].double()
    assert torch.autograd.gradgradcheck(lambda x: plus.augment(x, few, 1.0).square(), small)
    draws[:, :3], draws[:, 3:5], draws[:, 7:] = 0.5, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    moved = plus.augment(images, draws, 0.5)
    torch.testing.assert_close(moved[:, :, 2:, :-2], images[:, :, :-2, 2:])
    assert not moved[:, :, :2].any() and not moved[:, :, :, -2:].any()
    draws[:, 5:] = torch.tensor([0.5, 0.5, 1.0, 1.0, 0.0])
    cut = plus.augment(images, draws, 0.5)
    assert not cut[:, :, 4:12, 4:12].any() and torch.equal(cut[:, :, :4], images[:, :, :4])


def test_d_sees_real_and_generated_images_augmented_alike_in_both_steps(fabric: Fabric, monkeypatch) -> None:
    trainer, seen, whole = gan(fabric, EVERYTHING), [], plus.augment
    monkeypatch.setattr(plus, "augment", lambda images, *rest: seen.append(len(images)) or whole(images, *rest))
    trainer.step(1)
    assert seen == [8, 4, 4], "fakes and reals; fakes, and the reals that they are paired with"
    trainer.step(2)
    assert seen[3:] == [8, 4, 4, 4, 4], "and both penalties"


def test_the_relativistic_losses_compare_pairs_and_penalise_both_sides(monkeypatch) -> None:
    found, images = [], torch.rand(2, 4, 3, 16, 16)
    monkeypatch.setattr("ganseg.training.update", lambda module, optimizer, loss, fabric: found.append(loss.detach()))
    config = MINUTE.replace({"plus.relativistic": True, "losses.lambda_gp": 3})
    trainer = gan(make_fabric("cpu", precision="32-true"), config)
    trainer.discriminator_step(*images, penalised=True)
    real, fake = map(trainer.discriminator, images)
    pairs = torch.log1p((fake - real).exp()).mean()
    penalty = sum(losses.gradient_penalty(trainer.discriminator, side) for side in images)
    torch.testing.assert_close(found[0], (pairs + 6 * penalty).detach())
    torch.testing.assert_close(trainer.adversarial(images[1], images[0]), torch.log1p((real - fake).exp()).mean())


def test_the_floor_lifts_a_part_that_vanishes_and_no_other() -> None:
    masks = torch.zeros(2, 4, 10, 10)
    masks[0, 0], masks[:, 1, :5] = 0.8, 0.4  # in pixels, on average: 40, 20, 0, 0
    masks.requires_grad_()
    loss = plus.floor_loss(masks, 0.5, 0.1)
    assert loss.item() == pytest.approx(2 * 0.5 * 60 / 4)
    loss.backward()
    assert masks.grad.amax(dim=(0, 2, 3)).tolist() == masks.grad.amin(dim=(0, 2, 3)).tolist() == [0, 0, -0.5, -0.5]
    assert plus.floor_loss(torch.zeros(2, 4, 10, 10), 0.5, 0.1).item() == pytest.approx(0.5 * 10)


def test_g_learns_from_the_area_loss_plus_the_floor_and_from_the_balanced_concentration(monkeypatch) -> None:
    """Each loss is asked for what the configuration says, and their sum reaches the objective."""
    trainer, config, given = gan(make_fabric("cpu", precision="32-true"), EVERYTHING), EVERYTHING, {}
    told = lambda name, value: lambda *words: (given.setdefault(name, words), torch.tensor(value))[1]
    monkeypatch.setattr(losses, "area_loss", told("area", 2.0))
    monkeypatch.setattr(losses, "concentration_loss", told("con", 5.0))
    monkeypatch.setattr(plus, "floor_loss", told("floor", 0.5))
    objective = losses.generator_objective
    kept = lambda *words: (given.setdefault("g", words), objective(*words))[1]
    monkeypatch.setattr(losses, "generator_objective", kept)
    trainer.parts["balance"] = told("balance", 3.0)
    values = trainer.step(0)
    assert given["area"][4:] == (config.generator.heatmap, config.losses.area)
    assert given["con"][3] == config.losses.over_parts
    assert given["floor"][1:] == (config.plus.floor, config.plus.foreground[0])
    assert [float(word) for word in given["g"][1:3]] == [5.0 * 3.0, 2.5]
    assert values["balance"] == 3.0 and values["con"] == 5.0 and values["area"] == 2.5
    torch.testing.assert_close(values["foreground"], given["balance"][0].sum())


def test_matched_features_pull_the_mean_of_generated_ones_to_that_of_real_ones(fabric: Fabric) -> None:
    fake, real = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[4.0, 1.0], [4.0, 3.0]])
    assert plus.matching_loss(fake, real).item() == (2**2 + 2**2) / 2
    trainer, images = gan(fabric, MINUTE.replace({"plus.matching": 3.0})), torch.rand(2, 4, 3, 16, 16)
    made = images[0].clone().requires_grad_()
    found = trainer.adversarial(made, images[1])
    features = map(trainer.discriminator.features, images)
    expected = losses.generator_loss(trainer.discriminator(images[0])) + 3 * plus.matching_loss(*features)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert torch.autograd.grad(found, made)[0].abs().sum() > 0


def test_the_balance_rises_above_its_band_falls_below_it_or_for_a_starved_part_and_rests_within() -> None:
    def after_steps(shares: list[float], steps: int = 10) -> float:
        balance = plus.Balance(PlusConfig(balance=0.1, foreground=(0.2, 0.4)))
        return [balance(torch.tensor(shares)) for _ in range(steps)][-1].item()

    share = 1 - 0.9**10  # of the way, in 10 steps of a tenth of the rest
    assert after_steps([0.15, 0.15]) == 1
    assert after_steps([0.3, 0.3]) == pytest.approx((0.6 / 0.4) ** (plus.GAIN * share), rel=1e-4)
    assert after_steps([0.05, 0.05]) == pytest.approx(0.5 ** (plus.GAIN * share), rel=1e-4)
    assert after_steps([0.3, 0.0]) < 1 < after_steps([0.9, 0.0])
    assert after_steps([0.0, 0.0], 999) == pytest.approx(math.exp(-plus.GAIN))
    balance = plus.Balance(PlusConfig(balance=0.1))
    factors = [balance(torch.tensor([share])).item() for share in (0.9, *[0.3] * 99)]
    assert factors[0] > 1.05 and factors[-1] == pytest.approx(1, abs=1e-4), "the start leaves nothing behind"


def test_photometric_changes_stay_within_range_and_leave_flat_images_flat_where_there_is_no_noise() -> None:
    draws, flat_images = torch.rand(8, plus.PHOTOMETRIC_DRAWS), torch.rand(8, 3, 1, 1).expand(-1, -1, 16, 16)
    assert plus.photometric(flat_images, draws, 1.0).abs().max() <= 1
    draws[:, 7] = 0
    changed = plus.photometric(flat_images, draws, 1.0)
    torch.testing.assert_close(changed, changed[..., :1, :1].expand_as(changed))
    assert (changed - flat_images).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def sided(images: Tensor) -> Tensor:
    """Logits: foreground where the red channel is bright, part 1 in the left half of an image, part 2 in the right."""
    left = (torch.arange(images.shape[3]) < images.shape[3] // 2).expand_as(images[:, 0])
    return 4 * torch.stack([-images[:, 0], images[:, 0] * left, images[:, 0] * ~left], dim=1)


def test_mirrors_decide_on_the_foreground_together_and_change_no_sides() -> None:
    images = torch.ones(1, 3, 4, 8)
    images[..., :2, :] = -1
    direct, both = sided(images).softmax(dim=1), plus.both_ways(sided, images)
    torch.testing.assert_close(both, direct)
    labels = plus.pseudo_labels(sided, images, 0.9)
    assert labels[0, 3].tolist() == [1] * 4 + [2] * 4 and not labels[0, 0].any()
    skewed = lambda x: sided(x) + torch.linspace(-4, 4, 8)[None, None] * torch.tensor([1.0, 0, 0])[:, None, None]
    assert (plus.pseudo_labels(skewed, images, 0.9) == -1).any(), "the mirror image disagrees"
    background = plus.both_ways(skewed, images)[:, 0]
    torch.testing.assert_close(background, plus.both_ways(skewed, images.flip(3)).flip(3)[:, 0])


def test_only_trusted_pixels_teach() -> None:
    logits, labels = torch.randn(2, 3, 4, 4, requires_grad=True), torch.full((2, 4, 4), -1)
    labels[0, 1, 2] = 2
    plus.self_training_loss(logits, labels).backward()
    touched = logits.grad.abs().sum(dim=1) > 0
    assert touched.nonzero().tolist() == [[0, 1, 2]]


def test_self_training_takes_photographs_in_its_last_steps_and_hands_on_the_average(fabric: Fabric) -> None:
    """It starts with its share of the steps: of 22 the last half."""
    trainer = segmenter(fabric, EVERYTHING)
    first, last = trainer.step(10), trainer.step(11)
    assert first.keys() == {"segmentation"} and trainer.stream.steps == [11] and last["trusted"] > 0
    assert trainer.result() is trainer.parts["teacher"] and trainer.result() is not trainer.segmenter
    assert not same(flat(trainer.result()), flat(trainer.segmenter))
    frozen = [*trainer.generator.parameters(), *trainer.result().parameters()]
    assert not any(parameter.requires_grad for parameter in frozen)
    assert trainer.parts.keys() == {"segmenter", "s_optim", "teacher"}


def test_self_training_learns_from_turned_labels_varies_photographs_fully_and_moves_the_average(monkeypatch) -> None:
    trainer = segmenter(make_fabric("cpu", precision="32-true"), EVERYTHING)
    strengths, moved, decays, lost, update = [], [], [], [], training.update

    def labelled(teacher: nn.Module, images: Tensor, confidence: float, crop: float) -> Tensor:
        assert (confidence, crop) == (0.25, 0.75)
        labels = torch.full((len(images), *images.shape[2:]), -1)
        labels[0], labels[1] = 0, 2
        return labels

    def turned(images: Tensor, labels: Tensor, draws: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        moved.append((len(images), draws.shape, strength))
        return images, torch.cat([labels[:-1], 0 * labels[-1:]])  # the last image is background now

    monkeypatch.setattr(plus, "pseudo_labels", labelled)
    monkeypatch.setattr(plus, "geometric", turned)
    told = lambda images, draws, strength: (strengths.append(strength), images)[1]
    monkeypatch.setattr(plus, "photometric", told)
    monkeypatch.setattr(plus, "turn_hues", told)
    monkeypatch.setattr(plus, "follow", lambda average, network, decay: decays.append(decay))
    monkeypatch.setattr(training, "update", lambda network, optimizer, loss, fabric: (
        lost.append(loss.item()), update(network, optimizer, loss, fabric)))  # fmt: skip
    values, _ = trainer.step(11), trainer.step(0)
    assert strengths == [1.0, 0.5, 1.0, 1.0, 1.0, 0.5] and decays == pytest.approx([12 / 21, 1 / 10])
    assert values.keys() == {"segmentation", "self", "trusted"} and values["self"] > 0
    assert lost[0] == pytest.approx((values["segmentation"] + values["self"]).item())
    pairs, photographs = trainer.config.segmenter.batch_size, len(trainer.stream.batch(11))
    assert moved[:2] == [(n, (n, plus.GEOMETRIC_DRAWS), 1.0) for n in (pairs, photographs)]
    assert values["trusted"].item() == pytest.approx(3 / photographs), "what came back was learned from"


def test_the_probability_of_an_augmentation_follows_the_sign_of_d_at_real_images_and_stays_one() -> None:
    adapt = plus.Augmentation(PlusConfig(augment=0.5, adaptive=0.6)).adapt
    assert adapt(torch.tensor(1.0)).item() == pytest.approx(0.5 + 0.4 * plus.RATE)
    assert adapt(torch.tensor(-1.0)).item() == pytest.approx(0.5 - 1.2 * plus.RATE)
    assert [adapt(torch.tensor(sign)).item() for sign in (1.0, -1.0) for _ in range(999)][998::999] == [1, 0]


def test_d_sees_images_augmented_with_the_probability_that_was_found_and_a_checkpoint_keeps_it(
    fabric: Fabric, monkeypatch
) -> None:
    trainer, given, whole = gan(fabric, MINUTE.replace({"plus.adaptive": 0.6})), [], plus.augment
    monkeypatch.setattr(plus, "augment", lambda *words: given.append(float(words[2])) or whole(*words))
    trainer.discriminator.head[-1].bias.data.fill_(1e3)  # sure that all is real
    values = [trainer.step(t)["augment"].item() for t in (1, 2)]
    assert values == pytest.approx([0.4 * plus.RATE, 0.8 * plus.RATE]) and given[0] == 0 and given[2] > 0
    assert trainer.parts["augmentation"].state_dict()["probability"].item() == pytest.approx(values[-1])


def test_turned_hues_keep_greys_and_a_third_of_a_turn_exchanges_the_channels() -> None:
    torch.manual_seed(0)
    images, draws = torch.rand(3, 3, 4, 4) - 0.5, torch.tensor([[0.5], [0.5 + 1 / 3], [0.5 - 1 / 3]])
    expected = [images[0], images[1].roll(-1, 0), images[2].roll(1, 0)]
    torch.testing.assert_close(plus.turn_hues(images, draws, 1.0), torch.stack(expected))
    torch.testing.assert_close(plus.turn_hues(images, draws, 0.0), images)
    greys = images[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(plus.turn_hues(greys, torch.rand(3, 1), 1.0), greys)
    assert plus.turn_hues(2 * images, torch.rand(3, 1), 1.0).abs().max() <= 1


def test_geometric_changes_move_labels_with_their_images() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(8, 32, 32, dtype=torch.long)
    labels[:, 8:20, 10:24] = torch.arange(8)[:, None, None] - 1  # -1: no label
    images = labels[:, None].expand(-1, 3, -1, -1) / 8
    for draws, strength in ((torch.full((8, plus.GEOMETRIC_DRAWS), 0.5), 1.0), (torch.rand(8, 4), 0.0)):
        still, same_labels = plus.geometric(images, labels, draws, strength)
        torch.testing.assert_close(still, images, rtol=0, atol=1e-4)
        assert torch.equal(same_labels, labels)
    moved, found = plus.geometric(images, labels, torch.rand(8, plus.GEOMETRIC_DRAWS), 1.0)
    assert found.dtype == labels.dtype and set(found.unique().tolist()) <= set(range(-1, 8))
    assert ((moved[:, 0] * 8 - found).abs() < 1e-3).float().mean() > 0.9, "all but edges, which images blend"
    assert (found != labels).float().mean() > 0.1
    draws = torch.tensor([[0.5, 0.5, 1.0, 0.5], [0.5, 0.5, 0.5, 1.0]])
    _, shifted = plus.geometric(images[2:4], labels[2:4], draws, 1.0)
    assert torch.equal(shifted[0, :, :-4], labels[2, :, 4:]) and torch.equal(shifted[1, :-4], labels[3, 4:])
    _, larger = plus.geometric(images[2:3], labels[2:3], torch.tensor([[0.5, 0.0, 0.5, 0.5]]), 1.0)
    assert (larger == 1).sum().item() == pytest.approx(2 * 12 * 14, rel=0.15)


def test_labels_that_an_enlarged_crop_calls_otherwise_are_not_trusted() -> None:
    torch.manual_seed(0)

    def middle(images: Tensor) -> Tensor:
        """Logits: part 1 in the middle half of whatever is shown, of a crop, too."""
        inside = torch.zeros_like(images[:, 0])
        inside[:, 8:24, 8:24] = 1
        return 9 * torch.stack([1 - inside, inside], dim=1)

    everywhere = lambda images: torch.stack([images[:, 0], images[:, 0] + 9], dim=1)
    images = torch.zeros(2, 3, 32, 32)
    alone, checked = (plus.pseudo_labels(middle, images, 0.9, crop) for crop in (0.0, 0.75))
    lost = checked == -1
    assert not (alone == -1).any() and torch.equal(checked[~lost], alone[~lost])
    assert lost.any(dim=(1, 2)).all() and lost.float().mean() < 0.75**2
    assert (plus.pseudo_labels(everywhere, images, 0.9, 0.75) == 1).all()
