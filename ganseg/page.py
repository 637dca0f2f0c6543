"""How a notebook shows a figure, a table, a sentence with numbers, and its verdict.

Under every figure and table stand its data as CSV and a line of provenance. Each output has a plain text, which nbval
compares, beside its HTML.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython import display
from matplotlib.figure import Figure

from ganseg import tables
from ganseg.files import UserError, atomic_path, results_dir
from ganseg.plots import DPI

UNBOUND = "Computed by this page, from no run; the box at its top says where and when."


def show(figure: Figure, name: str, *, caption: str, alt: str, data: pd.DataFrame, runs: Sequence[Any] = (),
         results: str | Path | None = None, scale: str | None = None) -> None:  # fmt: skip
    """Write results/<scale>/figures/<name>.png and .csv (`data`); display them with caption, alt text, CSV, provenance.

    `scale` is that of the first of `runs` unless given. UserError without a caption or an alt text of some words.
    """
    if len(alt.split()) < 4 or not caption:
        raise UserError(f"figure {name!r} needs a caption, and an alt text that says what it shows")
    path = _folder(results, scale, runs, "figures") / f"{name}.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    image = f'<img class="dark-light" src="{_data_uri("image/png", path.read_bytes())}" alt="{html.escape(alt)}">'
    below = f"<figcaption>{html.escape(caption)} {_download(data, path)}{_origin(runs)}</figcaption>"
    _display(f'<figure class="ganseg-figure">{image}\n{below}</figure>', f"Figure: {alt}")


def show_table(frame: pd.DataFrame, name: str, *, caption: str, data: pd.DataFrame | None = None,
               notes: Sequence[str] = (), runs: Sequence[Any] = (), results: str | Path | None = None,
               scale: str | None = None) -> None:  # fmt: skip
    """Write results/<scale>/tables/<name>.csv (`data`, or what is shown) and display the table like a figure."""
    path = _folder(results, scale, runs, "tables") / f"{name}.csv"
    link = _download(frame if data is None else data, path)
    below = f'<p class="ganseg-below">{link}{_origin(runs)}</p>'
    _display(f"{tables.to_html(frame, caption, notes)}\n{below}", f"Table: {caption}\n{frame.to_string(index=False)}")


def say(text: str) -> None:
    """Display a sentence whose numbers were computed, as Markdown."""
    display.display(display.Markdown(text))


def verdict(claim: str, checks: Mapping[str, bool], testable: bool = True, why_not: str = "") -> str:
    """Display and return the verdict on `claim`: reproduced if all `checks` hold and the setting is `testable`."""
    word = ("Reproduced" if all(checks.values()) else "Not reproduced") if testable else "Not testable at this scale"
    signs = {True: "✓ holds: ", False: "✗ does not hold: " if testable else "– not shown: "}
    lines = [f"{signs[bool(holds)]}{text}" for text, holds in checks.items()]
    judged(claim, word, lines, "" if testable else why_not)
    return word


def judged(claim: str, word: str, lines: Sequence[str], why: str = "") -> None:
    """Display the verdict `word` on `claim`, what it rests on, a line each, and `why` nothing was decided."""
    kind = {"Reproduced": "tip", "Not reproduced": "warning", "Contradicted": "warning"}.get(word, "note")
    rows = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    reason = f"<p>{html.escape(why)}</p>" if why else ""
    box = f'<p class="admonition-title">Verdict: {word}</p><p>{html.escape(claim)}</p>{reason}<ul>{rows}</ul>'
    _display(f'<div class="admonition {kind} ganseg-verdict">{box}</div>', f"Verdict: {word}. {claim}")


def _folder(results: str | Path | None, scale: str | None, runs: Sequence[Any], kind: str) -> Path:
    if not (scale or runs):
        raise UserError("name a scale, or the runs that the numbers come from")
    return results_dir(results or None) / (scale or runs[0].provenance["scale"]) / kind


def _download(data: pd.DataFrame, path: Path) -> str:
    """A link to `data` as CSV, which is also written beside `path`."""
    content = tables.to_csv(data, path.with_suffix(".csv")).read_bytes()
    return f'<a class="ganseg-csv" download="{path.stem}.csv" href="{_data_uri("text/csv", content)}">Data (CSV)</a>'


def _origin(runs: Sequence[Any]) -> str:
    text = tables.provenance_line(runs) if runs else UNBOUND
    return f'<br><small class="ganseg-provenance">{html.escape(text)}</small>'


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _display(markup: str, plain: str) -> None:
    display.display({"text/html": markup, "text/plain": plain}, raw=True)
