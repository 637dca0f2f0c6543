"""An experiment has one identity, is trained once, and can be interrupted and read."""

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import SETTINGS, differences, start
from conftest import ROOT
from filelock import FileLock
from safetensors.torch import load_file

import ganseg
from ganseg import Experiment, Run, UserError, experiments, find_runs, studies
from ganseg.devices import make_fabric
from ganseg.evaluation import evaluate
from ganseg.files import read_json, write_json
from ganseg.loop import OutOfTime
from ganseg.runs import origin
from ganseg.training import GanTrainer, SegmenterTrainer

EXPERIMENT = Experiment(parts=3, overrides=SETTINGS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return again(tmp_path_factory.mktemp("results"))


def again(results: Path, **options: Any) -> Run:
    return ganseg.run(EXPERIMENT, results=results, device="cpu", progress=False, **options)


def test_the_same_experiment_has_the_same_key_and_any_setting_the_recipe_and_the_images_change_it(monkeypatch):
    first = Experiment(parts=5)
    assert first.key == Experiment(data="synthetic", parts=5).key
    changes = [{"parts": 6}, {"seed": 1}, {"variant": "released"}, {"overrides": {"losses.lambda_con": 7}}]
    keys = {first.key, *(Experiment(**{"parts": 5} | change).key for change in changes)}
    monkeypatch.setattr("ganseg.experiments.RECIPE", "another")
    keys.add(Experiment(parts=5).key)
    monkeypatch.setattr("ganseg.experiments.fingerprint", lambda *given: "another")
    assert len(keys | {Experiment(parts=5).key}) == 7


@pytest.mark.parametrize(
    ("hardware", "setting", "asked", "trained"),
    [
        (True, "bf16-mixed", "auto", "bf16-mixed"),
        (False, "bf16-mixed", "auto", "32-true"),
        (True, "32-true", "auto", "32-true"),
        (True, "bf16-mixed", "32-true", "32-true"),
    ],
)
def test_the_precision_that_is_asked_for_is_used_else_the_configured_one_where_the_hardware_has_it(
    hardware, setting, asked, trained, tmp_path, monkeypatch
):
    used = []
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: hardware)
    monkeypatch.setattr("ganseg.experiments.train", lambda *given: used.append(given[2]._precision.precision))
    with pytest.raises(UserError):  # nothing was trained
        ganseg.run(Experiment(overrides={"optim.precision": setting}), tmp_path, device="cpu", precision=asked)
    assert used == [trained]


def test_a_published_run_is_found_by_what_it_is_and_read_where_metrics_are_enough(finished, tmp_path):
    """It is another recipe's, without weights."""
    published, ignored = tmp_path / "tiny" / "runs" / f"{EXPERIMENT.name}-0", shutil.ignore_patterns("*.safetensors")
    shutil.copytree(finished.directory, published, ignore=ignored)
    write_json(published / "metrics.json", {"iou": -1.0})
    assert again(tmp_path, need="metrics").metrics == {"iou": -1.0}
    assert EXPERIMENT.finished(tmp_path, "weights") is None
    assert Experiment(parts=3, overrides=SETTINGS | {"optim.steps": 5}).finished(tmp_path) is None
    assert Experiment(parts=3, seed=1, overrides=SETTINGS).finished(tmp_path) is None
    newer = shutil.copytree(published, published.with_name(f"{EXPERIMENT.name}-1"))
    write_json(newer / "provenance.json", Run(published).provenance | {"finished": "2100-01-01"})
    assert EXPERIMENT.finished(tmp_path) == Run(newer)
    own = shutil.copytree(published, EXPERIMENT.directory(tmp_path))
    assert EXPERIMENT.finished(tmp_path) == Run(own)


@pytest.mark.parametrize(
    ("data", "at_hand", "recorded", "found"),
    [
        ("flowers", "these", "these", ["metrics"]),
        ("flowers", "these", "others", []),
        ("flowers", "", "others", ["metrics", "weights"]),  # there is nothing to train on
        ("folder", "these", "these", ["metrics"]),
        ("folder", "", "others", []),  # anyone's images
    ],
)
def test_a_run_of_other_images_is_not_taken_for_this_one(
    data, at_hand, recorded, found, finished, tmp_path, monkeypatch
):
    experiment = Experiment(data=data, parts=3, overrides=SETTINGS)
    other = shutil.copytree(finished.directory, experiment.directory(tmp_path).with_name(f"{experiment.name}-other"))
    write_json(other / "config.json", {"config": experiment.config.model_dump()})
    write_json(other / "provenance.json", finished.provenance | {"data_fingerprint": recorded})
    monkeypatch.setattr("ganseg.experiments.fingerprint", lambda data, data_dir: at_hand)
    experiment = Experiment(data=data, parts=3, overrides=SETTINGS)
    assert [need for need in ("metrics", "weights") if experiment.finished(tmp_path, need)] == found


