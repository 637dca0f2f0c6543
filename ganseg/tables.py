"""The paper's tables, with our rows and the best of later work beside the printed ones, and the keypoints behind them.

He, Wandt and Rhodin, "GANSeg: Learning to Segment by Unsupervised Hierarchical Image Generation", CVPR 2022.
Methods and types are named as printed, reference numbers included. `reported.yml` holds the numbers.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
import yaml
from matplotlib.figure import Figure

from ganseg import plots
from ganseg.data import DATASETS
from ganseg.devices import make_fabric
from ganseg.evaluation import Protocol, find_parts, held_out, regression_images, shown
from ganseg.files import PACKAGE, UserError
from ganseg.metrics import predict_landmarks
from ganseg.pictures import colour_labels, colour_truth, labels_of, read_sheet
from ganseg.recipes import PARTS, SCALES
from ganseg.runs import find_runs
from ganseg.titles import MODELS

BLANK = "–"
FITTED = 200  # images that the keypoints in a figure are regressed on: numbers take all
KIND = ("data", "scale", "variant", "parts")
TIDY = ["method", "type", "column", "mean", "std", "n", "mark", "scale", "data", "seeds", "source"]
ORIGINS = {  # of a landmark regression -> the error, and that of the mean predictor
    "top-left corner (released)": ("landmark_error", "landmark_error_mean"),
    "centre of the image": ("landmark_error_centred", "landmark_error_mean"),
    "with a bias": ("landmark_error_affine", "landmark_error_mean"),
}


class Column(NamedTuple):
    """A column of a table: `better` is lower or higher, `digits` are those printed."""

    title: str
    better: str
    digits: int
    unit: str = ""

    @property
    def heading(self) -> str:
        """The title with its unit and an arrow to the better side: "CUB ↑", "Wild (K=4), % ↓"."""
        return ", ".join(filter(None, (self.title, self.unit))) + (" ↓" if self.better == "lower" else " ↑")


class Table(NamedTuple):
    """A table of the paper. Its `numbers`, in the columns' units: method, type, column, mean, mark, scale, source."""

    name: str
    columns: Mapping[str, Column]
    numbers: Sequence[Mapping[str, Any]]
    marks: Mapping[str, str]
    remarks: Sequence[str]

    def value(self, column: str, method: str = "Ours") -> float:
        """The number in the paper's row `method`, in the column's unit; UserError where none is printed."""
        for number in self.numbers:
            if (number["column"], number["method"], number["scale"]) == (column, method, "as printed"):
                return number["mean"]
        known = ", ".join(self.columns)
        raise UserError(f"{self.name} prints no number for {method!r} in column {column!r}; it has {known}")

    def beside(self, ours: Iterable[Mapping[str, Any]] = (), later: bool = False) -> dict[str, Any]:
        """What `page.show_table` takes of the paper's numbers, of later work if `later`, and of `our_row`s.

        `frame`: what is displayed, a line a method and scale, all cells text; `data`: a line a number, unrounded;
        `notes`: what the paper's marks mean, and our remarks.
        """
        printed = [number for number in self.numbers if later or number["scale"] != "later work"]
        data, keys = pd.DataFrame([*printed, *ours], columns=TIDY), ["method", "column", "scale"]
        for twice in data[data.duplicated(keys)][keys].values:
            raise UserError(f"{self.name} has two numbers for {', '.join(twice)}; give them different methods")
        first = next(iter(self.columns.values()))
        columns = self.columns | {key: first._replace(title=key) for key in data["column"] if key not in self.columns}
        lines: dict[Any, dict[str, str]] = {}
        for cell in data.to_dict("records"):
            column, mark = columns[cell["column"]], f" {cell['mark']}" if pd.notna(cell["mark"]) else ""
            line = lines.setdefault((cell["method"], cell["scale"]), {"Method": cell["method"], "Type": cell["type"]})
            line[column.heading] = mean_std(cell["mean"], cell["std"], cell["n"], column.digits) + mark
        heads = ["Method", "Type", *(column.heading for column in columns.values()), "Scale"]
        rows = [line | {"Scale": scale} for (_, scale), line in lines.items()]
        notes = [f"{mark} {meaning}" for mark, meaning in self.marks.items()] + list(self.remarks)
        return {"frame": pd.DataFrame(rows, columns=heads).fillna(BLANK), "data": data, "notes": notes}


