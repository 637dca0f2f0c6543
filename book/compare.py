"""Experiments trained afresh beside the published ones."""

from pathlib import Path

import pandas as pd

from ganseg.files import UserError, results_dir
from ganseg.runs import find_runs
from ganseg.terminal import print_table

MEASURES = ("iou", "nmi_both", "landmark_error", "foreground_fraction")
IDENTITY = ["data", "variant", "parts", "settings", "measure"]


def measured(results: Path, scale: str, value: str) -> pd.DataFrame:
    """A row a finished run and measure: IDENTITY, seed, and the number as column `value`."""
    rows = [run.provenance | run.metrics for run in find_runs(results, scale, own_settings=True)]
    frame = pd.DataFrame(rows, columns=[*IDENTITY[:3], "seed", "overrides", *MEASURES])
    frame["settings"] = [" ".join(f"{name}={value}" for name, value in own.items()) for own in frame["overrides"]]
    return frame.melt([*IDENTITY[:4], "seed"], MEASURES, "measure", value).dropna(subset=value)


def beside(mine: Path, published: Path, scale: str) -> pd.DataFrame:
    """A row a run and measure of `mine`: IDENTITY, seed, published, mine, difference, spread and number of seeds.

    `published` is the value of the same seed, NaN where there is none; `spread` is the sample standard deviation over
    all published `seeds` of the experiment.
    """
    ours, theirs = measured(mine, scale, "mine"), measured(published, scale, "published")
    if ours.empty:
        raise UserError(f"no finished run of scale {scale} in {mine}; `make reproduce SCALE={scale}` trains them")
    spread = theirs.groupby(IDENTITY)["published"].agg(spread="std", seeds="count")
    table = ours.merge(theirs, how="left", on=[*IDENTITY, "seed"]).join(spread, on=IDENTITY)
    table["difference"] = table["mine"] - table["published"]
    columns = [*IDENTITY, "seed", "published", "mine", "difference", "spread", "seeds"]
    return table[columns].sort_values([*IDENTITY, "seed"], ignore_index=True)


def compare(mine: Path, published: Path | None = None, scale: str = "laptop") -> None:
    """Print the runs in the results folder MINE beside the published ones, with the seeds' spread."""
    table = beside(mine, results_dir(published), scale)
    numbers = table.astype({"seeds": "Int64"}).astype(object)
    print_table(", ".join(table.columns), numbers.where(numbers.notna(), None).values.tolist())
