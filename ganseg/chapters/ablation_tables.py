"""Tables of the ablations: statistics with intervals, full against ablated, and what two configurations differ in.

Studies, their statistics and comparisons come from `ablation_study`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ganseg.chapters.ablation_study import BY_KEY, MODELS, Interval, compare, interval, place
from ganseg.tables import BLANK

HEADS = {"variant": "Model", "parts": "K", "train_images": "Training images"}


def summary(frames: Sequence[pd.DataFrame], by: str = "variant", keys: Iterable[str] = tuple(BY_KEY)) -> pd.DataFrame:
    """Every statistic's mean and interval, one line each: data, scale, `by`, statistic, mean, low, high, n, values."""
    lines = []
    for frame in frames:
        for value, rows in frame.groupby(by, sort=False):
            for key in (key for key in keys if key in frame):
                known = rows[key].dropna().tolist()
                line = {"data": rows["data"].iloc[0], "scale": rows["scale"].iloc[0], by: value, "statistic": key}
                lines.append(line | interval(known)._asdict() | {"n": len(known), "values": known})
    return pd.DataFrame(lines)


def table(frames: Sequence[pd.DataFrame], by: str = "variant", keys: Iterable[str] = tuple(BY_KEY)) -> pd.DataFrame:
    """`summary` as displayed: a row for each setting and value of `by`, a column for each statistic, cells text."""
    lines: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in summary(frames, by, keys).to_dict("records"):
        name = MODELS.get(row[by], row[by]) if by == "variant" else row[by]
        start = {HEADS[by]: name, "Data": row["data"], "Scale": row["scale"], "Seeds": 0}
        line = lines.setdefault((row["data"], row["scale"], row[by]), start)
        line["Seeds"] = max(line["Seeds"], row["n"])
        statistic = BY_KEY[row["statistic"]]
        arrow = {1: " ↑", -1: " ↓", 0: ""}[statistic.better]
        line[statistic.title + arrow] = str(Interval(row["mean"], row["low"], row["high"]))
    return pd.DataFrame(list(lines.values())).fillna(BLANK)


def sentences(frames: Sequence[pd.DataFrame], variant: str, keys: Sequence[str]) -> list[str]:
    """What `compare` finds, a list item in Markdown for each study and statistic that both models have."""
    found = [(place(frame), compare(frame, variant, key)) for frame in frames for key in keys]
    return [f"- {where}: {result}." for where, result in found if result.pairs]


def gains(frames: Sequence[pd.DataFrame], variants: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """By how much the full model is better than each of `variants`, as text: a row a study and variant."""
    lines = []
    for frame in frames:
        for variant in (variant for variant in variants if variant in set(frame["variant"])):
            results = [compare(frame, variant, key) for key in keys]
            line = {"Disabled": MODELS[variant], "Data": frame["data"].iloc[0], "Scale": frame["scale"].iloc[0]}
            line["Pairs"] = max(result.pairs for result in results)
            lines.append(line | {result.statistic.title: str(result.gain) for result in results})
    return pd.DataFrame(lines)


def differences(full: Any, ablated: Any) -> pd.DataFrame:
    """The settings in which the configurations of two runs differ: columns Setting, Full model, Ablated."""
    one, other = (dict(_flat(run.config.to_dict())) for run in (full, ablated))
    names = [name for name in one if one[name] != other[name] and name != "seed"]
    lines = [{"Setting": name, "Full model": _number(one[name]), "Ablated": _number(other[name])} for name in names]
    return pd.DataFrame(lines, columns=["Setting", "Full model", "Ablated"])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
