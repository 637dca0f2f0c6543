"""Runs over seeds: 95 % intervals, tests of differences, and tables.

A study is a DataFrame of one row a finished run, with what `measurements` has of it. Only runs of one scale, data set
and seed are compared, which differ in what is studied.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from ganseg import pictures
from ganseg.evaluation import FOLLOWED, TRAINING
from ganseg.files import reading
from ganseg.recipes import PARTS
from ganseg.runs import Run, find_runs
from ganseg.tables import BLANK, grouped
from ganseg.titles import HEADS, MODELS, TITLES

FULL = "paper"
IDENTITY = ["variant", "parts", "seed", "scale", "data", "train_images", "overrides"]
SHARES = tuple("iou box nmi ari equivariance foreground generated_foreground collapsed lingering swapped".split())
COUNTS = ("vanished_parts", "generated_vanished", "collapsed")
STATISTICS = (
    "generated_pieces generated_vanished generated_foreground components_per_part vanished_parts foreground_fraction "
    "iou nmi_foreground ari_foreground landmark_error equivariance_error frechet_distance"
).split()  # columns of a study
SEEDS = 5  # what decides a claim, unless its data allow no more than three


class Interval(NamedTuple):
    """A mean over seeds and the bounds of its 95 % interval; NaN where there are too few."""

    mean: float = np.nan
    low: float = np.nan
    high: float = np.nan

    def __str__(self) -> str:
        """As in tables: 0.712 [0.690, 0.734], where there is no spread 0.712, without a mean a dash."""
        if np.isnan(self.mean):
            return BLANK
        return f"{self.mean:.3f}" + (f" [{self.low:.3f}, {self.high:.3f}]" if self.low < self.high else "")


def bounds(key: str) -> tuple[float, float]:
    """The range of a statistic: shares and agreements end at 1, ARI begins at -1, everything else at 0; "" is any."""
    low = -1.0 if key.startswith("ari") else 0.0 if key else -np.inf
    return low, 1.0 if key.startswith(SHARES) else np.inf


def interval(values: Iterable[float | None], key: str = "") -> Interval:
    """Mean of `values` over seeds, and the bounds of its t-interval within the range of statistic `key`; no NaN.

    The range holds the mean of all seeds for certain, so an interval that is cut there covers it as often as before;
    a transform would do the same, but has no value at 0 and 1, where collapsed runs lie. Not the bootstrap: of five
    seeds it knows few samples, never leaves their range, and is far too short. Fewer than two values have no bounds.
    """
    known = pd.Series(list(values), dtype=float).dropna()
    if len(known) < 2:
        return Interval(*known)
    return _student(known.mean(), [known], bounds(key))[0]


def _student(mean: float, samples: Sequence[pd.Series], within: tuple[float, float]) -> tuple[Interval, float, float]:
    """A mean, or the difference of two, with its interval; its standard error and degrees of freedom (Welch)."""
    parts = np.array([sample.var() / len(sample) for sample in samples])
    freedom = np.array([len(sample) - 1 for sample in samples])
    error, degrees = np.sqrt(parts.sum()), max(1.0, parts.sum() ** 2 / max((parts**2 / freedom).sum(), 1e-300))
    reach = stats.t.ppf(0.975, degrees) * error
    return Interval(mean, *np.clip([mean - reach, mean + reach], *within).tolist()), error, degrees


class Difference(NamedTuple):
    """By how much one side exceeds another, and how probable so much, or so little, is where it does not."""

    gap: Interval  # of the means
    higher: float  # p-value against "not higher"
    lower: float  # p-value against "not lower"


def difference(one: pd.Series, other: pd.Series, key: str = "", margin: float = 0.0, paired: bool = True) -> Difference:
    """Two one-sided tests of `one` minus `other`, indexed by seed, against `margin`.

    Student's on the differences where both have the same seeds and are `paired`, Welch's otherwise, and for `COUNTS`,
    which are discrete and often constant, the exact permutation test. Of fewer than two values nothing is known: p = 1.
    """
    samples = [one - other] if paired and set(one.index) == set(other.index) else [one, other]
    gap, (low, high) = float(one.mean() - other.mean()), bounds(key)
    if min(map(len, samples)) < 2:
        return Difference(Interval(gap), 1.0, 1.0)
    shown, error, degrees = _student(gap, samples, (low - high, high - low))
    if key in COUNTS:
        apart = lambda x, y, axis=-1: np.mean(x, axis=axis) - np.mean(y, axis=axis)
        told = {"data": (one - margin, other), "statistic": apart, "n_resamples": np.inf}  # all ways to share
        exact = (stats.permutation_test(**told, alternative=way) for way in ("greater", "less"))
        return Difference(shown, *(float(found.pvalue) for found in exact))
    if error < 1e-9:  # all alike: beyond the margin or not
        return Difference(shown, *(float(not way * (gap - margin) > 1e-9) for way in (1, -1)))
    p = float(stats.t.sf((gap - margin) / error, degrees))
    return Difference(shown, p, 1 - p)


def measurements(runs: Iterable[Run]) -> pd.DataFrame:
    """A row a run: IDENTITY (None where not recorded), the numbers of metrics.json, `Run.counts`, the `run`."""
    told = lambda run: {name: run.provenance.get(name) for name in IDENTITY}
    frame = pd.DataFrame([told(run) | run.metrics | run.counts | {"run": run} for run in runs])
    return frame.loc[:, frame.notna().any() | frame.columns.isin(IDENTITY)]


def sample_rows(run: Run, count: int = 8) -> dict[str, np.ndarray]:
    """The first `count` of `Run.samples`, and their masks over them, as rows of pictures (N, H, W, 3)."""
    images, labels = (values[:count] for values in run.samples())
    return {"generated": images, "its parts": pictures.overlay(images, labels)}


def stages(run: Run) -> dict[int, np.ndarray]:
    """Images (N, H, W, 3) that a run generated, under their masks, by the step of stage 1; of most only the last."""
    path = run.directory / TRAINING
    if not path.exists():
        return {run.provenance["steps"]: sample_rows(run, FOLLOWED)["its parts"]}
    with reading(path, "Delete it: only pictures of earlier steps are lost."), np.load(path) as kept:
        rows = zip(kept["steps"].tolist(), kept["images"], kept["labels"], strict=True)
        return {step: pictures.overlay(images, labels) for step, images, labels in rows}


def settings(results: str | Path | None, first: str = "", parts: int | None = None,
             overrides: Iterable[str] = ()) -> list[pd.DataFrame]:  # fmt: skip
    """A study for each scale and data set that results hold; data set `first` and the best scale come first.

    In each, runs are in the paper's order, then by K, training images and seed. `parts`: K; by default the data set's
    usual one, 0 for every K. `overrides`: settings that a run may have of its own; with any other it is left out.
    """
    wanted = lambda told: PARTS.get(told["data"], 8) if parts is None else parts or told["parts"]
    belongs = lambda told: told["parts"] == wanted(told) and set(told["overrides"]) <= set(overrides)
    runs = [run for run in find_runs(results, own_settings=True) if belongs(run.provenance)]
    return [measurements(group) for group in grouped(runs, first, ("data", "scale"))]


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
    """Whether no statistic of the studies leaves its range."""
    known = pd.concat(frames).filter(STATISTICS).astype(float)
    return all(known[key].dropna().between(*bounds(key)).all() for key in known)


def summary(frames: Iterable[pd.DataFrame], by: str = "variant", keys: Iterable[str] = STATISTICS) -> pd.DataFrame:
    """Every statistic's mean and interval, a line each: data, scale, `by`, statistic, mean, low, high, n, values."""
    lines = []
    for frame in frames:
        for group, rows in frame.groupby(["data", "scale", by], sort=False):
            for key in (key for key in keys if key in frame):
                known = rows[key].dropna().tolist()
                lines.append([*group, key, *interval(known, key), len(known), known])
    return pd.DataFrame(lines, columns=["data", "scale", by, "statistic", *Interval._fields, "n", "values"])


def table(frames: Iterable[pd.DataFrame], by: str = "variant") -> pd.DataFrame:
    """`summary` as displayed: a row for each setting and value of `by`, a column for each statistic, cells text."""
    lines = []
    for (data, scale, value), rows in summary(frames, by).groupby(["data", "scale", by], sort=False):
        line = {HEADS[by]: MODELS.get(value, value), "Data": data, "Scale": scale, "Seeds": rows["n"].max()}
        cells = {TITLES[row.statistic].arrowed: str(Interval(row.mean, row.low, row.high)) for row in rows.itertuples()}
        lines.append(line | cells)
    return pd.DataFrame(lines).fillna(BLANK)
