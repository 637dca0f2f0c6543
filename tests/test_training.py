"""Both training stages on a minute configuration: what a step does, and that a killed run goes on unharmed."""

import copy
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from ganseg import losses
from ganseg.config import Config
from ganseg.devices import Fabric, make_fabric
from ganseg.files import UserError, write_json
from ganseg.generator import Generator
from ganseg.loop import OutOfTime, fit, load_state, load_weights, mean_losses, save_state, save_weights
from ganseg.recipes import INGREDIENTS, variant_settings
from ganseg.segmenter import Segmenter
from ganseg.training import GanTrainer, SegmenterTrainer

MINUTE = Config().replace({
    "data.size": 16, "generator.parts": 3, "generator.noise_dim": 8, "generator.embedding_dim": 8,
    "generator.block_sizes": (8, 16), "generator.block_widths": (8, 8), "generator.spade_hidden": 4,
    "generator.margin": 2, "discriminator.widths": (8, 8), "discriminator.hidden": 8, "losses.penalty_every": 2,
    "optim.steps": 6, "optim.batch_size": 4, "optim.ema": 0.9, "optim.lr_generator": 1e-3,
    "segmenter.backbone": "resnet18-light", "segmenter.output_stride": 4, "segmenter.batch_size": 2,
})  # fmt: skip
EVERYTHING = variant_settings("+".join(("paper", *INGREDIENTS)))
PLUS = MINUTE.replace(EVERYTHING | {"segmenter.steps": 22, "segmenter.width": 8, "plus.confidence": 0.25})


class Noise:
    """Real images that are a function of the step; remembers the steps asked for."""

    def __init__(self, config: Config = MINUTE) -> None:
        self.shape, self.steps = (config.optim.batch_size, 3, config.data.size, config.data.size), []

    def batch(self, step: int) -> Tensor:
        self.steps.append(step)
        return torch.randint(0, 256, self.shape, generator=torch.Generator().manual_seed(step), dtype=torch.uint8)


def gan(fabric: Fabric, config: Config = MINUTE) -> GanTrainer:
    return GanTrainer(config, fabric, Noise(config))


def segmenter(fabric: Fabric, config: Config = MINUTE) -> SegmenterTrainer:
    torch.manual_seed(0)
    return SegmenterTrainer(config, fabric, Generator(config.generator), Noise(config))


def die(step: int) -> None:
    """Stands for a signal."""
    raise SystemExit


