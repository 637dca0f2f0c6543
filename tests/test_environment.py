"""pyproject.toml, requirements.lock and environment.yml describe one environment."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()


def locked() -> dict[str, list[Version]]:
    """Versions that the lock pins for each package; several where they depend on the Python version."""
    pins: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", LOCK, re.MULTILINE):
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins


def direct(*extras: str) -> list[Requirement]:
    groups = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return [Requirement(line) for group in groups for line in group]


@pytest.mark.parametrize("requirement", direct("book", "test"), ids=lambda requirement: requirement.name)
def test_lock_pins_every_direct_dependency_within_its_range(requirement: Requirement) -> None:
    pins = locked().get(canonicalize_name(requirement.name), [])
    assert pins, f"{requirement.name} is not in requirements.lock: run `make lock`"
    assert all(requirement.specifier.contains(pin) for pin in pins)


def test_lock_was_resolved_from_exactly_these_dependencies() -> None:
    named = re.findall(r"^([A-Za-z0-9_.-]+)==[^\n]*\n((?:    [^\n]*\n)*)", LOCK, re.MULTILINE)
    asked = {canonicalize_name(name) for name, notes in named if "(pyproject.toml)" in notes}
    assert asked == {canonicalize_name(requirement.name) for requirement in direct("book", "test")}


def test_every_locked_package_has_hashes() -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", LOCK[LOCK.index("\n", LOCK.rindex("# ", 0, 200)) :].strip())
    without = [entry.split("\n")[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry]
    assert entries and not without


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "environment.yml"])
def test_no_file_names_an_index_a_host_or_a_path(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links|@ |(^|\s)/\w+/", text)


def test_conda_environment_installs_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == ["-r requirements.lock"]
    python = next(e for e in environment["dependencies"] if isinstance(e, str) and e.startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])


def test_the_command_line_alone_needs_no_jupyter() -> None:
    names = {canonicalize_name(requirement.name) for requirement in direct()}
    assert not {name for name in names if "jupyter" in name or name in ("papermill", "snakemake", "pytest")}