def test_committed_runs_of_the_flowers_are_found_where_the_flowers_are_at_hand(shared):
    experiment = Experiment("flowers", scale="laptop", data_dir=shared / "data" / "flowers-102")
    assert experiment.finished(ROOT / "results").provenance["data_fingerprint"] == "12b97166618ad801"


DAMAGED = {"metrics.json": ["", "{", "[]", "{}"], "provenance.json": ["", "{}", None], "config.json": ["", "{}"]}


@pytest.mark.parametrize(("file", "content"), [(file, one) for file, kinds in DAMAGED.items() for one in kinds])
def test_a_damaged_run_is_told_by_its_file_and_hides_no_other(finished, tmp_path, file, content, caplog):
    for name in (finished.directory.name, "synthetic-bird-paper-k4-s0-0"):
        shutil.copytree(finished.directory, tmp_path / "tiny" / "runs" / name)
    (tmp_path / "tiny" / "runs" / finished.directory.name / file).unlink()
    if content is not None:
        (tmp_path / "tiny" / "runs" / finished.directory.name / file).write_text(content)
    (found,) = find_runs(tmp_path, own_settings=True)
    assert found.directory.name.endswith("-0")
    assert EXPERIMENT.finished(tmp_path) is None
    assert f"{finished.directory.name}/{file} is missing or cannot be read" in caplog.text or content in ("{}", "[]")


def test_a_second_training_of_one_experiment_says_that_it_waits_and_keeps_to_its_time(tmp_path, caplog):
    directory = EXPERIMENT.directory(tmp_path)
    directory.parent.mkdir(parents=True)
    lock = FileLock(directory.parent / f".{directory.name}.lock")
    with lock, pytest.raises(OutOfTime, match="another process is still at the training of"):
        again(tmp_path, time_limit=0.2)
    assert f"another process is at the training of {directory.name}; waiting for it" in caplog.text


def test_committed_runs_are_read_and_those_of_todays_settings_are_found_by_what_they_are() -> None:
    runs = [Run.open(path.parent) for path in sorted((ROOT / "results").glob("laptop/runs/*/metrics.json"))]
    compared = {run.directory for run in find_runs(ROOT / "results", "laptop", own_settings=True)}
    sizes = [(run.config.data.size, int(run.provenance["overrides"].get("data.size", 48))) for run in runs]
    assert len(runs) >= 10 and compared and all(size == asked for size, asked in sizes)
    for run in (run for run in runs if run.provenance["data"] != "folder"):
        told = {name: run.provenance[name] for name in ("data", "variant", "parts", "seed", "scale", "overrides")}
        experiment = Experiment(**told)
        found, current = experiment.finished(ROOT / "results"), experiment.config == run.config
        assert found.config == run.config if current else run.directory not in compared, run.directory.name


def test_a_finished_run_has_all_its_files_and_says_where_it_came_from(finished):
    told = "config.json metrics.json history.csv provenance.json generator.safetensors segmenter.safetensors"
    drawn = "samples.npz samples.png training.npz segmentation.png"
    assert {path.name for path in finished.directory.iterdir()} == {*told.split(), *drawn.split()}
    wanted = {"commit", "dirty", "torch", "device", "seed", "seconds_gan", "train_images", "finished", "recipe"}
    assert wanted <= set(finished.provenance)
    assert finished.provenance["key"] == EXPERIMENT.key == finished.directory.name.rpartition("-")[2]
    assert finished.provenance["data_fingerprint"] == EXPERIMENT.fingerprint != ""
    assert finished.config == EXPERIMENT.config
    assert list(finished.history.stage.unique()) == ["gan", "segmenter"]
    wanted = "iou nmi_foreground landmark_error_mean part_usage components_per_part equivariance_error frechet_distance"
    assert set(wanted.split()) <= set(finished.metrics)
    json.dumps(finished.metrics, allow_nan=False)
    samples = np.load(finished.directory / "samples.npz")
    assert samples["images"].shape == (12, 16, 16, 3) and samples["labels"].shape == (12, 16, 16)
    assert samples["images"].dtype == samples["labels"].dtype == np.uint8 and samples["labels"].max() <= 3
    kept, steps = np.load(finished.directory / "training.npz"), finished.config.optim.steps
    assert kept["steps"].tolist() == sorted({*range(1, steps), steps}) and kept["images"].shape == (steps, 4, 16, 16, 3)
    assert all((kept[name][-1] == samples[name][:4]).all() for name in ("images", "labels"))
    assert not (kept["images"][0] == kept["images"][-1]).all()
    assert [*studies.stages(finished)] == kept["steps"].tolist()


