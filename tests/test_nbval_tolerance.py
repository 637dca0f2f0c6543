"""nbval, on copies at scale tiny as in `make test`, refuses a broken number, word, cell and import."""

import re
import subprocess
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT, WARM
from nbformat import v4
from nbval_tolerance import agree

from book import execute


@pytest.mark.parametrize(
    ("stored", "computed", "exact", "measured"),
    [
        ("IoU 0.45 of 500 images", "IoU 0.45 of 500 images", True, True),
        ("IoU 0.45 of 500 images", "IoU 0.46 of 500 images", False, True),
        ("IoU 0.45 of 500 images", "IoU 0.45 of 501 images", False, True),
        ("IoU 0.45", "loss 0.45", False, False),
        ("covers 30 %", "covers 31 %", False, True),
        ("a  0.1\nb 12.0", "a 0.1\nb  12", True, True),
        ("a  0.1\nb 12.0", "a nan\nb  9.5", False, True),
        ("a  0.1\nb –", "a –\nb  9.5", False, True),
        ("a  nan\nb – c", "a nan\nb – c", True, True),
        ("one 0.1", "one 0.1 0.2", False, False),
        ("a 0.3333333", "a 0.3333334", True, True),
        ("gap -1.2e-7", "gap 3.1e-7", True, True),
        ("gap -1.2e-7", "gap 3.1e-3", False, True),
        ("rows\n0 0.1\n1 0.2", "rows\n0 0.1", False, False),
    ],
)
def test_words_agree_exactly_and_numbers_unless_measured(stored, computed, exact, measured):
    assert agree(stored, computed) is exact
    assert agree(stored, computed, measured=True) is measured


DEPENDS = "print('IoU', 0.45 if scale == 'laptop' else 0.31)"
CELLS = [  # source, tags, why nbval refuses it; each is stored with the output "IoU 0.45", that of scale laptop
    (DEPENDS, [], "Cell outputs differ"),
    (DEPENDS, ["measured"], ""),
    ("print('IoU 0.46')", [], "Cell outputs differ"),
    ("print('loss 0.45')", ["measured"], "Cell outputs differ"),
    ("iou = 1.2\nassert 0 <= iou <= 1\nprint(f'IoU {iou}')", ["measured"], "AssertionError"),
    ("import ganseg.no_such_module", ["nbval-ignore-output"], "ModuleNotFoundError"),
    ("print('IoU 0.4500000001')", [], ""),
    ("print('IoU 0.97')", ["measured"], ""),
    ("print('Not reproduced')", ["nbval-ignore-output"], ""),
]


def test_nbval_refuses_what_is_broken_and_accepts_what_may_differ(tmp_path: Path) -> None:
    stored = [v4.new_output("stream", name="stdout", text="IoU 0.45\n")]
    cells = [v4.new_code_cell(c, execution_count=1, metadata={"tags": t}, outputs=stored) for c, t, _ in CELLS]
    cells.insert(0, v4.new_code_cell('scale = "laptop"', metadata={"tags": ["parameters"]}))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "page.ipynb")
    execute.copies(tmp_path, tmp_path / "copies", {"scale": "tiny"})
    options = ["-rA", "-c", "pyproject.toml", "-p", "no:cacheprovider", "--nbval", "--nbval-kernel-name", "python3"]
    command = [*WARM, "pytest", *options, str(tmp_path / "copies" / "page.ipynb")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    for number, (_, _, reason) in enumerate(CELLS, 2):  # after the parameters and those of the copy
        assert re.search(rf"{'FAILED' if reason else 'PASSED'} \S*::Cell {number}\b", said), said
        assert reason in said.partition(f"::Cell {number} _")[2].partition("_ ::Cell")[0]
