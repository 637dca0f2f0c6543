"""The ablations of section 4.6: which models, their numbers run by run, 95 % intervals, and full against ablated.

A study is a DataFrame of one row a finished run: `variant`, `parts`, `seed`, `scale`, `data`, `train_images`, every
number of its `metrics.json`, what is counted on its stored samples (see `_row`), and `run`, the `experiments.Run`.
Comparisons are between runs of one scale, data set and seed that differ in what is studied only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy.special import stdtrit  # quantile of the t distribution

from ganseg import metrics, pictures
from ganseg.experiments import Experiment
from ganseg.files import UserError
from ganseg.recipes import PARTS
from ganseg.runs import Run, find_runs
from ganseg.tables import BLANK, SCALES

FULL = "paper"
# The rows of Fig. 9, in the paper's order: variant, and what was disabled.
MODELS: dict[str, str] = {
    "paper+no-points": "no points",
    "paper+no-background": "no separate background",
    "paper+no-points+no-background": "neither points nor background",
    "paper+no-concentration": "no concentration loss",
    "paper+no-area": "no area loss",
    FULL: "full model",
}
STUDIED_PARTS = (4, 8)  # K beside the usual one, those of Table 1
STUDIED_LIMITS = (1000,)  # training images beside all of them
RARE = 0.05  # a part that is seen in fewer images than this has vanished
SEEDS = 3  # what a verdict asks for
TOO_FEW = ("This needs three seeds of both models above scale tiny, on data with the labels. "
           "Below are the checks that the runs at hand allow.")  # fmt: skip


# Two sides of a comparison: its name, the rows of either, the statistics.
Sides = tuple[str, pd.DataFrame, pd.DataFrame, Sequence[str]]


class Statistic(NamedTuple):
    """A number of a run: its column in a study, its title, which side is better (+1 higher, -1 lower, 0 neither)."""

    key: str
    title: str
    better: int

    @property
    def inline(self) -> str:
        """The title within a sentence."""
        return self.title if self.title[:2].isupper() else self.title[0].lower() + self.title[1:]


STATISTICS = (
    Statistic("generated_pieces", "Pieces per part, generated", -1),
    Statistic("generated_vanished", "Vanished parts, generated", -1),
    Statistic("generated_foreground", "Foreground, generated", 0),
    Statistic("components_per_part", "Pieces per part, found", -1),
    Statistic("vanished_parts", "Vanished parts, found", -1),
    Statistic("foreground_fraction", "Foreground, found", 0),
    Statistic("iou", "Foreground IoU", +1),
    Statistic("nmi_foreground", "NMI", +1),
    Statistic("ari_foreground", "ARI", +1),
    Statistic("landmark_error", "Landmark error", -1),
    Statistic("equivariance_error", "Equivariance error", -1),
    Statistic("frechet_distance", "Fréchet distance", -1),
    Statistic("fid", "FID", -1),
)  # fmt: skip
BY_KEY = {statistic.key: statistic for statistic in STATISTICS}


class Interval(NamedTuple):
    """A mean over seeds and the bounds of its 95 % interval; NaN where there are too few."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """As in tables: 0.712 [0.690, 0.734], without bounds 0.712, without a mean a dash."""
        if math.isnan(self.mean):
            return BLANK
        return f"{self.mean:.3f}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


class Comparison(NamedTuple):
    """One statistic of two models, seed by seed."""

    statistic: Statistic
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
        return (f"{self.statistic.inline} {self.one} against {self.other}; "
                f"better by {self.gain}, n = {self.pairs}")  # fmt: skip


def interval(values: Iterable[float | None], confidence: float = 0.95) -> Interval:
    """Mean of `values` over seeds, and the bounds of its t-interval; None and NaN are left out.

    Student's t and not the bootstrap: with three seeds, resampling draws from ten different samples only and never
    leaves their range, so that its intervals are far too short. The bounds are NaN for fewer than two values.
    """
    known = np.array([value for value in values if value is not None], float)
    known = known[~np.isnan(known)]
    if len(known) < 2:
        return Interval(float(known[0]) if len(known) else math.nan, math.nan, math.nan)
    reach = stdtrit(len(known) - 1, (1 + confidence) / 2) * known.std(ddof=1) / math.sqrt(len(known))
    return Interval(*(float(known.mean() + side * reach) for side in (0, -1, 1)))


def study(results: str | Path | None, scale: str, data: str, parts: int | None = None,
          overrides: Sequence[str] = ()) -> pd.DataFrame:  # fmt: skip
    """Finished runs at `scale` on `data`, a row each, in the paper's order, then by K and seed.

    `parts`: K; by default the data set's usual one, 0 for every K. `overrides`: settings that a run may have of its
    own; runs with any other are left out. Empty, with its first columns, where there is no run.
    """
    wanted = PARTS.get(data, 8) if parts is None else parts
    found = find_runs(results or None, scale, own_settings=True, data=data)
    runs = [run for run in found if set(run.provenance["overrides"]) <= set(overrides)]
    rows = [_row(run) for run in runs if not wanted or run.provenance["parts"] == wanted]
    if not rows:
        return pd.DataFrame(columns=[*_IDENTITY, "run"])
    order = list(MODELS)
    place = [order.index(row["variant"]) if row["variant"] in order else len(order) for row in rows]
    frame = pd.DataFrame(rows).assign(place=place)
    columns = ["place", "variant", "parts", "train_images", "seed"]
    return frame.sort_values(columns, ignore_index=True).drop(columns="place")


def settings(results: str | Path | None, first: str = "", **kind: Any) -> list[pd.DataFrame]:
    """The study of each scale and data set that results hold; data set `first` and the best scale come first.

    `kind`: `parts` and `overrides`, as of `study`.
    """
    found = {(run.provenance["scale"], run.provenance["data"]) for run in find_runs(results or None)}
    order = sorted(found, key=lambda pair: (pair[1] != first, -SCALES.index(pair[0]), pair[1]))
    frames = [study(results, *pair, **kind) for pair in order]
    return [frame for frame in frames if len(frame)]


def ablations(
    results: str | Path | None, first: str = "", variants: Sequence[str] = tuple(MODELS)
) -> list[pd.DataFrame]:
    """Of `settings`, those with the full model and an ablated one, and only `variants` and the full model in them."""
    frames = [frame[frame["variant"].isin({*variants, FULL})] for frame in settings(results, first)]
    return [frame for frame in frames if {FULL} < set(frame["variant"])]


def several(results: str | Path | None, first: str = "", by: str = "parts", **kind: Any) -> list[pd.DataFrame]:
    """Of `settings`, the full model's runs, where there are several values of `by`; in the order of these values."""
    frames = [frame[frame["variant"] == FULL] for frame in settings(results, first, **kind)]
    return [frame.sort_values([by, "seed"], ignore_index=True) for frame in frames if frame[by].nunique() > 1]


