"""Released files become runs, small or full-size; what is not as it should be is refused by name, never executed."""

import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import done, mistaken
from PIL import Image
from released_fixture import detector, imported, released_tensors, save, small
from torchvision.models.segmentation import deeplabv3_resnet50

from ganseg.files import UserError
from ganseg.generator import Generator
from ganseg.recipes import resolve
from ganseg.released import COMPUTED, convert_generator, infer_config, read_tensors, released_name
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


@pytest.mark.parametrize("data", ["celeba-wild", "taichi", "cub", "flowers"])
def test_the_four_released_architectures_are_told_from_shapes_alone(data: str) -> None:
    config = resolve(data, "released", "paper").generator
    with torch.device("meta"):
        shapes = {released_name(ours, config): like for ours, like in Generator(config).state_dict().items()}
        shapes[COMPUTED] = torch.empty(1, 52 * 52, 2)
    found = infer_config(shapes, {}, "folder").generator
    assert found.model_dump() | {"rgb_kernel": 3} == config.model_dump()


def test_a_full_size_checkpoint_becomes_a_run_of_its_very_weights_that_samples(tmp_path: Path) -> None:
    config = resolve("flowers", "released", "paper").generator
    tensors, sizes = released_tensors(config), ",".join(map(str, config.block_sizes))
    told = {"class_name": "flower", "feature_map_sizes": sizes, "use_linear": 1, "n_keypoints": 8}
    path = save(tmp_path / "gan" / "checkpoints" / "epoch_4.model", tensors, **told)
    run, notes = imported(path, "--results", tmp_path, "--data", "folder")
    assert notes.count("note:") == 1 and "--segmenter FILE" in notes
    assert run.config.generator.model_dump() | {"rgb_kernel": 3} == config.model_dump()
    expected = convert_generator(tensors, run.config.generator)
    torch.testing.assert_close(dict(run.generator().state_dict()), expected, rtol=0, atol=0, check_dtype=False)
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


def test_an_imported_run_segments_and_is_evaluated_where_there_are_labels(tmp_path, checkpoint, segmenter_file) -> None:
    run, _ = imported(checkpoint, "--segmenter", segmenter_file, "--results", tmp_path, "--data", "folder")
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i, image in enumerate(np.random.default_rng(0).integers(0, 255, (70, 24, 20, 3), np.uint8)):
        Image.fromarray(image).save(photographs / f"{i}.png")
    assert not run.metrics and not find_runs(tmp_path)
    assert "imported, not evaluated" in done("runs --results", tmp_path).stdout
    done("segment --device cpu", run.directory, photographs / "3.png", "--out", tmp_path / "out")
    assert Image.open(tmp_path / "out" / "masks" / "3.png").size == (20, 24)
    said = done("evaluate --device cpu", run.directory, "--data-dir", photographs).stderr
    assert "no foreground masks: IoU is not measured" in said and "no keypoints: NMI and ARI" in said
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


# ---- files that are not what they should be


def refused(*words: str | Path) -> str:
    """What is said to a file that cannot be imported."""
    return mistaken("import-released", *words)


