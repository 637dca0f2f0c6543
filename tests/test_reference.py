"""The reference part of the book: docstrings as autodoc shows them, the commands, the works compared to."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from docutils.core import publish_doctree

from book import reference
from ganseg.config import GeneratorConfig
from ganseg.points import Parts
from ganseg.tables import TABLES

PAGE = (ROOT / "book" / "api.md").read_text()
MODULES = re.findall(r"automodule:: (\S+)", PAGE)


@pytest.mark.parametrize(
    ("markdown", "xml"),
    [
        ("`a` and $x_k$.", "<literal>a</literal> and <math>x_k</math>."),
        ("`part`s of $K$-th", "<literal>part</literal>s of <math>K</math>-th"),
        ("2 * 3, |x|, name_ and *really*", "2 * 3, |x|, name_ and <emphasis>really</emphasis>"),
        ("`RESULTS`, else $RESULTS, else", "<literal>RESULTS</literal>, else $RESULTS, else"),
        ("Files:\n\n    a_ *.txt", 'classes="code text" xml:space="preserve">a_ *.txt</literal_block>'),
        ("- `a`: one\n- `b`: two", "<literal>a</literal>: one"),
    ],
)
def test_a_docstring_keeps_its_code_formulas_and_blocks(markdown: str, xml: str) -> None:
    tree = publish_doctree(reference.to_rst(markdown), settings_overrides={"halt_level": 2, "syntax_highlight": "none"})
    assert xml in re.sub("\x00 ?", "", tree.asdom().toxml())  # less the marks of escapes


def test_fields_come_with_type_default_and_the_comment_on_their_line() -> None:
    assert list(reference.fields(Parts))[1] == "``centres: Tensor``: x_k, (B, K, 2)"
    margin = next(line for line in reference.fields(GeneratorConfig) if "margin" in line)
    assert margin.startswith("``margin: ") and " = 10``: " in margin and "Eq. 12" in margin


def test_the_page_has_every_module_that_a_notebook_imports_once_and_says_what_it_is() -> None:
    assert len(MODULES) == len(set(MODULES)) and all(importlib.import_module(name).__doc__ for name in MODULES)
    used = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
        for package, names in re.findall(r"^from (ganseg[\w.]*) import ([\w, ]+)", code, re.MULTILINE):
            files = {f"{package}.{name.split(' as ')[0].strip()}" for name in names.split(",")} | {package}
            used |= {name for name in files if (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()}
    assert len(used) > 10 and not used - set(MODULES)


# ---- bibliography


def works() -> set[str]:
    """Keys of references.bib and the first authors' family names, in small letters without punctuation."""
    text = (ROOT / "book" / "references.bib").read_text()
    names = re.findall(r"@\w+\{(\w+),|author = \{([^,]+),", text)
    return {re.sub(r"\W", "", key or author).lower() for key, author in names}


@pytest.mark.parametrize("table", TABLES)
def test_every_method_in_our_tables_is_in_the_bibliography(table: str) -> None:
    numbers = TABLES[table].numbers
    first = {re.sub(r"\W", "", number["method"].split()[0]).lower() for number in numbers} - {"ours"}
    assert first and not {name for name in first if not any(work.startswith(name) for work in works())}


def test_every_work_is_listed_and_every_cited_work_is_known() -> None:
    listed = (ROOT / "book" / "references.md").read_text()
    keys = set(re.findall(r"@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text()))
    assert ":all:" in listed and set(re.findall(r"\{cite:\w\}`(\w+)`", listed)) <= keys


def symbols(path: Path) -> str:
    return re.sub(r"[\\{}$ ]|text|mathbf|mathcal", "", path.read_text())


SYMBOLS = (
    "K n_per x_k^i x_k sigma_k z_point z_app w^dynamic w_k^const otimes H_k W_mask M^(0) M^(i) M_bg M_k "
    "T_mask FC p W_fg F^(0) F^(i) T_fg z_bgapp u_bgpos w_bg B^(0) B^(i) T_bg I HtimesW G D L_GAN L_gp "
    "L_con L_area p_data lambda_gp lambda_con lambda_area L(D) L(G) MLP_app"
)


@pytest.mark.parametrize("symbol", SYMBOLS.split())
def test_the_glossary_has_the_symbols_of_the_equations(symbol: str) -> None:
    text = symbols(ROOT / "book" / "glossary.md")
    first = [row.split("|")[1] for row in text.splitlines() if row.startswith("|")]
    assert any(symbol in cell.split(",") for cell in first)
