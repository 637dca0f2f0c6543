"""`ganseg queue`: within its budget, going on where it stopped, and packing what can be trusted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from nbformat import v4
from nbformat import write as write_notebook
from safetensors import safe_open
from safetensors.torch import load_file
from typer.testing import CliRunner

from ganseg import UserError, notebooks, packing, plain_execute, queue
from ganseg.cli import app
from ganseg.scales import resolve

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = {
    "data.size": "16", "data.train_limit": "48", "data.test_limit": "24", "generator.block_sizes": "8,16",
    "generator.block_widths": "16,8", "generator.noise_dim": "8", "generator.embedding_dim": "8", "generator.spade_hidden": "8",
    "discriminator.widths": "8,8", "discriminator.hidden": "8", "optim.steps": "3", "optim.batch_size": "4",
    "segmenter.steps": "2", "segmenter.batch_size": "4",
}  # fmt: skip
STUDIES = (("synthetic-bird", "paper", 3), ("flowers", "paper", 3))
COMMON = ["queue", "--scale=tiny", "--device=cpu", "--quiet", *(f"--set={name}={value}" for name, value in SETTINGS.items())]
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
from ganseg import queue
queue.STUDIES, queue.SEEDS, queue.project_root = {studies}, (0,), lambda: Path({project!r})
queue.has_jupyter = lambda: False
from ganseg.cli import main
sys.argv[0] = "ganseg"
main()
"""


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A queue of two experiments, one of which has no data, in a project without notebooks."""
    monkeypatch.setattr(queue, "STUDIES", STUDIES)
    monkeypatch.setattr(queue, "SEEDS", (0,))
    monkeypatch.setattr(queue, "project_root", lambda: tmp_path)


def ganseg(*arguments: str | Path):
    return CliRunner().invoke(app, [str(word) for word in arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A folder with results/, pack/ and notebooks/ after the queue ran to its end where jupyter is absent; and what it said."""
    folder = tmp_path_factory.mktemp("queue")
    (folder / "sitecustomize.py").write_text(WITHOUT_JUPYTER)
    sources = ('results_dir = ""', "from IPython.display import Markdown, display\ndisplay(Markdown(f'{1 + 1} parts'))")
    cells = [v4.new_markdown_cell("# A title"), *(v4.new_code_cell(source) for source in sources)]
    cells[1].metadata["tags"] = ["parameters"]
    (folder / "notebooks").mkdir()
    write_notebook(v4.new_notebook(cells=cells), folder / "notebooks" / "00_a.ipynb")
    code = QUEUE.format(studies=STUDIES, project=str(folder))
    command = [sys.executable, "-c", code, *COMMON, "--budget=5m", "--results", folder / "results", "--pack", folder / "pack"]
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1", "GANSEG_COMMIT": "f" * 40}
    said = subprocess.run([*command, "--pack-weights=64"], capture_output=True, text=True, timeout=300, env=environment, check=False)
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
    assert run.metadata["ganseg"]["execution"]["source"] == notebooks.source_hash(notebooks.read(folder / "notebooks" / "00_a.ipynb"))


def test_a_pack_is_laid_out_as_results_and_has_the_light_files_whole(done):
    folder, _ = done
    run = run_in(folder / "pack")
    assert run.relative_to(folder / "pack") == run_in(folder / "results").relative_to(folder / "results")
    light = {path.name for path in run.iterdir() if path.suffix != ".safetensors"}
    assert light == {"config.json", "metrics.json", "provenance.json", "history.csv", "samples.png", "segmentation.png"}
    assert all((run / name).read_bytes() == (run_in(folder / "results") / name).read_bytes() for name in light)
    manifest = json.loads((folder / "pack" / "manifest.json").read_text())["files"]
    there = {path.relative_to(folder / "pack").as_posix() for path in (folder / "pack").rglob("*") if path.is_file()}
    assert manifest.keys() == there - {"manifest.json"}