def test_the_metrics_of_a_run_are_those_of_the_half_precision_weights_on_its_disk(finished):
    kernel = finished.directory / "generator.safetensors"
    assert {t.dtype for t in load_file(kernel).values() if t.dim() > 1} == {torch.float16}
    fabric = make_fabric("cpu")
    again = evaluate(finished.config, finished.segmenter(), fabric, generator=finished.generator())
    assert again == {name: pytest.approx(value, rel=1e-5, abs=2e-6) for name, value in finished.metrics.items()}


def test_a_run_stopped_by_its_time_limit_goes_on_to_the_same_weights(finished, tmp_path):
    with pytest.raises(OutOfTime, match="goes on"):
        again(tmp_path, time_limit=0)
    with pytest.raises(UserError, match="not finished"):
        Run.open(EXPERIMENT.directory(tmp_path))
    with pytest.raises(UserError, match="not a run"):
        Run.open(tmp_path)
    names = ".generator.1.tmp.safetensors", "checkpoint/.gan.1.tmp.pt"
    left = [EXPERIMENT.directory(tmp_path) / name for name in names]
    _ = [path.write_bytes(b"half") for path in left]  # of a process that was killed
    begun = EXPERIMENT.directory(tmp_path) / "config.json"
    write_json(begun, read_json(begun) | {"commits": ["an earlier one"]})
    resumed = again(tmp_path)
    assert resumed.provenance["commits"] == ["an earlier one", resumed.provenance["commit"]]
    assert finished.provenance["commits"] == [finished.provenance["commit"]]
    assert not left[0].exists() and not left[1].parent.exists()
    left[1].parent.mkdir()  # of one that was killed at its very end
    assert again(tmp_path) == resumed and not left[1].parent.exists()
    assert differences(finished.directory, resumed.directory) == ["history.csv differs"]  # it has where it stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_wait_for_a_step_save_it_and_say_so(finished, tmp_path, monkeypatch, number) -> None:
    for stage, at in ((GanTrainer, 1), (SegmenterTrainer, 0)):
        step, usual = stage.step, signal.getsignal(number)

        def told(trainer: Any, t: int, step: Any = step, at: int = at) -> Any:
            if t == at:
                os.kill(os.getpid(), number)
            return step(trainer, t)

        monkeypatch.setattr(stage, "step", told)
        with pytest.raises(KeyboardInterrupt, match=f"at step {at + 1} of .* goes on"):
            again(tmp_path)
        assert (EXPERIMENT.directory(tmp_path) / "checkpoint" / f"{stage.name}.pt").exists()
        assert signal.getsignal(number) == usual
    assert differences(finished.directory, again(tmp_path).directory) == ["history.csv differs"]


def test_two_that_want_the_same_experiment_at_once_train_it_once(tmp_path, monkeypatch):
    """By a lock on a file, which parts threads as it does processes."""
    trained, train = [], experiments.train
    monkeypatch.setattr(experiments, "train", lambda *given: (trained.append(1), train(*given)))
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(again, [tmp_path] * 2)
    assert one == other and one.metrics and len(trained) == 1


def test_a_run_that_is_killed_three_times_goes_on_to_the_same_files(finished, tmp_path):
    """In stage 1, in stage 2, and while it is evaluated."""
    directory, words = EXPERIMENT.directory(tmp_path), "train --parts 3 --device cpu --quiet"
    words += "".join(f" --set {name}={value}" for name, value in SETTINGS.items())
    for appears in ("checkpoint/gan.pt", "checkpoint/segmenter.pt", "segmenter.safetensors"):
        process = start(words, tmp_path)
        while process.poll() is None and not (directory / appears).exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
        assert (directory / appears).exists() and not (directory / "metrics.json").exists()
    assert not differences(finished.directory, again(tmp_path).directory)


def test_runs_are_found_by_their_provenance(finished):
    results = finished.directory.parents[2]
    assert find_runs(results, own_settings=True, data=("cub", "synthetic-bird"), parts=3) == [finished]
    assert find_runs(results, parts=3) == [], "this run has settings of its own"
    assert find_runs(results, own_settings=True, parts=(4, 5)) == find_runs(results, data="flowers") == []


def test_a_batch_that_processes_cannot_share_evenly_is_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"optim.batch_size=4 must be a multiple of 3, the processes"):
        experiments.train(EXPERIMENT, Path("nowhere"), SimpleNamespace(world_size=3))


def test_a_copy_of_the_package_in_another_checkout_is_of_the_commit_that_it_is_told(tmp_path, monkeypatch):
    (package := tmp_path / "ganseg").mkdir()
    (package / "__init__.py").touch()
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], [*author, "commit", "-q", "--allow-empty", "-m", "another project"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    monkeypatch.setattr("ganseg.runs.PACKAGE", package)
    monkeypatch.setenv("GANSEG_COMMIT", "told")
    assert origin(torch.device("cpu"))["commit"] == "told"
