"""`ganseg queue`: within its budget, going on where it stopped, and packing what can be trusted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from nbformat import v4
from nbformat import write as write_notebook
from safetensors import safe_open
from typer.testing import CliRunner

from ganseg import UserError, executions, notebooks, queue
from ganseg.cli import app
from ganseg.recipes import resolve

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "data.size": "16", "data.train_limit": "48", "data.test_limit": "24", "generator.block_sizes": "8,16",
    "generator.block_widths": "16,8", "generator.noise_dim": "8", "generator.embedding_dim": "8",
    "generator.spade_hidden": "8",
    "discriminator.widths": "8,8", "discriminator.hidden": "8", "optim.steps": "3", "optim.batch_size": "4",
    "segmenter.steps": "2", "segmenter.batch_size": "4",
}  # fmt: skip
STUDIES = (("synthetic-bird", "paper", 3), ("flowers", "paper", 3))
COMMON = [
    "queue",
    "--scale=tiny",
    "--device=cpu",
    "--quiet",
    *(f"--set={name}={value}" for name, value in SETTINGS.items()),
]
WITHOUT_JUPYTER = """
import sys
ABSENT = ("IPython", "ipykernel", "nbformat", "nbclient", "papermill", "jupyter_client")
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""
QUEUE = """
import sys
from pathlib import Path
from ganseg import executions, queue
queue.STUDIES, queue.SEEDS, executions.project_root = {studies}, (0,), lambda: Path({project!r})
executions.has_jupyter = lambda: False
from ganseg.cli import main
sys.argv[0] = "ganseg"
main()
"""


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A queue of two experiments, one of which has no data, in a project without notebooks."""
    monkeypatch.setattr(queue, "STUDIES", STUDIES)
    monkeypatch.setattr(queue, "SEEDS", (0,))
    monkeypatch.setattr(executions, "project_root", lambda: tmp_path)


def ganseg(*arguments: str | Path):
    return CliRunner().invoke(app, [str(word) for word in arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder with results/ and pack/ after the queue ran to its end without jupyter; and what it said."""
    folder = tmp_path_factory.mktemp("queue")
    (folder / "sitecustomize.py").write_text(WITHOUT_JUPYTER)
    sources = (
        'results_dir = ""',
        "from IPython.display import Markdown, display\ndisplay(Markdown(f'{1 + 1} parts'))",
    )
    cells = [v4.new_markdown_cell("# A title"), *(v4.new_code_cell(source) for source in sources)]
    cells[1].metadata["tags"] = ["parameters"]
    (folder / "notebooks").mkdir()
    write_notebook(v4.new_notebook(cells=cells), folder / "notebooks" / "00_a.ipynb")
    code = QUEUE.format(studies=STUDIES, project=str(folder))
    command = [
        sys.executable,
        "-c",
        code,
        *COMMON,
        "--budget=5m",
        "--results",
        folder / "results",
        "--pack",
        folder / "pack",
    ]
    environment = os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
        "GANSEG_COMMIT": "f" * 40,
    }
    said = subprocess.run(
        [*command, "--pack-weights=64"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    return folder, said


def run_in(results: Path) -> Path:
    (metrics,) = results.glob("tiny/runs/*/metrics.json")
    return metrics.parent


def test_the_queue_trains_what_it_can_and_says_what_lacks_its_data(done):
    folder, said = done
    assert said.returncode == 0, said.stderr
    assert (run_in(folder / "results") / "generator.safetensors").exists()
    assert "finished synthetic-bird-paper-k3-s0" in said.stderr
    assert "skipped flowers-paper-k3-s0: no folder for the data set; give --data-dir flowers=DIR" in said.stderr


def test_notebooks_are_executed_where_jupyter_is_absent(done):
    folder, said = done
    assert "executed notebook 00_a.ipynb" in said.stderr
    run = notebooks.read(folder / "pack" / "tiny" / "notebooks" / "00_a.ipynb")
    assert run.cells[2].outputs[0].data["text/markdown"] == "2 parts"
    assert run.metadata["ganseg"]["execution"]["source"] == notebooks.source_hash(
        notebooks.read(folder / "notebooks" / "00_a.ipynb")
    )


def test_a_pack_is_laid_out_as_results_and_has_the_light_files_whole(done):
    folder, _ = done
    run = run_in(folder / "pack")
    assert run.relative_to(folder / "pack") == run_in(folder / "results").relative_to(folder / "results")
    light = {path.name for path in run.iterdir() if path.suffix != ".safetensors"}
    assert light == {
        "config.json",
        "metrics.json",
        "provenance.json",
        "history.csv",
        "samples.png",
        "segmentation.png",
    }
    assert all((run / name).read_bytes() == (run_in(folder / "results") / name).read_bytes() for name in light)
    manifest = json.loads((folder / "pack" / "manifest.json").read_text())["files"]
    there = {path.relative_to(folder / "pack").as_posix() for path in (folder / "pack").rglob("*") if path.is_file()}
    assert manifest.keys() == there - {"manifest.json"}


def test_what_is_finished_is_not_trained_again(small, done):
    run = run_in(done[0] / "results")
    before = (run / "metrics.json").stat().st_mtime_ns
    said = ganseg(*COMMON, "--budget=1m", "--results", done[0] / "results", "--no-notebooks")
    assert (said.exit_code, "finished" in said.stderr) == (0, False)
    assert (run / "metrics.json").stat().st_mtime_ns == before


def test_a_call_keeps_to_its_budget_and_the_next_goes_on(small, tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "rehearse", lambda *_: 0.1)  # on a busy machine the true one takes all of the budget

    def call() -> tuple[int, float]:
        start = time.monotonic()
        said = ganseg(
            *COMMON,
            "--set=optim.steps=1000000",
            "--budget=3s",
            "--results",
            tmp_path / "r",
            "--pack",
            tmp_path / "p",
        )
        seconds = time.monotonic() - start
        assert said.exit_code == 3, said.output
        assert "out of time: 0 experiments finished in this call, 1 are left; stopped at step" in said.stderr
        (checkpoint,) = (tmp_path / "r").glob("tiny/runs/*/checkpoint/gan.safetensors")
        with safe_open(checkpoint, "pt") as file:
            return int(file.metadata()["step"]), seconds

    (first, seconds), (second, again) = call(), call()
    assert max(seconds, again) < 30  # a million steps take hours
    assert 0 < first < second
    assert json.loads((tmp_path / "p" / "manifest.json").read_text())["files"] == {}


def test_nothing_is_begun_that_could_not_be_evaluated_in_time(small, tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "rehearse", lambda *_: 100.0)
    said = ganseg(*COMMON, "--budget=50s", "--results", tmp_path)
    assert (said.exit_code, "was not begun" in said.stderr) == (3, True)
    assert not list(tmp_path.glob("tiny/runs/*/config.json"))


def test_an_experiment_that_fails_does_not_stop_the_others(small, tmp_path, monkeypatch):
    begun = []

    def fails(experiment, *_, **__):
        begun.append(experiment.name)
        raise UserError("the loss became nan")

    monkeypatch.setattr(queue, "STUDIES", (("synthetic-bird", "paper", 3), ("synthetic-bird", "paper", 4)))
    monkeypatch.setattr(queue, "run", fails)
    said = ganseg(*COMMON, "--budget=1m", "--results", tmp_path)
    assert begun == ["synthetic-bird-paper-k3-s0", "synthetic-bird-paper-k4-s0"]
    assert said.exit_code == 2 and "the loss became nan" in said.stderr


@pytest.mark.parametrize("kind", ["lock", "queue.lock"])
def test_what_another_process_trains_is_left_to_it(small, tmp_path, kind):
    (first, _) = queue.experiments("tiny", overrides=SETTINGS)
    directory = first.directory(tmp_path)
    directory.parent.mkdir(parents=True)
    with FileLock(directory.parent / f".{directory.name}.{kind}"):
        said = ganseg(*COMMON, "--budget=1m", "--results", tmp_path)
    assert (said.exit_code, "another process trains it" in said.stderr) == (0, True)


def test_the_list_tells_states_and_the_dry_run_names_what_would_be_trained(small, done, tmp_path):
    listed = ganseg(*COMMON, "--list", "--results", done[0] / "results").stdout.split("\n")
    assert [line.split() for line in listed[:2]] == [
        ["finished", "synthetic-bird-paper-k3-s0"],
        ["no", "data", "flowers-paper-k3-s0"],
    ]
    assert ganseg(*COMMON, "--dry-run", "--results", tmp_path).stdout == "synthetic-bird-paper-k3-s0\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say how long"),
        (["--budget=soon"], "--budget 'soon' is not a time"),
        (["--budget=9m", "--data-dir=flowers"], "write NAME=DIR"),
        (["--budget=9m", "--data-dir=flowers=/no/such"], "/no/such is missing"),
        (["--budget=9m", "--data-dir=roses=."], "unknown data set 'roses'"),
    ],
)
def test_mistakes_are_told(arguments, message):
    said = ganseg("queue", *arguments)
    assert (said.exit_code, message in said.stderr) == (2, True)


def test_every_experiment_of_the_queue_resolves_at_scale_gpu():
    for data, variant, parts in queue.STUDIES:
        assert resolve(data, variant, "gpu", parts).data.size == 128
    names = [experiment.name for experiment in queue.experiments()]
    assert names[0] == "flowers-paper-k8-s0" and len(set(names)) == len(names) == len(queue.STUDIES) * len(queue.SEEDS)