def _table(name: str, raw: Mapping[str, Any]) -> Table:
    """A table of the file, where a cell is a number, "number mark", or None for a dash."""
    columns, numbers = {key: Column(**fields) for key, fields in raw["columns"].items()}, []
    for kind, scale in (("rows", "as printed"), ("later", "later work")):
        for method, type_, *cells in raw.get(kind, ()):
            source = raw.get("sources", {}).get(method, raw.get("source", f"{name}, row '{method}'"))
            about = {"method": method, "type": type_, "scale": scale, "source": source}
            for column, cell in zip(columns, cells, strict=True):
                number, _, mark = str(cell).partition(" ")
                if cell is not None:
                    numbers.append(about | {"column": column, "mean": float(number), "mark": mark or None})
    return Table(name, columns, numbers, raw.get("marks", {}), raw.get("remarks", ()))


TABLES = {name: _table(name, raw) for name, raw in yaml.safe_load((PACKAGE / "reported.yml").read_bytes()).items()}
TABLE_1, TABLE_2, TABLE_3, CUB_LANDMARKS, CUB_PARTS = TABLES.values()


def grouped(runs: Iterable[Any], first: str = "", same: Sequence[str] = KIND) -> list[list[Any]]:
    """Runs that have the `same` together, by default those that differ in their seed only.

    The data set `first` and the best scale come first; models are in the paper's order.
    """

    def rank(run: Any) -> tuple[Any, ...]:
        r = run.provenance
        place = r["data"] != first, -list(SCALES).index(r["scale"]), r["data"]
        model = [*MODELS, r["variant"]].index(r["variant"]), r["variant"], r["parts"]
        return *place, *model, r.get("train_images") or 0, r["seed"]

    kind = lambda run: [run.provenance[name] for name in same]
    return [list(group) for _, group in itertools.groupby(sorted(runs, key=rank), kind)]


def headline(results: str | Path | None, data: str, variant: str = "paper") -> list[Any]:
    """Current runs of `variant` with the usual K that speak for it on `data`: at the scale with the most seeds.

    Scale tiny does not count; empty where no run has an IoU.
    """
    runs = find_runs(results, variant=variant, data=data, parts=PARTS.get(data, 8))
    runs = [run for run in runs if "iou" in run.metrics and run.provenance["scale"] != "tiny"]
    return max(grouped(runs), key=len, default=[])


