"""Released files become runs: through the command line, on golden networks and on full-size files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import done, mistaken
from PIL import Image
from released_fixture import PUBLISHED, architecture, detector, imported, published, released_tensors, save, small
from safetensors import safe_open
from test_golden import released_config
from torchvision.models.segmentation import deeplabv3_resnet50

from ganseg.generator import Generator
from ganseg.released import COMPUTED, convert_generator, infer_config, released_name
from ganseg.runs import Run, find_runs


@pytest.fixture(scope="module")
def segmenter_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full-size file of the segmentation network for K = 3, with the auxiliary head."""
    path = tmp_path_factory.mktemp("segmenter") / "epoch_9.model"
    torch.save({"detector": detector(3), "optim": {"state": {}, "param_groups": [{"lr": 3e-4, "params": [0]}]}}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small file of the generator."""
    return save(tmp_path / "a" / "checkpoints" / "epoch_0.model", released_tensors(small()))


@pytest.mark.parametrize("kind", ["linear", "gaussian"])
def test_an_imported_golden_network_is_the_one_that_computes_the_same(shared: Path, tmp_path: Path, kind: str) -> None:
    with safe_open(shared / "golden" / f"generator_{kind}.safetensors", "pt") as file:
        parameters = json.loads(file.metadata()["config"])
        names = [name for name in file.keys() if name.startswith("weights/")]  # noqa: SIM118
        weights = {name.removeprefix("weights/"): file.get_tensor(name) for name in names}
    path = save(tmp_path / "log" / "checkpoints" / "epoch_29.model", weights, **parameters)
    run, _ = imported(path, "--results", tmp_path / "results")
    assert run.config.generator.model_dump() | {"rgb_kernel": 3} == released_config(parameters).model_dump()
    assert run.provenance["epoch"] == 29
    expected = convert_generator(weights, run.config.generator)
    torch.testing.assert_close(dict(run.generator().state_dict()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_four_released_architectures_are_told_from_shapes_alone(name: str) -> None:
    blocks, parts, single = PUBLISHED[name]
    config = architecture(blocks, parts, single)
    with torch.device("meta"):
        shapes = {released_name(ours, config): like for ours, like in Generator(config).state_dict().items()}
        shapes[COMPUTED] = torch.empty(1, 52 * 52, 2)
    found = infer_config(shapes, {}, "folder").generator
    assert found.model_dump() | {"rgb_kernel": 3} == config.model_dump()


def test_a_full_size_checkpoint_becomes_a_run_that_samples(tmp_path: Path) -> None:
    name = "flower"
    tensors = released_tensors(architecture(*PUBLISHED[name]))
    path = save(tmp_path / "gan" / "checkpoints" / "epoch_4.model", tensors, **published(name))
    run, notes = imported(path, "--results", tmp_path, "--data", "folder")
    assert notes.count("note:") == 1 and "--segmenter FILE" in notes
    assert run.config.generator.model_dump() | {"rgb_kernel": 3} == architecture(*PUBLISHED[name]).model_dump()
    assert (run.config.data.size, run.provenance["parts"]) == (128, 8)
    assert (run.config.data.name, run.provenance["epoch"], run.provenance["variant"]) == ("folder", 4, "imported")
    done("sample --count 1 --device cpu --out", tmp_path / "one.png", run.directory.name, "--results", tmp_path)
    assert np.asarray(Image.open(tmp_path / "one.png")).std() > 10


def test_a_full_size_segmenter_computes_the_same(tmp_path: Path, checkpoint: Path, segmenter_file: Path) -> None:
    run, _ = imported(checkpoint, "--segmenter", segmenter_file, "--results", tmp_path)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    theirs = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=4, aux_loss=True).eval()
    theirs.load_state_dict({name.removeprefix("model."): value for name, value in detector(3).items()})
    with torch.no_grad():
        torch.testing.assert_close(run.segmenter()(images), theirs(images)["out"], atol=1e-4, rtol=1e-4)


def test_an_imported_run_segments_and_is_evaluated(tmp_path: Path, checkpoint: Path, segmenter_file: Path) -> None:
    run, _ = imported(checkpoint, "--segmenter", segmenter_file, "--results", tmp_path, "--data", "folder")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 255, (70, 24, 20, 3), np.uint8)):
        Image.fromarray(image).save(photographs / f"{i}.png")
    assert not run.metrics and not find_runs(tmp_path)
    assert "imported, not evaluated" in done("runs --results", tmp_path).stdout
    done("segment --device cpu", run.directory, photographs / "3.png", "--out", tmp_path / "out")
    assert Image.open(tmp_path / "out" / "masks" / "3.png").size == (20, 24)
    done("evaluate --device cpu", run.directory, "--data-dir", photographs)
    assert Run.open(run.directory).metrics["test_images"] > 0
    assert [found.directory for found in find_runs(tmp_path, variant="imported")] == [run.directory]


def test_provenance_tells_the_files_and_importing_again_changes_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "checkpoints" / "epoch_7.model", released_tensors(small()), class_name="flower")
    first, notes = imported(path, "--results", tmp_path)
    told = {kind: source["file"] for kind, source in first.provenance["imported"].items()}
    assert told == {"generator": "epoch_7.model", "parameters": "parameters.json"}
    assert first.config.data.name == "flowers" and "a cone" in notes and "feature_map_sizes" in notes
    assert imported(path, "--results", tmp_path)[0].directory == first.directory
    other = save(tmp_path / "b" / "checkpoints" / "epoch_7.model", released_tensors(small(), seed=1))
    assert imported(other, "--results", tmp_path)[0].directory != first.directory


def test_the_segmenter_that_is_not_there_is_told(tmp_path: Path, checkpoint: Path) -> None:
    run, notes = imported(checkpoint, "--results", tmp_path)
    assert "assumed: the data set folder" in notes
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    said = mistaken("segment", run.directory, tmp_path / "a.png", "--out", tmp_path / "out")
    assert "imported without a segmentation network" in said
