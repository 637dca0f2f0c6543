"""The command line: what it does with a minute's run, and what it says to typical mistakes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_unchanged import commands
from typer import BadParameter
from typer.testing import CliRunner

from ganseg import Run
from ganseg.cli import app
from ganseg.data import DATASETS
from ganseg.files import UserError
from ganseg.recipes import SCALES
from ganseg.terminal import parse_duration, parse_settings, told

ROOT = Path(__file__).resolve().parent.parent
MINUTE = [
    "--parts=3", "--device=cpu", "--set=data.size=16", "--set=data.train_limit=48",
    "--set=data.test_limit=24", "--set=generator.block_sizes=8,16", "--set=generator.block_widths=16,8",
    "--set=generator.noise_dim=8", "--set=generator.embedding_dim=8", "--set=generator.spade_hidden=8",
    "--set=discriminator.widths=8,8",
    "--set=discriminator.hidden=8", "--set=optim.steps=3", "--set=optim.batch_size=4",
    "--set=segmenter.steps=2", "--set=segmenter.batch_size=4",
]  # fmt: skip


def ganseg(*arguments: str | Path):
    """What a command did."""
    return CliRunner().invoke(app, [str(word) for word in arguments], terminal_width=120)


def plain(text: str) -> str:
    """Without colours and frames, in one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def mistaken(*arguments: str | Path) -> str:
    """What is said to a mistake: on stderr, with exit code 2 and without a traceback."""
    done = ganseg(*arguments)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert "Traceback" not in done.output
    return plain(done.stderr)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Path:
    """The folder of results after `ganseg train --quiet`, stopped once."""
    results = tmp_path_factory.mktemp("cli") / "results"
    command = ["train", *MINUTE, "--quiet", "--results", results]
    stopped = ganseg(*command, "--time-limit", "0.001s")
    assert stopped.exit_code == 3
    assert re.search("out of time: stopped at step 1 of 3 .* goes on", stopped.stderr)
    done = ganseg(*command)
    (config,) = results.glob("tiny/runs/*/config.json")
    assert (done.exit_code, done.stdout) == (0, f"{config.parent}\n"), done.output
    return results


@pytest.fixture(scope="session")
def run(trained) -> Path:
    (config,) = trained.glob("tiny/runs/*/config.json")
    return config.parent


@pytest.fixture
def copy(run, tmp_path) -> Path:
    """A copy of the run that a test may change."""
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("a.png", "b.jpg"):
        noise(folder / name, (40, 60, 3))
    (folder / "c.png").write_text("no picture")
    return folder


def noise(path: Path, shape: tuple[int, int, int]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8)).save(path)


def test_a_finished_run_is_read_and_its_main_metrics_are_printed(trained, run):
    before = (run / "metrics.json").stat().st_mtime_ns
    done = ganseg("train", *MINUTE, "--results", trained)
    assert done.exit_code == 0
    assert "foreground IoU" in done.stdout
    assert done.stdout.strip().endswith(str(run))
    assert (run / "metrics.json").stat().st_mtime_ns == before


def test_segmenting_a_folder_writes_masks_overlays_and_parts_and_tells_what_it_skipped(
    trained, run, photographs, tmp_path
):
    done = ganseg("segment", run.name, photographs, "--out", tmp_path / "out", "--results", trained)
    assert done.exit_code == 0, done.output
    assert "2 images segmented, 1 skipped" in done.stdout and "skipped c.png" in done.stderr
    assert Image.open(tmp_path / "out" / "masks" / "a.png").size == (60, 40)
    assert len(json.loads((tmp_path / "out" / "parts.json").read_text())["images"][0]["parts"]) == 3


