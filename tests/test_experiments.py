"""An experiment has one identity, is trained once, and can be interrupted and read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image

import ganseg
from ganseg import Experiment, Run, UserError, find_runs, pipeline
from ganseg.config import Config
from ganseg.devices import make_fabric
from ganseg.experiments import RECIPE
from ganseg.files import read_json, write_json
from ganseg.pipeline import check_shares
from ganseg.recipes import DIFFERENCES, OPTIONS, SCALES, resolve
from ganseg.training import GanTrainer, OutOfTime, SegmenterTrainer

TRACE = ROOT / "tests" / "golden" / "trace.json"

MINUTE = {
    "data.size": 16,
    "generator.block_sizes": "8,16",
    "generator.block_widths": "8,8",
    "generator.noise_dim": 8,
    "generator.embedding_dim": 8,
    "generator.spade_hidden": 8,
    "discriminator.widths": "8,8",
    "discriminator.hidden": 8,
    "data.train_limit": 64,
    "data.test_limit": 32,
    "optim.steps": 4,
    "optim.batch_size": 4,
    "segmenter.steps": 2,
    "segmenter.batch_size": 4,
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def finished(results) -> Run:
    return again(results)


def again(results, **options) -> Run:
    return ganseg.run(Experiment(parts=3, overrides=MINUTE), results=results, device="cpu", progress=False, **options)


def test_the_same_experiment_has_the_same_key_and_any_setting_changes_it():
    first = Experiment(parts=5)
    assert first.key == Experiment(parts=5).key
    others = [
        Experiment(parts=6),
        Experiment(parts=5, seed=1),
        Experiment(parts=5, variant="released"),
        Experiment(parts=5, overrides={"losses.lambda_con": 7}),
    ]
    assert len({e.key for e in [first, *others]}) == 5


def test_where_the_data_lies_is_not_part_of_the_identity_and_which_images_there_are_is(tmp_path):
    for name, count in (("here", 70), ("there", 70), ("other", 71)):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    here, there, other = (Experiment(data="folder", data_dir=tmp_path / n).key for n in ("here", "there", "other"))
    assert here == there != other
    assert Experiment(data="folder").key == Experiment(data="folder", data_dir="elsewhere").key != here


def test_another_recipe_is_another_experiment(monkeypatch):
    before = Experiment().key
    monkeypatch.setattr("ganseg.experiments.RECIPE", "other")
    assert Experiment().key != before


def test_numbers_that_change_ask_for_another_recipe():
    """Losses of the first steps, frozen with the recipe that made them."""
    frozen = read_json(TRACE)
    now = trace()
    moved = {k: (v, now[k]) for k, v in frozen["losses"].items() if now[k] != pytest.approx(v, rel=2e-3, abs=1e-4)}
    assert frozen["recipe"] == RECIPE and not moved, "raise RECIPE, and write tests/golden/trace.json anew"


def trace() -> dict[str, float]:
    """Losses of steps 0 to 3 of the default experiment at scale tiny, and of stage 2 at its beginning."""
    experiment, fabric = Experiment(overrides={"data.train_limit": 64}), make_fabric("cpu", precision="32-true")
    config = experiment.config
    gan = GanTrainer(config, fabric, pipeline.batches(config, pipeline.training_images(config, None), fabric.device))
    losses = {f"{t} {name}": value.item() for t in range(4) for name, value in gan.step(t).items()}
    return losses | {"segmentation": SegmenterTrainer(config, fabric, gan.result).step(0)["segmentation"].item()}


@pytest.mark.parametrize(
    ("hardware", "options", "trained"),
    [
        (True, {}, "bf16-mixed"),
        (False, {}, "32-true"),
        (True, {"optim.precision": "32-true"}, "32-true"),
        (False, {"optim.precision": "64-true"}, "64-true"),
    ],
)
def test_the_configured_precision_is_used_where_the_hardware_has_it(hardware, options, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: hardware)
    used = []
    monkeypatch.setattr("ganseg.pipeline.train", lambda *given: used.append(given[4]._precision.precision))
    with pytest.raises(UserError):  # nothing was trained
        ganseg.run(Experiment(overrides=options), tmp_path, device="cpu")
    assert used == [trained]


def test_a_precision_given_to_run_goes_before_the_configured_one(tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr("ganseg.pipeline.train", lambda *given: used.append(given[4]._precision.precision))
    with pytest.raises(UserError):
        ganseg.run(Experiment(overrides={"optim.precision": "64-true"}), tmp_path, device="cpu", precision="32-true")
    assert used == ["32-true"]


@pytest.fixture
def published(finished, tmp_path) -> Path:
    """Results that hold the finished run as another recipe's, without weights."""
    name = finished.directory.name.rpartition("-")[0] + "-00000000"
    ignored = shutil.ignore_patterns("*.safetensors")
    copy = shutil.copytree(finished.directory, tmp_path / "tiny" / "runs" / name, ignore=ignored)
    write_json(copy / "metrics.json", {"iou": -1.0})
    return tmp_path


def test_a_published_run_is_found_by_what_it_is_and_read_where_metrics_are_enough(published):
    assert again(published, need="metrics").metrics == {"iou": -1.0}
    experiment = Experiment(parts=3, overrides=MINUTE)
    assert experiment.finished(published, "weights") is None
    assert Experiment(parts=3, overrides=MINUTE | {"optim.steps": 5}).finished(published) is None
    assert Experiment(parts=3, seed=1, overrides=MINUTE).finished(published) is None