def test_unpacking_gives_runs_with_weights_rounded_to_bfloat16_and_says_so(done, tmp_path):
    folder, _ = done
    said = ganseg("queue", "--unpack", folder / "pack", "--results", tmp_path)
    run, original = run_in(tmp_path), run_in(folder / "results")
    assert (said.exit_code, said.stdout.strip()) == (0, str(run))
    for name in ("generator.safetensors", "segmenter.safetensors"):
        found, wanted = load_file(run / name), load_file(original / name)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype and found[key].shape == value.shape
            torch.testing.assert_close(found[key], value, rtol=2**-8, atol=0)
    assert "bfloat16" in json.loads((run / "provenance.json").read_text())["weights"]
    assert not ganseg("queue", "--unpack", folder / "pack", "--results", tmp_path).stdout, "a second time changes nothing"
    assert "bfloat16" in json.loads((run / "provenance.json").read_text())["weights"]


def test_unpacking_leaves_exact_weights_alone(done):
    folder, _ = done
    path = run_in(folder / "results") / "generator.safetensors"
    before = path.read_bytes()
    assert packing.unpack(folder / "pack", folder / "results") == []
    assert path.read_bytes() == before
    assert "weights" not in json.loads((path.parent / "provenance.json").read_text())


@pytest.mark.parametrize("harm", ["no manifest", "missing", "changed"])
def test_a_pack_that_is_not_whole_is_refused_and_nothing_is_merged(done, tmp_path, harm):
    copy = shutil.copytree(done[0] / "pack", tmp_path / "pack")
    victim = copy / "manifest.json" if harm == "no manifest" else run_in(copy) / "history.csv"
    victim.write_text("cut") if harm == "changed" else victim.unlink()
    said = ganseg("queue", "--unpack", copy, "--results", tmp_path / "results")
    assert (said.exit_code, "whole" in said.stderr, victim.name in said.stderr) == (2, True, True)
    assert not (tmp_path / "results").exists()


def test_a_pack_that_was_killed_half_way_is_not_whole(done, tmp_path, monkeypatch):
    packing.pack("tiny", tmp_path / "pack", done[0] / "results")
    copied = []

    def killed(source: Path, target: Path) -> None:
        copied.append(source)
        if len(copied) == 3:
            raise KeyboardInterrupt
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(packing.shutil, "copyfile", killed)
    with pytest.raises(KeyboardInterrupt):
        packing.pack("tiny", tmp_path / "pack", done[0] / "results")
    with pytest.raises(UserError, match="not a whole pack"):
        packing.unpack(tmp_path / "pack", tmp_path / "results")


def test_weights_are_split_into_files_of_limited_size_whole_or_not_at_all(tmp_path, monkeypatch, done):
    monkeypatch.setattr(packing, "SHARD", packing.HEADER + 2**21)
    path = run_in(done[0] / "results") / "segmenter.safetensors"
    assert packing.split_weights(path, tmp_path, room=2**22) == []
    assert not list(tmp_path.iterdir())
    shards = packing.split_weights(path, tmp_path, room=2**26)
    assert len(shards) > 1 and max(shard.stat().st_size for shard in shards) <= packing.SHARD
    shards[0].unlink()
    assert not packing.join_weights(tmp_path, "segmenter", tmp_path / "segmenter.safetensors")


def test_weights_that_do_not_fit_are_named(done, tmp_path):
    left_out = packing.pack("tiny", tmp_path, done[0] / "results", weights_mb=1).left_out
    assert [Path(name).name for name in left_out] == ["segmenter.safetensors"]


def test_what_is_finished_is_not_trained_again(small, done):
    run = run_in(done[0] / "results")
    before = (run / "metrics.json").stat().st_mtime_ns
    said = ganseg(*COMMON, "--budget=1m", "--results", done[0] / "results", "--no-notebooks")
    assert (said.exit_code, "finished" in said.stderr) == (0, False)
    assert (run / "metrics.json").stat().st_mtime_ns == before


