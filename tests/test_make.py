"""What is typed to `make` arrives at the graph and at its jobs as it was typed."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, WARM
from PIL import Image
from test_studies import PAGES

from book.execute import experiments_of
from ganseg import Experiment

FOLDERS = ["/data/CUB_200_2011", "2024_01", "~", "~/my photographs", "it's #1", 'a "b"', "a b;touch c", "x#y $HOME"]
MAKE = shutil.which("make")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Makefile, with an environment whose snakemake says what reaches it."""
    folder = tmp_path / "the project"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    told = '"$*" "$GANSEG_SCALE" "$GANSEG_DATA" "$GANSEG_DATA_DIR" "$GANSEG_RESULTS"'
    warm = "warm*) shift 3;; *book/warm.py) shift 2;;"  # python -m book warm python book/warm.py -m snakemake ...
    python = f'case "$3 $1" in {warm} *) set -- echo python "$@";; esac; exec "$@"'
    tools = {"snakemake": f"printf '|%s' {told} && echo", "python": python, "pytest": "true", "uv": "true"}
    for name, does in tools.items():
        (folder / ".venv" / "bin" / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / ".venv" / "bin" / name).chmod(0o755)
    for name in ("requirements.lock", "pyproject.toml", ".venv/.made-from-lock"):
        (folder / name).touch()
    return folder


def make(folder: Path, *words: str, **settings: str) -> list[str]:
    """What the graph was given: its words, scale, data set, folder, results."""
    if not MAKE:
        pytest.skip("no make on the path")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GANSEG", "MAKE", "MFLAGS"))}
    done = subprocess.run([MAKE, *words], cwd=folder, env=clean | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith("|")).split("|")[1:]


@pytest.mark.parametrize("typed", FOLDERS)
def test_a_folder_reaches_the_graph_as_it_was_typed(project: Path, typed: str) -> None:
    words = make(project, "dry-run", "DATA=folder", f"DATA_DIR={typed}")
    assert words[1:5] == ["laptop", "folder", typed, f"{project}/results"]
    assert words[0].startswith("book --dry-run") and not (project / "c").exists()


def test_what_is_tested_is_of_scale_tiny_in_a_folder_of_its_own_whatever_is_set(project: Path) -> None:
    words = make(project, "test", "SCALE=gpu", "DATA=folder", "DATA_DIR=a b", "RESULTS=/mine")
    assert words[1:] == ["tiny", "synthetic-bird", "", f"{project}/_build/checked"]


def test_results_may_lie_elsewhere(project: Path) -> None:
    for typed, arrives in {"/some $HOME/r": "/some $HOME/r", "~/x y": "~/x y", "a b": f"{project}/a b"}.items():
        assert make(project, "dry-run", f"RESULTS={typed}")[4] == arrives
    assert make(project, "reproduce", "SCALE=tiny", "DATA_DIR=it's")[1:5] == [
        "tiny", "synthetic-bird", "it's", f"{project}/_build/reproduced",
    ]  # fmt: skip


def test_an_environment_that_is_there_needs_neither_uv_nor_pip(project: Path) -> None:
    (project / ".venv" / "bin" / "uv").unlink()
    (project / ".venv" / "bin" / "python3").write_text("#!/bin/sh\nexit 1\n")
    (project / ".venv" / "bin" / "python3").chmod(0o755)
    assert make(project, "dry-run", PATH="/usr/bin:/bin")[0].startswith("book --dry-run")


def test_a_folder_reaches_the_jobs_as_it_was_typed_and_shared_experiments_are_trained_once(tmp_path: Path) -> None:
    photographs = tmp_path / 'it\'s #1 {a} "b"' / "2024_01"
    photographs.mkdir(parents=True)
    for i, image in enumerate(np.random.default_rng(0).integers(0, 255, (70, 8, 8, 3), np.uint8)):
        Image.fromarray(image).save(photographs / f"{i}.png")
    command = [*WARM, "snakemake", "experiments", "--dry-run", "--printshellcmds", "--cores", "2"]
    told = {"GANSEG_SCALE": "tiny", "GANSEG_DATA": "folder", "GANSEG_DATA_DIR": str(photographs)}
    told |= {"GANSEG_RESULTS": str(tmp_path / "the results")}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | told, capture_output=True, text=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines() if "ganseg.cli train" in line]
    assert lines, done.stdout + done.stderr
    assert any(f"--data-dir={photographs}" in words and "--data=folder" in words for words in lines)
    assert all(f"--results={tmp_path / 'the results'}" in words for words in lines)
    names = re.findall(r"training (\S+) at scale tiny", done.stdout)
    given = {"data": "folder", "data_dir": str(photographs)}
    rows = (row for page in PAGES for row in experiments_of(page, scale="tiny", **given))
    wanted = {Experiment(**row).directory().name for row in rows}
    assert len(wanted) == 9 and wanted <= set(names) and len(set(names)) == len(names)
