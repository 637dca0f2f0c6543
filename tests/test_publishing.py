"""Links to the repository, launch buttons, and the notebooks that Colab and Binder open."""

import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from conftest import ROOT
from http_server import Site, serve
from nbformat import v4
from test_notebooks import record, write

from book import build as book, execute as notebooks
from ganseg.files import UserError

URL = "https://github.com/someone/parts"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())


@pytest.fixture(autouse=True)
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address from outside."""
    monkeypatch.delenv(book.VARIABLE, raising=False)


def published(url: str = URL, **more: str) -> dict[str, Any]:
    return {**copy.deepcopy(CONFIG), "repository": {"url": url, **more}}


# ---- settings


def test_an_address_turns_on_links_and_buttons_and_changes_nothing_else() -> None:
    assert book.published(published("")) == published("")
    before, after = (made["sphinx"]["config"] for made in (CONFIG, book.published(published(branch="work"))))
    assert before["html_theme_options"].items() <= after["html_theme_options"].items()
    assert after["html_theme_options"]["launch_buttons"]["notebook_interface"] == "jupyterlab"
    assert f"{URL}/edit/work/" in after["html_context"]["edit_page_url_template"]


def test_the_environment_fills_in_an_address_and_one_that_colab_cannot_open_is_refused(monkeypatch) -> None:
    monkeypatch.setenv(book.VARIABLE, "https://github.com/a/fork.git/")
    assert book.repository(published("")) == "https://github.com/a/fork"
    assert book.repository(published()) == URL
    for url in ("parts", "http://github.com/a/b", "https://github.com/a", "https://x.org/a/b"):
        with pytest.raises(UserError, match="https://github.com/OWNER/NAME"):
            book.published(published(url))


# ---- the branch `launch`


def notebook() -> Any:
    cells = [v4.new_markdown_cell("# Title"), v4.new_code_cell("x = 1"), v4.new_code_cell("x")]
    return v4.new_notebook(cells=cells)


def run_cell(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Execute the installing cell with subprocesses and folders watched; the commands that it would run."""
    commands: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command if check else []))
    monkeypatch.setattr(os, "chdir", lambda folder: commands.append(["cd", folder]))
    monkeypatch.setattr(sys, "path", list(sys.path))
    exec(book.launchable(notebook(), URL).cells[1].source, {})
    return commands


def test_the_installing_cell_does_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(sys.path)
    assert run_cell(monkeypatch) == [] and sys.path == before


def test_on_colab_the_cell_installs_all_but_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = [], open

    def project(path: str, mode: str) -> Any:
        opened.append(path)
        return real(ROOT / "pyproject.toml", mode)

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr("builtins.open", project)
    clone, needed, package, folder = run_cell(monkeypatch)
    assert clone[:2] == ["git", "clone"] and clone[-3:] == ["--branch=launch", URL, "/content/parts"]
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [line for line in asked if line not in needed] == ["torch>=2.11", "torchvision>=0.26"]
    assert package[-3:] == ["--no-deps", "--editable", "/content/parts"]
    assert folder == ["cd", "/content/parts/notebooks"] and opened == ["/content/parts/pyproject.toml"]


def test_a_copy_of_the_project_gets_notebooks_that_install_and_binders_settings(tmp_path: Path) -> None:
    notebooks.write(notebook(), tmp_path / "notebooks" / "00_a.ipynb")
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(published("")))
    with pytest.raises(UserError, match="give --url, or set GANSEG_REPOSITORY"):
        book.launch(tmp_path)
    book.launch(tmp_path, URL)
    launched = notebooks.read(tmp_path / "notebooks" / "00_a.ipynb")
    assert [cell.id == "launch" for cell in launched.cells] == [False, True, False, False]
    nbformat.validate(launched)
    assert os.access(tmp_path / "binder" / "postBuild", os.X_OK)
    binder = yaml.safe_load((tmp_path / "binder" / "environment.yml").read_text())
    assert {"python=3.11", "python=3.12", "python=3.13"} & set(binder["dependencies"])  # all that repo2docker reads
    assert (ROOT / ".gitattributes").read_text() == ".github export-ignore\n", "the branch has no workflows"


