"""An experiment has one identity, is trained once, and can be interrupted and read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
import torch

import ganseg
from ganseg import Experiment, Run, UserError, find_runs
from ganseg.code_hash import EQUAL, READERS, bare_source, code_hash, evaluation_hash, imported_by
from ganseg.config import Config
from ganseg.data import DATASETS
from ganseg.files import PACKAGE, read_json, write_json
from ganseg.pipeline import _check_shares
from ganseg.recipes import DIFFERENCES, OPTIONS, SCALES, resolve
from ganseg.training import OutOfTime

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


def test_where_the_data_lies_is_not_part_of_the_identity(tmp_path):
    assert Experiment(data="folder", data_dir=tmp_path).key == Experiment(data="folder", data_dir="elsewhere").key


def test_comments_and_docstrings_do_not_change_the_code_hash_and_code_does():
    source = 'def f(x):\n    """Say."""\n    # why\n\n    return (x +\n            1)\n'
    assert bare_source(source) == bare_source("def f(x):\n    return x + 1\n")
    assert bare_source(source) != bare_source("def f(x):\n    return x + 2\n")


def test_the_reader_of_another_data_set_does_not_change_the_code_hash():
    assert code_hash("flowers") != code_hash("synthetic-bird")


def test_code_that_learns_the_same_keeps_the_earlier_hash_and_nothing_else_is_listed():
    assert EQUAL and set(EQUAL.values()) <= {code_hash(data) for data in READERS}


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
    monkeypatch.setattr("ganseg.pipeline.train", lambda _, __, fabric, *rest: used.append(fabric._precision.precision))
    monkeypatch.setattr("ganseg.experiments._outdated", lambda *_: False)
    with pytest.raises(UserError):  # nothing was trained
        ganseg.run(Experiment(overrides=options), tmp_path, device="cpu")
    assert used == [trained]


def test_a_precision_given_to_run_goes_before_the_configured_one(tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr("ganseg.pipeline.train", lambda _, __, fabric, *rest: used.append(fabric._precision.precision))
    monkeypatch.setattr("ganseg.experiments._outdated", lambda *_: False)
    with pytest.raises(UserError):
        ganseg.run(Experiment(overrides={"optim.precision": "64-true"}), tmp_path, device="cpu", precision="32-true")
    assert used == ["32-true"]


def test_how_a_run_is_measured_is_no_part_of_its_key_and_what_trains_it_is():
    names = {path.relative_to(PACKAGE).as_posix() for path in imported_by(PACKAGE / "training.py")}
    assert {"generator.py", "layers.py", "losses.py", "segmenter.py", "working.py", "devices.py"} <= names
    assert not {"evaluation.py", "metrics.py", "landmarks.py", "protocols.py", "cli.py"} & names
    assert {"evaluation.py", "metrics.py", "protocols.py"} <= {
        path.name for path in imported_by(PACKAGE / "evaluation.py")
    }


@pytest.mark.parametrize("data", [name for name in DATASETS if name != "synthetic"])
def test_every_data_set_names_the_code_that_reads_it(data):
    assert len(code_hash(data)) == len(evaluation_hash(data)) == 64
    assert all((PACKAGE / "data" / f"{reader}.py").is_file() for reader in READERS[data])


def test_a_run_that_other_code_measured_is_measured_again(finished, tmp_path):
    copy = shutil.copytree(finished.directory, tmp_path / "tiny" / "runs" / finished.directory.name)
    write_json(copy / "metrics.json", {"iou": -1.0})
    write_json(copy / "provenance.json", finished.provenance | {"evaluation_code": "older"})
    assert again(tmp_path).metrics == finished.metrics
    assert read_json(copy / "provenance.json") == finished.provenance


def test_a_published_run_without_weights_keeps_its_metrics(finished, tmp_path):
    copy = shutil.copytree(
        finished.directory,
        tmp_path / "tiny" / "runs" / finished.directory.name,
        ignore=shutil.ignore_patterns("*.safetensors"),
    )
    write_json(copy / "metrics.json", {"iou": -1.0})
    write_json(copy / "provenance.json", finished.provenance | {"evaluation_code": "older"})
    assert again(tmp_path, need="metrics").metrics == {"iou": -1.0}


def test_a_finished_run_has_all_its_files_and_says_where_it_came_from(finished):
    names = {path.name for path in finished.directory.iterdir()}
    assert names == {
        "config.json",
        "metrics.json",
        "history.csv",
        "provenance.json",
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
        "import ganseg; from tests.test_experiments import MINUTE;"
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
        _check_shares(Experiment(parts=3, overrides=MINUTE).config, 3)
