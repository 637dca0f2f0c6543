"""Where the project is published: links to its repository, and notebooks that open on Colab and Binder.

`repository` in `_config.yml` is the one place that names the address; where it names none, the environment
variable GANSEG_REPOSITORY does. Without an address the book has no such links. Colab and Binder open the
notebooks of the branch `launch`, whose files `python -m ganseg.book launch` writes.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ganseg.files import UserError
from ganseg.notebooks import read, write

VARIABLE = "GANSEG_REPOSITORY"
BRANCH = "launch"  # what Colab and Binder open: the project with a first cell in every notebook
UNPUBLISHED = (".github/",)  # what the branch does without: a workflow's token may not push workflows
BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button")
SERVICES = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}

# Colab keeps its own PyTorch, which fits its GPU; whatever else it lacks is installed.
CELL = """\
# On Colab, this cell fetches the project and installs what is missing. Elsewhere it does nothing.
import os, subprocess, sys

if "google.colab" in sys.modules:
    import tomllib
    folder = "/content/{name}"
    clone = ["git", "clone", "--quiet", "--depth=1", "--branch={branch}", "{url}", folder]
    if not os.path.isdir(folder):
        subprocess.run(clone, check=True)
    with open(f"{{folder}}/pyproject.toml", "rb") as file:
        needed = tomllib.load(file)["project"]["dependencies"]
    needed = [line for line in needed if not line.startswith("torch")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *needed], check=True)
    subprocess.run([*pip, "--no-deps", "--editable", folder], check=True)
    sys.path.insert(0, folder)  # a package installed by now is found by the next kernel only
    os.chdir(f"{{folder}}/notebooks")"""

# Binder's machines have little memory and no GPU: PyTorch for CPUs from conda, the rest with pip.
BINDER = {
    "environment.yml": """\
name: ganseg
channels: [conda-forge]
dependencies: [python=3.12, pip, pytorch-cpu, torchvision]
""",
    "postBuild": """\
#!/bin/bash
set -e
python -m pip install --no-cache-dir -e . ipywidgets opencv-python-headless
""",
}


@dataclass(frozen=True)
class Repository:
    """A repository on GitHub: `url` https://github.com/OWNER/NAME, and the `branch` that readers may edit."""

    url: str
    branch: str = "main"

    def __post_init__(self) -> None:
        """Colab opens notebooks from GitHub alone: refuse other addresses."""
        object.__setattr__(self, "url", self.url.strip().rstrip("/").removesuffix(".git"))
        if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", self.url):
            raise UserError(f"repository {self.url!r}: write https://github.com/OWNER/NAME")

    @property
    def edit_template(self) -> str:
        """Address of a page's source over `file_name`, a template: pages of book/ are staged at the top."""
        folder = "{% if not file_name.startswith('notebooks/') %}book/{% endif %}"
        return f"{self.url}/edit/{self.branch}/{folder}{{{{ file_name }}}}"


def repository(config: dict[str, Any]) -> Repository | None:
    """The repository that `config` (of `_config.yml`) or else the environment names, or None."""
    named = config.get("repository") or {}
    url = named.get("url") or os.environ.get(VARIABLE)
    return Repository(url, named.get("branch") or "main") if url else None


def derived(config: dict[str, Any]) -> dict[str, Any]:
    """`config` with the links and launch buttons of a known repository; unchanged without one."""
    config, known = copy.deepcopy(config), repository(config)
    if known:
        settings = config["sphinx"]["config"]  # these win over jupyter-book's own keys for the theme
        theme = settings.setdefault("html_theme_options", {})
        context = settings.setdefault("html_context", {})
        theme |= {"repository_url": known.url, "repository_branch": BRANCH, "launch_buttons": dict(SERVICES)}
        theme |= dict.fromkeys(BUTTONS, True)
        context |= {"edit_page_url_template": known.edit_template, "edit_page_provider_name": "GitHub"}
    return config


def write_config(root: str | Path, path: str | Path) -> Path:
    """Write the derived configuration of the project at `root` to `path`; returns `path`."""
    text = yaml.safe_dump(derived(_config(Path(root))), sort_keys=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


def launchable(notebook: Any, known: Repository) -> Any:
    """`notebook` with one installing cell before its first code cell, however often this is done."""
    from nbformat.v4 import new_code_cell

    source = CELL.format(url=known.url, name=known.url.rpartition("/")[2], branch=BRANCH)
    notebook.cells = [cell for cell in notebook.cells if cell.get("id") != BRANCH]
    kinds = [cell.cell_type for cell in notebook.cells]
    index = kinds.index("code") if "code" in kinds else len(kinds)
    notebook.cells.insert(index, new_code_cell(source, id=BRANCH))
    return notebook


def write_launch(root: str | Path, target: str | Path, url: str | None = None) -> Path:
    """Write the files of the branch `launch` into the new or empty folder `target`.

    They are the files that git tracks at `root`, with the installing cell in every notebook and Binder's
    settings. `url`: the repository's address, where neither `_config.yml` nor the environment names it.
    """
    root, target = Path(root), Path(target)
    known = Repository(url) if url else repository(_config(root))
    if known is None:
        raise UserError(f"no repository is known: give --url, or set {VARIABLE}")
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target} is not empty")
    for name in _tracked(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)
    for path in sorted((target / "notebooks").glob("*.ipynb")):
        write(launchable(read(path), known), path)
    (target / "binder").mkdir()
    for name, text in BINDER.items():
        (target / "binder" / name).write_text(text, encoding="utf-8")
    (target / "binder" / "postBuild").chmod(0o755)
    return target


def _config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))


def _tracked(root: Path) -> list[str]:
    """Files under `root` that git tracks, but those that the branch does without."""
    done = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{root} is not a checkout: {done.stderr.strip()}")
    return [name for name in done.stdout.split("\0") if name and not name.startswith(UNPUBLISHED)]
