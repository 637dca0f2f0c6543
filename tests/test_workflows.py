"""The workflows of GitHub Actions: what starts them, what they may do, and that what they run is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
ACTIONLINT = shutil.which("actionlint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EACH = pytest.mark.parametrize("name", WORKFLOWS)


def jobs(name: str) -> list[dict[str, Any]]:
    return list(WORKFLOWS[name]["jobs"].values())


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name) for step in job["steps"]]


def test_the_project_is_tested_published_and_its_links_are_checked() -> None:
    assert set(WORKFLOWS) == {"test", "publish", "links"}
    starts = {name: workflow[True] for name, workflow in WORKFLOWS.items()}  # YAML reads the key `on` as true
    assert set(starts["test"]) == {"push", "pull_request"}
    assert WORKFLOWS["publish"]["env"]["GANSEG_REPOSITORY"] == "${{ github.server_url }}/${{ github.repository }}"
    assert starts["publish"]["push"] == {"branches": ["main"]} and "workflow_dispatch" in starts["publish"]
    (job,) = jobs("test")
    asked = re.search(r'requires-python = ">=(3\.\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"] == [asked[1], f"3.{int(asked[2]) - 1}"]  # the oldest and the newest
    (weekly,) = starts["links"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["cron"])


@EACH
def test_a_workflow_reads_unless_a_job_must_write_ends_and_does_not_race_itself(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"} and WORKFLOWS[name]["concurrency"]["group"]
    written = {right for job in jobs(name) for right in job.get("permissions", {})}
    assert written == ({"pages", "id-token", "contents"} if name == "publish" else set())
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs(name))


@EACH
def test_actions_are_pinned_to_a_major_version_and_packages_are_cached(name: str) -> None:
    used = [step["uses"] for step in steps(name) if "uses" in step]
    assert used and all(re.fullmatch(r"(actions|astral-sh)/[\w/-]+@v\d+", action) for action in used)
    installs = [step["with"] for step in steps(name) if "setup-uv" in step.get("uses", "")]
    assert installs and all(given["enable-cache"] for given in installs)
    assert all((ROOT / given["cache-dependency-glob"]).is_file() for given in installs)


@EACH
def test_a_workflow_runs_only_what_is_there(name: str) -> None:
    lines = [line for step in steps(name) for line in step.get("run", "").splitlines()]
    made = {line for line in lines if line.startswith("make ")}
    assert made <= {f"make {target}" for target in TARGETS}
    scripts = [line for line in lines if not re.match(r"(make|git|commit=\$\(git) ", line)]
    assert (made or scripts) and all(os.access(ROOT / line, os.X_OK) for line in scripts)


def test_the_push_step_makes_one_commit_of_exactly_the_launch_folder(tmp_path: Path) -> None:
    """As GitHub runs it, with a folder in place of the repository there."""
    (step,) = (step for step in steps("publish") if "run" in step and "git push" in step["run"])
    work, remote = tmp_path / "work", tmp_path / "remote"
    files = {"_build/launch/notebooks/a.ipynb": "new", "_build/launch/.gitignore": "*.ipynb", "own.txt": "x"}
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    (work / "_build/launch/notebooks/a.ipynb").chmod(0o755)
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    subprocess.run(["git", "init", "--quiet", work], check=True)
    subprocess.run(["git", "-C", work, "remote", "add", "origin", remote], check=True)
    given = {key: value.replace("${{ runner.temp }}", str(tmp_path)) for key, value in step["env"].items()}
    for _ in range(2):  # the second push replaces the first
        run = ["bash", "-euo", "pipefail", "-c", step["run"]]
        subprocess.run(run, cwd=work, env={**os.environ, **given, "GITHUB_SHA": "abc"}, check=True)

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", remote, *words], capture_output=True, text=True).stdout

    tree = git("ls-tree", "-r", "launch").splitlines()
    assert [line.split("\t")[1] for line in tree] == [".gitignore", "notebooks/a.ipynb"]
    assert tree[1].startswith("100755") and git("rev-list", "--count", "launch") == "1\n"


@pytest.mark.skipif(ACTIONLINT is None, reason="no actionlint on the path")
def test_actionlint_finds_no_fault() -> None:
    done = subprocess.run([ACTIONLINT, *FOLDER.glob("*.yml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
