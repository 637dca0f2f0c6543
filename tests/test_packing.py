"""A pack arrives whole or is refused, and its weights come back rounded to bfloat16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from ganseg import UserError, packing
from ganseg.cli import app

RUN = "gpu/runs/flowers-paper-k8-s0-01234567"


@pytest.fixture
def results(tmp_path) -> Path:
    """Results of one finished and one begun run, a notebook, and a figure; the weights are 1.1 and 4.4 MB."""
    folder = tmp_path / "results"
    for name in packing.LIGHT:
        write(folder / RUN / name, "{}" if name.endswith("json") else name)
    write(folder / "gpu" / "runs" / "flowers-paper-k8-s1-89abcdef" / "config.json", "{}")
    write(folder / "gpu" / "notebooks" / "00_a.ipynb", "{}")
    write(folder / "gpu" / "notebooks" / "01_b.failed.ipynb", "{}")
    write(folder / "gpu" / "figures" / "00_a.png", "picture")
    torch.manual_seed(0)
    for name, kernels in (("generator", 1), ("segmenter", 4)):
        state = {f"{i}.weight": torch.randn(350, 800).contiguous() for i in range(kernels)}
        state |= {"norm.running_var": torch.rand(7), "norm.num_batches_tracked": torch.tensor(2**20 + 1)}
        save_file(state, folder / RUN / f"{name}.safetensors")
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ganseg(*arguments: str | Path):
    return CliRunner().invoke(app, [str(word) for word in arguments])


def test_a_pack_has_what_is_finished_and_a_manifest_of_it(results, tmp_path):
    packed = packing.pack("gpu", tmp_path / "pack", results)
    there = [path for path in (tmp_path / "pack").rglob("*") if path.is_file()]
    names = {path.relative_to(tmp_path / "pack").as_posix() for path in there} - {"manifest.json"}
    light = {f"{RUN}/{name}" for name in packing.LIGHT}
    assert names == set(packed.files) == light | {"gpu/notebooks/00_a.ipynb", "gpu/figures/00_a.png"}
    assert json.loads((tmp_path / "pack" / "manifest.json").read_text())["files"].keys() == names


def test_unpacking_gives_runs_with_weights_rounded_to_bfloat16_and_says_so(results, tmp_path):
    packing.pack("gpu", tmp_path / "pack", results, weights_mb=8)
    merge = ["queue", "--unpack", tmp_path / "pack", "--results", tmp_path / "new"]
    assert ganseg(*merge).stdout.strip() == str(tmp_path / "new" / RUN)
    for name in ("generator.safetensors", "segmenter.safetensors"):
        found, wanted = load_file(tmp_path / "new" / RUN / name), load_file(results / RUN / name)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            exact = key.startswith("norm")
            torch.testing.assert_close(found[key], value, rtol=0 if exact else 2**-8, atol=0)
            assert exact or not torch.equal(found[key], value)
    assert ganseg(*merge).stdout == "", "a second time changes nothing"
    assert "bfloat16" in json.loads((tmp_path / "new" / RUN / "provenance.json").read_text())["weights"]
    assert not list((tmp_path / "new").rglob("*-of-*"))


def test_unpacking_leaves_runs_and_exact_weights_as_they_are(results, tmp_path):
    packing.pack("gpu", tmp_path / "pack", results, weights_mb=8)
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert packing.unpack(tmp_path / "pack", results) == []
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}


@pytest.mark.parametrize("harm", ["no manifest", "missing", "changed"])
def test_a_pack_that_is_not_whole_is_refused_and_nothing_is_merged(results, tmp_path, harm):
    packing.pack("gpu", tmp_path / "pack", results)
    victim = tmp_path / "pack" / ("manifest.json" if harm == "no manifest" else f"{RUN}/history.csv")
    victim.write_text("cut") if harm == "changed" else victim.unlink()
    said = ganseg("queue", "--unpack", tmp_path / "pack", "--results", tmp_path / "new")
    assert (said.exit_code, "whole" in said.stderr, victim.name in said.stderr) == (2, True, True)
    assert not (tmp_path / "new").exists()


def test_a_pack_that_was_killed_half_way_is_not_whole(results, tmp_path, monkeypatch):
    packing.pack("gpu", tmp_path / "pack", results)
    copied = []

    def killed(source: Path, target: Path) -> None:
        copied.append(source)
        if len(copied) == 3:
            raise KeyboardInterrupt
        shutil.copy2(source, target)

    monkeypatch.setattr(packing, "copy_file", killed)
    with pytest.raises(KeyboardInterrupt):
        packing.pack("gpu", tmp_path / "pack", results)
    with pytest.raises(UserError, match="not a whole pack"):
        packing.unpack(tmp_path / "pack", tmp_path / "new")


def test_a_manifest_that_leads_out_of_the_pack_is_refused(results, tmp_path):
    packing.pack("gpu", tmp_path / "pack", results)
    write(tmp_path / "pack" / "manifest.json", json.dumps({"files": {"../outside": {}}}))
    with pytest.raises(UserError, match="outside of the pack"):
        packing.unpack(tmp_path / "pack", tmp_path / "new")


def test_weights_are_split_into_files_of_limited_size_whole_or_not_at_all(results, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "SHARD", packing.HEADER + 2**20)
    path = results / RUN / "segmenter.safetensors"
    assert packing.split_weights(path, tmp_path / "out", room=2**21) == []
    shards = packing.split_weights(path, tmp_path / "out", room=2**22)
    assert sorted((tmp_path / "out").iterdir()) == shards and len(shards) == 4
    assert max(shard.stat().st_size for shard in shards) <= packing.SHARD
    shards[0].unlink()
    assert not packing.join_weights(tmp_path / "out", "segmenter", tmp_path / "segmenter.safetensors")


def test_weights_that_do_not_fit_are_named(results, tmp_path):
    packed = packing.pack("gpu", tmp_path / "pack", results, weights_mb=1)
    assert packed.left_out == [f"{RUN}/segmenter.safetensors"]
    assert any("generator-00001-of-00001" in name for name in packed.files)
