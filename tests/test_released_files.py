"""Released files that are not what they should be: refused by name, and never executed."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from commands import mistaken
from released_fixture import detector, imported, released_tensors, save, small

from ganseg.files import UserError
from ganseg.released import COMPUTED, read_tensors


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


TELLING = (
    "keypoints_embedding.weight", "adain_blocks.1.conv1.weight", COMPUTED, "conv.0.weight",
    "gen_keypoints_layer.0.model.0.weight", "gen_keypoints_layer.4.weight",
)  # fmt: skip


@pytest.mark.parametrize("name", TELLING)
def test_a_missing_tensor_that_tells_the_architecture_is_told_by_name(tmp_path: Path, name: str) -> None:
    tensors = released_tensors(small())
    del tensors[name]
    assert f"missing: {name}" in refused(save(tmp_path / "c" / "epoch_0.model", tensors), "--results", tmp_path)


def test_wrong_tensors_of_the_segmenter_are_told_by_released_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "epoch_0.model", released_tensors(small()))
    tensors = detector(4, aux=False)
    tensors["model.backbone.extra"] = tensors.pop("model.backbone.conv1.weight")
    torch.save({"detector": tensors, "optim": {}}, tmp_path / "seg.model")
    said = refused(path, "--segmenter", tmp_path / "seg.model", "--results", tmp_path)
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


PARAMETERS = {
    "[1]": "parameters.json is missing or cannot be read",
    "{": "parameters.json is missing or cannot be read",
}
PARAMETERS |= {text: "feature_map_sizes and use_linear must be whole numbers" for text in (
    '{"feature_map_sizes": "8,x"}', '{"feature_map_sizes": 8}', '{"use_linear": "yes"}', '{"use_linear": 1e999}',
)}  # fmt: skip


@pytest.mark.parametrize("content", PARAMETERS)
def test_damaged_parameters_are_told(tmp_path: Path, content: str) -> None:
    path = save(tmp_path / "a" / "epoch_0.model", released_tensors(small()))
    (tmp_path / "a" / "parameters.json").write_text(content)
    assert PARAMETERS[content] in refused(path)


def test_a_bare_state_dict_and_the_prefix_of_data_parallel_are_understood(tmp_path: Path) -> None:
    tensors = released_tensors(small())
    torch.save({f"module.{name}": value for name, value in tensors.items()}, tmp_path / "bare.pt")
    assert set(read_tensors(tmp_path / "bare.pt", "generator")) == set(tensors)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="has no state dict 'generator', it holds list"):
        read_tensors(tmp_path / "list.pt", "generator")