def flat(part: nn.Module | torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of a network or an optimizer, by name."""
    if isinstance(part, nn.Module):
        return part.state_dict()
    return {f"{i}.{key}": value for i, values in part.state_dict()["state"].items() for key, value in values.items()}


def state(trainer: GanTrainer | SegmenterTrainer) -> dict[str, Tensor]:
    """Every tensor a run consists of: weights, buffers, EMA, optimizers."""
    parts = {name: flat(part) for name, part in trainer.parts.items()}
    return {f"{name}/{key}": torch.as_tensor(v).clone() for name, part in parts.items() for key, v in part.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("config", [MINUTE, PLUS], ids=["paper", "plus"])
@pytest.mark.parametrize(("make", "steps", "precision"), [(gan, 24, "bf16-mixed"), (segmenter, 22, "32-true")])
def test_a_killed_run_goes_on_bitwise(make: object, steps: int, precision: str, config: Config, tmp_path: Path) -> None:
    fabric = make_fabric("cpu", precision=precision)
    whole, first, second = (make(fabric, config) for _ in range(3))
    fit(whole, steps, tmp_path / "whole", every=0, progress=False)
    with pytest.raises(SystemExit):
        fit(first, steps, tmp_path / "killed", every=0, progress=False, marks={steps - 1}, on_mark=die)
    (tmp_path / "killed" / "checkpoint" / f".{first.name}.1.tmp.pt").write_bytes(b"half a file")
    assert not same(state(whole), state(second))
    fit(second, steps, tmp_path / "killed", every=0, progress=False)
    assert same(state(whole), state(second))
    histories = [pd.read_csv(tmp_path / run / "history.csv").drop(columns="seconds") for run in ("whole", "killed")]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    assert list(histories[0].step) == [20, steps]  # checkpoints fall on the ends of windows: rows do not depend on them


def test_two_runs_of_one_seed_are_equal_and_another_seed_differs(fabric: Fabric) -> None:
    trainers = [gan(fabric), gan(fabric), gan(fabric, MINUTE.replace({"seed": 1}))]
    for trainer in trainers:
        torch.randn(trainers.index(trainer) + 1)  # what others draw before must not matter
        trainer.step(0), trainer.step(1)
    assert same(state(trainers[0]), state(trainers[1]))
    assert not same(state(trainers[0]), state(trainers[2]))


def test_out_of_time_saves_and_says_where_it_stopped(fabric: Fabric, tmp_path: Path) -> None:
    trainer = gan(fabric)
    with pytest.raises(OutOfTime, match="step 1 of 3 of stage 'gan'"):
        fit(trainer, 3, tmp_path, deadline=0, progress=False)
    resumed = gan(fabric)
    seconds = fit(resumed, 3, tmp_path, deadline=math.inf, progress=False)
    fit(resumed, 3, tmp_path, progress=False)
    assert resumed.stream.steps == [1, 2], "a finished stage does nothing"
    assert seconds >= pd.read_csv(tmp_path / "history.csv").seconds.iloc[0]
    fit(gan(fabric), 1, tmp_path / "other", deadline=0, progress=False)  # at the last step: no interruption


def test_marks_are_called_at_their_steps_before_these_are_saved(fabric: Fabric, tmp_path: Path) -> None:
    seen = []
    mark = lambda step: seen.append((step, (tmp_path / "checkpoint" / "gan.pt").exists()))
    fit(gan(fabric), 3, tmp_path, progress=False, marks={2, 3, 7}, on_mark=mark)
    assert seen == [(2, False), (3, False)]


def test_nan_stops_with_step_and_loss_and_spoils_no_checkpoint(fabric: Fabric, tmp_path: Path) -> None:
    first, broken, fresh = gan(fabric), gan(fabric), gan(fabric)
    fit(first, 2, tmp_path, progress=False)
    step = broken.step
    broken.step = lambda t: step(t) | ({"d": torch.tensor(math.nan)} if t == 3 else {})  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"'d' became nan at step 3 of stage 'gan'"):
        fit(broken, 5, tmp_path, progress=False)
    assert load_state(tmp_path / "checkpoint" / "gan.pt", fresh)[0] == 2
    assert same(state(first), state(fresh))


@pytest.mark.parametrize("learning", ["generator", "discriminator"])
def test_each_step_leaves_the_other_network_alone_and_trainable(learning: str, fabric: Fabric) -> None:
    trainer = gan(fabric)
    other = trainer.generator if learning == "discriminator" else trainer.discriminator
    scene, real = trainer.generator(trainer.generator.noise(4)), torch.rand(4, 3, 16, 16)
    before = copy.deepcopy(other.state_dict())
    if learning == "discriminator":
        trainer.discriminator_step(real, scene.image.detach(), penalised=True)
    else:
        trainer.generator_step(scene, real, geometric=True)
    assert same(other.state_dict(), before) and all(p.grad is None and p.requires_grad for p in other.parameters())


@pytest.fixture
def caught(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The total losses handed to `update`, which does nothing."""
    found: list[Tensor] = []
    monkeypatch.setattr("ganseg.training.update", lambda module, optimizer, loss, fabric: found.append(loss.detach()))
    return found


@pytest.mark.parametrize(("t", "rescale", "factor"), [(0, True, 2.0), (0, False, 1.0), (1, True, 0.0), (2, True, 2.0)])
def test_eq18_total_with_the_lazy_penalty_scaled(t, rescale, factor, fabric, caught):
    trainer = gan(fabric, MINUTE.replace({"losses.penalty_rescale": rescale, "losses.lambda_gp": 7}))
    real, fake = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16)
    values = trainer.discriminator_step(real, fake, trainer.kind(t)[0])
    expected = losses.discriminator_loss(trainer.discriminator(fake), trainer.discriminator(real))
    torch.testing.assert_close(values["d"], expected.detach())
    assert ("gp" in values) == (factor > 0)
    expected = expected + 7 * factor * losses.gradient_penalty(trainer.discriminator, real)
    torch.testing.assert_close(caught[0], expected.detach())


