"""From executed notebooks to the published book: choose executions, lay out sources, run jupyter-book.

`repository` in `_config.yml`, or else $GANSEG_REPOSITORY, names the project's address: with it, pages link to their
source, and Colab and Binder open the notebooks of the branch `launch`.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer.cli
import typer.testing
import yaml
from click.testing import CliRunner
from jupyter_book.cli.main import main as jupyter_book
from nbformat.v4 import new_code_cell, new_markdown_cell

from book import front, live
from book.execute import execution_of, parameters_cell, read, resolve, source_hash, write
from ganseg.files import UserError

LAUNCH = Path(__file__).with_name("launch")
COPIES = shutil.ignore_patterns("__pycache__", "*.tmp*", ".ipynb_checkpoints", "launch")
VARIABLE = "GANSEG_REPOSITORY"
BRANCH = "launch"  # the project with a first cell in every notebook
SERVICES = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}


def choose(path: Path, executed: Path) -> Any:
    """The execution of the notebook at `path` to publish: that in the folder `executed`, else the outputs stored in it.

    Those of another text do not count.
    """
    stored, file = read(path), executed / path.name
    for notebook in [*([read(file)] if file.is_file() else []), stored]:
        if execution_of(notebook).get("source") == source_hash(stored):
            return notebook
    raise UserError(f"{path} as it stands was not executed; run `make book`, or `make notebooks-run`")


def badge(execution: dict[str, Any]) -> str:
    """A box for the top of a page that says what its numbers were measured on."""
    values, scale = execution["parameters"], execution["parameters"].get("scale", "tiny")
    facts = [f"{name} {values[name]}" for name in ("data", "seed") if name in values]
    facts += [execution["device"], f"torch {execution['torch'].split('+')[0]}", f"commit {execution['commit']}"]
    text = " · ".join([*facts, execution["date"]])
    return f":::{{admonition}} Measured at scale {scale}\n:class: note ganseg-scale ganseg-{scale}\n\n{text}\n:::"


def present(notebook: Any, number: str, link: Callable[[str], str]) -> Any:
    """A page of the book: its number in the title, which a notebook begins with, then the scale's badge, then what
    cells tagged `answer` found; parameters as they were, and lines of provenance as `link` makes them."""
    execution, first = execution_of(notebook), notebook.cells[0]
    title, _, rest = first.source.partition("\n")
    first.source = f"{title.replace('#', f'# {number}', 1)}\n\n{badge(execution)}"
    answers = [cell for cell in notebook.cells if "answer" in cell.metadata.get("tags", [])]
    others = [cell for cell in notebook.cells[1:] if cell not in answers]
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if markup := output.get("data", {}).get("text/html"):  # without a space, cells are one word to the search
            markup = re.sub("(</t[dh]>)<", r"\1 <", markup)
            output.data["text/html"] = re.sub('(?<="ganseg-provenance">).*', lambda line: link(line[0]), markup)
    notebook.cells = [first, *answers, new_markdown_cell(rest.lstrip(), id="beginning"), *others]
    if cell := parameters_cell(notebook):
        shown = resolve(notebook, execution["parameters"])
        cell.source = "\n".join(f"{name} = {value!r}" for name, value in shown.items())
    return notebook


def links(url: str, results: Path) -> Callable[[str], str]:
    """What puts links to commits and published runs in the repository at `url`, if known, into a line of provenance."""
    folders = (run.relative_to(results) for run in results.glob("*/runs/*"))
    runs = {run.name[-8:]: f"tree/HEAD/results/{run}" for run in folders if run.parts[0] != "tiny"}

    def link(match: re.Match[str]) -> str:
        place = f"commit/{match[0]}" if len(match[0]) == 10 else runs.get(match[0])
        return f'<a href="{url}/{place}">{match[0]}</a>' if url and place else match[0]

    return lambda line: re.sub(r"\b[0-9a-f]{8,10}\b", link, line)


def stage(root: Path, target: Path, results: Path, scale: str = "laptop") -> None:
    """Lay out the book's sources in `target`: book/*, models to run in it, the package, executions of the notebooks.

    Notebooks include code as `../ganseg/points.py`, a path that is right in notebooks/ and in `target`.
    """
    notebooks, link = sorted((root / "notebooks").glob("*.ipynb")), links(repository(read_config(root)), results)
    pages = {path.name: present(choose(path, results / scale / "notebooks"), path.stem[:2], link) for path in notebooks}
    shutil.rmtree(target, ignore_errors=True)
    for source, copy in ((root / "book", target), (root / "ganseg", target / "ganseg")):
        shutil.copytree(source, copy, ignore=COPIES)
    live.stage(results, target / live.FOLDER)
    for name, notebook in pages.items():
        write(notebook, target / "notebooks" / name)
    docs = ["ganseg.cli", "utils", "docs", "--name", "ganseg"]
    commands = typer.testing.CliRunner().invoke(typer.cli.app, docs, catch_exceptions=False).stdout
    (target / "commands.md").write_text(re.sub(r"</?span[^>]*>", "`", commands), encoding="utf-8")


def build(
    output: Path, results: Path | None = None, scale: str = "laptop", builder: str = "html", root: Path = Path()
) -> Path:
    """Fill OUTPUT/_build/BUILDER from nothing with the book of the project at ROOT; every warning fails.

    RESULTS: ROOT/results by default. SCALE: whose executions are shown; where there are none, those that are stored in
    the notebooks. BUILDER: html, or linkcheck, which asks every address that the pages link to.
    """
    made = output / "_build"
    results = results or root / "results"
    stage(root, made / "source", results, scale)
    settings = published(read_config(root))
    settings.setdefault("parse", {})["myst_substitutions"] = front.stage(results, made / "source" / "_static")
    shutil.rmtree(made / builder, ignore_errors=True)
    config = made / "config.yml"
    config.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    words = ["build", made / "source", "--path-output", output, "--config", config, "--builder", builder]
    words += ["-W", "-n", "--keep-going", "--all", "-q"]  # every warning fails
    done = CliRunner().invoke(jupyter_book, list(map(str, words)))
    if done.exit_code:
        raise UserError(f"jupyter-book found mistakes:\n{done.output[-6000:]}") from done.exception
    return made / builder


def read_config(root: Path) -> dict[str, Any]:
    """Settings of the project at `root`."""
    return yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))


def repository(config: dict[str, Any], url: str = "") -> str:
    """Address https://github.com/OWNER/NAME: `url`, or that of `config` or the environment; empty where none is."""
    url = url or (config.get("repository") or {}).get("url") or os.environ.get(VARIABLE, "")
    url = url.strip().rstrip("/").removesuffix(".git")
    if url and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", url):
        raise UserError(f"repository {url!r}: write https://github.com/OWNER/NAME, from where Colab opens notebooks")
    return url


