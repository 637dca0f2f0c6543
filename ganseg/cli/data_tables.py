"""What `ganseg data` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ganseg.cli.tables import console
from ganseg.data import DATASETS, DataSet, Listing, Split
from ganseg.data.download import state

NOTE = "K: the numbers of parts in the paper's tables. Images: of each split, by the paper's protocol."


def print_sets() -> None:
    """A table of all data sets, with what must be done to have them."""
    table = Table(box=None, pad_edge=False, header_style="bold", caption=NOTE, caption_justify="left")
    for heading in ("name", "data set", "K", "images", "licence", "to get it"):
        table.add_column(heading, overflow="fold")
    for name, spec in DATASETS.items():
        if name == spec.name:  # no alias
            licence, parts = spec.licence or "–", ", ".join(map(str, spec.parts)) or "–"
            table.add_row(*map(escape, (name, spec.title, parts, _counts(spec), licence, _way(spec))))
            table.add_row()
    console().print(table)


def print_plan(spec: DataSet, folder: Path) -> None:
    """What a download will do: files, sizes, the licence, and what a person has to get."""
    screen = console()
    screen.print(
        f"[bold]{spec.title}[/bold]  {spec.homepage}\nLicence: {escape(spec.licence)}\nInto: {escape(str(folder))}"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("file", "size", "state"):
        table.add_column(heading, justify="right" if heading == "size" else "left", overflow="fold")
    for file in spec.files:
        note = " (can be done without)" if file.optional else ""
        table.add_row(escape(file.name), _size(file.bytes), state(file, folder) + note)
    screen.print(table)
    for file in spec.files:
        if state(file, folder) == "to get by hand":
            screen.print(f"[yellow]{escape(str(folder / file.name))}[/yellow]: {escape(file.how)}", soft_wrap=True)
    left = [file.bytes or 0 for file in spec.files if state(file, folder) == "to fetch"]
    if left:
        screen.print(f"To fetch: {_size(sum(left))}; unpacked, about as much again.")


def print_prepared(splits: Iterable[tuple[str, Split, float]]) -> None:
    """What was decoded: (name, split, seconds) each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("split", "images", "unreadable", "labels", "seconds", "lies in"):
        table.add_column(
            heading, justify="left" if heading in ("split", "labels", "lies in") else "right", overflow="fold"
        )
    for name, split, seconds in splits:
        labels = [label for label in ("foreground", "parts", "keypoints") if getattr(split, label) is not None]
        place = str(Path(split.images.filename).parent)
        cells = (
            f"{len(split):,}",
            str(len(split.skipped)),
            ", ".join(labels) or "–",
            f"{seconds:.1f}",
            escape(place),
        )
        table.add_row(name, *cells)
    console().print(table)


def print_report(name: str, data_dir: Path, report: Listing) -> None:
    """A look at a folder as a person can act on it: counts, labels, then what is wrong, the worst first."""
    screen = console()
    screen.print(f"[bold]{name}[/bold] in {escape(str(data_dir))}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("split")
    table.add_column("images", justify="right")
    table.add_column("of the paper", justify="right")
    for split, count in report.counts.items():
        wanted = DATASETS[name].counts.get(split)
        table.add_row(split, f"{count:,}", "–" if wanted is None else f"{wanted:,}")
    screen.print(table)
    for label, count in report.labels.items():
        screen.print(f"{count:,} {label}")
    for fault in report.faults:
        screen.print(f"[red]must be mended:[/red] {escape(fault)}", soft_wrap=True)
    for oddity in report.oddities:
        screen.print(f"[yellow]note:[/yellow] {escape(oddity)}", soft_wrap=True)
    screen.print("[red]It cannot be used as it is.[/red]" if report.faults else "[green]It can be used.[/green]")


def report_json(name: str, data_dir: Path, report: Listing) -> str:
    """A look at a folder as indented JSON; `usable` is false where the reader would refuse."""
    known = {"name": name, "data_dir": str(data_dir), "counts": report.counts, "expected": DATASETS[name].counts}
    found = {"labels": report.labels, "faults": report.faults, "oddities": report.oddities}
    return json.dumps(known | found | {"usable": not report.faults}, indent=2)


def _counts(spec: DataSet) -> str:
    known = spec.counts
    return ", ".join(f"{split} {known[split]:,}" if split in known else split for split in spec.splits)


def _way(spec: DataSet) -> str:
    """How to get a data set, in a few words."""
    if not spec.files:
        return "bring your own" if spec.needs_dir else "nothing to get: it is drawn by the package"
    names = ", ".join(file.name + " (optional)" * file.optional for file in spec.files)
    if not all(file.url for file in spec.files):
        return f"by hand: {names}; `ganseg data download {spec.name}` says where"
    total = sum(file.bytes or 0 for file in spec.files)
    return f"`ganseg data download {spec.name}`: {_size(total)} ({names})"


def _size(count: int | None) -> str:
    """Bytes for people: 345 MB."""
    if count is None:
        return "–"
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count} B"
