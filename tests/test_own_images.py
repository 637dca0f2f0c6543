"""Where users of the released code failed with their own images: sizes, K, shared layers, a whole run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import ganseg
from ganseg.cli import app
from ganseg.config import Config
from ganseg.data import load
from ganseg.data.creatures import CREATURES
from ganseg.devices import make_fabric
from ganseg.discriminator import Discriminator
from ganseg.evaluation import evaluate
from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.recipes import SCALES, resolve
from ganseg.segmenter import Segmenter

PIXELS = (32, 48, 64, 96, 128, 192, 256)
NARROW = {
    "generator.noise_dim": 8, "generator.embedding_dim": 4, "generator.spade_hidden": 4, "discriminator.hidden": 8,
}  # fmt: skip


def of_size(size: int, scale: str = "laptop", **overrides: object) -> Config:
    """The configuration of one's own images at a size."""
    return resolve("folder", "paper", scale, overrides={"data.size": size} | overrides)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("size", PIXELS)
def test_a_size_alone_gives_networks_that_fit(size: int, scale: str) -> None:
    config, usual = of_size(size, scale), resolve("folder", "paper", scale)
    with torch.device("meta"):
        generator, discriminator = Generator(config.generator), Discriminator(config.discriminator, size)
        assert discriminator(torch.empty(2, 3, size, size)).shape == (2,)
    assert (generator.config.size, len(generator.grid)) == (size, size)
    least = min(generator.config.start_size, usual.generator.start_size)
    assert least >= 4 and generator.config.start_size < 2 * usual.generator.start_size
    side = discriminator.head[1].in_features / config.discriminator.widths[-1]
    assert 1 <= side <= (usual.data.size / 2 ** len(usual.discriminator.widths)) ** 2


@pytest.mark.parametrize("size", PIXELS)
def test_networks_learn_at_the_size_that_was_asked_for(size: int) -> None:
    """The released discriminator fails at 256: its linear layer is made for 128."""
    config = of_size(size, **NARROW)
    generator, discriminator = Generator(config.generator), Discriminator(config.discriminator, size)
    scene = generator(generator.noise(1))
    assert scene.image.shape == (1, 3, size, size) and scene.masks.shape == (1, 9, size, size)
    discriminator(scene.image).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


@pytest.mark.parametrize("scale", SCALES)
def test_the_size_of_the_scale_changes_nothing(scale: str) -> None:
    usual = resolve("folder", "paper", scale)
    assert of_size(usual.data.size, scale) == usual


@pytest.mark.parametrize(
    ("data", "size", "scale", "blocks"),
    [
        ("folder", 48, "laptop", (12, 24, 48)),
        ("folder", 192, "gpu", (48, 48, 96, 192)),
        ("folder", 256, "gpu", (32, 32, 64, 128, 256)),
        ("flowers", 64, "gpu", (16, 16, 32, 32, 64, 64)),
    ],
)
def test_blocks_follow_the_size(data: str, size: int, scale: str, blocks: tuple[int, ...]) -> None:
    assert resolve(data, "paper", scale, overrides={"data.size": size}).generator.block_sizes == blocks


def test_widths_follow_the_size() -> None:
    large = of_size(256, "gpu")
    assert large.generator.block_widths == (512, 256, 128, 64, 64)
    assert large.discriminator.widths == (64, 128, 256, 512, 512, 512, 512)


@pytest.mark.parametrize(
    ("size", "said"),
    [(50, "take 48 or 52"), (8, "take 16"), (100, "take 96 or 104"), (0, "take 16"), (-3, "equal to 8")],
)
def test_a_size_that_cannot_be_is_refused_with_sizes_that_can(size: int, said: str) -> None:
    with pytest.raises(UserError, match=f"data.size={size} is not .* {said}"):
        of_size(size)


def test_blocks_of_ones_own_win_over_the_derived_ones() -> None:
    config = of_size(40, **{"generator.block_sizes": "10,20,40", "discriminator.widths": "8,8"})
    assert config.generator.block_sizes == (10, 20, 40) and config.discriminator.widths == (8, 8)


@pytest.mark.parametrize("parts", [1, 2, 30])
def test_any_number_of_parts_can_be_built(parts: int) -> None:
    config = resolve("folder", "paper", "tiny", parts, overrides=NARROW)
    generator = Generator(config.generator)
    scene = generator(generator.noise(2))
    assert scene.masks.shape == (2, parts + 1, 32, 32) and scene.image.isfinite().all()
    assert Segmenter(config.segmenter, parts).eval()(scene.image).shape == (2, parts + 1, 32, 32)