@pytest.mark.parametrize(("t", "every", "counts"), [(0, 1, True), (1, 1, True), (1, 2, False), (2, 2, True)])
def test_eq19_total(t: int, every: int, counts: bool, fabric: Fabric, caught: list[Tensor]) -> None:
    weights = {"losses.lambda_con": 3, "losses.lambda_area": 0.5, "losses.geometry_every": every}
    trainer = gan(fabric, MINUTE.replace(weights))
    scene = trainer.generator(trainer.generator.noise(4))
    scene = scene._replace(scales=scene.scales + 1)  # larger than the masks
    values = trainer.generator_step(scene, scene.image, trainer.kind(t)[1])
    masks, grid = scene.masks[:, 1:], trainer.generator.grid
    expected = losses.generator_loss(trainer.discriminator(scene.image))
    if counts:
        expected = expected + 3 * losses.concentration_loss(masks, scene.centres, grid)
        expected = expected + 0.5 * losses.area_loss(masks, scene.centres, scene.scales, grid)
    torch.testing.assert_close(caught[0], expected.detach())
    assert ({"con", "area"} <= values.keys()) == counts and (not counts or values["area"] > 0.1)


def test_the_averaged_generator_follows_with_its_decay(fabric: Fabric) -> None:
    trainer = gan(fabric)
    start = [p.detach().clone() for p in trainer.generator.parameters()]
    trainer.step(0)
    for old, now, ema in zip(start, trainer.generator.parameters(), trainer.ema.parameters(), strict=True):
        torch.testing.assert_close(ema, 0.9 * old + 0.1 * now.detach())
    assert trainer.result() is trainer.ema
    plain = gan(fabric, MINUTE.replace({"optim.ema": 0}))
    assert plain.ema is None and plain.result() is plain.generator


def test_stage_2_learns_from_pairs_and_leaves_the_generator_alone(fabric: Fabric) -> None:
    trainer = segmenter(fabric)
    noise = trainer.generator.noise(3)
    with torch.no_grad():
        images, labels = trainer.generator.pairs(noise)
        scene = trainer.generator(noise)
    assert torch.equal(images, scene.image) and torch.equal(labels, scene.masks.argmax(1))
    assert labels.min() >= 0 and labels.max() <= 3
    trainer.generator.composition.convs[-1].weight.data *= 10
    seen: list[Tensor] = []
    trainer.segmenter.register_forward_pre_hook(lambda network, given: seen.append(given[0]))
    before, weights = copy.deepcopy(trainer.generator.state_dict()), copy.deepcopy(trainer.segmenter.state_dict())
    assert trainer.step(0)["segmentation"].isfinite()
    assert seen[0].min() == -1 and seen[0].max() == 1, "images are cut to what photographs have"
    assert same(trainer.generator.state_dict(), before) and not same(trainer.segmenter.state_dict(), weights)


def test_history_keeps_window_means_of_both_stages_and_drops_rows_to_be_made_again(fabric, tmp_path, monkeypatch):
    def steps() -> list[tuple[str, int]]:
        return [(row.stage, row.step) for row in pd.read_csv(tmp_path / "history.csv").itertuples()]

    monkeypatch.setattr("ganseg.loop.WINDOW", 2)
    found = mean_losses([{"d": torch.tensor(1.0)}, {"d": torch.tensor(3.0), "gp": torch.tensor(5.0)}], "gan", 2)
    assert found == {"d": 2.0, "gp": 5.0}
    fit(segmenter(fabric), 3, tmp_path, progress=False)
    fit(gan(fabric), 2, tmp_path, progress=False)
    checkpoint = (tmp_path / "checkpoint" / "gan.pt").read_bytes()
    fit(gan(fabric), 5, tmp_path, progress=False)
    assert steps() == [("segmenter", 2), ("segmenter", 3), ("gan", 2), ("gan", 4), ("gan", 5)]
    (tmp_path / "checkpoint" / "gan.pt").write_bytes(checkpoint)  # as if it had been killed before the next
    fit(gan(fabric), 3, tmp_path, progress=False)
    assert steps() == [("segmenter", 2), ("segmenter", 3), ("gan", 2), ("gan", 3)]


