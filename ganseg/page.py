"""How a notebook shows a figure, a table, a sentence with numbers, and its verdict.

Under every figure and table stand its data as CSV and its provenance. Each output has a plain text too, for nbval.
"""

import base64
import html
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython import display
from matplotlib.figure import Figure
from PIL import Image

from ganseg.files import UserError, atomic_path, results_dir
from ganseg.plots import DPI, image_rows
from ganseg.recipes import SCALES


def show(figure: Figure, name: str, *, caption: str, alt: str, data: pd.DataFrame, **where: Any) -> None:
    """Write results/<scale>/figures/<name>.png and .csv (`data`); display them with caption, alt text, CSV, provenance.

    `where`: as of `show_html`. UserError without a caption or an alt text of some words.
    """
    if len(alt.split()) < 4 or not caption:
        raise UserError(f"figure {name!r} needs a caption, and an alt text that says what it shows")
    path, origin = _stored(data, f"figures/{name}.png", **where)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    image = f'<img class="dark-light" src="{_data_uri("image/png", path.read_bytes())}" alt="{html.escape(alt)}">'
    below = f"<figcaption>{html.escape(caption)} {origin}</figcaption>"
    _display(f'<figure class="ganseg-figure">{image}\n{below}</figure>', f"Figure: {alt}")


def show_table(frame: pd.DataFrame, name: str, *, caption: str, data: pd.DataFrame | None = None,
               notes: Sequence[str] = (), folded: bool = False, **where: Any) -> None:  # fmt: skip
    """Display an accessible table by `show_html`, which takes `where`, with `data`, or what is shown, as CSV.

    All text is escaped. The first column is the rows' header; in column "Scale" our scales are badges, and such rows
    have the class "ours"; `notes` stand below. It scrolls sideways on a narrow screen. A long one may be `folded`: a
    line with its caption and its length stands for it until a reader opens it.
    """
    head, rows = html.escape(caption), "\n".join(map(_html_row, frame.to_dict("records")))
    titles = "".join(f'<th scope="col">{html.escape(str(title))}</th>' for title in frame.columns)
    table = (
        f'<div class="ganseg-table-scroll" role="region" tabindex="0" aria-label="{head}">\n'
        f'<table class="ganseg-table">\n<caption>{head}</caption>\n'
        f"<thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
    )
    table += "".join(f'\n<p class="ganseg-note">{html.escape(note)}</p>' for note in notes)
    if folded:
        table = f'<details class="ganseg-folded"><summary>{len(frame)} rows: {head}</summary>\n{table}\n</details>'
    plain = f"Table: {caption}\n{frame.to_string(index=False)}"
    show_html(table, plain, name, data=frame if data is None else data, **where)


def show_html(markup: str, plain: str, name: str, *, data: pd.DataFrame, **where: Any) -> None:
    """Write results/<scale>/tables/<name>.csv (`data`); display `markup`, and below it CSV and provenance.

    `plain` is the output's text. `where`: the `runs` behind it, `results`, `scale`, by default that of the first run.
    """
    _, origin = _stored(data, f"tables/{name}.csv", **where)
    _display(f'{markup}\n<div class="ganseg-below">{origin}</div>', plain)


def show_choices(frame: pd.DataFrame, rows: Iterable[np.ndarray], name: str, *, choices: Sequence[str], caption: str,
                 **where: Any) -> None:  # fmt: skip
    """Display one of `rows`, each some images (N, H, W, 3), with controls for what a reader may choose.

    `frame` has a line a row: its columns `choices` lead to it, the last of them by a slider, and fill in its `caption`.
    Without a script all rows unfold. `where`: as of `show_html`.
    """
    figures = []
    for line, images in zip(frame.to_dict("records"), rows, strict=True):
        Image.fromarray(np.concatenate(images, axis=1)).save(content := io.BytesIO(), "WEBP", quality=80)
        source, told = _data_uri("image/webp", content.getvalue()), {key: str(line[key]) for key in choices}
        image = f'<img class="dark-light" src="{source}" alt="{len(images)} images with their masks">'
        words = html.escape(caption.format_map(line))
        text = f'data-told="{html.escape(json.dumps(told))}">{image}<figcaption>{words}</figcaption>'
        figures.append(f'<figure class="ganseg-choice" {text}</figure>')
    folded = "\n".join([f"<summary>All {len(figures)} rows of pictures</summary>", *figures])
    markup = f'<div class="ganseg-explorer"><details class="ganseg-folded">{folded}</details></div>'
    show_html(markup, f"Pictures to choose by {', '.join(choices)}", name, data=frame, **where)


