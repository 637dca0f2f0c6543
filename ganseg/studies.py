"""Runs over seeds: their statistics, 95 % intervals, comparisons seed by seed, and tables of them.

A study is a DataFrame of one row a finished run, with what `measurements` has of it. Only runs of one scale, data set
and seed are compared, which differ in what is studied.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ganseg import metrics
from ganseg.experiments import Run, find_runs
from ganseg.files import UserError
from ganseg.recipes import PARTS, SCALES
from ganseg.tables import BLANK
from ganseg.titles import TITLES, Title

FULL = "paper"
MODELS = {  # the rows of Fig. 9 in the paper's order, the first in two readings: variant, and what is disabled
    "paper+no-points": "no points",
    "paper+no-points-own-centres": "no points, losses around own centres",
    "paper+no-background": "no separate background",
    "paper+no-points+no-background": "neither points nor background",
    "paper+no-concentration": "no concentration loss",
    "paper+no-area": "no area loss",
    FULL: "full model",
}
HEADS = {"variant": "Model", "parts": "K", "train_images": "Training images"}
IDENTITY = ["variant", "parts", "seed", "scale", "data", "train_images", "overrides"]
SHARES = ["generated_foreground", "foreground_fraction", "iou", "nmi_foreground", "equivariance_error"]  # in [0, 1]
STATISTICS = (
    "generated_pieces generated_vanished generated_foreground components_per_part vanished_parts foreground_fraction "
    "iou nmi_foreground ari_foreground landmark_error equivariance_error frechet_distance fid"
).split()  # columns of a study
RARE = 0.05  # a part that is seen in fewer images than this has vanished
SEEDS = 3  # what a verdict asks for
TOO_FEW = (
    "This needs three seeds of both models above scale tiny, on data with the labels. "
    "Below are the checks that the runs at hand allow."
)


class Interval(NamedTuple):
    """A mean over seeds and the bounds of its 95 % interval; NaN where there are too few."""

    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        """As in tables: 0.712 [0.690, 0.734], without bounds 0.712, without a mean a dash."""
        if math.isnan(self.mean):
            return BLANK
        return f"{self.mean:.3f}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


def interval(values: Iterable[float | None]) -> Interval:
    """Mean of `values` over seeds, and the bounds of its t-interval; None and NaN are left out.

    Student's t and not the bootstrap: with three seeds, resampling draws from ten different samples only and never
    leaves their range, so that its intervals are far too short. The bounds are NaN for fewer than two values.
    """
    known = np.array(list(values), float)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return Interval(*known.tolist())
    _, t = stats.t.interval(0.95, len(known) - 1)
    mean, reach = known.mean(), t * known.std(ddof=1) / math.sqrt(len(known))
    return Interval(float(mean), float(mean - reach), float(mean + reach))


def measurements(results: str | Path | None) -> list[dict[str, Any]]:
    """A row a finished run: IDENTITY (None where not recorded), the numbers of metrics.json, `counts`, the `run`."""
    return [
        {name: run.provenance.get(name) for name in IDENTITY} | run.metrics | counts(run) | {"run": run}
        for run in find_runs(results or None, own_settings=True)
    ]


def samples(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, H, W, 3) and labels (N, H, W) that a run generated, uint8, always from the same noise."""
    with np.load(run.directory / "samples.npz") as arrays:
        return arrays["images"], arrays["labels"]


def counts(run: Run) -> dict[str, float]:
    """How many parts vanished on held-out images, and the same and more of the stored samples, where there are any."""
    found = {"vanished_parts": int((np.array(run.metrics["part_usage"]) < RARE).sum())}
    if not (run.directory / "samples.npz").exists():
        return found
    (_, labels), parts = samples(run), run.provenance["parts"]
    return found | {
        "generated_pieces": metrics.components_per_part(labels, parts),
        "generated_vanished": int((metrics.part_usage(labels, parts) < RARE).sum()),
        "generated_foreground": metrics.foreground_fraction(labels),
    }


def settings(results: str | Path | None, first: str = "", parts: int | None = None,
             overrides: Iterable[str] = ()) -> list[pd.DataFrame]:  # fmt: skip
    """A study for each scale and data set that results hold; data set `first` and the best scale come first.

    In each, runs are in the paper's order, then by K, training images and seed. `parts`: K; by default the data set's
    usual one, 0 for every K. `overrides`: settings that a run may have of its own; with any other it is left out.
    """
    studies: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in measurements(results):
        wanted = PARTS.get(row["data"], 8) if parts is None else parts
        if set(row["overrides"]) <= set(overrides) and wanted in (0, row["parts"]):
            where = row["data"] != first, -list(SCALES).index(row["scale"]), row["data"]
            studies.setdefault(where, []).append(row)
    known = {variant: number for number, variant in enumerate(MODELS)}

    def order(row: dict[str, Any]) -> tuple[Any, ...]:
        variant = row["variant"]
        return known.get(variant, len(known)), variant, row["parts"], row["train_images"] or 0, row["seed"]

    return [pd.DataFrame(sorted(rows, key=order)) for _, rows in sorted(studies.items())]


def study(results: str | Path | None, scale: str, data: str, **kind: Any) -> pd.DataFrame:
    """That of `settings` at `scale` on `data`; empty, with its first columns, where there is no run."""
    here = [frame for frame in settings(results, **kind) if place(frame) == f"{data}, scale {scale}"]
    return here[0] if here else pd.DataFrame(columns=[*IDENTITY, "run"])


