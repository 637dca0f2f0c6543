"""Released files become runs: through the command line, on golden networks and on full-size files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from released_fixture import (
    PUBLISHED,
    SIZES,
    architecture,
    detector,
    ganseg,
    imported,
    published,
    refused,
    released_tensors,
    save,
    small,
)
from safetensors import safe_open
from torchvision.models.segmentation import deeplabv3_resnet50

from ganseg.experiments import Run, find_runs
from ganseg.generator import Generator, Noise
from ganseg.layers import crop
from ganseg.released import COMPUTED, infer_generator, released_name


@pytest.fixture(scope="module")
def segmenter_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-size file of the segmentation network for K = 3, with the auxiliary head."""
    path = tmp_path_factory.mktemp("segmenter") / "epoch_9.model"
    torch.save({"detector": detector(3), "optim": {"state": {}, "param_groups": [{"lr": 3e-4, "params": [0]}]}}, path)
    return path


@pytest.mark.parametrize("kind", ["linear", "gaussian"])
def test_an_imported_golden_network_computes_what_the_released_one_did(shared: Path, tmp_path: Path, kind: str) -> None:
    with safe_open(shared / "golden" / f"generator_{kind}.safetensors", "pt") as file:
        parameters = json.loads(file.metadata()["config"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    weights = {key.removeprefix("weights/"): value for key, value in tensors.items() if key.startswith("weights/")}
    run, _ = imported(
        save(tmp_path / "log" / "checkpoints" / "epoch_29.model", weights, **parameters),
        "--results",
        tmp_path / "results",
    )
    given, expected = ({k.split("/")[1]: v for k, v in tensors.items() if k.startswith(s)} for s in ("input/", "eval/"))
    position = given["bg_trans"][:, 0].flip(1) * torch.tensor([1.0, 0.0])
    with torch.no_grad():
        scene = run.generator()(Noise(given["input_noise0"], given["input_noise2"], given["input_noise1"], position))
    margin = run.config.generator.margin
    made = {
        "img": scene.image,
        "mask": scene.masks.roll(-1, 1),
        "fg": crop(scene.foreground, margin),
        "bg": crop(scene.background, margin),
        "keypoints": scene.centres.flip(-1),
    }
    for name, value in made.items():
        torch.testing.assert_close(
            value, expected[name], atol=1e-4, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    assert run.provenance["epoch"] == 29


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_four_released_architectures_are_told_from_shapes_alone(name: str) -> None:
    blocks, parts, single = PUBLISHED[name]
    config = architecture(blocks, parts, single)
    with torch.device("meta"):
        shapes = {released_name(ours, config): like for ours, like in Generator(config).state_dict().items()}
        shapes[COMPUTED] = torch.empty(1, 52 * 52, 2)
    assert infer_generator(shapes).__dict__ | {"rgb_kernel": 3} == config.__dict__
    assert infer_generator(shapes, cone=False).heatmap == "gaussian_unsquared"


def test_a_full_size_checkpoint_of_four_blocks_becomes_a_run_that_samples(tmp_path: Path) -> None:
    path = save(
        tmp_path / "gan" / "checkpoints" / "epoch_29.model",
        released_tensors(architecture(4, 8)),
        **published("celeba_wild"),
    )
    run, notes = imported(path, "--results", tmp_path, "--data", "folder")
    assert notes.count("note:") == 3  # another data set, parameters.json found, no segmentation network
    assert run.config.generator == architecture(4, 8)
    assert (run.config.losses.lambda_con, run.config.data.size, run.provenance["parts"]) == (30.0, 128, 8)
    done = ganseg(
        "sample",
        run.directory.name,
        "--count",
        1,
        "--out",
        tmp_path / "one.png",
        "--results",
        tmp_path,
        "--device",
        "cpu",
    )
    assert done.exit_code == 0, done.output
    assert np.asarray(Image.open(tmp_path / "one.png")).std() > 10


def test_a_full_size_checkpoint_of_six_blocks_and_a_single_convolution_becomes_a_run(tmp_path: Path) -> None:
    path = save(
        tmp_path / "gan" / "checkpoints" / "epoch_4.model",
        released_tensors(architecture(6, 8, single=True)),
        **published("flower"),
    )
    run, _ = imported(path, "--results", tmp_path)
    assert run.config.generator.block_sizes == SIZES[6] and run.config.generator.rgb_layers == 1
    assert (run.config.data.name, run.provenance["epoch"], run.provenance["variant"]) == (
        "flowers",
        4,
        "imported",
    )
    state = run.generator().state_dict()
    assert (
        state["composition.convs.0.weight"].shape == (3, 64, 1, 1)
        and len(state) == len(released_tensors(architecture(6, 8, True))) - 1
    )


def test_a_full_size_segmenter_computes_the_same_and_its_auxiliary_head_is_left_out(
    tmp_path: Path, segmenter_file: Path
) -> None:
    path = save(tmp_path / "a" / "checkpoints" / "epoch_0.model", released_tensors(small()))
    run, notes = imported(path, "--segmenter", segmenter_file, "--results", tmp_path)
    assert "left out 8 tensors of the auxiliary head (model.aux_classifier.*)" in notes
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4, aux_loss=True).eval()
    theirs.load_state_dict({name.removeprefix("model."): value for name, value in detector(3).items()})
    with torch.no_grad():
        torch.testing.assert_close(run.segmenter()(images), theirs(images)["out"], atol=1e-4, rtol=1e-4)


def test_an_imported_run_segments_is_evaluated_and_is_listed(tmp_path: Path, segmenter_file: Path) -> None:
    path = save(tmp_path / "a" / "checkpoints" / "epoch_0.model", released_tensors(small()))
    run, _ = imported(path, "--segmenter", segmenter_file, "--results", tmp_path, "--data", "folder", "--name", "mine")
    photographs, where = tmp_path / "photographs", ["--results", tmp_path, "--device", "cpu"]
    photographs.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 255, (70, 24, 20, 3), np.uint8)):
        Image.fromarray(image).save(photographs / f"{i}.png")
    assert not run.metrics and not find_runs(tmp_path)
    assert "imported, not evaluated" in ganseg("runs", "--results", tmp_path).stdout
    done = ganseg("segment", "mine", photographs / "3.png", "--out", tmp_path / "out", *where)
    assert done.exit_code == 0 and Image.open(tmp_path / "out" / "masks" / "3.png").size == (20, 24), done.output
    done = ganseg("evaluate", "mine", "--data-dir", photographs, *where)
    assert done.exit_code == 0, done.output
    assert Run.open(run.directory).metrics["test_images"] > 0
    assert [found.directory for found in find_runs(tmp_path, variant="imported")] == [run.directory]


def test_provenance_tells_the_files_and_importing_again_changes_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "checkpoints" / "epoch_7.model", released_tensors(small()))
    first, notes = imported(path, "--results", tmp_path)
    assert (
        list(first.provenance["imported"]) == ["generator"]
        and first.provenance["imported"]["generator"]["file"] == "epoch_7.model"
    )
    assert "--heatmap gaussian otherwise" in notes and "folder is assumed" in notes and "--segmenter FILE" in notes
    assert imported(path, "--results", tmp_path)[0].directory == first.directory
    imported(path, "--results", tmp_path, "--name", "one")
    other = save(tmp_path / "b" / "checkpoints" / "epoch_7.model", released_tensors(small(), seed=1))
    assert "is another run" in refused(other, "--results", tmp_path, "--name", "one")


def test_the_segmenter_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "checkpoints" / "epoch_0.model", released_tensors(small()))
    run, _ = imported(path, "--results", tmp_path)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    done = ganseg("segment", run.directory, tmp_path / "a.png", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "imported without a segmentation network" in done.stderr
