"""nbval, as `make test` runs it, refuses a number that is wrong and accepts one that is close."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbformat import v4

from ganseg.nbval_tolerance import agree


@pytest.mark.parametrize(
    ("stored", "computed", "same"),
    [
        ("IoU 0.45 of 500 images", "IoU 0.52 of 500 images", True),
        ("IoU 0.45 of 500 images", "IoU 0.95 of 500 images", False),
        ("IoU 0.45 of 500 images", "IoU 0.45 of 501 images", False),
        ("IoU 0.45", "loss 0.45", False),
        ("covers 30 %", "covers 45 %", True),
        ("covers 30 %", "covers 60 %", False),
        ("error 233.6 px", "error 310.0 px", True),
        ("error 233.6 px", "error 410.0 px", False),
        ("a  0.1\nb 12.0", "a 0.2\nb  9.0", True),
        ("one 0.1", "one 0.1 0.2", False),
        ("gap -1.2e-7", "gap 3.1e-6", True),
    ],
)
def test_numbers_agree_within_tolerances_and_words_exactly(stored: str, computed: str, same: bool) -> None:
    assert agree(stored, computed) is same


def nbval(folder: Path, shown: str, stored: str, *tags: str) -> subprocess.CompletedProcess[str]:
    """nbval's word on a notebook that shows `shown` and was stored with `stored`."""
    cell = v4.new_code_cell(f"print({shown!r})", execution_count=1, metadata={"tags": list(tags)})
    cell.outputs = [v4.new_output("stream", name="stdout", text=stored + "\n")]
    nbformat.write(v4.new_notebook(cells=[cell]), folder / "page.ipynb")
    command = ["-m", "pytest", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "--nbval"]
    return subprocess.run([sys.executable, *command, "--nbval-kernel-name", "python3", str(folder / "page.ipynb")],
                          cwd=ROOT, capture_output=True, text=True)  # fmt: skip


def test_nbval_accepts_a_close_number_and_refuses_a_broken_one(tmp_path: Path) -> None:
    assert nbval(tmp_path, "IoU 0.47", "IoU 0.45").returncode == 0
    refused = nbval(tmp_path, "IoU 0.97", "IoU 0.45")
    assert refused.returncode == 1
    assert "Cell outputs differ" in refused.stdout and "0.97" in refused.stdout and "0.45" in refused.stdout


def test_nbval_passes_over_a_cell_whose_words_may_change(tmp_path: Path) -> None:
    assert nbval(tmp_path, "Reproduced", "Not reproduced", "nbval-ignore-output").returncode == 0
