"""Drawings and tables of benchmark reports (see `report.measure`), by their names `<scale>/NAME`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ganseg.canvas import FACE, INK, LINES, QUIET, WIDTH

PARTS = ("data", "generator", "fakes", "discriminator", "penalty", "optimiser")
AXES = {"size": "image size, pixels", "parts": "number of parts K", "batch": "batch size"}
Reports = Mapping[str, Mapping[str, Any]]


def sources(reports: Reports) -> list[Any]:
    """The reports as what `ganseg.figures.show` takes for runs: they tell their provenance."""
    return [
        SimpleNamespace(provenance=dict(r["provenance"]) | {k: r[k] for k in ("scale", "data")})
        for r in reports.values()
    ]


def title(report: Mapping[str, Any]) -> str:
    """Image size, blocks and device of a report."""
    size = next(iter(report["settings"].values()))["size"]
    return f"{size} px, {report['blocks']} blocks, K = {report['parts']}, {report['provenance']['accelerator']}"


def summary(reports: Reports) -> pd.DataFrame:
    """A row for each setting of each report: what was measured, images/s, shares of the ceilings, memory."""
    rows = []
    for name, report in reports.items():
        for label, row in report["settings"].items():
            rows.append(
                {
                    "report": name,
                    "scale": report["scale"],
                    "what": title(report),
                    "setting": label,
                    "precision": row["precision"],
                    "batch": row["batch_size"],
                    "images_per_second": row.get("images_per_second"),
                    "gflop_per_image": row["flops"] / row["batch_size"] / 1e9 if "flops" in row else np.nan,
                    "flops_per_second": row.get("flops", np.nan) / row.get("seconds", np.nan),
                    "flops_per_byte": row.get("flops", np.nan) / row.get("bytes", np.nan),
                    "share_of_matmul": row.get("share_of_matmul"),
                    "share_of_copy": row.get("share_of_copy"),
                    "memory_gb": (row.get("memory", {}).get("bytes") or np.nan) / 1e9,
                }
            )
    return pd.DataFrame(rows)


def times(reports: Reports) -> pd.DataFrame:
    """A row for each part of each setting: milliseconds an image with quartiles, and the least that its
    FLOPs would take."""
    rows = []
    for name, report in reports.items():
        for label, row in report["settings"].items():
            scale = 1e3 / row["batch_size"]
            rows += [
                {
                    "report": name,
                    "what": title(report),
                    "setting": label,
                    "part": part,
                    "milliseconds": found["seconds"]["median"] * scale,
                    "q1": found["seconds"]["q1"] * scale,
                    "q3": found["seconds"]["q3"] * scale,
                    "gflop": found["flops"] / row["batch_size"] / 1e9,
                }
                for part, found in row.get("parts", {}).items()
            ]
    return pd.DataFrame(rows)


def ratios(reports: Reports) -> pd.DataFrame:
    """A row for each comparison: how many times the images/s, with quartiles, and which part of the
    memory."""
    rows = [
        {
            "report": name,
            "scale": r["scale"],
            "what": title(r),
            "first": r["ratio"]["of"][0],
            "second": r["ratio"]["of"][1],
            "rounds": r["ratio"].get("images_per_second", {}).get("n"),
            "memory": r["ratio"].get("peak_memory", np.nan),
            **{k: r["ratio"].get("images_per_second", {}).get(k, np.nan) for k in ("value", "q1", "q3")},
        }
        for name, r in reports.items()
        if "ratio" in r
    ]
    return pd.DataFrame(rows)


def gains(reports: Reports) -> pd.DataFrame:
    """A row for each optimisation of each report: seconds a step without and with it, and their ratio with
    quartiles."""
    rows = [
        {
            "report": name,
            "scale": r["scale"],
            "what": title(r),
            "optimisation": g["name"],
            "does": g["what"],
            "before": g["before"],
            "after": g["after"],
            **{k: g["ratio"].get(k, np.nan) for k in ("value", "q1", "q3")},
        }
        for name, r in reports.items()
        for g in r.get("gains", [])
    ]
    return pd.DataFrame(rows)


def sweeps(reports: Reports) -> pd.DataFrame:
    """A row for each point of each sweep."""
    return pd.DataFrame(
        [{"report": name, "what": title(r), **row} for name, r in reports.items() for row in r.get("sweeps", [])]
    )


def costs(runs: Iterable[Any]) -> pd.DataFrame:
    """A row for each kind of finished run: minutes of its stages, means over its runs, and steps/s of
    stage 1."""
    rows = []
    for run in runs:
        p = run.provenance
        stages = {name: p[f"seconds_{name}"] / 60 for name in ("gan", "segmenter", "evaluation")}
        rows.append(
            {
                "scale": p["scale"],
                "data": p["data"],
                "variant": p["variant"],
                "device": p["device"],
                "threads": p["threads"],
                "runs": 1,
                **stages,
                "minutes": sum(stages.values()),
                "steps_per_second": p["steps"] / p["seconds_gan"],
            }
        )
    keys = ["scale", "data", "variant", "device", "threads"]
    how = {
        "runs": "sum",
        **dict.fromkeys(("gan", "segmenter", "evaluation", "minutes", "steps_per_second"), "mean"),
    }
    return pd.DataFrame(rows).groupby(keys, as_index=False, sort=False).agg(how) if rows else pd.DataFrame()


def parts_figure(frame: pd.DataFrame) -> Figure:
    """Where the time goes: for each report a panel, in it a stacked bar a setting, from `times`."""
    panels = list(dict.fromkeys(frame["report"]))
    figure = Figure(figsize=(WIDTH, 1.3 * len(panels) + 0.9), dpi=150, facecolor=FACE, layout="constrained")
    for ax, name in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        found = frame[frame["report"] == name]
        wide = found.pivot_table(index="setting", columns="part", values="milliseconds", sort=False, fill_value=0)
        left = np.zeros(len(wide))
        for colour, part in zip(LINES, PARTS, strict=True):
            width = wide[part].to_numpy() if part in wide else 0 * left
            ax.barh(list(wide.index), width, left=left, color=colour, label=part, height=0.62)
            left = left + width
        ax.invert_yaxis()
        dress(ax, title=f"{name}: {found['what'].iloc[0]}")
    ax.set_xlabel("milliseconds an image", fontsize=9, color=INK)
    shown = [h for h, part in zip(*ax.get_legend_handles_labels(), strict=True) if part in set(frame["part"])]
    figure.legend(
        handles=shown, loc="outside lower center", ncols=len(PARTS), fontsize=9, frameon=False, labelcolor=INK
    )
    return figure


def sweep_figure(frame: pd.DataFrame) -> Figure:
    """Milliseconds an image along image size, K and batch: a row of panels a report, a line a setting,
    both axes logarithmic."""
    names, axes = list(dict.fromkeys(frame["report"])), [axis for axis in AXES if axis in set(frame["axis"])]
    figure = Figure(figsize=(WIDTH, 2.5 * len(names) + 0.3), dpi=150, facecolor=FACE, layout="constrained")
    grid = figure.subplots(len(names), len(axes), squeeze=False, sharey="row")
    colours = dict(zip(dict.fromkeys(frame["label"]), LINES, strict=False))
    for row, name in zip(grid, names, strict=True):
        for ax, axis in zip(row, axes, strict=True):
            for label, line in frame[(frame["report"] == name) & (frame["axis"] == axis)].groupby("label", sort=False):
                ax.plot(
                    line["value"],
                    1e3 / line["images_per_second"],
                    marker="o",
                    color=colours[label],
                    label=label,
                )
            values = sorted(set(frame[(frame["report"] == name) & (frame["axis"] == axis)]["value"]))
            ax.set(xscale="log", yscale="log")
            ax.set_xticks(values, [f"{v:g}" for v in values])
            ax.set_xticks([], minor=True)
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_locator(NullLocator())
            dress(ax, AXES[axis], "milliseconds an image" if ax is row[0] else "", name if ax is row[0] else "")
        row[0].legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def roofline_figure(reports: Reports) -> Figure:
    """Each setting's FLOP/s over its FLOPs a byte, below the roof of its device's measured ceilings: a
    panel a report that counted."""
    frame = summary(reports).dropna(subset=["flops_per_second"])
    counted = frame["report"].unique()
    rows = -(-len(counted) // 2)
    figure = Figure(figsize=(WIDTH, 3.2 * rows), dpi=150, facecolor=FACE, layout="constrained")
    for place, name in enumerate(counted, 1):
        report, points = reports[name], frame[frame["report"] == name]
        ax = figure.add_subplot(rows, min(2, len(counted)), place)
        x = np.geomspace(1, 4 * max(1e3, points["flops_per_byte"].max()), 100)
        for style, (precision, kind) in zip(("-", "--"), (("bf16-mixed", "bf16"), ("32-true", "fp32")), strict=True):
            roof = np.minimum(report["ceilings"][f"matmul_{precision}"], x * report["ceilings"]["copy"])
            ax.plot(x, roof, style, color=QUIET, linewidth=1.2, label=f"ceiling, {kind}")
        for colour, point in zip(LINES, points.itertuples(), strict=False):
            ax.plot(
                point.flops_per_byte,
                point.flops_per_second,
                "o",
                color=colour,
                label=f"{point.setting}, {point.precision}",
            )
        ax.set(xscale="log", yscale="log")
        dress(ax, "FLOPs a byte moved, at least", "FLOP/s", name)
        ax.legend(fontsize=8, frameon=False, labelcolor=INK)
    return figure


def dress(ax: Any, x: str = "", y: str = "", title: str = "") -> None:
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    ax.set_title(title, fontsize=10, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)