def test_samples_are_one_picture(run, tmp_path):
    done = ganseg("sample", run, "--count", "3", "--out", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width > 400


def test_evaluating_again_gives_the_same_metrics(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps(metrics | {"iou": 7.0}))
    done = ganseg("evaluate", copy, "--device", "cpu")
    assert done.exit_code == 0, done.output
    again = json.loads((copy / "metrics.json").read_text())
    assert again.keys() == metrics.keys()
    for name, value in metrics.items():
        np.testing.assert_allclose(again[name], value, atol=1e-3, err_msg=name)
    assert "equivariance" in done.stdout


def test_other_conventions_leave_the_metrics_and_go_to_a_file_of_their_own(copy):
    before = (copy / "metrics.json").read_bytes()
    done = ganseg("evaluate", copy, "--origin", "affine", "--iou", "dataset", "--device", "cpu")
    assert done.exit_code == 0, done.output
    written = copy / "metrics-iou-dataset-origin-affine.json"
    assert done.stdout.strip().endswith(str(written))
    assert (copy / "metrics.json").read_bytes() == before
    usual, other = json.loads(before), json.loads(written.read_text())
    assert other["landmark_error"] == pytest.approx(usual["landmark_error_affine"], abs=1e-3)
    assert other["iou"] == pytest.approx(usual["iou_dataset"], abs=1e-3)
    assert other["protocol"] == {"origin": "affine", "iou": "dataset"}


def test_what_has_no_labels_is_told_by_evaluate(copy, tmp_path):
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace('"synthetic-bird"', '"folder"'))
    for i in range(100):
        noise(tmp_path / "images" / f"{i}.png", (16, 16, 3))
    done = ganseg("evaluate", copy, "--data-dir", tmp_path / "images", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "no foreground masks: IoU is not measured" in done.stderr
    assert "no keypoints: landmark errors" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--origin", "corner"], "origin='corner' is not valid; input should be 'released', 'centred' or 'affine'"),
        (["--oracle", "min"], "oracle='min' is not valid; input should be 'none' or 'max'"),
        (["--split", "official-test"], "no split 'official-test'; it has train, val, test"),
    ],
)
def test_unknown_conventions_are_told_with_the_known_ones(run, arguments, said):
    assert said in mistaken("evaluate", run, "--device", "cpu", *arguments)


def test_runs_are_listed_with_their_numbers(trained, run):
    done = ganseg("runs", "--results", trained)
    iou = json.loads((run / "metrics.json").read_text())["iou"]
    (row,) = [line.split() for line in done.stdout.splitlines() if run.name in line]
    assert (row[:3], row[-1]) == (["tiny", run.name, f"{iou:.3f}"], "evaluated")


def test_an_unfinished_or_damaged_run_is_listed_and_not_opened(run, tmp_path):
    begun = tmp_path / "tiny" / "runs" / run.name
    begun.mkdir(parents=True)
    shutil.copy(run / "config.json", begun)
    assert "is not finished" in mistaken("sample", run.name, "--results", tmp_path)
    (begun / "metrics.json").write_text("{")
    assert "unfinished" in ganseg("runs", "--results", tmp_path).stdout


def test_a_run_is_found_by_its_key_or_a_part_of_its_name(trained, run):
    for word in (run.name.rpartition("-")[2], "bird-paper-k3", f"tiny/{run.name}"):
        assert Run.find(word, trained).directory == run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "birds"], "unknown data set 'birds'; known are synthetic"),
        (["--data", "flowers"], "needs its folder"),
        (["--data", "folder", "--data-dir", "/no/such/folder"], "/no/such/folder is missing"),
        (["--scale", "huge"], "unknown scale 'huge'; known are tiny"),
        (["--variant", "papers"], "unknown variant 'papers'"),
        (["--set", "losses.lambda_conn=3"], "unknown setting 'losses.lambda_conn'"),
        (["--set", "losses.lambda_con"], "write SECTION.FIELD=VALUE"),
        (["--set", "losses.lambda_con=much"], "losses.lambda_con='much' is not valid; input should be a valid number"),
        (["--time-limit", "soon"], "'--time-limit': 'soon' is not a time; write 90s, 10m or 1h30m"),
        (["--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda', 'mps'"),
        (["--devices", "many"], "--devices many: write a number"),
        (["--precision", "8"], "'8' is not one of 'auto', '32-true'"),
        (["--parts", "0"], "--parts"),
    ],
)
def test_mistakes_in_training_are_told_with_what_would_be_right(arguments, said, tmp_path):
    assert said in mistaken("train", "--device=cpu", "--quiet", "--results", tmp_path, *arguments)
    assert not list(tmp_path.rglob("metrics.json"))