@pytest.mark.parametrize("scale", ["tiny", "gpu"])
def test_no_layer_is_shared(scale: str) -> None:
    """The released code's path for own images repeats one module object, so that several layers are one."""
    config = of_size(128, scale)
    with torch.device("meta"):
        modules = [Generator(config.generator), Discriminator(config.discriminator, 128)]
    for module in modules:
        assert len(list(module.named_modules(remove_duplicate=False))) == len(list(module.modules()))
        assert len(list(module.named_parameters(remove_duplicate=False))) == len(list(module.parameters()))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 drawn faces in two folders, with masks and two keypoints, in all manners of files."""
    root = tmp_path_factory.mktemp("own") / "faces"
    drawn = CREATURES["synthetic-face"].scenes(0, np.arange(80), 48)
    rows = ["name,point,x,y,visible"]
    for i in range(80):
        name = f"{'some' if i % 2 else 'more/of them'}/{i:02d}"
        suffix, mode = (("JPG", "L"), ("png", "RGBA"), ("JPEG", "CMYK"), ("PNG", "P"))[i % 4]
        for file in (root / f"{name}.{suffix}", root / "masks" / f"{name}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn["images"][i]).convert(mode).save(root / f"{name}.{suffix}")
        Image.fromarray(drawn["foreground"][i] * 255).save(root / "masks" / f"{name}.png")
        for j in range(2):
            x, y = drawn["keypoints"][i, j]
            rows.append(f"{name}.{suffix},p{j},{x:.2f},{y:.2f},{int(drawn['visible'][i, j])}")
    (root / "keypoints.csv").write_text("\n".join(rows))
    return root


def test_another_folder_is_another_experiment_and_new_labels_are_not(photographs: Path, tmp_path: Path) -> None:
    """Otherwise the run of one folder would be read for the next."""
    other = tmp_path / "other"
    shutil.copytree(photographs, other)
    key = ganseg.Experiment(data="folder", data_dir=photographs).key
    assert ganseg.Experiment(data="folder", data_dir=other).key == key
    Image.new("RGB", (30, 30)).save(other / "masks" / "new.png")
    assert ganseg.Experiment(data="folder", data_dir=other).key == key
    Image.new("RGB", (30, 30)).save(other / "new.png")
    assert ganseg.Experiment(data="folder", data_dir=other).key != key


def test_own_images_train_and_are_evaluated_with_their_masks_and_keypoints(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path / "cache"))
    settings = NARROW | {"optim.steps": 2, "optim.batch_size": 4, "segmenter.steps": 2, "segmenter.batch_size": 4}
    arguments = ["train", "--data", "folder", "--data-dir", photographs, "--size", 64, "--parts", 2, "--quiet"]
    arguments += [
        "--results",
        tmp_path,
        "--device",
        "cpu",
        *(f"--set={key}={value}" for key, value in settings.items()),
    ]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    run = Path(done.stdout.strip())
    metrics = json.loads((run / "metrics.json").read_text())
    test = load("folder", "test", 64, data_dir=photographs)
    assert metrics["test_images"] == metrics["iou_images"] == len(test) and 0 < metrics["iou_constant_mask"] < 1
    assert metrics["landmark_error_mean"] > 0 and test.keypoint_names == ("p0", "p1")
    assert (run / "segmentation.png").exists()


def test_a_folder_without_labels_is_evaluated_in_what_needs_none(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path / "cache"))
    config = resolve("folder", "paper", "tiny", 2, overrides=NARROW)
    (tmp_path / "few").mkdir()
    for i in range(70):
        Image.new("RGB", (40, 40), (i, 9, 9)).save(tmp_path / "few" / f"{i}.png")
    values = evaluate(config, Segmenter(config.segmenter, 2), make_fabric("cpu"), tmp_path / "few")
    assert "iou" not in values and "landmark_error" not in values and len(values["part_usage"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "51"], "take 50 or 52"),
        (["--set", "data.size=51"], "take 50 or 52"),
        (["--size", "many"], "--size"),
        (["--set", "data.size=big"], "data.size='big' is not valid"),
    ],
)
def test_a_wrong_size_is_told_on_the_command_line(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["train", *arguments])
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.stderr
