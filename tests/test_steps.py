"""What a step does with its numbers: rates, weights, order and whose weights are used afterwards."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric.plugins import MixedPrecision
from test_training import MINUTE, gan, segmenter, state
from torch import nn
from torchvision.models import resnet50

from ganseg import experiments
from ganseg.devices import Fabric, make_fabric
from ganseg.discriminator import Discriminator
from ganseg.evaluation import find_parts
from ganseg.experiments import Experiment
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.loop import fit, load_state
from ganseg.points import PointGenerator
from ganseg.recipes import resolve
from ganseg.training import untrained_segmenter


def test_each_network_learns_at_its_own_rate_with_the_given_betas(fabric: Fabric) -> None:
    told = {"optim.lr_generator": 1e-3, "optim.lr_discriminator": 5e-3, "optim.betas": (0.3, 0.8)}
    trainer = gan(fabric, MINUTE.replace(told | {"optim.ema": 0}))
    pairs = (trainer.g_optim, 1e-3, trainer.generator), (trainer.d_optim, 5e-3, trainer.discriminator)
    for optimizer, rate, network in pairs:
        (group,) = optimizer.param_groups
        assert (group["lr"], group["betas"]) == (rate, (0.3, 0.8))
        assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    before = [p.detach().clone() for p in trainer.discriminator.parameters()]
    trainer.step(1)
    moved = [(p - b).abs().max().item() for p, b in zip(trainer.discriminator.parameters(), before, strict=True)]
    assert max(moved) == pytest.approx(5e-3, rel=1e-3), "the first step of Adam is its learning rate"


@pytest.mark.parametrize("parts", [4, 8])
def test_the_area_loss_is_a_sum_over_the_parts_and_only_lambda_con_follows_k(parts: int) -> None:
    told = (resolve("celeba-wild", variant, "paper", parts=parts) for variant in ("paper", "released"))
    paper, released = (config.losses for config in told)
    assert (paper.lambda_area, released.lambda_area) == (1, 1)
    assert paper.lambda_con * parts == released.lambda_con == 10
    assert (paper.over_parts, released.over_parts) == ("sum", "mean")


def test_every_layer_of_both_networks_starts_as_kaimings_for_leaky_relu() -> None:
    config = resolve("celeba-wild", "paper", "gpu").replace({"generator.point_spread": 1.0})
    torch.manual_seed(0)
    for network in (Generator(config.generator), Discriminator(config.discriminator, 128)):
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert layers and all(not layer.bias.any() for layer in layers)
        for layer in layers:
            expected = math.sqrt(2 / 1.04 / layer.weight[0].numel())
            spread = 5 / math.sqrt(2 * layer.weight.numel())  # five standard errors of a standard deviation
            assert layer.weight.std().item() == pytest.approx(expected, rel=spread)


def test_the_points_start_as_spread_as_asked() -> None:
    spreads = {}
    for asked in (0.05, 0.5):
        torch.manual_seed(0)
        points = PointGenerator(resolve("cub", "paper", "gpu").generator.model_copy(update={"point_spread": asked}))
        spreads[asked] = points(torch.randn(256, 256), torch.randn(256, 256)).points.std().item()
    assert spreads[0.5] / spreads[0.05] == pytest.approx(10, rel=1e-3)
    assert spreads[0.05] == pytest.approx(0.05 * math.sqrt(2 / 1.04), rel=0.2)


@pytest.mark.parametrize(("steps", "size", "batches"), [(6, 4, 6), (8600, 64, 8)])  # of all images it saw, or 512
def test_the_averaged_generator_is_used_with_batch_statistics_of_its_own(fabric: Fabric, steps, size, batches) -> None:
    trainer = gan(fabric, MINUTE.replace({"optim.steps": steps, "optim.batch_size": size}))
    for t in range(3):
        trainer.step(t)
    live = {name: value.clone() for name, value in trainer.generator.named_buffers()}
    result = trainer.result()
    norm = result.foreground_generator.blocks[-1].spade1.norm
    seen = []
    hook = norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].mean(dim=(0, 2, 3))))
    again = {name: value.clone() for name, value in trainer.result().named_buffers()}
    hook.remove()
    torch.testing.assert_close(norm.running_mean, torch.stack(seen).mean(dim=0))
    assert len(seen) == batches and norm.momentum == 0.1
    assert not torch.equal(norm.running_mean, live["foreground_generator.blocks.1.spade1.norm.running_mean"])
    assert all(torch.equal(value, again[name]) for name, value in result.named_buffers()), "it is the same every time"
    assert all(torch.equal(value, live[name]) for name, value in trainer.generator.named_buffers())


def test_stage_2_samples_and_weights_are_of_the_averaged_generator(monkeypatch, tmp_path: Path, fabric: Fabric) -> None:
    used, gan_trainer, segmenter_trainer = {}, experiments.GanTrainer, experiments.SegmenterTrainer
    watched = {
        "GanTrainer": lambda *args: used.setdefault("gan", gan_trainer(*args)),
        "SegmenterTrainer": lambda *args: used.setdefault("segmenter", segmenter_trainer(*args)),
        "draw_samples": lambda generator, *_: used.update(drawn=generator),  # the last
        "save_weights": lambda path, module, half: used.setdefault(path.stem, module) and "",
        "evaluate": lambda *args, generator, **_: used.setdefault("scored", generator) and {},
    }
    for name, function in watched.items():
        monkeypatch.setattr(experiments, name, function)
    overrides = {"optim.steps": 2, "segmenter.steps": 1, "data.train_limit": 20, "data.test_limit": 5}
    experiment = Experiment("synthetic-bird", scale="tiny", overrides=overrides)
    experiments.train(experiment, tmp_path, fabric, progress=False)
    averaged = used["gan"].ema
    assert averaged is not None and averaged is not used["gan"].generator
    for what in ("drawn", "generator", "scored"):
        assert used[what] is averaged, what
    assert used["segmenter"].generator is averaged


def test_parts_are_found_in_evaluation_mode(fabric: Fabric) -> None:
    network = segmenter(fabric).segmenter.train()
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    before = copy.deepcopy(network.state_dict())
    alone = [find_parts(network.train(), images[i : i + 1], fabric).centres for i in range(5)]
    together = find_parts(network.train(), images, fabric).centres
    np.testing.assert_allclose(np.concatenate(alone), together, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_resume_under_another_precision_keeps_adams_moments(tmp_path: Path, fabric: Fabric) -> None:
    first, second = gan(make_fabric("cpu", precision="bf16-mixed")), gan(fabric)
    fit(first, 3, tmp_path, progress=False)
    assert load_state(tmp_path / "checkpoint" / "gan.pt", second)[0] == 3
    kept, moments = state(second), [name for name in state(first) if "exp_avg" in name]
    parameters = [*first.generator.parameters(), *first.discriminator.parameters()]
    assert len(moments) == 2 * len(parameters)
    assert all(torch.equal(value, kept[name]) for name, value in state(first).items())
    for optimizer, network in ((second.g_optim, second.generator), (second.d_optim, second.discriminator)):
        for parameter in network.parameters():
            assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape


def test_the_scaler_of_fp16_is_kept_and_another_precision_resumes_without(tmp_path: Path, fabric: Fabric) -> None:
    scalers = [torch.amp.GradScaler("cpu", init_scale=scale) for scale in (2.0**7, 2.0**16)]
    precisions = [MixedPrecision("16-mixed", "cpu", scaler) for scaler in scalers]
    first, again = (gan(Fabric(accelerator="cpu", plugins=precision)) for precision in precisions)
    fit(first, 2, tmp_path, progress=False)
    load_state(tmp_path / "checkpoint" / "gan.pt", again)
    assert scalers[1].get_scale() == scalers[0].get_scale() == 2.0**7
    assert load_state(tmp_path / "checkpoint" / "gan.pt", gan(fabric))[0] == 2


@pytest.fixture
def imagenet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where ImageNet's weights would lie: they are not at hand, and none may be fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("GANSEG_ALLOW_DOWNLOADS", raising=False)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth"


def test_imagenet_weights_are_asked_for_before_training_and_start_the_backbone(imagenet: Path) -> None:
    settings = {"backbone": "resnet50", "output_stride": 8, "pretrained": True}
    config = MINUTE.replace({f"segmenter.{name}": value for name, value in settings.items()})
    with pytest.raises(UserError, match=r"lacks \S+resnet50-\w+\.pth, and .*GANSEG_ALLOW_DOWNLOADS=1"):
        untrained_segmenter(config)
    weights = resnet50(weights=None).state_dict()
    torch.save(weights, imagenet)
    backbone = untrained_segmenter(config).network.backbone.state_dict()
    assert backbone and all(torch.equal(value, weights[name]) for name, value in backbone.items())


def test_the_first_steps_losses_in_bf16_are_close_to_those_in_fp32(fabric: Fabric) -> None:
    """Autocast keeps rounded weights until it ends: one around a whole step would show G the D of before its update."""
    config = MINUTE.replace({"optim.lr_discriminator": 1e-2})
    full, half = (gan(one, config).step(0) for one in (fabric, make_fabric("cpu", precision="bf16-mixed")))
    assert half.keys() == full.keys() >= {"d", "gp", "g", "con", "area"}
    for name, value in full.items():
        assert half[name].item() == pytest.approx(value.item(), rel=0.08, abs=1e-2), name


def test_released_starts_stage_2_from_imagenet_where_its_weights_can_be_had(imagenet: Path) -> None:
    started = lambda scale: resolve("flowers", "released", scale).segmenter.pretrained
    assert not started("paper") and resolve("flowers", "paper+imagenet-segmenter", "paper").segmenter.pretrained
    imagenet.touch()
    assert started("gpu") and started("paper") and not started("laptop")
