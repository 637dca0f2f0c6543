"""The command line: what it does with a minute's run, and what it says to typical mistakes."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import SETTINGS, done, ganseg, mistaken, plain
from conftest import ROOT
from PIL import Image
from test_unchanged import commands
from typer import Abort, BadParameter

from ganseg import Run
from ganseg.files import OutOfTime, UserError
from ganseg.recipes import SCALES
from ganseg.terminal import duration, setting, told

MINUTE = ["train --parts 3 --device cpu", *(f"--set={name}={value}" for name, value in SETTINGS.items())]


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """The folder that `ganseg train --quiet`, stopped once, prints."""
    results = tmp_path_factory.mktemp("cli") / "results"
    stopped = ganseg(*MINUTE, "--quiet", "--results", results, "--time-limit=0.001s")
    assert stopped.exit_code == 3
    assert re.search("out of time: stopped at step 1 of 3 .* goes on", stopped.stderr)
    printed = done(*MINUTE, "--quiet", "--results", results).stdout
    (config,) = results.glob("tiny/runs/*/config.json")
    assert printed == f"{config.parent}\n"
    return config.parent


@pytest.fixture(scope="session")
def trained(run) -> Path:
    """The results that have this run."""
    return run.parents[2]


@pytest.fixture
def copy(run, tmp_path) -> Path:
    """A copy of the run that a test may change."""
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("a.png", "b.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(folder / name)
    (folder / "c.png").write_text("no picture")
    return folder


def test_a_finished_run_is_read_and_its_metrics_are_printed(trained, run):
    before = (run / "metrics.json").stat().st_mtime_ns
    printed = done(*MINUTE, "--results", trained).stdout
    assert "foreground IoU" in printed and printed.strip().endswith(str(run))
    assert (run / "metrics.json").stat().st_mtime_ns == before


def test_segmenting_a_folder_writes_masks_and_parts_and_tells_what_it_skipped(trained, run, photographs, tmp_path):
    told = done("segment", run.name, photographs, "--out", tmp_path / "out", "--results", trained)
    assert "2 images segmented, 1 skipped" in told.stdout and "skipped c.png" in told.stderr
    assert Image.open(tmp_path / "out" / "masks" / "a.png").size == (60, 40)
    assert len(json.loads((tmp_path / "out" / "parts.json").read_text())["images"][0]["parts"]) == 3


def test_samples_are_one_picture_of_the_seed(run, tmp_path):
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path, seed in zip(paths, (3, 3, 4), strict=True):
        assert done("sample --count 3 --device cpu", run, "--seed", seed, "--out", path).stdout.strip() == str(path)
    same, again, other = (np.asarray(Image.open(path)) for path in paths)
    assert same.shape[1] > 400 and (same == again).all() and (same != other).any()


def test_evaluating_again_gives_the_same_metrics(copy):
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps(metrics | {"iou": 7.0}))
    assert "equivariance" in done("evaluate", copy, "--device=cpu").stdout
    again = json.loads((copy / "metrics.json").read_text())
    assert again == {name: pytest.approx(value, abs=1e-3) for name, value in metrics.items()}


def test_other_images_leave_the_metrics_and_go_to_a_file_of_their_own(copy):
    before = (copy / "metrics.json").read_bytes()
    printed = done("evaluate --split val --regression train --device cpu", copy).stdout
    written = copy / "metrics-split-val.json"
    assert printed.strip().endswith(str(written)) and (copy / "metrics.json").read_bytes() == before
    usual, other = json.loads(before), json.loads(written.read_text())
    assert other.pop("protocol") == {"split": "val"} and other.keys() == usual.keys()
    assert other["iou"] != usual["iou"]


def test_runs_are_listed_with_their_numbers_and_settings(trained, run):
    iou = json.loads((run / "metrics.json").read_text())["iou"]
    (row,) = [line.split() for line in done("runs --results", trained).stdout.splitlines() if run.name in line]
    assert (row[:3], row[5]) == (["tiny", run.name, f"{iou:.3f}"], "evaluated")
    assert "generator.block_sizes=8,16" in row[6:]


def test_an_unfinished_or_damaged_run_is_listed_and_not_opened(run, tmp_path):
    begun = tmp_path / "tiny" / "runs" / run.name
    begun.mkdir(parents=True)
    shutil.copy(run / "config.json", begun)
    assert "unfinished" in done("runs --results", tmp_path).stdout
    assert "is not finished" in mistaken("sample", run.name, "--results", tmp_path)
    (begun / "metrics.json").write_text("{")
    assert "damaged" in done("runs --results", tmp_path).stdout


def test_a_run_is_found_by_its_key_or_a_part_of_its_name_that_no_other_has(trained, run, tmp_path):
    for word in (run.name.rpartition("-")[2], "bird-paper-k3", f"tiny/{run.name}"):
        assert Run.find(word, trained).directory == run
    for seed in (1, 2):
        other = tmp_path / "tiny" / "runs" / f"synthetic-bird-paper-k3-s{seed}-0000000{seed}"
        shutil.copytree(run, other, ignore=shutil.ignore_patterns("*.safetensors"))
    said = mistaken("evaluate bird-paper --results", tmp_path)
    assert "2 runs" in said and "s1-00000001" in said and "s2-00000002" in said


MISTAKES = [
    ("train --data birds", "unknown data set 'birds'; known are synthetic"),
    ("train --data flowers", "needs its folder"),
    ("train --data folder --data-dir /no/such/folder", "/no/such/folder is missing"),
    ("train --scale huge", "unknown scale 'huge'; known are tiny"),
    ("train --variant papers", "unknown variant 'papers'"),
    ("train --set losses.lambda_conn=3", "unknown setting 'losses.lambda_conn'"),
    ("train --set losses.lambda_con", "write NAME=VALUE, as in losses.lambda_con=30"),
    ("train --time-limit soon", "'--time-limit': 'soon' is not a time; write 90s, 10m or 1h30m"),
    ("train --device tpu", "'tpu' is not one of 'auto', 'cpu', 'cuda', 'mps'"),
    *[(f"train --device {d}", f"has no {d}") for d in ("cuda", "mps") if not getattr(torch, d).is_available()],
    ("train --precision 8", "'8' is not one of 'auto', '32-true'"),
    ("train --parts 0", "--parts"),
    ("train --data folder --scale laptop --size 50", "take 48 or 52"),
    ("train --data folder --scale laptop --size 8", "take 16"),
    ("train --data folder --scale laptop --size 100", "take 96 or 104"),
    ("train --data folder --scale laptop --set data.size=0", "data.size=0 is not"),
    ("train --data folder --scale laptop --set data.size=-3", "greater than or equal to 8"),
    ("evaluate RUN --split official-test", "no split 'official-test'; it has train, val, test"),
    ("sample dragon --results RESULTS", "no runs are called 'dragon'"),
    ("sample ~no-such-user/x", "~no-such-user/x: Could not determine home directory"),
    ("sample dragon --results RESULTS", "synthetic-bird-paper-k3-s0"),
    ("sample dragon --results NONE", "ganseg train"),
    ("sample RUN --out sheet.jpg", "end its name in .png"),
    ("segment RUN PHOTOGRAPHS --out PHOTOGRAPHS/masks", "Name a folder outside"),
    ("train --data folder --data-dir PHOTOGRAPHS", "found 3 images; at least 64 are needed (.jpg, .jpeg,"),
    ("segment dragon PHOTOGRAPHS --out OUT", "runs are called 'dragon'"),
    ("import-released NONE", "none cannot be read (No such file or directory); name a file, as epoch_29.model"),
    ("import-released PHOTOGRAPHS/c.png", "is damaged, or no file of torch; it was refused and nothing in it was"),
    ("models --results NONE", "its models.yml names none"),
    ("data check birds .", "unknown data set 'birds'; known are synthetic"),
    ("data check flowers", "needs its folder"),
    ("data prepare flowers", "needs its folder"),
    ("data show synthetic-bird --split valid", "has no split 'valid'; it has train, val, test"),
    ("data show synthetic-bird --out birds.jpg", "end its name in .png"),
    ("runs --results NONE", "ganseg train"),
    ("segment RUN NONE --out OUT", "is not there; name images, or folders of images"),
    ("train --data folder --data-dir=", "an empty path was given"),
    ("runs --results=~no-such-user/x", "~no-such-user/x: Could not determine home directory"),
    ('bench --set optim.batch_size=4 --against "paper released"', "write a variant and settings"),
    ("train --parts 300", "'--parts' / '-K': Input should be less than or equal to 255"),
    ("train --seed -1", "'--seed': Input should be greater than or equal to 0"),
    ("train --set seed=3", "seed is no setting; choose it by --seed"),
    ("train --set data.name=cub", "data.name is no setting; choose it by --data"),
    ("train --set optim.lr_generator=nan", "optim.lr_generator='nan' is not valid; input should be a finite number"),
    ("train --set generator.block_sizes=32,16", "keeps the size or doubles it, and 32 -> 16 does not"),
    ("train --set generator.block_sizes=16", "there must be one width for each block"),
    ("train --set generator.block_sizes=16,big", "block_sizes='big' is not valid; input should be a valid integer"),
    ("train --set generator.block_sizes=8,16", "data.size=32"),
    ("train --set generator.block_widths=15,16", "even"),
    ("train --set generator.rgb_kernel=2", "generator.rgb_kernel=2 must be odd"),
    ("train --set segmenter.pretrained=true", "there are no weights of resnet18-light"),
    ("train --set segmenter.output_stride=3", "resnet18-light has [2, 4]"),
    ("train --set steps=3", "unknown setting 'steps'; known ones are: optim.steps, segmenter.steps"),
    ("train --variant paper+no-aera", "followed by any of: +part-scale"),
    ("train --size 4", "'--size': Input should be greater than or equal to 8"),
    ("trian", "No such command 'trian'. Did you mean 'train'?"),
    ("train --data folder --data-dir PHOTOGRAPHS/c.png", "c.png is not a folder. Any folder of at least 64"),
    ("train --data celeba-wild --data-dir PHOTOGRAPHS", "5 needed files or folders are missing in"),
    ("evaluate PHOTOGRAPHS", "is not a run: it has no config.json"),
    ("evaluate RUN --regression all", "no split 'all'"),
    ("sample RUN --out PHOTOGRAPHS/c.png/s.png", "c.png: File exists; mend it, or name another place"),
    ("sample RUN --count 0", "'--count': Input should be greater than or equal to 1"),
    ("sample RUN --count 1000000", "'--count': Input should be less than or equal to 1000"),
    ("segment RUN PHOTOGRAPHS/c.png --out OUT", "none of the 1 images can be read and written; the first: c.png"),
    ("segment RUN PHOTOGRAPHS/a.png --out PHOTOGRAPHS/c.png", "c.png"),
    ("segment RUN EMPTY --out OUT", "looked for .jpg, .jpeg, .jfif, .png, .webp, .bmp, also in folders below"),
    ("data check flowers /no/such/folder", "/no/such/folder is missing"),
    ("data check synthetic-bird", "nothing to check"),
    ("data download folder --yes", "nothing to download"),
    ("data prepare synthetic-bird --size 4", "images of 4 pixels are too small; the size must be 16 or more"),
    ("bench --seconds -1", "'--seconds': Input should be greater than or equal to 0"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_mistakes_are_told_with_what_would_be_right(words, said, trained, run, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("GANSEG_RESULTS", str(tmp_path))
    (tmp_path / "empty").mkdir()
    places = {"RUN": run, "RESULTS": trained, "NONE": tmp_path / "none", "OUT": tmp_path, "PHOTOGRAPHS": photographs}
    places["EMPTY"] = tmp_path / "empty"
    result = ganseg(re.sub("|".join(places), lambda found: str(places[found[0]]), words))
    assert (result.exit_code, result.stdout) == (2, "") and "Traceback" not in result.stderr, result.output
    assert said in plain(result.stderr) and not list(tmp_path.rglob("metrics.json"))


@pytest.mark.parametrize("command", ["sample", "segment", "evaluate"])
def test_missing_weights_are_told_with_how_to_get_them(copy, photographs, tmp_path, command):
    for file in copy.glob("*.safetensors"):
        file.unlink()
    said = mistaken(command, copy, *([photographs, "--out", tmp_path / "out"] if command == "segment" else []))
    assert ".safetensors is missing" in said and "train it again" in said


# Read as Python starts, and as Lightning or the command does: commands in turn, in one process.
STRANGE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
RANKED = {
    "a job of a cluster": "SLURM_NTASKS=8 SLURM_PROCID=3 SLURM_JOB_NAME=job SLURM_NNODES=2 RANK= LOCAL_RANK=",
    "a rank": "RANK=3 LOCAL_RANK=1 SLURM_PROCID=",
}
IN_TURN = """
import os, shlex, sys
from ganseg.cli import main
for line in sys.argv[1:]:
    given, _, words = line.partition(" ganseg ")
    os.environ |= dict(one.split("=") for one in given.split())
    sys.argv = ["ganseg", *shlex.split(words)]
    try:
        main()
    except SystemExit as end:
        print(end.code, "ended")
