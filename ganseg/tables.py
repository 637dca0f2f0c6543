"""The paper's tables with our rows beside the printed ones, for notebooks, files and readers.

A row of ours is a dict: `mean`, `std` and `n` over seeds, `scale`, `data`, `seeds`, and

- `column`: the key of a column of the table, by default `data`. A key that the table lacks (a data set that the
  paper does not use) becomes a column of its own: no number stands under another's name.
- `method`, `type`: what the first two columns say; both have defaults.
"""

from __future__ import annotations

import html
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ganseg import reported
from ganseg.files import UserError, atomic_path

BLANK = "–"
SCALES = ("tiny", "laptop", "gpu", "paper")


def table1(ours: Sequence[Mapping[str, Any]] = (), later: bool = False) -> pd.DataFrame:
    """Table 1 (CelebA landmarks, %), as displayed: the paper's rows, later work's if `later`, ours."""
    return wide(reported.TABLE_1, ours, later)


def table2(ours: Sequence[Mapping[str, Any]] = (), later: bool = False) -> pd.DataFrame:
    """Table 2 (foreground IoU), as displayed."""
    return wide(reported.TABLE_2, ours, later)


def table3(ours: Sequence[Mapping[str, Any]] = (), later: bool = False) -> pd.DataFrame:
    """Table 3 (Taichi MAE and IoU), as displayed; rows of ours say column="mae" or column="iou"."""
    return wide(reported.TABLE_3, ours, later)


def tidy(table: reported.Table, ours: Sequence[Mapping[str, Any]] = (), later: bool = False) -> pd.DataFrame:
    """One line a number, unrounded: the data behind a table, for a CSV file."""
    printed = [_printed(row, "as printed") for row in table.rows]
    printed += [_printed(row, "later work") for row in table.later if later]
    records = [record for rows in printed for record in rows] + [_our_record(row) for row in ours]
    frame = pd.DataFrame.from_records(records, columns=_TIDY)
    twice = frame[frame.duplicated(["method", "scale", "column"])]
    if len(twice):
        row = twice.iloc[0]
        raise UserError(
            f"{table.name} has two numbers for {row['method']!r} in column {row['column']!r} "
            f"at scale {row['scale']!r}; give them different methods"
        )
    return frame


def wide(table: reported.Table, ours: Sequence[Mapping[str, Any]] = (), later: bool = False) -> pd.DataFrame:
    """The table as displayed: one line a method, all cells text."""
    frame = tidy(table, ours, later)
    columns = _columns(table, frame["column"])
    lines = []
    for (method, scale), group in frame.groupby(["method", "scale"], sort=False):
        line = {"Method": method, "Type": group["type"].iloc[0]}
        cells = {cell["column"]: cell for cell in group.to_dict("records")}
        for column in columns:
            line[heading(column)] = _cell(cells.get(column.key), column)
        line["Scale"] = scale
        line["Source"] = "; ".join(dict.fromkeys(group["source"]))
        lines.append(line)
    titles = ["Method", "Type", *(heading(column) for column in columns), "Scale", "Source"]
    return pd.DataFrame(lines, columns=titles)


def heading(column: reported.Column) -> str:
    """A column's title with an arrow to the better side, and its unit: "CUB ↑", "Wild (K=4), % ↓"."""
    unit = f", {column.unit}" if column.unit else ""
    return f"{column.title}{unit} {'↓' if column.better == 'lower' else '↑'}"


def mean_std(mean: float, std: float = math.nan, n: int | None = None, digits: int = 3) -> str:
    """As text: 0.712 ± 0.010 (n = 3); without a deviation 0.712 (n = 1), or 0.712; a dash for NaN."""
    if mean is None or math.isnan(mean):
        return BLANK
    text = f"{mean:.{digits}f}"
    if std is not None and not math.isnan(std):
        text += f" ± {std:.{digits}f}"
    return text if not n else f"{text} (n = {n})"


def scale_badge(scale: str) -> str:
    """HTML of the label that says at which scale a number was measured."""
    name = html.escape(scale)
    return f'<span class="ganseg-badge ganseg-{name}" title="measured at scale {name}">{name}</span>'


def summarise(runs: Iterable[Any], metric: str) -> dict[str, Any]:
    """mean, median, std (sample, NaN for one run), n and values of `metric` over the runs that have it."""
    values = [float(run.metrics[metric]) for run in runs if run.metrics.get(metric) is not None]
    if not values:
        raise UserError(f"no run has the metric {metric!r}; it is absent when the data set lacks its labels")
    std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    summary = {"mean": float(np.mean(values)), "median": float(np.median(values)), "std": std}
    return summary | {"n": len(values), "values": values}


def our_row(runs: Sequence[Any], metric: str, *, factor: float = 1.0, **fields: Any) -> dict[str, Any]:
    """A row of ours: `metric` over runs of one experiment that differ in their seed only.

    `factor` turns the metric into the table's unit (100 for %); `fields` are column, method, type.
    """
    runs = [run for run in runs if run.metrics.get(metric) is not None]
    summary = summarise(runs, metric)
    row = {key: summary[key] * factor for key in ("mean", "median", "std")} | {"n": summary["n"]}
    for key in ("scale", "data"):
        found = {run.provenance[key] for run in runs}
        if len(found) > 1:
            raise UserError(f"a row mixes runs of {key} {', '.join(sorted(found))}; make a row of each")
        row[key] = found.pop()
    return row | {"seeds": sorted(run.provenance["seed"] for run in runs)} | fields