def say(text: str) -> None:
    """Display a sentence whose numbers were computed, as Markdown."""
    display.display(display.Markdown(text))


def answer(word: str, number: str, what: str, rows: Mapping[str, np.ndarray], alt: str) -> None:
    """Display what a page found: its verdict in a `word`, one `number` and `what` it is, one picture.

    The picture has named `rows` of images (N, H, W, 3), or is left out. The book shows cells tagged `answer` on top.
    """
    text = f'<p class="ganseg-word">{html.escape(word)}</p><strong>{html.escape(number)}</strong> {html.escape(what)}'
    if rows:
        image = io.BytesIO()
        image_rows(rows).savefig(image, dpi=DPI)
        text += f'<img class="dark-light" src="{_data_uri("image/png", image.getvalue())}" alt="{html.escape(alt)}">'
    _display(f'<div class="ganseg-answer">{text}</div>', f"Answer: {word}. {alt}")


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


def _html_row(row: Mapping[str, Any]) -> str:
    """A narrow column may break "0.5 ± 0.1 (n = 3)" before its bracket only, and no number from its mark."""
    cells = {title: re.sub(r" (?=[±†*=])|(?<=[±=]) ", "&nbsp;", html.escape(str(text))) for title, text in row.items()}
    scale, ours = row.get("Scale"), row.get("Scale") in SCALES
    if ours:
        title = f"measured at scale {scale}"
        cells["Scale"] = f'<span class="ganseg-badge ganseg-{scale}" title="{title}">{scale}</span>'
    first, *others = cells.values()
    inner = f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in others)
    return f'<tr class="ours">{inner}</tr>' if ours else f"<tr>{inner}</tr>"


def provenance_line(runs: Iterable[Any]) -> str:
    """Where numbers come from: scale, data, seeds, device, commit and keys of the runs behind them."""
    told = []
    for record in (run.provenance for run in runs):
        commit, changed = record.get("commit"), " with uncommitted changes" * bool(record.get("dirty"))
        told.append(record | {"run": record.get("key"), "commit": commit and commit[:10] + changed})
    known = pd.DataFrame(told, columns="scale data seed device commit run".split(), dtype=object)
    words = {word: known[word].dropna().astype(str).unique() for word in known}
    plural = {word: "s" * (len(values) > 1 and word != "data") for word, values in words.items()}
    line = "; ".join(f"{word}{plural[word]} {', '.join(values)}" for word, values in words.items() if len(values))
    return f"{line[:1].upper()}{line[1:]}."


def _stored(data: pd.DataFrame, name: str, runs: Sequence[Any] = (), results: str | Path | None = None,
            scale: str | None = None) -> tuple[Path, str]:  # fmt: skip
    """The path results/<scale>/<name>, `data` now beside it as CSV (UTF-8, no index); link and provenance as HTML."""
    if not (scale or runs):
        raise UserError("name a scale, or the runs that the numbers come from")
    path = results_dir(results) / (scale or runs[0].provenance["scale"]) / name
    content = data.to_csv(index=False).encode()
    with atomic_path(path.with_suffix(".csv")) as temporary:
        temporary.write_bytes(content)
    text = "Computed by this page, from none of the runs in the results; the box at its top says where and when."
    text = html.escape(provenance_line(runs) if runs else text)
    if len(runs) > 1:  # a long line unfolds
        text = f"<summary>{text.partition('; seed')[0].rstrip('.')}; {len(runs)} runs</summary>{text}"
    link = f'<a class="ganseg-csv" download="{path.stem}.csv" href="{_data_uri("text/csv", content)}">Data (CSV)</a>'
    kind = "details" if len(runs) > 1 else "small"
    return path, f'{link}<br><{kind} class="ganseg-provenance">{text}</{kind}>'


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _display(markup: str, plain: str) -> None:
    display.display({"text/html": markup, "text/plain": plain}, raw=True)