def most_seeds(frames: Sequence[pd.DataFrame], by: str = "variant") -> pd.DataFrame:
    """The study with the most seeds for every value of `by`; the first of those that are alike."""
    return max(frames, key=lambda frame: (frame.groupby(by)["seed"].nunique().min(), frame[by].nunique()))


def enough(frame: pd.DataFrame, variant: str) -> bool:
    """Whether a study can bear a verdict on `variant`: `SEEDS` seeds or more, above scale tiny."""
    rows = frame[frame["variant"] == variant]
    return len(rows) > 0 and rows["scale"].iloc[0] != "tiny" and rows["seed"].nunique() >= SEEDS


def compare(frame: pd.DataFrame, variant: str, key: str) -> Comparison:
    """The full model against the ablated `variant` on statistic `key`, seed by seed, in a study."""
    return paired(frame[frame["variant"] == FULL], frame[frame["variant"] == variant], key)


def paired(one: pd.DataFrame, other: pd.DataFrame, key: str) -> Comparison:
    """`one` against `other`, studies of one scale and data set, on statistic `key`, seed by seed."""
    if len(pd.concat([one, other])[["scale", "data"]].drop_duplicates()) > 1:
        raise UserError("runs of different scales or data sets do not compare; take one study")
    empty = pd.Series(dtype=float)
    values = [side.set_index("seed")[key].astype(float) if key in side else empty for side in (one, other)]
    both = pd.concat(values, axis=1, keys=["one", "other"], join="inner").dropna()
    better = BY_KEY[key].better
    gain = interval(better * (both["one"] - both["other"]) + 0.0)  # no negative zero
    return Comparison(BY_KEY[key], *map(interval, (both["one"], both["other"])), gain, len(both))


