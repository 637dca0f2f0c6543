"""The text lists of CelebA and MAFL: where they lie, what they say, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ganseg.data.report import Problem, problem

FOLDERS = ("", "Anno", "Eval", "Img")  # the publisher's; most people move everything into one
AGAIN = "Get this list from its publisher again."


@dataclass
class Listing:
    """One list: the integers of each row by the image's name, in the file's order, and its problems."""

    rows: dict[str, tuple[int, ...]]
    problems: list[Problem] = field(default_factory=list)


def locate(data_dir: Path, name: str) -> Path:
    """Where `name` (a list or a folder) lies below `data_dir`; directly in it where it lies nowhere."""
    places = [data_dir / folder / name for folder in FOLDERS]
    return next((path for path in places if path.exists()), places[0])


def read_list(path: Path, columns: int) -> Listing:
    """Read rows of an image's name and `columns` integers, separated by any white space.

    Before the first row, a lone number announces how many rows follow and a line without an image's name is
    the header; both may be absent. Line ends may be LF, CR LF or CR.
    """
    listing, announced, count = Listing({}), None, 0
    damaged: list[str] = []
    twice: list[str] = []
    contradictory: list[str] = []
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        tokens = line.split()
        if not count and _is_count(tokens):
            announced = int(tokens[0])
        elif tokens and (count or Path(tokens[0]).suffix):
            count += 1
            name, row = tokens[0], _integers(tokens[1:])
            if row is None or len(row) != columns:
                damaged.append(f"line {number}")
            elif name not in listing.rows:
                listing.rows[name] = row
            else:
                (twice if listing.rows[name] == row else contradictory).append(name)
    listing.problems += problem(f"rows of {path.name} are damaged", damaged, _row(columns), True)
    listing.problems += problem(f"names come twice in {path.name}", twice, "Each counts once.")
    what = f"names come twice in {path.name}, with different values"
    listing.problems += problem(what, contradictory, AGAIN, True)
    if announced not in (None, count):
        what = f"rows are in {path.name}, whose first line announces {announced:,}"
        remedy = f"{AGAIN} If you shortened it on purpose, correct its first line."
        listing.problems.append(Problem(what, count, (), remedy, True))
    return listing


def _row(columns: int) -> str:
    return f"A row is a name{f' and {columns} integers' if columns else ''}. {AGAIN}"


def _is_count(tokens: list[str]) -> bool:
    return len(tokens) == 1 and tokens[0].isdecimal()


def _integers(values: list[str]) -> tuple[int, ...] | None:
    try:
        return tuple([int(value) for value in values])
    except ValueError:
        return None
