"""Released files that are not what they should be: refused by name, and never executed."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from released_fixture import detector, imported, refused, released_tensors, save, small

from ganseg.files import UserError
from ganseg.released import COMPUTED, read_tensors


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


def test_parameters_that_contradict_the_tensors_are_told_by_name(tmp_path: Path) -> None:
    wrong = {
        "n_keypoints": 4, "z_dim": 9, "n_per_kp": 3, "n_embedding": 7, "single_final": 1, "image_size": 32,
        "feature_map_sizes": "8,16", "feature_map_channels": "12,9", "use_linear": 1,
    }  # fmt: skip
    path = save(tmp_path / "log" / "checkpoints" / "epoch_0.model", released_tensors(small()), **wrong)
    said = refused(path, "--results", tmp_path, "--parts", 5, "--heatmap", "gaussian")
    for line in (
        "n_keypoints is 4, not 3", "z_dim is 9", "n_per_kp is 3", "n_embedding is 7", "single_final is 1",
        "image_size is 32", "feature_map_channels is 12,9, not 12,8", "--parts is 5, not 3",
        "--heatmap is gaussian, not cone",
    ):  # fmt: skip
        assert line in said
    save(path, released_tensors(small()), feature_map_sizes="8,8,16")
    assert "there must be one width for each block" in refused(path)
    save(path, released_tensors(small()), feature_map_sizes="4,8")
    assert f"feature_map_sizes is 4,8, but {COMPUTED} begins with 8 pixels" in refused(path)


def test_parameters_choose_the_heatmap_and_what_was_trained_with_and_else_an_option(tmp_path: Path) -> None:
    told = {"use_linear": 0, "smaller_init_mask": 1, "con_penalty_coef": 7.5, "feature_map_sizes": [8, 16]}
    path = save(tmp_path / "log" / "checkpoints" / "epoch_0.model", released_tensors(small()), **told)
    config = imported(path, "--results", tmp_path)[0].config
    assert (config.generator.heatmap, config.generator.part_scale) == ("gaussian_unsquared", "distance_variance")
    assert (config.losses.area, config.losses.lambda_con) == ("heatmap", 7.5)
    (path.parent.parent / "parameters.json").unlink()
    run, notes = imported(path, "--results", tmp_path, "--heatmap", "gaussian")
    assert run.config.generator == config.generator and "use_linear" not in notes


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"generator_log": "log/gan_cub_k8"}', "belongs to a segmentation network; name the generator's"),
        ("[1]", "cannot be read as JSON of names and values"),
        ("{", "cannot be read as JSON"),
        (None, "cannot be read as JSON"),
    ],
)
def test_parameters_of_the_wrong_file_are_told(tmp_path: Path, content: str | None, said: str) -> None:
    path = save(tmp_path / "a" / "epoch_0.model", released_tensors(small()))
    if content:
        (tmp_path / "p.json").write_text(content)
    assert said in refused(path, "--parameters", tmp_path / "p.json")


def test_a_bare_state_dict_and_the_prefix_of_data_parallel_are_understood(tmp_path: Path) -> None:
    tensors = released_tensors(small())
    torch.save({f"module.{name}": value for name, value in tensors.items()}, tmp_path / "bare.pt")
    assert set(read_tensors(tmp_path / "bare.pt", "generator")) == set(tensors)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="has no state dict 'generator', it holds list"):
        read_tensors(tmp_path / "list.pt", "generator")