class Evil:
    """A pickle that would make a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["zip", "pickle 2", "pickle 5"])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, form: str) -> None:
    path, mark = tmp_path / "epoch_0.model", tmp_path / "executed"
    if form == "zip":
        torch.save({"generator": released_tensors(small()), "more": Evil(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Evil(mark), protocol=int(form[-1])))
    said = refused(path, "--results", tmp_path)
    assert "was refused and nothing in it was executed" in said and ("mkdir" in said or form == "pickle 5")
    assert not mark.exists() and not list(tmp_path.rglob("config.json"))
    torch.load(path, weights_only=False) if form == "zip" else pickle.loads(path.read_bytes())
    assert mark.exists()  # it would have been executed otherwise


@pytest.mark.parametrize("content", [b"", b"no file of torch", b"PK\3\4 half of a zip"])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "epoch_0.model"
    path.write_bytes(content)
    assert f"{path} is damaged, or no file of torch" in refused(path)
    torch.save({"generator": released_tensors(small())}, path)
    path.write_bytes(path.read_bytes()[:-5000])
    assert f"{path} is damaged, or no file of torch" in refused(path)
    assert "cannot be read" in refused(tmp_path / "none.model")
    torch.save({"generator": {"bomb": torch.zeros(10**6)}}, tmp_path / "whole.model")
    with zipfile.ZipFile(tmp_path / "whole.model") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for entry in whole.namelist():
            bomb.writestr(entry, whole.read(entry))
    assert path.stat().st_size < 10**5 and f"{path} is damaged, or no file of torch" in refused(path)


NEEDED = (  # the last by the network alone, the others to tell its architecture
    "keypoints_embedding.weight", "adain_blocks.1.conv1.weight", COMPUTED, "conv.0.weight",
    "gen_keypoints_layer.0.model.0.weight", "gen_keypoints_layer.4.weight", "mask_spade_blocks.0.spade1.conv_beta.bias",
)  # fmt: skip


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_tensor_is_told_by_name(tmp_path: Path, name: str) -> None:
    tensors = released_tensors(small())
    del tensors[name]
    assert f"missing: {name}" in refused(save(tmp_path / "c" / "epoch_0.model", tensors), "--results", tmp_path)


def test_wrong_tensors_of_the_segmenter_are_told_by_released_name(tmp_path: Path, checkpoint: Path) -> None:
    tensors = detector(4, aux=False)
    tensors["model.backbone.extra"] = tensors.pop("model.backbone.conv1.weight")
    torch.save({"detector": tensors, "optim": {}}, tmp_path / "seg.model")
    said = refused(checkpoint, "--segmenter", tmp_path / "seg.model", "--results", tmp_path)
    assert "missing: model.backbone.conv1.weight" in said and "unknown: model.backbone.extra" in said
    assert "model.classifier.4.weight has the shape (5, 256, 1, 1), this configuration needs (4, 256, 1, 1)" in said
    assert not list(tmp_path.rglob("*.safetensors"))
    assert "has no state dict 'generator', it holds detector, optim" in refused(tmp_path / "seg.model")


def test_sizes_that_contradict_the_tensors_are_told(tmp_path: Path) -> None:
    path, tensors = tmp_path / "checkpoints" / "e.model", released_tensors(small())
    save(path, tensors, feature_map_sizes="8,8,16")
    assert "there must be one width for each block" in refused(path)
    save(path, tensors, feature_map_sizes="4,8")
    assert f"feature_map_sizes is [4, 8], but {COMPUTED} begins with 8 pixels" in refused(path)


def test_parameters_choose_the_heatmap(tmp_path: Path) -> None:
    told = {"use_linear": 0, "feature_map_sizes": [8, 16]}
    path = save(tmp_path / "log" / "checkpoints" / "epoch_0.model", released_tensors(small()), **told)
    run, notes = imported(path, "--results", tmp_path)
    generator = run.config.generator
    assert (generator.heatmap, generator.part_scale) == ("gaussian_unsquared", "distance_variance")
    assert "use_linear" not in notes


WRONG = ['{"feature_map_sizes": "8,x"}', '{"feature_map_sizes": 8}', '{"use_linear": "yes"}', '{"use_linear": 1e999}']
PARAMETERS = dict.fromkeys(WRONG, "feature_map_sizes and use_linear must be whole numbers")
PARAMETERS |= dict.fromkeys(["[1]", "{"], "parameters.json is missing or cannot be read")


@pytest.mark.parametrize("content", PARAMETERS)
def test_damaged_parameters_are_told(checkpoint: Path, content: str) -> None:
    checkpoint.with_name("parameters.json").write_text(content)
    assert PARAMETERS[content] in refused(checkpoint)


def test_a_bare_state_dict_and_the_prefix_of_data_parallel_are_understood(tmp_path: Path) -> None:
    tensors = released_tensors(small())
    torch.save({f"module.{name}": value for name, value in tensors.items()}, tmp_path / "bare.pt")
    assert set(read_tensors(tmp_path / "bare.pt", "generator")) == set(tensors)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="has no state dict 'generator', it holds list"):
        read_tensors(tmp_path / "list.pt", "generator")