def published(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with the links and launch buttons of a known repository; unchanged without one."""
    if url := repository(config):
        settings = config["sphinx"]["config"]  # these win over jupyter-book's own keys for the theme
        theme, context = (settings.setdefault(name, {}) for name in ("html_theme_options", "html_context"))
        theme |= {"repository_url": url, "repository_branch": BRANCH, "launch_buttons": SERVICES}
        theme |= {f"use_{name}_button": True for name in ("repository", "edit_page", "issues")}
        folder = "{% if not file_name.startswith('notebooks/') %}book/{% endif %}"  # where pages of book/ come from
        edit = f"{url}/edit/{config['repository'].get('branch') or 'main'}/{folder}{{{{ file_name }}}}"
        context |= {"edit_page_url_template": edit, "edit_page_provider_name": "GitHub"}
    return config


def launchable(notebook: Any, url: str) -> Any:
    """`notebook` with one installing cell (book/launch/colab.py) before its first code cell."""
    source = (LAUNCH / "colab.py").read_text(encoding="utf-8")
    for word, value in (("URL", url), ("NAME", url.rpartition("/")[2]), ("BRANCH", BRANCH)):
        source = source.replace(f"<{word}>", value)
    index = next((i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    notebook.cells.insert(index, new_code_cell(source.strip(), id=BRANCH))
    return notebook


def launch(folder: Path, url: str = "") -> None:
    """Make FOLDER, a copy of the project, the branch that Colab and Binder open.

    Every notebook gets the installing cell, the folder Binder's settings.
    """
    known = repository(read_config(folder), url)
    if not known:
        raise UserError(f"no repository is known: give --url, or set {VARIABLE}")
    for path in (folder / "notebooks").glob("*.ipynb"):
        write(launchable(read(path), known), path)
    shutil.copytree(LAUNCH / "binder", folder / "binder")
