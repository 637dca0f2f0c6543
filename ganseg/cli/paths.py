"""Which run a user means. Reads JSON files only, so that it is quick."""

from __future__ import annotations

from pathlib import Path

from ganseg.files import UserError, results_dir

CONFIG, METRICS, PROVENANCE = "config.json", "metrics.json", "provenance.json"
SHOWN = 8  # names in a message


def run_directories(results: Path | None = None, scale: str | None = None) -> list[Path]:
    """All run directories under `results`, finished or not, by scale and name."""
    return sorted(path.parent for path in results_dir(results).glob(f"{scale or '*'}/runs/*/{CONFIG}"))


def find_directory(name: str, results: Path | None = None) -> Path:
    """The run that `name` means: its directory, name or key, or a part of SCALE/NAME that no other has."""
    if (Path(name).expanduser() / CONFIG).is_file():
        return Path(name).expanduser()
    known = {path: f"{path.parent.parent.name}/{path.name}" for path in run_directories(results)}
    exact = [path for path in known if path.name == name or path.name.rpartition("-")[2] == name]
    matches = exact or [path for path, full in known.items() if name in full]
    if len(matches) == 1:
        return matches[0]
    raise UserError(_ambiguous(name, [known[path] for path in matches]) if matches else _missing(name, results, known))


def _ambiguous(name: str, matches: list[str]) -> str:
    return f"{len(matches)} runs are called {name!r}: {_some(matches)}; add letters, or give the key at the end"


def _missing(name: str, results: Path | None, known: dict[Path, str]) -> str:
    place = results_dir(results)
    if Path(name).is_dir():
        return f"{name} is not a run: it has no {CONFIG}"
    if not known:
        return f"no run {name!r}: there are no runs in {place}; train one with `ganseg train`, or give --results"
    return f"no run {name!r} in {place}; there are {_some(list(known.values()))}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