def test_an_unknown_run_is_told_with_the_known_ones_or_how_to_begin(trained, run, tmp_path):
    said = mistaken("sample", "dragon", "--results", trained)
    assert "no run 'dragon'" in said and run.name in said
    for command in (["sample", "dragon"], ["runs"]):
        assert "ganseg train" in mistaken(*command, "--results", tmp_path)


def test_an_ambiguous_run_is_told_with_all_it_could_be(run, tmp_path):
    for seed in (1, 2):
        other = tmp_path / "tiny" / "runs" / f"synthetic-bird-paper-k3-s{seed}-0000000{seed}"
        shutil.copytree(run, other, ignore=shutil.ignore_patterns("*.safetensors"))
    said = mistaken("evaluate", "bird-paper", "--results", tmp_path)
    assert "2 runs" in said and "s1-00000001" in said and "s2-00000002" in said


@pytest.mark.parametrize("command", ["sample", "segment", "evaluate"])
def test_missing_weights_are_told_with_how_to_get_them(copy, photographs, tmp_path, command):
    for file in copy.glob("*.safetensors"):
        file.unlink()
    said = mistaken(command, copy, *([photographs, "--out", tmp_path / "out"] if command == "segment" else []))
    assert ".safetensors is not there" in said and "train it again" in said


def test_folders_that_cannot_be_segmented_are_told(run, photographs, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no images in" in mistaken("segment", run, tmp_path / "empty", "--out", tmp_path / "out")
    assert "Name a folder outside" in mistaken("segment", run, photographs, "--out", photographs / "masks")


def test_debug_shows_where_a_failure_came_from(tmp_path):
    done = ganseg("--debug", "sample", "dragon", "--results", tmp_path)
    assert isinstance(done.exception, UserError)


def test_the_process_exits_with_2_and_one_line_for_a_mistake(tmp_path):
    command = [sys.executable, "-m", "ganseg.cli", "train", "--data", "birds", "--results", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown data set 'birds'") and done.stderr.count("\n") == 1


def test_help_needs_no_torch():
    code = "import sys, ganseg.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("command", commands())
def test_help_of_every_command_has_an_example(command):
    done = ganseg(*command.split(), "--help")
    assert done.exit_code == 0
    assert f"Example: ganseg {command}" in plain(done.output), command


def test_the_help_names_every_data_set_and_scale():
    said = plain(ganseg("train", "--help").output)
    names = [spec.name for spec in DATASETS.values()]
    assert [name for name in [*names, *SCALES] if name not in said] == []


def test_the_version_is_printed():
    assert ganseg("--version").stdout.startswith("ganseg ")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200), ("45", 45), ("1.5m", 90), (" 1M ", 60)],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "10 minutes", "1m1h", "1d", "m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(BadParameter, match="write 90s, 10m or 1h30m"):
        parse_duration(text)


def test_settings_may_hold_an_equals_sign_and_the_last_one_counts():
    assert parse_settings(["a.b=1", "a.c = x=y", "a.b=2"]) == {"a.b": "2", "a.c": "x=y"}


def test_interrupts_bugs_and_full_disks_end_differently():
    assert told(KeyboardInterrupt())[1] == 130
    assert told(OSError(28, "No space left on device", "x.png"))[1] == 2
    assert told(ZeroDivisionError())[1] == 0
