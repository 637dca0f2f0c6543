"""No notebook and no page of the book types a measurement: numbers in prose come from results.

A typed measurement is a number in prose that looks measured: it has a decimal point or stands before a per
cent sign, a unit of time or memory, or `times`. Prose is Markdown without what is quoted exactly: code,
formulas, links, roles, citations. Three kinds of such numbers are no measurements of ours and pass by
themselves: those that the paper or later work prints (`tables`), those that the page's own code computes
with (a rule's bar, a threshold), and numbers of sections, equations, figures and versions. What is left must
be on the list below, with a reason.
"""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

from ganseg.tables import TABLES

PAGES = sorted([*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").rglob("*.md")])
UNITS = "%|per cent|ms|s|seconds|minutes|min|hours|h|MB|MiB|GB|GiB|TB|GFLOP|images/s|images a second|times"
MEASURED = re.compile(rf"(?<![\w.,/-])(?:\d[\d,]*\.\d+|\d[\d,.]*(?=(?:\s|\u00a0)?(?:{UNITS})(?![\w/])))(?![\w-])")
QUOTED = [
    r"^(`{3,}|~{3,}|:{3,}).*?^\1",  # fenced code, literalinclude, directives
    r"\$\$.*?\$\$|\$[^$\n]+\$",
    r"\{[\w:]+\}`[^`]*`",  # roles: doc, cite, glue
    r"`[^`]*`",
    r"\]\([^)]*\)|<https?:[^>]*>",
    r"(?i)\b(?:sections?|eq\.|equations?|fig\.|figures?|tables?|rows?|python|torch|version|cuda)\s*[\d.]+(?:\s*(?:,|and|to|or|-)\s*[\d.]+)*",
    r"\b95 %(?= (?:t-|confidence )?intervals?)",  # the level, not a result
    r"\bCC[ -]BY[\w-]*\s*[\d.]+",
]
# page -> number as typed -> why it is no measurement
ALLOWED: dict[str, dict[str, str]] = {
    "13_table1": {"30": "the data set's filter: faces that cover less of the image are left out (section 4.1)"},
}


def text_of(page: Path, kind: str) -> str:
    """The page's cells of one kind; a Markdown page is prose alone."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text if kind == "markdown" else ""
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == kind)


def prose(page: Path) -> str:
    """What a reader reads as text, without what is quoted."""
    text = text_of(page, "markdown")
    for pattern in QUOTED:
        text = re.sub(pattern, " ", text, flags=re.MULTILINE | re.DOTALL)
    return text


def numbers(text: str) -> set[float]:
    return {float(found.replace(",", "")) for found in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", text)}


def printed() -> set[float]:
    """Every number of the paper's tables and of later work, and those in the remarks on them."""
    tables = TABLES.values()
    remarked = {value for table in tables for value in numbers(" ".join(table.remarks)) if value % 1}
    return remarked | {number["mean"] for table in tables for number in table.numbers}


def typed(page: Path) -> set[str]:
    """The measurements that someone typed into the prose of `page`."""
    own = numbers(text_of(page, "code"))
    known = {round(value, 6) for value in printed() | own | {100 * value for value in own}}
    found = {match.rstrip(".,") for match in MEASURED.findall(prose(page))}
    return {text for text in found if round(float(text.replace(",", "")), 6) not in known}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_page_types_a_measurement(page: Path) -> None:
    unknown = typed(page) - set(ALLOWED.get(page.stem, {}))
    assert not unknown, f"{page.name}: {sorted(unknown)}; take them from results, or say in ALLOWED why not"


def test_every_exception_is_still_needed() -> None:
    found = {page.stem: typed(page) for page in PAGES if page.stem in ALLOWED}
    assert not [stem for stem, texts in ALLOWED.items() if not set(texts) <= found.get(stem, set())]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The IoU is 0.771 on birds.", {"0.771"}),
        ("It takes 12 minutes, or 0.5 h.", {"12", "0.5"}),
        ("Faster by 37 %, and 2.5 times as large.", {"37", "2.5"}),
        ("Section 4.4 and Eq. 12 say so; Table 2 has 0.629 (the paper's).", set()),
        ("Three seeds, K = 8, 128 pixels, 11,788 images, `0.5` and $\\lambda = 0.25$.", set()),
        ("A `0.9` quantile. ```\n0.123\n```", set()),
        ("At most 0.05 below.", set()),
    ],
)
def test_the_scan_tells_measurements_from_other_numbers(tmp_path: Path, text: str, found: set[str]) -> None:
    cells = [{"cell_type": "markdown", "source": [text]}, {"cell_type": "code", "source": ["margin = 0.05"]}]
    page = tmp_path / "page.ipynb"
    page.write_text(json.dumps({"cells": cells}))
    assert typed(page) == found
