"""A number that changes among the results changes on the page: nothing in between is typed or kept."""

import copy
import re
import shutil
from pathlib import Path
from typing import Any

from conftest import ROOT
from finished_runs import write_run
from nbformat import v4

from book import build, execute
from ganseg import Experiment

NAME = "14_table2.ipynb"
CHANGE = "path = Path({path!r})\n_ = path.write_text(path.read_text().replace('0.4321', '0.8765'))"


def publish_run(results: Path, iou: float) -> Path:
    """A finished run of the default experiment without weights, as a published one."""
    experiment = Experiment()
    folder = write_run(results, scale="tiny", key=experiment.key, iou=iou)
    assert folder == experiment.directory(results)
    (folder / "history.csv").write_text("stage,step,foreground\ngan,1,0.5\ngan,2,0.1\n")
    return folder


def shown(cells: list[Any]) -> str:
    """All that a reader sees of the cells' outputs."""
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    html = "\n".join(str(data.get(kind, "")) for data in outputs for kind in ("text/html", "text/markdown"))
    return re.sub(r"base64,[\w+/=]+", "", html)


def test_a_changed_result_changes_the_page(tmp_path: Path) -> None:
    """The page's cells twice in one kernel, and between them another number in the run's metrics.json."""
    source, results = tmp_path / "notebooks" / NAME, tmp_path / "results"
    for folder in ("notebooks", "book", "ganseg"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_config.yml").write_text("{}")
    shutil.copy(ROOT / "notebooks" / NAME, source)
    notebook = execute.read(source)
    path = publish_run(results, iou=0.4321) / "metrics.json"
    again = [copy.deepcopy(cell) for cell in notebook.cells if "parameters" not in cell.metadata.get("tags", [])]
    for cell in again:
        cell.id += "-again"
    notebook.cells += [v4.new_code_cell(CHANGE.format(path=str(path))), *again]
    execute.write(notebook, source)
    output = results / "tiny" / "notebooks" / NAME
    cells = execute.execute(source, output, {"scale": "tiny", "results_dir": str(results)}).cells
    before, after = shown(cells[: -len(again)]), shown(cells[-len(again) :])
    assert "0.432" in before and "0.876" not in before
    assert "0.876" in after and "0.432" not in after
    build.stage(tmp_path, tmp_path / "staged", results, "tiny")
    page = shown(execute.read(tmp_path / "staged" / "notebooks" / NAME).cells)
    assert "0.432" in page and "0.876" in page
