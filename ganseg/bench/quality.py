"""Did speed cost quality? Runs of one experiment that different versions of the code made, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

METRICS = {"iou": "higher", "nmi_both": "higher", "landmark_error_ratio": "lower"}
SAME = ("scale", "data", "variant", "parts")


def versions(runs: Sequence[Any]) -> pd.DataFrame:
    """A line for each run of an experiment that two versions of the training code ran: its metrics, minutes and steps.

    `version` is the code that trained it, `commit` the first at which that code ran the experiment.
    """
    frame = pd.DataFrame([_line(run) for run in runs if set(METRICS) <= run.metrics.keys()])
    if frame.empty:
        return frame
    experiment = [*SAME, "steps"]
    frame = frame.sort_values([*experiment, "finished"], ignore_index=True)
    frame["commit"] = frame.groupby([*experiment, "version"])["commit"].transform("first")
    count = frame.groupby(experiment)["version"].transform("nunique")
    return frame[count > 1].reset_index(drop=True)


def compared(lines: pd.DataFrame) -> pd.DataFrame:
    """For each experiment and metric: the first version's range, each later one's median, and whether it holds.

    It holds where the median is inside the range of the first version's seeds, or better than all of them.
    `p`: of the two-sided Mann-Whitney test that both versions' seeds are draws from one distribution.
    """
    from scipy.stats import mannwhitneyu

    rows = []
    for kind, group in lines.groupby([*SAME, "steps"]):
        (_, first), *later = group.groupby("version", sort=False)  # by time
        rows += [
            _row(kind, first, runs, metric) | {"p": mannwhitneyu(first[metric], runs[metric]).pvalue}
            for _, runs in later
            for metric in METRICS
        ]
    return pd.DataFrame(rows)


def _row(kind: tuple, first: pd.DataFrame, later: pd.DataFrame, metric: str) -> dict[str, Any]:
    low, high, median = first[metric].min(), first[metric].max(), later[metric].median()
    holds = median >= low if METRICS[metric] == "higher" else median <= high
    return dict(zip((*SAME, "steps"), kind, strict=True)) | {
        "metric": metric, "before": first["commit"].iloc[0], "after": later["commit"].iloc[0],
        "low": low, "high": high, "seeds_before": len(first),
        "median": median, "seeds_after": len(later), "holds": bool(holds),
    }  # fmt: skip


def _line(run: Any) -> dict[str, Any]:
    told = run.provenance
    facts = {name: told[name] for name in (*SAME, "seed", "steps", "finished")}
    seconds = told["seconds_gan"] + told["seconds_segmenter"]
    version = told.get("training_code", told["commit"])  # runs of the first days did not record their code
    known = {"version": version, "commit": told["commit"][:7], "minutes": seconds / 60}
    return facts | known | {name: run.metrics[name] for name in METRICS}