def test_a_run_of_other_images_is_not_taken_for_this_one(finished, tmp_path, monkeypatch):
    experiment = Experiment(data="flowers", data_dir=tmp_path, parts=3, overrides=MINUTE)
    monkeypatch.setattr("ganseg.experiments.fingerprint", lambda *_: "these")
    folder = shutil.copytree(finished.directory, experiment.directory(tmp_path).with_name(f"{experiment.name}-other"))
    write_json(folder / "config.json", {"config": experiment.config.to_dict()})
    for images, found in (("these", folder), ("others", None)):
        write_json(folder / "provenance.json", finished.provenance | {"data_fingerprint": images})
        assert experiment.finished(tmp_path) == found


def test_a_finished_run_has_all_its_files_and_says_where_it_came_from(finished):
    names = {path.name for path in finished.directory.iterdir()}
    assert names == {
        "config.json",
        "metrics.json",
        "history.csv",
        "provenance.json",
        "samples.npz",
        "samples.png",
        "segmentation.png",
        "generator.safetensors",
        "segmenter.safetensors",
    }
    assert {"commit", "dirty", "torch", "device", "seed", "seconds_gan", "data_fingerprint", "key"} <= set(
        finished.provenance
    )
    assert finished.config == Experiment(parts=3, overrides=MINUTE).config
    assert list(finished.history.stage.unique()) == ["gan", "segmenter"]
    assert np.load(finished.directory / "samples.npz")["labels"].shape == (12, 16, 16)


def test_metrics_of_labelled_data_are_all_there(finished):
    wanted = {
        "iou",
        "iou_constant_mask",
        "nmi_foreground",
        "ari_foreground",
        "nmi_both",
        "landmark_error",
        "landmark_error_mean",
        "landmark_error_affine",
        "part_usage",
        "foreground_fraction",
        "equivariance_error",
    }
    assert wanted <= set(finished.metrics)
    json.dumps(finished.metrics, allow_nan=False)


def test_a_finished_experiment_is_read_and_not_trained_again(finished, results):
    before = (finished.directory / "metrics.json").stat().st_mtime_ns
    again = ganseg.run(Experiment(parts=3, overrides=MINUTE), results=results, device="cpu", progress=False)
    assert again.directory == finished.directory
    assert (finished.directory / "metrics.json").stat().st_mtime_ns == before


def test_a_run_stopped_by_its_time_limit_goes_on_to_the_same_weights(finished, tmp_path):
    experiment = Experiment(parts=3, overrides=MINUTE)
    with pytest.raises(OutOfTime, match="goes on"):
        ganseg.run(experiment, results=tmp_path, device="cpu", progress=False, time_limit=0)
    with pytest.raises(UserError, match="not finished"):
        Run.open(experiment.directory(tmp_path))
    resumed = ganseg.run(experiment, results=tmp_path, device="cpu", progress=False)
    assert (resumed.directory / "generator.safetensors").read_bytes() == (
        finished.directory / "generator.safetensors"
    ).read_bytes()
    assert (resumed.directory / "segmenter.safetensors").read_bytes() == (
        finished.directory / "segmenter.safetensors"
    ).read_bytes()


def test_two_processes_that_want_the_same_experiment_train_it_once(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r});"
        "import ganseg; from test_experiments import MINUTE;"
        "experiment = ganseg.Experiment(parts=2, overrides=MINUTE);"
        f"r = ganseg.run(experiment, results={str(tmp_path)!r}, device='cpu', progress=False);"
        "print((r.directory / 'generator.safetensors').stat().st_mtime_ns)"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    times = [process.communicate(timeout=300)[0] for process in both]
    assert times[0].strip() and times[0] == times[1]


def test_runs_are_found_by_what_they_are(finished, results):
    assert finished.directory in [
        r.directory for r in find_runs(results, own_settings=True, data="synthetic-bird", parts=3)
    ]
    assert find_runs(results, parts=3) == [] == find_runs(results, own_settings=True, parts=(4, 5)), (
        "these runs have settings of their own"
    )
    assert find_runs(results, data="flowers") == []


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a run"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"data": "nothing"}, {"variant": "papers"}, {"variant": "paper+cone"}, {"scale": "huge"}]
)
def test_unknown_names_are_refused_with_the_known_ones(wrong):
    with pytest.raises(UserError, match=r"known are|it is paper"):
        Experiment(**wrong)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("variant", ["paper", "released", *(f"paper+{name}" for name in [*DIFFERENCES, *OPTIONS])])
def test_every_variant_resolves_at_every_scale(scale, variant):
    assert isinstance(resolve("flowers", variant, scale), Config)


def test_paper_and_released_pull_equally_hard_on_the_mean_part():
    paper, released = (resolve("synthetic-bird", variant, "laptop", parts=6) for variant in ("paper", "released"))
    assert paper.losses.lambda_con * 6 == pytest.approx(released.losses.lambda_con)
    assert paper.losses.over_parts == "sum" and released.losses.over_parts == "mean"


def test_each_difference_changes_the_paper_variant_by_itself():
    plain = resolve("synthetic-bird", "paper", "tiny")
    for name in DIFFERENCES:
        assert resolve("synthetic-bird", f"paper+{name}", "tiny") != plain, name


def test_a_batch_that_processes_cannot_share_evenly_is_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"optim.batch_size=4 cannot be shared by 3 processes.*optim.batch_size=6"):
        check_shares(Experiment(parts=3, overrides=MINUTE).config, 3)