def middle(runs: Iterable[Any]) -> Any:
    """The run of median IoU, of the middle two the lower."""
    ranked = sorted(runs, key=lambda run: run.metrics["iou"])
    return ranked[(len(ranked) - 1) // 2]


def sheet_of(run: Any) -> dict[str, np.ndarray]:
    """Rows image, parts, both, truth (N, H, W, 3) of a run's segmentation.png; {} where it has none to show."""
    path = run.directory / "segmentation.png"
    there = path.exists() and DATASETS[run.provenance["data"]].redistributable
    rows = dict(zip(("image", "parts", "both", "truth"), read_sheet(path), strict=False)) if there else {}
    return rows | {name: colour_truth(labels_of(row)) for name, row in rows.items() if name == "truth"}


def group_name(group: Sequence[Any]) -> str:
    """Data set, scale, variant and K of runs that differ in their seed only."""
    return "{data}, scale {scale}, variant {variant}, K = {parts}".format_map(group[0].provenance)


def drawable(runs: Iterable[Any], data: str) -> list[Any]:
    """Runs whose networks and images are on this machine, those on the data set `data` first; other images: drawn."""
    known = lambda name: name == data or not DATASETS[name].needs_dir
    here = [run for run in runs if run.has_weights and known(run.provenance["data"])]
    return sorted(here, key=lambda run: run.provenance["data"] != data)


def summarise(runs: Iterable[Any], metric: str) -> dict[str, Any]:
    """mean, median, std (sample, NaN for one run) and n of `metric` over the runs that have it."""
    values = pd.Series([run.metrics.get(metric) for run in runs], dtype=float).dropna()
    if values.empty:
        raise UserError(f"no run has the metric {metric!r}; it is absent when the data set lacks its labels")
    return {"mean": values.mean(), "median": values.median(), "std": values.std(), "n": len(values)}


def unlearned(runs: Sequence[Any]) -> str:
    """What reaches which IoU on the images of `runs` without learning: the best constant mask, and what was measured
    at their scale on their data set (baselines.csv), as text."""
    told, path = runs[0].provenance, runs[0].directory.parents[1] / "baselines.csv"
    ious = {"best constant mask": summarise(runs, "iou_constant_mask")["mean"]}
    if path.exists():
        table = pd.read_csv(path)
        ious |= table[table["data"] == told["data"]].set_index("method")["iou"].to_dict()
    return ", ".join(f"{method} {iou:.3f}" for method, iou in ious.items())


def mean_std(mean: float, std: float = np.nan, n: float | None = None, digits: int = 3) -> str:
    """As text: 0.712 ± 0.010 (n = 3); without a deviation 0.712 (n = 1), or 0.712."""
    deviation = "" if np.isnan(std) else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{deviation}" + (f" (n = {n:.0f})" if pd.notna(n) else "")


def our_row(runs: Iterable[Any], metric: str, *, factor: float = 1.0, **fields: Any) -> dict[str, Any]:
    """A row of ours, with the columns `TIDY`: `metric` over runs of one experiment that differ in their seed only.

    `factor` turns the metric into the table's unit (100 for %). `fields`: `method`, `type`, and `column`, the key of
    one of the table's, by default the data set's name: what the paper does not use gets a column of its own.
    """
    runs = [run for run in runs if run.metrics.get(metric) is not None]
    row = {key: value if key == "n" else value * factor for key, value in summarise(runs, metric).items()}
    (scale, data), *others = {(run.provenance["scale"], run.provenance["data"]) for run in runs}
    if others:
        raise UserError(f"a row mixes runs of {data} at {scale} with those of {others[0][1]} at {others[0][0]}")
    seeds = ", ".join(map(str, sorted(run.provenance["seed"] for run in runs)))
    row |= {"scale": scale, "data": data, "seeds": seeds, "source": f"{data}, seed{'s' * (len(runs) > 1)} {seeds}"}
    return {"method": "This reproduction", "type": "Part", "column": data} | row | fields


def conventions_figure(runs: Iterable[Any], unit: str, conventions: Mapping[str, tuple[str, str]] = ORIGINS,
                       factor: float = 100) -> tuple[Figure, pd.DataFrame]:  # fmt: skip
    """Bars of errors (a metric times `factor`), a group a convention, a colour a predictor; and what they show.

    `conventions`: title -> metric of the parts, and of the mean predictor; by default landmark errors in %.
    """
    lines = [
        (title, predictor, factor * run.metrics[name], run.provenance["seed"])
        for run in runs
        for title, names in conventions.items()
        for predictor, name in zip(("part centres", "average keypoints"), names, strict=True)
    ]
    errors = pd.DataFrame(lines, columns=["convention", "predictor", "error", "seed"])
    figure = plots.new_figure(0.55 * len(conventions) + 0.9)
    ax = figure.subplots()
    look = {"palette": [plots.LINES[0], "#b9b9b4"], "errorbar": "sd", "err_kws": {"color": plots.INK, "linewidth": 1.2}}
    sns.barplot(errors, x="error", y="convention", hue="predictor", ax=ax, **look)
    for bars, ink in zip(ax.containers, ("white", plots.INK), strict=True):  # inside: whiskers stand at the bars' ends
        ax.bar_label(bars, fmt="%.3g", label_type="center", fontsize=8, color=ink)
    plots.dress(ax, unit)
    ax.margins(x=0.12)
    plots.legend(ax, **plots.BESIDE)
    return figure, errors


def held_out_keypoints(run: Any, data_dir: str | Path | None = None, count: int = 12,
                       origin: str = "released") -> tuple[np.ndarray, pd.DataFrame]:  # fmt: skip
    """Some images (N, S, S, 3) that `run` is scored on, and a line for each of their keypoints, in pixels.

    Columns image, keypoint, visible, x, y, x_predicted, y_predicted; `origin` as in `metrics.predict_landmarks`.
    Photographs that may not be passed on are replaced by the parts found in them: figures are stored and published.
    """
    name, fabric, where = run.config.data.name, make_fabric(precision="32-true"), data_dir or None
    protocol, segmenter = Protocol.of(name, where), run.segmenter().to(fabric.device)
    test = held_out(run.config, where, protocol)
    fitted = run.config.replace({"data.train_limit": min(run.config.data.train_limit or FITTED, FITTED)})
    train = regression_images(fitted, test, protocol, where)
    few = np.arange(min(count, len(test))) * len(test) // min(count, len(test))  # evenly spaced
    images = test.images[few]
    seen, found = (find_parts(segmenter, one, fabric) for one in (train.images, images))
    known = {"origin": origin, "size": train.size, "visible": shown(train)}
    predicted = predict_landmarks(seen.centres, train.keypoints, found.centres, **known)
    if not DATASETS[name].redistributable:
        images = colour_labels(found.labels)
    places = np.concatenate([test.keypoints[few], predicted], axis=-1)  # (N, J, 4)
    rows = pd.MultiIndex.from_product([[test.names[i] for i in few], range(places.shape[1])])
    frame = pd.DataFrame(places.reshape(-1, 4), rows, ["x", "y", "x_predicted", "y_predicted"], float).round(3)
    frame.insert(0, "visible", shown(test)[few].ravel())
    return images, frame.rename_axis(["image", "keypoint"]).reset_index()
