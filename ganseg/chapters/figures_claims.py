"""The claims ledger as tables and as a figure (`claims` judges, this module shows)."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganseg.canvas import INK, LINES, QUIET, dress, new_figure
from ganseg.chapters.claims import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED
from ganseg.chapters.rules import STATISTICS
from ganseg.files import project_root
from ganseg.page import say, show_table
from ganseg.tables import BLANK

SIDES = {
    "left": ("o", LINES[0], "what should win or clear the bar"),
    "right": ("D", LINES[1], "what it is held against"),
}
MARKS = {REPRODUCED: "✓", NOT_REPRODUCED: "✗", NOT_TESTABLE: "?"}
SECTIONS = {
    "Abstract": "Abstract",
    "1": "Introduction",
    "2": "Related work",
    "3": "Method",
    "4": "Experiments",
    "4.6": "Ablation tests",
    "5": "Limitations",
}


def section_of(section: str) -> str:
    """The heading of the ledger under which a claim of `section` stands: 3.4 under Method, 4.6 for itself."""
    return SECTIONS.get(section, SECTIONS.get(section.split(".")[0], section))


def counts(ledger: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each part of the paper have which verdict; the last line sums up."""
    table = pd.crosstab(ledger["section"].map(section_of), ledger["verdict"])
    table = table.reindex(list(dict.fromkeys(SECTIONS.values())), columns=list(MARKS), fill_value=0)
    table.loc["All"] = table.sum()
    return table.rename_axis("Part of the paper").rename_axis(None, axis=1).reset_index()


def ledger_table(ledger: pd.DataFrame) -> pd.DataFrame:
    """Claims as displayed: what the paper says and where, the rule, what was measured, the verdict and its
    chapters."""
    return pd.DataFrame(
        {
            "Claim": ledger["claim"],
            "Where": _place(ledger),
            "Rule": ledger["rule"],
            "Measured": ledger["measured"].replace("", BLANK),
            "Verdict": [_verdict(row) for row in ledger.to_dict("records")],
            "Chapters": ledger["chapters"].map(", ".join),
        }
    )


def _place(ledger: pd.DataFrame) -> list[str]:
    pairs = zip(ledger["section"], ledger["place"], strict=True)
    return [f"{'' if section == 'Abstract' else 'Section '}{section}, {place}" for section, place in pairs]


def _verdict(row: dict[str, str]) -> str:
    return f"{MARKS[row['verdict']]} {row['verdict']}" + (f". {row['why']}" if row["why"] else "")


def chapter(number: str) -> Path | None:
    """The notebook whose name begins with `number`; None where there is none."""
    return next(iter(sorted((project_root() / "notebooks").glob(f"{number}_*.ipynb"))), None)


def chapter_links(numbers: Iterable[str]) -> str:
    """HTML links to the pages of the chapters `numbers`, relative to a page among them."""
    pages = {number: chapter(number) for number in sorted(set(numbers))}
    links = [
        f'<a href="{page.stem}.html">{number} {html.escape(_title(page))}</a>' for number, page in pages.items() if page
    ]
    return "Chapters of these claims: " + " · ".join(links)


def _title(page: Path) -> str:
    from ganseg import notebooks

    return notebooks.read(page).cells[0].source.splitlines()[0].lstrip("# ")


def compared(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `claims.intervals` whose rule has both of its sides measured, or a measurement and its
    bar."""
    known = found.dropna(subset=["mean"])
    return known[known.groupby(["claim", "rule", "data"])["mean"].transform("size") == 2]


def intervals_figure(found: pd.DataFrame) -> Figure:
    """What rules `compared`, a panel for each metric: means over seeds with 95 % intervals."""
    panels = {
        metric: list(rows.groupby(["claim", "rule", "data"], sort=False))
        for metric, rows in found.groupby("panel", sort=False)
    }
    heights = [len(lines) + 1.6 for lines in panels.values()]
    figure = new_figure(0.3 * sum(heights) + 0.5)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (metric, lines) in zip(axes, panels.items(), strict=True):
        ax.margins(x=0.12)
        for draw in (whisker, name_beside):  # names keep within the limits that the whiskers set
            for y, (_, sides) in enumerate(lines):
                for row in sides.to_dict("records"):
                    draw(ax, row, _beside(row, y))
        firsts = [sides.iloc[0] for _, sides in lines]
        ax.set_yticks(
            range(len(lines)),
            [f"{row['claim']} ({row['data']}, {row['scale']}) {MARKS[row['verdict']]}" for row in firsts],
        )
        ax.set_ylim(len(lines) - 0.4, -0.6)
        dress(ax, STATISTICS[metric].title)
        ax.grid(axis="y", color=QUIET, alpha=0.2, linewidth=0.6)
    handles = [Line2D([], [], linestyle="", marker=m, color=c, label=label) for m, c, label in SIDES.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=9, frameon=False, labelcolor=INK)
    return figure


def whisker(ax: Axes, row: Mapping[str, Any], y: float) -> None:
    """A mean and its interval; a bar without seeds is hollow."""
    marker, colour, _ = SIDES[row["side"]]
    if row["low"] == row["low"]:
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    ax.plot(row["mean"], y, marker, color=colour, markersize=5.5, fillstyle="full" if row["seeds"] else "none")


def name_beside(ax: Axes, row: Mapping[str, Any], y: float) -> None:
    """The name of what is not the full model, on that side of its mean which has more room."""
    if row.get("what", "full model") == "full model" or not row["seeds"]:
        return
    room, side = (5, "left") if row["mean"] <= sum(ax.get_xlim()) / 2 else (-5, "right")
    ax.annotate(
        row["what"], (row["mean"], y), (room, -1), textcoords="offset points", fontsize=6.5, color=QUIET,
        ha=side, va="top",
    )  # fmt: skip


def _beside(row: Mapping[str, Any], y: float) -> float:
    """The two sides of a rule lie a little above and below its line."""
    return y + (0.18 if row["side"] == "right" else -0.18)


def show_section(ledger: pd.DataFrame, heading: str, number: int, **where: Any) -> None:
    """Display the claims under `heading` (of `SECTIONS`) as a table, and links to their chapters; `where`:
    results, scale."""
    chosen = ledger[ledger["section"].map(section_of) == heading]
    runs = list({run.directory: run for behind in chosen["runs"] for run in behind}.values())
    data = chosen.drop(columns=["checks", "runs"]).assign(chapters=chosen["chapters"].map(" ".join))
    caption = f"{heading}: what is claimed, the rule, what was measured, and the verdict."
    show_table(ledger_table(chosen), f"40_claims_{number}", caption=caption, data=data, runs=runs, **where)
    say(chapter_links(chosen["chapters"].sum()))
