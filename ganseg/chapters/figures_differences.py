"""The differences between the paper and its released code, as tables and a figure (`differences`
measures)."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ganseg.canvas import QUIET, dress, new_figure
from ganseg.chapters.differences import METRICS, effects_table, runs_of, variants
from ganseg.chapters.figures_claims import whisker
from ganseg.page import say, show, show_table
from ganseg.tables import BLANK

FACTS = {
    "row": "Row",
    "topic": "Topic",
    "paper": "Paper",
    "code": "Released code",
    "consequence": "Consequence",
}
SCORES = {
    "row": "Row",
    "topic": "Topic",
    "metric": "Metric",
    "released": "Released way",
    "other": "Other way",
}
PLACE = {"data": "Data", "scale": "Scale", "n": "Seeds"}


def show_facts(facts: pd.DataFrame, **where: Any) -> None:
    """A table for each group of `differences.load_differences`, and how many of the facts can be switched;
    `where`: results, scale, here and below."""
    for number, (group, rows) in enumerate(facts.groupby("group", sort=False)):
        switch = rows["variant"].where(rows["variant"] != "", rows["setting"]).replace("", BLANK)
        shown = rows[list(FACTS)].rename(columns=FACTS).assign(**{"Variant or setting": switch})
        show_table(shown, f"30_facts_{number}", caption=f"Disagreements on: {group}.", **where)
    switched = facts.loc[facts["variant"] != "", "variant"]
    say(f"**{len(facts)} disagreements**; {switched.nunique()} variants switch {len(switched)} of them.")


def show_effects(found: pd.DataFrame, **where: Any) -> None:
    """`differences.effects` as a table and, for IoU, as a figure; which variants were never run; what all do
    together."""
    runs = runs_of(found, where.get("results"))
    show_table(
        effects_table(found), "30_effects", data=found, runs=runs, **where,
        caption="Printed equations, single differences, released code: mean ± half of 95 % interval.",
    )  # fmt: skip
    if absent := [f"`{name}`" for name in variants() if name not in set(found["variant"])]:
        said = "`ganseg train --variant NAME` trains one, and the table takes it up."
        say(f"Not run at any scale so far: {', '.join(absent)}. {said}")
    iou = found[found["metric"] == "iou"]
    if iou.empty:
        return
    show(
        effects_figure(found), "30_iou", data=iou.round(4), runs=runs, **where,
        caption="Foreground IoU of each variant, mean and 95 % interval; dashed: the printed equations.",
        alt="Dots of foreground IoU for the printed equations, single differences and the released code.",
    )  # fmt: skip
    for row in iou[iou["variant"] == "released"].itertuples():
        place = f"{row.data}, scale `{row.scale}`"
        say(f"- {place}: all differences together change the IoU by **{row.change:+.3f}** (n = {row.n}).")


def show_conventions(scored: pd.DataFrame, **where: Any) -> None:
    """`differences.conventions` as a table."""
    shown = scored.assign(**{name: scored[name].map("{:.4g}".format) for name in ("released", "other")})
    show_table(
        shown[[*SCORES, *PLACE]].rename(columns=SCORES | PLACE), "30_conventions", data=scored, **where,
        caption="One run, two scores: means over the seeds of paper. The other ways: the origin at the "
        "centre (28), distances instead of coordinates (29), pixels of all images pooled (31).",
    )  # fmt: skip


def show_imagenet(pairs: pd.DataFrame, weights: Any, **where: Any) -> None:
    """Row 26: `differences.imagenet_runs` as a table, or why there is none; `weights`:
    `differences.imagenet_weights`."""
    if pairs.empty:
        missing = "torchvision's weights are not on this machine, nor allowed to be fetched"
        why = "no finished run is among the results" if weights else missing
        say(f"**Not run**, as {why}. What they add is open.")
        return
    spread = pairs.groupby(["data", "scale", "start"], sort=False)["iou"].agg(["mean", "std", "count"]).round(3)
    show_table(
        spread.reset_index().rename(columns=str.capitalize), "30_imagenet", data=pairs.drop(columns="run"),
        runs=list(pairs["run"]), **where,
        caption="Row 26: foreground IoU of one segmenter, started from ImageNet's and from random weights.",
    )  # fmt: skip


def effects_figure(found: pd.DataFrame, metric: str = "iou") -> Figure:
    """`differences.effects` on one metric, a panel for each setting: every variant, and a line where `paper`
    is."""
    found = found[found["metric"] == metric]
    places = list(found.groupby(["data", "scale"], sort=False))
    figure = new_figure(0.75 + 0.3 * max(group["variant"].nunique() for _, group in places))
    axes = figure.subplots(1, len(places), squeeze=False)[0]
    names = variants()
    for ax, ((data, scale), group) in zip(axes, places, strict=True):
        for y, row in enumerate(group.to_dict("records")):
            usual = row["variant"] == "paper"
            if usual:
                ax.axvline(row["mean"], color=QUIET, linewidth=0.8, linestyle="--")
            whisker(ax, row | {"side": "left" if usual else "right", "seeds": row["n"]}, y)
        ax.set_yticks(range(len(group)), [textwrap.shorten(names[v], 34) for v in group["variant"]])
        ax.set_ylim(len(group) - 0.4, -0.6)
        dress(ax, METRICS[metric].rstrip(" ↑↓"), title=f"{data}, scale {scale}")
    return figure