# ---- a small book


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of two pages and one notebook, whose execution is stored, with our settings; nothing is run."""
    root = tmp_path_factory.mktemp("small")
    for folder in ("book", "ganseg"):
        (root / folder).mkdir()
    contents = {"format": "jb-book", "root": "intro", "chapters": [{"file": "words"}, {"file": "notebooks/00_a"}]}
    pages = {"intro.md": "# Intro\n\nText.\n", "words.md": "# Words\n\nText.\n", "references.bib": ""}
    for name, text in {**pages, "_toc.yml": yaml.safe_dump(contents)}.items():
        (root / "book" / name).write_text(text)
    shutil.copy(ROOT / "_config.yml", root)
    source = write(root / "notebooks" / "00_a.ipynb", "x")
    record(source, root / "results" / "laptop" / "notebooks" / "00_a.ipynb", "laptop")
    return root


def foreign_links(html: Path) -> set[str]:
    """Addresses on other hosts that a page's buttons lead to."""
    links = re.findall(r'<a href="(https?://[^"]+)"', html.read_text())
    return {link.replace("&amp;", "&") for link in links if "github.com" in link or "/someone/" in link}


def test_the_pages_lead_to_colab_binder_source_and_issues(project, tmp_path, monkeypatch):
    monkeypatch.setenv(book.VARIABLE, URL)
    html = book.build(tmp_path, root=project)
    issue = f"{URL}/issues/new?title=Issue%20on%20page%20%2F{{}}.html&body=Your%20issue%20content%20here."
    words = {URL, f"{URL}/edit/main/book/words.md", issue.format("words")}
    assert foreign_links(html / "words.html") == words
    assert foreign_links(html / "notebooks" / "00_a.html") == {
        URL,
        f"{URL}/edit/main/notebooks/00_a.ipynb",
        issue.format("notebooks/00_a"),
        "https://colab.research.google.com/github/someone/parts/blob/launch/notebooks/00_a.ipynb",
        "https://mybinder.org/v2/gh/someone/parts/launch?urlpath=lab/tree/notebooks/00_a.ipynb",
    }
    text = (html / "notebooks" / "00_a.html").read_text()
    loads = re.findall(r'<(?:script|img|link)\b[^>]*(?:src|href)="([^"]+)"', text)
    assert loads and not [address for address in loads if "//" in address]


def test_provenance_leads_to_commits_and_published_runs(tmp_path: Path) -> None:
    for place in ("laptop/runs/a-paper-0123abcd", "tiny/runs/a-paper-89abcdef"):
        (tmp_path / place).mkdir(parents=True)
    line = '<small class="ganseg-provenance">Commit 0123456789; runs 0123abcd, 89abcdef.</small>'
    cell = v4.new_code_cell(outputs=[v4.new_output("display_data", {"text/html": line})])
    told = {"parameters": {}} | dict.fromkeys(("device", "torch", "commit", "date"), "")
    source = v4.new_notebook(cells=[v4.new_markdown_cell("#"), cell], metadata={"ganseg": {"execution": told}})
    page = book.present(source, "00", book.links(URL, tmp_path))
    links = re.findall('href="([^"]+)"', page.cells[-1].outputs[0].data["text/html"])
    assert links == [f"{URL}/commit/0123456789", f"{URL}/tree/HEAD/results/laptop/runs/a-paper-0123abcd"]


def test_without_an_address_the_pages_lead_nowhere_else(project: Path, tmp_path: Path) -> None:
    html = book.build(tmp_path, root=project)
    text = (html / "notebooks" / "00_a.html").read_text()
    assert not foreign_links(html / "words.html") | foreign_links(html / "notebooks" / "00_a.html")
    assert "colab" not in text.lower() and "mybinder" not in text and "Suggest edit" not in text


def test_a_dead_link_is_named_and_a_live_one_is_not(project: Path, tmp_path: Path) -> None:
    root = shutil.copytree(project, tmp_path / "project")
    with serve(Site({"there": b"a page"})) as site:
        text = f"# Intro\n\n[a]({site.address}/there) and [b]({site.address}/gone).\n"
        (root / "book" / "intro.md").write_text(text)
        with pytest.raises(UserError) as caught:
            book.build(tmp_path, builder="linkcheck", root=root)
    assert f"{site.address}/gone" in str(caught.value) and f"{site.address}/there" not in str(caught.value)