def test_a_call_keeps_to_its_budget_and_the_next_goes_on(small, tmp_path):
    def call() -> tuple[int, float]:
        start = time.monotonic()
        said = ganseg(*COMMON, "--set=optim.steps=1000000", "--budget=4s", "--results", tmp_path / "r", "--pack", tmp_path / "p")
        seconds = time.monotonic() - start
        assert said.exit_code == 3, said.output
        assert "out of time: 0 experiments finished in this call, 1 are left; stopped at step" in said.stderr
        (checkpoint,) = (tmp_path / "r").glob("tiny/runs/*/checkpoint/gan.safetensors")
        with safe_open(checkpoint, "pt") as file:
            return int(file.metadata()["step"]), seconds

    (first, seconds), (second, again) = call(), call()
    assert max(seconds, again) < 7
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
    assert [line.split() for line in listed[:2]] == [["finished", "synthetic-bird-paper-k3-s0"], ["no", "data", "flowers-paper-k3-s0"]]
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


CELLS = (
    "import sys\nimport pandas as pd\nfrom IPython.display import HTML, Markdown, display\nprint('a')\nprint('b', end='')",
    "print('out')\nprint('err', file=sys.stderr)\ndisplay(Markdown('**two**'), HTML('<b>x</b>'))\nprint('after')\n",
    "display({'text/html': '<p>\\n1</p>', 'text/plain': 'one'}, raw=True)\ndisplay(7)",
    "pd.DataFrame({'a': [1, 2]})",
    "values = [1, 2]\nvalues",
    "values;",
    "None",
    "",
    "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: float = rate\nPoint()",
)


def notebook_at(path: Path, *sources: str) -> Path:
    cells = [v4.new_markdown_cell("# A title\n\nText."), v4.new_code_cell("rate = 0.1\nresults_dir = ''")]
    cells[1].metadata["tags"] = ["parameters"]
    write_notebook(v4.new_notebook(cells=[*cells, *(v4.new_code_cell(source) for source in sources)]), path)
    return path


def test_a_plain_execution_has_the_outputs_of_a_kernel(tmp_path):
    source = notebook_at(tmp_path / "a.ipynb", *CELLS)
    plain_execute.execute(source, tmp_path / "plain.ipynb", {"rate": "1e-4"})
    notebooks.execute(source, tmp_path / "kernel.ipynb", {"rate": "1e-4"})
    plain, kernel = (notebooks.read(tmp_path / f"{name}.ipynb") for name in ("plain", "kernel"))
    for mine, theirs in zip(plain.cells, kernel.cells, strict=True):
        assert (mine.id, mine.cell_type, mine.source) == (theirs.id, theirs.cell_type, theirs.source)
        for output in [*mine.get("outputs", ()), *theirs.get("outputs", ())]:
            output.pop("execution_count", None)
        assert sorted(map(str, mine.get("outputs", ()))) == sorted(map(str, theirs.get("outputs", ()))), mine.source
    assert plain.metadata["ganseg"] == kernel.metadata["ganseg"]
    assert plain.metadata["ganseg"]["execution"]["parameters"] == {"rate": 1e-4}


def test_plain_reading_and_writing_gives_the_bytes_of_nbformat(tmp_path):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        plain_execute.write(plain_execute.read(path), tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
        assert notebooks.source_hash(plain_execute.read(path)) == notebooks.source_hash(notebooks.read(path))
        assert plain_execute.experiments_of(path, seed=3, other=1) == notebooks.experiments_of(path, seed=3)


@pytest.mark.parametrize(
    ("source", "message"),
    [("\n1 / 0  # here", r"cell 3 \(1 / 0  # here\): ZeroDivisionError"), ("%matplotlib inline", "SyntaxError"),
     ("import matplotlib.pyplot as plt\nplt.plot([1])", "pyplot left a figure open"), ("raise SystemExit(0)", "SystemExit")],
)  # fmt: skip
def test_a_plain_execution_that_fails_leaves_no_output(tmp_path, source, message):
    path = notebook_at(tmp_path / "a.ipynb", source)
    with pytest.raises(UserError, match=message):
        plain_execute.execute(path, tmp_path / "new" / "a.ipynb")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.failed.ipynb"]
    assert "__main__" in sys.modules and hasattr(sys.modules["__main__"], "__file__")
