"""A number that changes among the results changes on the page: nothing in between is typed or kept."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import ROOT
from finished_runs import write_run

from book import build, execute
from ganseg import Experiment

NAME = "14_table2.ipynb"


def publish_run(results: Path, iou: float) -> None:
    """A finished run of the default experiment without weights, as a published one."""
    experiment = Experiment()
    folder = write_run(results, scale="tiny", key=experiment.key, iou=iou)
    assert folder == experiment.directory(results)
    (folder / "config.json").write_text(json.dumps({"config": experiment.config.model_dump()}))
    (folder / "history.csv").write_text("stage,step,foreground\ngan,1,0.5\ngan,2,0.1\n")


def page(project: Path) -> str:
    """What the book shows of the notebook after an execution on the project's results: all its outputs' text."""
    results = project / "results"
    source, output = project / "notebooks" / NAME, results / "tiny" / "notebooks" / NAME
    execute.execute(source, output, {"scale": "tiny", "results_dir": str(results)})
    build.stage(project, project / "staged", results, "tiny")
    cells = execute.read(project / "staged" / "notebooks" / NAME).cells
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    html = "\n".join(str(data.get(kind, "")) for data in outputs for kind in ("text/html", "text/markdown"))
    return re.sub(r"base64,[\w+/=]+", "", html)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("notebooks", "book", "ganseg"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "notebooks" / NAME, tmp_path / "notebooks" / NAME)
    return tmp_path


def test_a_changed_result_changes_the_page(project: Path) -> None:
    publish_run(project / "results", iou=0.4321)
    before = page(project)
    publish_run(project / "results", iou=0.8765)
    after = page(project)
    assert "0.432" in before and "0.876" not in before
    assert "0.876" in after and "0.432" not in after
