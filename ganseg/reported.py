"""The numbers that the paper prints, and the best of later work on the same metrics, each with its source.

He, Wandt and Rhodin, "GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation", CVPR 2022.
Methods and types are named as printed, reference numbers included. `reported.yml` holds the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ganseg.files import PACKAGE, UserError


class Column(NamedTuple):
    """A column of a table: `key` names it in code, `better` is lower or higher, `digits` are those printed."""

    key: str
    title: str
    better: str
    digits: int
    unit: str = ""

    @property
    def heading(self) -> str:
        """The title with its unit and an arrow to the better side: "CUB ↑", "Wild (K=4), % ↓"."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.title}{unit} {'↓' if self.better == 'lower' else '↑'}"


class Row(NamedTuple):
    """What one method scores: column key -> number, in the column's unit; `marks`: column key -> its mark."""

    method: str
    type: str
    values: Mapping[str, float]
    marks: Mapping[str, str]
    source: str


class Table(NamedTuple):
    """A table of the paper: its rows as printed, rows of later work, the meaning of each mark, our remarks."""

    name: str
    columns: Mapping[str, Column]
    rows: Sequence[Row]
    later: Sequence[Row]
    marks: Mapping[str, str]
    remarks: Sequence[str]

    def value(self, column: str, method: str = "Ours") -> float:
        """The number in the paper's row `method`, in the column's unit; UserError where none is printed."""
        if column not in self.columns:
            raise UserError(f"{self.name} has no column {column!r}; it has {', '.join(self.columns)}")
        for row in self.rows:
            if row.method == method and column in row.values:
                return row.values[column]
        raise UserError(f"{self.name} prints no number for {method!r} in column {column!r}")


def _table(name: str, raw: dict[str, Any]) -> Table:
    """A table as `reported.yml` has it."""
    keys, sources = list(raw["columns"]), raw.get("sources", {})

    def row(method: str, kind: str, *cells: float | str | None) -> Row:
        """A cell is a number, "number mark", or None for a dash."""
        words = {key: str(cell).split() for key, cell in zip(keys, cells, strict=True) if cell is not None}
        values = {key: float(number) for key, (number, *_) in words.items()}
        marks = {key: mark for key, (_, *marked) in words.items() for mark in marked}
        printed = raw.get("source", f"{name}, row '{method}'")
        return Row(method, kind, values, marks, sources.get(method, printed))

    columns = {key: Column(key, **fields) for key, fields in raw["columns"].items()}
    rows = [[row(*line) for line in raw.get(kind, ())] for kind in ("rows", "later")]
    return Table(name, columns, *rows, raw.get("marks", {}), raw.get("remarks", ()))


_RAW = yaml.safe_load((PACKAGE / "reported.yml").read_text(encoding="utf-8"))
TABLES = {name: _table(name, raw) for name, raw in _RAW.items()}
TABLE_1, TABLE_2, TABLE_3, CUB_LANDMARKS, CUB_PARTS = TABLES.values()