def test_damaged_missing_and_foreign_weights_are_user_errors(tmp_path: Path) -> None:
    path, generator = tmp_path / "weights.safetensors", Generator(MINUTE.generator)
    with pytest.raises(UserError, match="weights.safetensors is missing .*No such file.* train it again"):
        load_weights(path, generator)
    save_weights(path, Segmenter(MINUTE.segmenter, 2))
    with pytest.raises(UserError, match="cannot be read .*state_dict for Generator.* train it again"):
        load_weights(path, generator)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be read .*header.* train it again"):
        load_weights(path, generator)


@pytest.mark.parametrize("file", ["checkpoint/gan.pt", "history.csv", "weights.safetensors", "metrics.json"])
def test_a_full_disk_is_told_with_the_file_and_leaves_what_was_there(file, fabric, tmp_path, monkeypatch):
    def write() -> None:
        save_weights(tmp_path / "weights.safetensors", Generator(MINUTE.generator))
        write_json(tmp_path / "metrics.json", {"iou": [0.5] * 1000})
        trainer = gan(fabric)
        trainer.step(0)
        save_state(tmp_path / "checkpoint" / "gan.pt", trainer, 1, [{"stage": "gan", "step": 1}])

    write()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    name = f".{Path(file).stem}.{os.getpid()}.tmp{Path(file).suffix}"
    (tmp_path / file).with_name(name).symlink_to("/dev/full")
    with pytest.raises(OSError, match=rf"No space left on device: '.*{Path(file).name}'"):
        write()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")}.keys() == before.keys()
    assert (tmp_path / file).read_bytes() == before[tmp_path / file]


def test_a_damaged_checkpoint_and_one_of_another_network_or_run_are_user_errors(fabric: Fabric, tmp_path: Path) -> None:
    fit(gan(fabric), 1, tmp_path / "one", progress=False)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    path = tmp_path / "one" / "checkpoint" / "gan.pt"
    assert [p.name for p in path.parent.iterdir()] == ["gan.pt"]
    wider = MINUTE.replace({"discriminator.widths": (8, 16)})
    for folder, config, said in (("one", wider, "of another training"), ("other", MINUTE, r"\(it is of one\)")):
        with pytest.raises(UserError, match=rf"gan\.pt .*{said}"):
            fit(gan(fabric, config), 2, tmp_path / folder, progress=False)
    content, said = path.read_bytes(), "missing or cannot be read .* It is damaged or of another training: delete it"
    for damaged in (content[:1000], b"", content[::-1]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"gan\.pt is {said}"):
            load_state(path, gan(fabric))


def flipped(path: Path, count: int) -> Iterator[None]:
    """Let `path` have one wrong bit, at places over the whole file."""
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), count).tolist():
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        yield
    path.write_bytes(whole)


def test_a_checkpoint_with_a_wrong_bit_is_refused_or_read_as_it_was(fabric: Fabric, tmp_path: Path) -> None:
    trainer, refused = gan(fabric), 0
    fit(trainer, 1, tmp_path, progress=False)
    whole = state(trainer)
    for _ in flipped(tmp_path / "checkpoint" / "gan.pt", 25):
        try:
            load_state(tmp_path / "checkpoint" / "gan.pt", trainer)
            assert same(state(trainer), whole)  # the bit was between the parts of the archive
        except UserError as error:
            assert "It is damaged or of another training" in str(error)
            refused += 1
    assert refused > 5


def test_weights_with_a_wrong_bit_or_of_another_network_of_the_same_shape_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, other = Generator(MINUTE.generator), Generator(MINUTE.generator)
    path, known = tmp_path / "weights.safetensors", save_weights(tmp_path / "weights.safetensors", network)
    for _ in flipped(path, 50):
        with pytest.raises(UserError, match="weights.safetensors .*its SHA-256 is"):
            load_weights(path, other, known)
    assert same(load_weights(path, other, known).state_dict(), network.state_dict())
    assert known != save_weights(path, Generator(MINUTE.generator))
    with pytest.raises(UserError, match=known):
        load_weights(path, other, known)
