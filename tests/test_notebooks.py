"""Executing notebooks, and choosing which execution the book shows."""

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from commands import book as run_book
from finished_runs import write_run
from nbformat import v4

from book import build as book, execute as notebooks
from book.execute import runs_of, store
from ganseg import Experiment
from ganseg.files import UserError

DEFAULTS = 'scale = "tiny"\nseed = 0\nrate = 0.1\ndata = "synthetic-bird"\ndata_dir = ""\nresults_dir = ""'


def write(path: Path, *sources: str, **told: list[dict[str, Any]]) -> Path:
    """A notebook: a title, the parameters cell, then one code cell per source."""
    cells = [v4.new_markdown_cell("# A title\n\nText."), v4.new_code_cell(DEFAULTS)]
    cells[1].metadata["tags"] = ["parameters"]
    cells += [v4.new_code_cell(source) for source in sources]
    notebook = v4.new_notebook(cells=cells, metadata={"ganseg": told})
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A notebook and its execution with changed parameters."""
    folder = tmp_path_factory.mktemp("executed")
    bar = f"from IPython.display import display\ndisplay({{{notebooks.BAR!r}: {{}}, 'text/plain': '9 %'}}, raw=True)"
    source = write(folder / "notebooks" / "00_a.ipynb", "print(scale, seed + 1, rate * 2, repr(data_dir))", bar)
    output = folder / "results" / "laptop" / "notebooks" / "00_a.ipynb"
    given = {"scale": "laptop", "seed": "4", "rate": "1e-4", "data_dir": "/some/where"}
    notebooks.execute(source, output, given)
    return source, output


def test_an_execution_takes_parameters_in_their_type_and_records_its_provenance_but_no_folder(executed):
    source, run = map(notebooks.read, executed)
    assert run.cells[2].outputs[0].text == "laptop 5 0.0002 '/some/where'\n"
    record = run.metadata["ganseg"]["execution"]
    assert record["parameters"] == {"scale": "laptop", "seed": 4, "rate": 0.0001, "data": "synthetic-bird"}
    assert record["source"] == notebooks.source_hash(source)
    assert str(executed[0].parent) not in executed[1].read_text() and "papermill" not in run.metadata
    assert [cell.source for cell in run.cells] == [cell.source for cell in source.cells]
    assert run.cells[3].outputs == [], "progress bars are not kept"


def test_store_puts_the_outputs_into_the_source(executed: tuple[Path, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copy(executed[0], tmp_path))
    store(tmp_path, executed[1].parent)
    stored, run = map(notebooks.read, (copy, executed[1]))
    assert stored.metadata["ganseg"]["execution"].pop("runs") == {} and stored == run
    write(copy, "another text")
    with pytest.raises(UserError, match="is not an execution of"):
        store(tmp_path, executed[1].parent)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sede": 1}, "unknown notebook parameter 'sede'; known: scale, seed, rate, data, data_dir, results_dir"),
        ({"seed": "one"}, "seed='one' must be of type int"),
        ({"rate": "fast"}, "rate='fast' must be of type float"),
    ],
)
def test_wrong_parameters_are_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    source = write(tmp_path / "a.ipynb", "raise SystemExit('never runs')")
    with pytest.raises(UserError, match=message):
        notebooks.execute(source, tmp_path / "out.ipynb", given)
    assert not (tmp_path / "out.ipynb").exists()


def test_a_failing_cell_is_named_and_leaves_no_output(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ipynb", "x = 0", "\n1 / x  # here")
    said = run_book("execute", source, tmp_path / "new" / "a.ipynb")
    assert said == f"error: {source}, the cell that begins `1 / x  # here`: ZeroDivisionError: division by zero"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.failed.ipynb"]


def test_a_kernel_whose_port_was_taken_is_started_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, message = [], "Kernel died before replying to kernel_info"

    def dead(*args: Any, **options: Any) -> None:
        calls.append(args)
        raise RuntimeError(message)

    monkeypatch.setattr("papermill.execute_notebook", dead)
    for starts in (2, 3):
        with pytest.raises(UserError, match=message):
            notebooks.execute(write(tmp_path / "a.ipynb", "1"), tmp_path / "new" / "a.ipynb")
        assert len(calls) == starts
        message = "another failure"


def test_experiments_take_the_parameters_of_the_notebook(tmp_path: Path) -> None:
    several, fixed = {"data": "{data}", "parts": 6, "seeds": ["{seed}", 1, 2]}, {"data": "flowers"}
    source = write(tmp_path / "a.ipynb", experiments=[several, fixed])
    rows = notebooks.experiments_of(source, seed=1, data="synthetic-face", scale="laptop")
    pairs = [(row["data"], row["seed"]) for row in rows]
    assert pairs == [("synthetic-face", 1), ("synthetic-face", 2), ("flowers", 1)]
    assert all(row["scale"] == "laptop" and row["data_dir"] is None for row in rows)
    with pytest.raises(UserError, match=r"\{dataset\}"):
        notebooks.experiments_of(write(tmp_path / "a.ipynb", experiments=[{"data": "{dataset}"}]))


def test_an_execution_names_the_runs_that_are_read_with_a_digest_of_their_numbers(tmp_path: Path) -> None:
    given = {"scale": "laptop", "results_dir": str(tmp_path / "results")}
    cells = {"experiments": [{"data": "{data}"}], "finds": [{"variant": ["released"], "seed": 1}]}
    source = write(tmp_path / "a.ipynb", **cells)
    read = write_run(tmp_path / "results", key=Experiment(scale="laptop").key)
    for scale, seed in (("tiny", 1), ("gpu", 2), ("gpu", 1)):
        found = write_run(tmp_path / "results", "released", scale=scale, seed=seed)
    before = runs_of(source, given)
    assert list(before) == [f"gpu/{found.name}", f"laptop/{read.name}"]
    write_run(tmp_path / "results", "released", seed=1, scale="gpu", iou=0.9)
    after = runs_of(source, given)
    assert {name for name in after if after[name] != before[name]} == {f"gpu/{found.name}"}


def record(source: Path, output: Path, scale: str) -> None:
    """Store an execution of `source` at `scale` without running anything."""
    notebook = notebooks.read(source)
    values = {"scale": scale, "seed": 0, "rate": 0.1, "data": "flowers"}
    known = {"device": "a device", "commit": "abc", "date": "2025-01-01", "torch": "2.11.0", "parameters": values}
    notebook.metadata["ganseg"]["execution"] = {"source": notebooks.source_hash(notebook), **known}
    notebooks.write(notebook, output)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one notebook, executed at scales tiny and laptop, and a book of one page."""
    source = write(tmp_path / "notebooks" / "00_a.ipynb", "1 + 1")
    for scale in ("tiny", "laptop"):
        record(source, tmp_path / "results" / scale / "notebooks" / "00_a.ipynb", scale)
    for file in ("book/intro.md", "ganseg/points.py"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    (tmp_path / "_config.yml").write_text("{}")
    return tmp_path


def staged(project: Path, scale: str = "laptop") -> Any:
    book.stage(project, project / "out", project / "results", scale)
    return notebooks.read(project / "out" / "notebooks" / "00_a.ipynb")


def test_stage_takes_the_scale_that_was_asked_for_and_says_so(project: Path) -> None:
    assert "scale tiny" in staged(project, "tiny").cells[0].source
    page = staged(project)
    assert page.cells[0].source.startswith("# 00 A title\n\n:::{admonition} Measured at scale laptop\n")
    assert "data flowers · seed 0 · a device · torch 2.11.0 · commit abc" in page.cells[0].source
    assert page.cells[1].source == "Text."
    assert page.cells[2].source.startswith("scale = 'laptop'\nseed = 0\n")
    assert (project / "out" / "intro.md").exists() and (project / "out" / "ganseg" / "points.py").exists()


def test_what_a_page_answers_stands_below_its_title(project: Path) -> None:
    path = project / "results" / "laptop" / "notebooks" / "00_a.ipynb"
    executed = notebooks.read(path)
    executed.cells[-1].metadata["tags"] = ["answer"]
    notebooks.write(executed, path)
    cells = staged(project).cells
    assert [cell.source.partition("\n")[0] for cell in cells] == ["# 00 A title", "1 + 1", "Text.", "scale = 'laptop'"]


def test_stage_passes_over_executions_of_another_text(project: Path) -> None:
    source = write(project / "notebooks" / "00_a.ipynb", "2 + 2")
    with pytest.raises(UserError, match="00_a.ipynb as it stands was not executed"):
        staged(project)
    record(source, project / "results" / "tiny" / "notebooks" / "00_a.ipynb", "tiny")
    assert "scale tiny" in staged(project, "tiny").cells[0].source


def test_stage_falls_back_on_the_outputs_stored_in_the_notebook(project: Path) -> None:
    source, output = (project / folder / "00_a.ipynb" for folder in ("notebooks", "results/tiny/notebooks"))
    store(source.parent, output.parent)
    output.unlink()
    assert "scale laptop" in staged(project).cells[0].source
    assert "scale tiny" in staged(project, "tiny").cells[0].source
    assert "scale tiny" in staged(project, "gpu").cells[0].source