def grouped(runs: Iterable[Any], first: str = "") -> list[list[Any]]:
    """Runs that differ in their seed only, together; the data set `first` and the best scale come first."""

    def kind(run: Any) -> tuple[Any, ...]:
        r = run.provenance
        return r["data"] != first, -SCALES.index(r["scale"]), r["data"], r["variant"], r["parts"]

    return [list(group) for _, group in itertools.groupby(sorted(runs, key=kind), key=kind)]


def group_name(group: Sequence[Any]) -> str:
    """Data set, scale, variant and K of runs that differ in their seed only."""
    r = group[0].provenance
    return f"{r['data']}, scale {r['scale']}, variant {r['variant']}, K = {r['parts']}"


def provenance_line(runs: Iterable[Any]) -> str:
    """Where numbers come from: scale, data, seeds, device, commit and keys of the runs behind them."""
    records = [run.provenance for run in runs]
    if not records:
        return "No run yet."
    commits = dict.fromkeys(_commit(record) for record in records if record.get("commit"))
    found = {
        "scale": _listed(records, "scale"),
        "data": _listed(records, "data"),
        "seed": _listed(records, "seed"),
        "device": _listed(records, "device"),
        "commit": ", ".join(commits),
        "run": _listed(records, "key"),
    }
    line = "; ".join(f"{_plural(word, values)} {values}" for word, values in found.items() if values)
    return line[:1].upper() + line[1:] + "."


def to_html(frame: pd.DataFrame, caption: str, notes: Sequence[str] = (), badge: str = "Scale") -> str:
    """An accessible HTML table: a caption, header cells with their scope, notes below; all text is escaped.

    The first column is the rows' header. In column `badge` our scales are shown as badges; such rows have the
    class "ours". The table scrolls sideways on a narrow screen.
    """
    heads = "".join(f'<th scope="col">{html.escape(str(title))}</th>' for title in frame.columns)
    body = "\n".join(_html_row(row, badge) for row in frame.to_dict("records"))
    below = "".join(f'\n<p class="ganseg-note">{html.escape(note)}</p>' for note in notes)
    return (
        f'<div class="ganseg-table-scroll" role="region" tabindex="0" aria-label="{html.escape(caption)}">\n'
        f'<table class="ganseg-table">\n<caption>{html.escape(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>{below}"
    )


def notes(table: reported.Table) -> list[str]:
    """What the marks in the paper's rows mean, and our remarks on them: lines to put below the table."""
    return [f"{mark} {meaning}" for mark, meaning in table.marks.items()] + list(table.remarks)


def to_csv(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write the frame as CSV (UTF-8, no index), whole or not at all."""
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, encoding="utf-8")
    return Path(path)


_TIDY = ["method", "type", "column", "mean", "std", "n", "mark", "scale", "data", "seeds", "source"]


def _printed(row: reported.Row, scale: str) -> list[dict[str, Any]]:
    common = {"method": row.method, "type": row.type, "scale": scale, "source": row.source}
    numbers = row.values.items()
    return [common | {"column": key, "mean": value, "mark": row.marks.get(key)} for key, value in numbers]


def _our_record(row: Mapping[str, Any]) -> dict[str, Any]:
    missing = [key for key in ("mean", "scale", "data") if key not in row]
    if missing:
        raise UserError(f"a row of ours lacks {', '.join(missing)}: {dict(row)}")
    seeds = ", ".join(str(seed) for seed in row.get("seeds", ()))
    source = row["data"] + (f", {_plural('seed', seeds)} {seeds}" if seeds else "")
    record = {"method": "This reproduction", "type": "Part", "column": row["data"], "source": source}
    return record | {key: row[key] for key in _TIDY if key in row} | {"seeds": seeds}


def _columns(table: reported.Table, keys: Iterable[str]) -> list[reported.Column]:
    """The table's columns, then one for each further key, formatted like the table's first."""
    known = {column.key for column in table.columns}
    like = table.columns[0]
    extra = [key for key in dict.fromkeys(keys) if key not in known]
    further = (reported.Column(key, key, like.better, like.digits, like.unit) for key in extra)
    return [*table.columns, *further]


def _cell(number: Mapping[str, Any] | None, column: reported.Column) -> str:
    if number is None:
        return BLANK
    n = None if pd.isna(number["n"]) else int(number["n"])
    text = mean_std(number["mean"], number["std"], n, column.digits)
    return text if pd.isna(number["mark"]) else f"{text} {number['mark']}"


def _listed(records: Sequence[Mapping[str, Any]], key: str) -> str:
    return ", ".join(dict.fromkeys(str(record[key]) for record in records if record.get(key) is not None))


def _plural(word: str, listed: str) -> str:
    return f"{word}s" if ", " in listed and word != "data" else word


def _commit(record: Mapping[str, Any]) -> str:
    return record["commit"][:10] + (" with uncommitted changes" if record.get("dirty") else "")


def _html_row(row: Mapping[str, Any], badge: str) -> str:
    ours = row.get(badge) in SCALES
    cells = [(title, _unbroken(html.escape(str(text)))) for title, text in row.items()]
    cells = [(title, scale_badge(row[badge]) if ours and title == badge else text) for title, text in cells]
    (_, first), *rest = cells
    inner = f'<th scope="row">{first}</th>' + "".join(f"<td>{text}</td>" for _, text in rest)
    return f'<tr class="ours">{inner}</tr>' if ours else f"<tr>{inner}</tr>"


def _unbroken(text: str) -> str:
    """A narrow column may break "0.5 ± 0.1 (n = 3)" before its bracket only, and no number from its mark."""
    return re.sub(r" (?=[±†*=])|(?<=[±=]) ", "&nbsp;", text)
