"""The numbers that the paper prints, and the best of later work on the same metrics, each with its source.

He, Wandt and Rhodin, "GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation", CVPR 2022.
Methods and types are named as printed, reference numbers included. `reported.yml` holds the tables.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from ganseg.files import PACKAGE, UserError

KINDS = {"rows": "as printed", "later": "later work"}  # of rows in the file -> what stands for a scale in tables


class Column(NamedTuple):
    """A column of a table: `better` is lower or higher, `digits` are those printed."""

    title: str
    better: str
    digits: int
    unit: str = ""

    @property
    def heading(self) -> str:
        """The title with its unit and an arrow to the better side: "CUB ↑", "Wild (K=4), % ↓"."""
        return ", ".join(filter(None, (self.title, self.unit))) + (" ↓" if self.better == "lower" else " ↑")


class Table(NamedTuple):
    """A table of the paper. Its `numbers`, in the columns' units: method, type, column, mean, mark, scale, source."""

    name: str
    columns: Mapping[str, Column]
    numbers: Sequence[Mapping[str, Any]]
    marks: Mapping[str, str]
    remarks: Sequence[str]

    def value(self, column: str, method: str = "Ours") -> float:
        """The number in the paper's row `method`, in the column's unit; UserError where none is printed."""
        for number in self.numbers:
            if (number["column"], number["method"], number["scale"]) == (column, method, "as printed"):
                return number["mean"]
        known = ", ".join(self.columns)
        raise UserError(f"{self.name} prints no number for {method!r} in column {column!r}; it has {known}")


def _table(name: str, raw: Mapping[str, Any]) -> Table:
    """A table of the file, where a cell is a number, "number mark", or None for a dash."""
    columns, numbers = {key: Column(**fields) for key, fields in raw["columns"].items()}, []
    for kind, scale in KINDS.items():
        for method, type_, *cells in raw.get(kind, ()):
            source = raw.get("sources", {}).get(method, raw.get("source", f"{name}, row '{method}'"))
            about = {"method": method, "type": type_, "scale": scale, "source": source}
            for column, cell in zip(columns, cells, strict=True):
                number, _, mark = str(cell).partition(" ")
                if cell is not None:
                    numbers.append(about | {"column": column, "mean": float(number), "mark": mark or None})
    return Table(name, columns, numbers, raw.get("marks", {}), raw.get("remarks", ()))


FILE = PACKAGE / "reported.yml"
TABLES = {name: _table(name, raw) for name, raw in yaml.safe_load(FILE.read_text(encoding="utf-8")).items()}
TABLE_1, TABLE_2, TABLE_3, CUB_LANDMARKS, CUB_PARTS = TABLES.values()