"""


def test_a_cluster_a_poor_terminal_and_no_home_change_nothing(trained, run, tmp_path):
    known = {name: value for name, value in (os.environ | STRANGE).items() if name != "HOME"}
    lines = [[*MINUTE, "--results", trained], ["sample --count 2", run, "--out", tmp_path / "ü.png"]]
    words = [" ".join([first, *(shlex.quote(str(word)) for word in more)]) for first, *more in lines]
    words = [f"{ranked} ganseg {line}" for ranked in RANKED.values() for line in words]
    ended = subprocess.run([sys.executable, "-c", IN_TURN, *words], cwd=ROOT, capture_output=True, env=known)
    assert ended.returncode == 0 and ended.stdout.count(b"0 ended") == 4, ended.stderr
    assert ended.stdout.count(b"metric ") == 2 and b"Traceback" not in ended.stderr
    assert (tmp_path / "ü.png").exists() and not (ROOT / "~").exists()


@pytest.mark.parametrize("name", ['a "b"', "it's here", "$(echo x) #1", "2024_01", "für", "-x", "a\nb"])
def test_paths_arrive_as_they_were_typed_and_a_tilde_is_home(name, run, photographs, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(photographs, tmp_path / name / "images")
    shutil.copytree(run, tmp_path / name / "tiny" / "runs" / run.name)
    assert run.name in done("runs", f"--results=~/{name}").stdout
    printed = done("sample", run.name, f"--results=~/{name}", f"--out=~/{name}/a.png").stdout
    assert printed == f"{tmp_path / name / 'a.png'}\n" and (tmp_path / name / "a.png").exists()
    assert "found 3 images" in mistaken("train --data folder", f"--data-dir=~/{name}/images")
    done("segment", run, f"~/{name}/images/a.png", f"--out=~/{name}/out")
    assert (tmp_path / name / "out" / "masks" / "a.png").exists()


def test_debug_shows_where_a_failure_came_from(tmp_path):
    assert isinstance(ganseg("--debug sample dragon --results", tmp_path).exception, UserError)


def test_the_process_exits_with_2_and_one_line_for_a_mistake(tmp_path):
    command = [sys.executable, "-m", "ganseg.cli", "data", "check", "birds", tmp_path]  # the least to import
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: unknown data set 'birds'") and ended.stderr.count("\n") == 1


def test_help_needs_no_torch():
    code = "import sys, ganseg.cli; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("command", commands())
def test_help_of_every_command_has_an_example(command):
    assert f"Example: ganseg {command}" in plain(done(f"{command} --help").output)


def test_the_help_names_every_scale_and_the_version_is_printed():
    said = plain(done("train --help").output)
    assert not [name for name in SCALES if name not in said]
    assert done("--version").stdout.startswith("ganseg")


def test_durations_and_settings_are_read_and_what_is_none_is_refused():
    seconds = {"90s": 90, "10m": 600, "1h30m": 5400, "2h": 7200, "45": 45, "1.5m": 90, " 1M ": 60}
    assert {text: duration(text) for text in seconds} == seconds
    for text in ("", "0", "0s", "-5m", "10 minutes", "1m1h", "1d", "m"):
        with pytest.raises(BadParameter, match="write 90s, 10m or 1h30m"):
            duration(text)
    assert setting("a.c = x=y") == ("a.c", "x=y")


def test_interrupts_bugs_and_full_disks_end_differently():
    full = OSError(28, "No space left on device", "x.png")
    codes = {KeyboardInterrupt(): 130, Abort(): 130, full: 2, BrokenPipeError(): 0, ZeroDivisionError(): 0}
    codes |= {torch.OutOfMemoryError(): 2, OutOfTime(): 3, MemoryError(): 2}
    assert {error: told(error)[1] for error in codes} == codes
    remedy = "free some space; the same command goes on"
    assert all(told(error)[0].endswith(remedy) for error in (full, OSError(28, "")))
