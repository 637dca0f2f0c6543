"""What every chapter is made of: parameters, the paper's place, the package's own code, mostly prose, a verdict."""

import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from book import execute as notebooks

CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PARAMETERS = {"scale": "laptop", "seed": 0, "data": "synthetic-bird", "results_dir": "", "data_dir": ""}
COMPUTE, OWN, PICTURES = "31_compute", "32_own_images", "12_qualitative"
BEYOND = ("30", "31", "32", "33")  # chapters without a place in the paper
every = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def cells(path: Path, kind: str, without: tuple[str, ...] = ()) -> list[Any]:
    """Cells of one kind; those `without` some tags."""
    found = [cell for cell in notebooks.read(path).cells if cell.cell_type == kind]
    return [cell for cell in found if not {*without} & {*cell.metadata.get("tags", [])}]


def prose(path: Path) -> str:
    return "\n".join(cell.source for cell in cells(path, "markdown"))


def test_the_chapters_are_those_that_the_book_promises() -> None:
    numbers = [path.stem[:2] for path in CHAPTERS]
    wanted = [*range(0, 7), *range(10, 17), *range(20, 28), *range(30, 34), 40]
    assert numbers == [f"{number:02}" for number in wanted]


@every
def test_a_chapter_takes_these_parameters_and_their_defaults(path: Path) -> None:
    assert notebooks.parameters_of(notebooks.read(path)) == PARAMETERS


@every
def test_a_chapter_opens_with_its_title_and_the_papers_place(path: Path) -> None:
    first = notebooks.read(path).cells[0].source
    assert re.match(r"# \S", first)
    if not path.stem.startswith(BEYOND):
        assert "{cite:p}`ganseg`" in first and re.search(r"[Ss]ection|Fig\.|Table|Eq\.|abstract", first)


@every
def test_a_chapter_is_more_prose_than_visible_code_in_short_cells(path: Path) -> None:
    visible = cells(path, "code", without=("hide-input", "hide-cell"))
    assert len(prose(path)) > sum(len(cell.source) for cell in visible)
    assert max(len(cell.source.splitlines()) for cell in visible) <= 13
    assert max(len(line) for cell in visible for line in cell.source.splitlines()) <= 88  # what a page shows


@every
def test_a_chapter_shows_the_packages_own_code_and_defines_no_classes(path: Path) -> None:
    included = re.findall(r"literalinclude\} \.\./(ganseg/\S+)", prose(path))
    assert all((ROOT / name).is_file() for name in included)
    assert included or path.stem in (OWN, PICTURES)
    assert not re.search(r"(?m)^class ", "\n".join(cell.source for cell in cells(path, "code")))


@every
def test_a_chapter_ends_with_a_verdict_and_states_the_rule_before_it(path: Path) -> None:
    if path.stem == COMPUTE:
        pytest.skip("the chapter on speed tests no claim of the paper")
    last = [cell for cell in cells(path, "code", without=("answer",)) if "-exercise-" not in cell.id][-1]
    assert re.search(r"\b(verdict|judged)\(", last.source)
    assert re.search(r"\n## Verdict\n", prose(path)) and re.search(r"\brules?\b", prose(path).split("## Verdict")[-1])


def test_every_figure_of_the_paper_has_its_counterpart() -> None:
    text = "\n".join(map(prose, CHAPTERS))
    named = re.findall(r"\d+", " ".join(re.findall(r"Figs?\. ([\d, and]+)", text)))
    assert set(map(str, range(1, 11))) <= set(named)