def judged(frames: Sequence[pd.DataFrame], wanted: Mapping[str, Sequence[str]]) -> tuple[dict[str, bool], bool]:
    """`judged_pairs` of the full model against each ablated variant of `wanted`, on the statistics listed for it."""

    def sides(frame: pd.DataFrame) -> list[Sides]:
        full = frame[frame["variant"] == FULL]
        return [(f"full model against {MODELS[variant]}", full, frame[frame["variant"] == variant], keys)
                for variant, keys in wanted.items()]  # fmt: skip

    return judged_pairs(frames, sides)


def judged_pairs(
    frames: Sequence[pd.DataFrame], sides: Callable[[pd.DataFrame], Sequence[Sides]]
) -> tuple[dict[str, bool], bool]:
    """Checks for `figures.verdict`, and whether they test the claim: that the one side is better than the other.

    `sides` says for a study which rows to compare: a name, the one side, the other, the statistics. The claim is tested
    by the studies above scale tiny with `SEEDS` seeds on both sides, and then only they count; a statistic that the
    data has no labels for is passed over.
    """
    rows = [
        (frame, name, paired(one, other, key))
        for frame in frames
        for name, one, other, keys in sides(frame)
        for key in keys
    ]
    rows = [row for row in rows if row[2].pairs]
    tested = [row for row in rows if row[0]["scale"].iloc[0] != "tiny" and row[2].pairs >= SEEDS]
    texts = {f"{place(frame)}: {name}, {result}": result.holds for frame, name, result in tested or rows}
    return texts, bool(tested)


def place(frame: pd.DataFrame) -> str:
    """Data set and scale of a study."""
    return f"{frame['data'].iloc[0]}, scale {frame['scale'].iloc[0]}"


def samples(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The generated images (N, S, S, 3) and labels (N, S, S) of a run's `samples.png`, pixel by pixel.

    Every run draws that sheet from the same noise (`pipeline.draw_samples`), so that the samples of models of one
    `noise_dim` correspond. Published runs have it, too; it needs no weights.
    """
    sheet = np.array(Image.open(run.directory / "samples.png").convert("RGBA"))
    size, gap = run.config.data.size, pictures.GAP
    factor = pictures.enlargement(size)
    step, tall = size * factor + gap, 3 * (size * factor + gap) + 2 * gap  # of a picture; of a block of three rows
    head = (sheet.shape[0] + 3 * gap) % tall
    corners = [(head + block * tall, x) for block in range((sheet.shape[0] + 3 * gap) // tall)
               for x in range(0, sheet.shape[1], step)]  # fmt: skip
    tiles = [[sheet[y + r * step:, x:][: size * factor: factor, : size * factor: factor] for r in (0, 1)]
             for y, x in corners if sheet[y, x, 3]]  # fmt: skip
    images, masks = (np.stack([tile[r][..., :3] for tile in tiles]) for r in (0, 1))
    colours = pictures.part_colours(run.config.generator.parts)
    return images, (masks[..., None, :] == colours).all(-1).argmax(-1)


_IDENTITY = ("variant", "parts", "seed", "scale", "data", "train_images")


def _row(run: Run) -> dict[str, Any]:
    """A study's row: where the run comes from, its metrics, and the same counts on its stored samples."""
    row = {name: run.provenance[name] for name in _IDENTITY} | run.metrics
    labels, parts = samples(run)[1], run.provenance["parts"]
    usage = metrics.part_usage(labels, parts)
    return row | {
        "vanished_parts": int((np.array(run.metrics["part_usage"]) < RARE).sum()),
        "generated_pieces": metrics.components_per_part(labels, parts),
        "generated_vanished": int((usage < RARE).sum()),
        "generated_foreground": metrics.foreground_fraction(labels),
        "generated_usage": usage.tolist(),
        "run": run,
    }


def experiments(scale: str, **fields: Any) -> list[Experiment]:
    """The six models of Fig. 9 at `scale`; `fields`: those of `Experiment` that they share."""
    return [Experiment(variant=variant, scale=scale, **fields) for variant in MODELS]