def several(results: str | Path | None, first: str = "", variants: Iterable[str] = (), by: str = "variant",
            **kind: Any) -> list[pd.DataFrame]:  # fmt: skip
    """Of `settings`, the runs of the full model and of `variants`, where it and another value of `by` were run."""
    frames = [frame[frame["variant"].isin({FULL, *variants})] for frame in settings(results, first, **kind)]
    return [frame for frame in frames if frame[by].nunique() > 1 and FULL in set(frame["variant"])]


def most_seeds(frames: Sequence[pd.DataFrame], by: str = "variant") -> pd.DataFrame:
    """The study with the most seeds for every value of `by`; the first of those that are alike."""
    return max(frames, key=lambda frame: (frame.groupby(by)["seed"].nunique().min(), frame[by].nunique()))


def place(frame: pd.DataFrame) -> str:
    """Data set and scale of a study."""
    return f"{frame['data'].iloc[0]}, scale {frame['scale'].iloc[0]}"


def in_range(frames: Sequence[pd.DataFrame]) -> bool:
    """Whether the studies' shares lie in [0, 1], and no other statistic but ARI is negative."""
    known = pd.concat(frames).filter(STATISTICS).drop(columns="ari_foreground", errors="ignore").astype(float)
    return bool(known.min(axis=None) >= 0 and known.filter(SHARES).max(axis=None) <= 1)


class Comparison(NamedTuple):
    """One statistic of two models of a study, seed by seed."""

    study: str  # data set and scale
    sides: str  # what is compared with what
    statistic: Title
    one: Interval
    other: Interval
    gain: Interval  # of the differences seed by seed, positive where `one` is better
    pairs: int  # seeds that both models have

    @property
    def holds(self) -> bool:
        """Whether `one` is better: the interval of the differences lies above 0."""
        return self.gain.low > 0

    def __str__(self) -> str:
        """A sentence with all the numbers."""
        return f"{self.statistic.title} {self.one} against {self.other}; better by {self.gain}, n = {self.pairs}"


def compare(frame: pd.DataFrame, one: pd.Series, other: pd.Series, key: str, sides: str = "") -> Comparison:
    """The rows `one` of a study against the rows `other` (both bool) on statistic `key`, seed by seed."""
    if len(frame[["scale", "data"]].drop_duplicates()) > 1:
        raise UserError("runs of different scales or data sets do not compare; take one study")
    values = [frame[side].set_index("seed")[key].astype(float) for side in (one, other)]
    both = pd.concat(values, axis=1, keys=["one", "other"], join="inner").dropna()
    gain = TITLES[key].better * (both["one"] - both["other"]) + 0.0  # no negative zero
    intervals = map(interval, (both["one"], both["other"], gain))
    return Comparison(place(frame), sides, TITLES[key], *intervals, len(both))


def against(frames: Iterable[pd.DataFrame], variants: Iterable[str], keys: Sequence[str]) -> list[Comparison]:
    """The full model against each of `variants` on those statistics `keys` that a study has labels for."""
    found = []
    for frame, variant in itertools.product(frames, variants):
        one, other = frame["variant"] == FULL, frame["variant"] == variant
        sides = f"full model against {MODELS[variant]}"
        found += [compare(frame, one, other, key, sides) for key in keys if key in frame]
    return found


def judged(comparisons: Iterable[Comparison]) -> tuple[dict[str, bool], bool]:
    """Checks for `page.verdict`, and whether they test the claim: that the one side is better than the other.

    The claim is tested by comparisons above scale tiny with `SEEDS` seeds on both sides, and then only they count.
    """
    known = [c for c in comparisons if c.pairs]
    tested = [c for c in known if c.pairs >= SEEDS and not c.study.endswith(" tiny")]
    return {f"{c.study}: {c.sides}, {c}": c.holds for c in tested or known}, bool(tested)


def summary(frames: Iterable[pd.DataFrame], by: str = "variant", keys: Iterable[str] = STATISTICS) -> pd.DataFrame:
    """Every statistic's mean and interval, a line each: data, scale, `by`, statistic, mean, low, high, n, values."""
    lines = []
    for frame in frames:
        for group, rows in frame.groupby(["data", "scale", by], sort=False):
            for key in (key for key in keys if key in frame):
                known = rows[key].dropna().tolist()
                lines.append([*group, key, *interval(known), len(known), known])
    return pd.DataFrame(lines, columns=["data", "scale", by, "statistic", *Interval._fields, "n", "values"])


def table(frames: Iterable[pd.DataFrame], by: str = "variant", keys: Iterable[str] = STATISTICS) -> pd.DataFrame:
    """`summary` as displayed: a row for each setting and value of `by`, a column for each statistic, cells text."""
    lines: dict[Any, dict[str, Any]] = {}
    for row in summary(frames, by, keys).to_dict("records"):
        start = {HEADS[by]: MODELS.get(row[by], row[by]), "Data": row["data"], "Scale": row["scale"], "Seeds": 0}
        line = lines.setdefault((row["data"], row["scale"], row[by]), start)
        line["Seeds"] = max(line["Seeds"], row["n"])
        line[TITLES[row["statistic"]].arrowed] = str(Interval(row["mean"], row["low"], row["high"]))
    return pd.DataFrame(lines.values()).fillna(BLANK)
