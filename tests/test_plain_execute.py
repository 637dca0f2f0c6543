"""Executing notebooks without jupyter gives what a kernel gives."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from nbformat import v4
from nbformat import write as write_notebook

from ganseg import UserError, notebooks, plain_execute

ROOT = Path(__file__).resolve().parent.parent
CELLS = (
    "import sys\nimport pandas as pd\nfrom IPython.display import HTML, Markdown, display",
    "print('a')\nprint('b', end='')",
    "print('out')\nprint('err', file=sys.stderr)",
    "display(Markdown('**two**'), HTML('<b>x</b>'))\nprint('after')\n",
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
    [
        ("\n1 / 0  # here", r"cell 3 \(1 / 0  # here\): ZeroDivisionError"),
        ("%matplotlib inline", "SyntaxError"),
        ("import matplotlib.pyplot as plt\nplt.plot([1])", "pyplot left a figure open"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_plain_execution_that_fails_leaves_no_output(tmp_path, source, message):
    path, main = notebook_at(tmp_path / "a.ipynb", source), sys.modules["__main__"]
    with pytest.raises(UserError, match=message):
        plain_execute.execute(path, tmp_path / "new" / "a.ipynb")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.failed.ipynb"]
    assert sys.modules["__main__"] is main
