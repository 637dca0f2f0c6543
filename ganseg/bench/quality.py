"""Did speed cost quality? Runs of one experiment that different versions of the code made, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

METRICS = {"iou": "higher", "nmi_both": "higher", "landmark_error_ratio": "lower"}
SAME = ("scale", "data", "variant", "parts")


def versions(runs: Sequence[Any]) -> pd.DataFrame:
    """A line for each run of an experiment that at least two commits ran: its metrics, minutes and steps."""
    frame = pd.DataFrame([_line(run) for run in runs if set(METRICS) <= run.metrics.keys()])
    if frame.empty:
        return frame
    kinds = frame.groupby([*SAME, "steps"])["commit"].transform("nunique")
    return frame[kinds > 1].sort_values([*SAME, "finished"], ignore_index=True)


def compared(lines: pd.DataFrame) -> pd.DataFrame:
    """For each experiment and metric: the first version's range, each later one's median, and whether it holds.

    It holds where the median is inside the range of the first version's seeds, or better than all of them.
    """
    rows = []
    for kind, group in lines.groupby([*SAME, "steps"]):
        first, *later = group["commit"].unique()  # by time
        for commit in later:
            rows += [_row(kind, group, first, commit, metric) for metric in METRICS]
    return pd.DataFrame(rows)


def _row(kind: tuple, group: pd.DataFrame, first: str, commit: str, metric: str) -> dict[str, Any]:
    before, after = group[group["commit"] == first][metric], group[group["commit"] == commit][metric]
    low, high, median = before.min(), before.max(), after.median()
    holds = median >= low if METRICS[metric] == "higher" else median <= high
    return dict(zip((*SAME, "steps"), kind, strict=True)) | {
        "metric": metric, "before": first, "after": commit, "low": low, "high": high, "seeds_before": len(before),
        "median": median, "seeds_after": len(after), "holds": bool(holds),
    }  # fmt: skip


def _line(run: Any) -> dict[str, Any]:
    facts = {name: run.provenance[name] for name in (*SAME, "seed", "steps", "finished")}
    seconds = run.provenance["seconds_gan"] + run.provenance["seconds_segmenter"]
    known = {"commit": run.provenance["commit"][:7], "minutes": seconds / 60}
    return facts | known | {name: run.metrics[name] for name in METRICS}
