"""Figures of the ablations (Fig. 9), of the number of parts and of the number of training images.

Images are uint8 (N, H, W, 3), label maps (N, H, W) with the background 0; `summary` frames come from `ablation_study`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ganseg import metrics, pictures
from ganseg.canvas import INK, LINES, QUIET, dress, line_colours, new_figure
from ganseg.chapters.ablation_study import BY_KEY, FULL, MODELS, place, samples
from ganseg.chapters.ablation_tables import HEADS, differences, summary, table
from ganseg.figures import foreground_curves, foreground_history, segmentation_figure
from ganseg.generator import Generator
from ganseg.page import show, show_table

if TYPE_CHECKING:
    from ganseg.chapters.failures import Cases  # it imports what evaluates, seconds that most pages need not spend

TINT = 0.62  # how much of a part's pixel is the part's colour
GREY = np.array([0.299, 0.587, 0.114])  # luma of R, G and B (ITU-R BT.601)
Rows = Mapping[str, tuple[np.ndarray, np.ndarray]]


def over_grey(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The parts in their colours, shaded by the image, and the background in grey-scale; uint8 (N, H, W, 3)."""
    grey = np.repeat((images @ GREY)[..., None], 3, axis=-1)  # (N, H, W, 3)
    parts = TINT * pictures.colour_labels(labels) + (1 - TINT) * grey
    return np.rint(np.where(labels[..., None] > 0, parts, grey)).astype(np.uint8)


def rows_of(frame: pd.DataFrame, by: str = "variant") -> Rows:
    """The stored samples of the first run for each value of `by` in a study, by name."""
    first = frame.drop_duplicates(by)
    names = [MODELS.get(value, value) if by == "variant" else f"{HEADS[by]}: {value}" for value in first[by]]
    return {name: samples(run) for name, run in zip(names, first["run"], strict=True)}


def show_samples(frame: pd.DataFrame, name: str, by: str = "variant", **where: Any) -> None:
    """Display `models_figure`, a row for the first run of each value of `by`.

    `where`, here and below: `results` and `scale`, as of `figures.show`.
    """
    rows = rows_of(frame, by)
    show(
        models_figure(rows),
        name,
        runs=list(frame.drop_duplicates(by)["run"]),
        data=samples_data(rows),
        **where,
        caption=f"{place(frame)}: generated images, and their masks in colour over the image in grey. All models were "
        "given the same noise.",
        alt=f"Rows of generated images, each with its part masks beside it; from top to bottom: {', '.join(rows)}.",
    )


def show_numbers(frames: Sequence[pd.DataFrame], name: str, by: str = "variant", **where: Any) -> None:
    """Display `ablation_study.table` of all statistics of several studies."""
    show_table(table(frames, by), name, data=summary(frames, by), runs=_runs(frames), **where,
               caption="Means over seeds, with their 95 % intervals where there are several; arrows point to the "
               "better side. A dash: the data has no such labels, or nothing was found to measure.")  # fmt: skip


def show_intervals(frame: pd.DataFrame, name: str, keys: Sequence[str], **where: Any) -> None:
    """Display `intervals_figure` of those statistics `keys` that a study has."""
    keys = [key for key in keys if key in frame]
    lines = summary([frame], keys=keys)
    listed = "; ".join(BY_KEY[key].inline for key in keys)
    show(
        intervals_figure(lines, keys),
        name,
        runs=list(frame["run"]),
        data=lines,
        **where,
        caption=f"{place(frame)}: runs (dots), their mean (diamond) and its 95 % interval (bar).",
        alt="Dots, diamonds and bars for each model, with and without what is disabled; "
        f"a panel for each of: {listed}.",
    )


def show_foreground(frame: pd.DataFrame, name: str, **where: Any) -> None:
    """Display the generated foreground through stage 1 of every run of a study."""
    curves = foreground_data(frame)
    show(foreground_curves(curves), name, runs=list(frame["run"]), data=curves.round(4), **where,
         caption=f"{place(frame)}: share of the generated images that the parts cover, through stage 1.",
         alt="Lines of the generated foreground fraction over the first training stage: a colour for each model, "
         "a line for each seed.")  # fmt: skip


def show_differences(full: Any, ablated: Any, name: str, **where: Any) -> None:
    """Display `differences` as a table."""
    show_table(differences(full, ablated), name, runs=[full, ablated], **where,
               caption="Every setting in which the configurations of the two models differ.")  # fmt: skip


def show_answers(answers: pd.DataFrame, name: str, **where: Any) -> None:
    """Display `answers` as a table."""
    show_table(answers.replace({True: "yes", False: "no"}).reset_index().rename(columns=str.capitalize), name, **where,
               caption="Which outputs of an untrained generator change with which of its noises.")  # fmt: skip


def _runs(frames: Sequence[pd.DataFrame]) -> list[Any]:
    return [run for frame in frames for run in frame["run"]]


def show_sweep(frames: Sequence[pd.DataFrame], name: str, by: str, keys: Sequence[str], logarithmic: bool = False,
               **where: Any) -> None:  # fmt: skip
    """Display `sweep_figure` of those statistics `keys` that several studies have, against `by`."""
    keys = [key for key in keys if any(key in frame for frame in frames)]
    lines, title = summary(frames, by, keys), {"parts": "number of parts K"}.get(by, HEADS[by].lower())
    show(
        sweep_figure(lines, by, keys, title, logarithmic),
        name,
        runs=_runs(frames),
        data=lines,
        **where,
        caption=f"Statistics against the {title}: runs (dots), means (diamonds), 95 % intervals (shaded).",
        alt=f"Panels of lines over the {title}, one for each statistic, a line for each scale and data set.",
    )


def show_cases(found: Cases, chosen: np.ndarray, which: str, name: str, runs: Sequence[Any], **where: Any) -> None:
    """Display the `chosen` held-out images: image, parts found, both, and the truth; `which` IoU they have."""
    images = found.images
    truth = np.asarray(images.foreground if images.parts is None else images.parts)[chosen]
    show(
        segmentation_figure(images.images[chosen], found.labels[chosen], truth),
        name,
        runs=runs,
        **where,
        data=found.scores.iloc[chosen].round(4),
        caption=f"The held-out images with the {which} foreground IoU, in this order from left to right.",
        alt=f"Rows of images, parts found, both together and the truth, for the images with the {which} IoU.",
    )


def models_figure(rows: Rows, columns: int = 5) -> Figure:
    """Fig. 9: a row a model, a column a sample: the image, and its masks over the image in grey-scale.

    Samples of one column come from the same noise.
    """
    columns = min(columns, *(len(images) for images, _ in rows.values()))
    figure = new_figure(0.3 + len(rows) * 8.2 / (2 * columns))
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for first, line, (name, (images, labels)) in zip([True, *[False] * len(axes)], axes, rows.items(), strict=False):
        pairs = _side_by_side(images[:columns], over_grey(images, labels)[:columns])
        for number, (ax, pair) in enumerate(zip(line, pairs, strict=True), 1):
            _panel(ax, pair, f"sample {number}" if first else "")
        line[0].set_ylabel(textwrap.fill(name, 13), rotation=0, ha="right", va="center", fontsize=9.5, color=INK)
    return figure


def samples_data(rows: Rows) -> pd.DataFrame:
    """What `models_figure` shows as numbers: share of the image and pieces of each part of each sample."""
    lines = []
    for model, (_, labels) in rows.items():
        for number, one in enumerate(labels, 1):
            for part in range(1, int(labels.max(initial=0)) + 1):
                pieces = metrics.components_per_part((one[None] == part).astype(np.uint8), 1)
                line = {"model": model, "sample": number, "part": part, "share": round(float((one == part).mean()), 5)}
                lines.append(line | {"pieces": 0 if np.isnan(pieces) else int(pieces)})
    return pd.DataFrame(lines)


def intervals_figure(summary: pd.DataFrame, keys: Sequence[str]) -> Figure:
    """For each statistic a panel, for each model its runs (dots), their mean and its 95 % interval (bar)."""
    models = [variant for variant in MODELS if variant in set(summary["variant"])]
    rows = -(-len(keys) // 3)
    figure = new_figure(rows * (0.75 + 0.27 * len(models)) + 0.2)
    axes = figure.subplots(rows, 3, squeeze=False, sharey=True)
    for ax, key in zip(axes.flat, keys, strict=False):
        _intervals(ax, summary[summary["statistic"] == key].set_index("variant"), models)
        dress(ax, title=_titled(key))
        ax.xaxis.set_major_locator(MaxNLocator(4))
    for ax in axes.flat[len(keys) :]:
        ax.set_visible(False)
    axes[0, 0].set(yticks=range(len(models)), ylim=(len(models) - 0.5, -0.5))
    for ax in axes[:, 0]:
        ax.set_yticklabels([textwrap.fill(MODELS[variant], 20) for variant in models], fontsize=8.5)
    return figure


def usage_figure(frame: pd.DataFrame) -> Figure:
    """How often each part is seen on held-out images, parts of a run in falling order; a panel a model."""
    models = list(dict.fromkeys(frame["variant"]))
    figure = new_figure(2.6)
    axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
    for ax, variant in zip(axes, models, strict=True):
        for colour, row in zip(LINES * 9, frame[frame["variant"] == variant].itertuples(), strict=False):
            usage = sorted(row.part_usage, reverse=True)
            ax.plot(range(1, len(usage) + 1), usage, "o-", color=colour, label=f"seed {row.seed}", markersize=4)
        dress(ax, "part, the most used first", title=MODELS.get(variant, variant))
        ax.legend(fontsize=8, frameon=False, labelcolor=INK, loc="lower left")
    axes[0].set(ylim=(-0.03, 1.03))
    axes[0].set_ylabel("share of the images", fontsize=9, color=INK)
    return figure


def usage_data(frame: pd.DataFrame) -> pd.DataFrame:
    """What `usage_figure` draws."""
    lines = [{"variant": row.variant, "seed": row.seed, "part": k, "usage": usage}
             for row in frame.itertuples() for k, usage in enumerate(row.part_usage, 1)]  # fmt: skip
    return pd.DataFrame(lines)


def sweep_figure(summary: pd.DataFrame, by: str, keys: Sequence[str], title: str, logarithmic: bool = False) -> Figure:
    """Statistics against a number, such as K: runs (dots), means (a line a study) and 95 % intervals."""
    rows = -(-len(keys) // 3)
    figure = new_figure(2.35 * rows + 0.35)
    axes = figure.subplots(rows, 3, squeeze=False)
    groups = list(summary.groupby(["data", "scale"], sort=False))
    for ax, key in zip(axes.flat, keys, strict=False):
        for colour, ((data, scale), lines) in zip(line_colours(len(groups)), groups, strict=True):
            lines = lines[lines["statistic"] == key].sort_values(by)
            _sweep(ax, lines, by, colour, f"{data}, {scale}")
        dress(ax, title, title=_titled(key))
        if logarithmic:
            ax.set_xscale("log")
        else:
            ax.set_xticks(sorted(set(summary[by])))
    for ax in axes.flat[len(keys) :]:
        ax.set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False, labelcolor=INK)
    return figure


def foreground_data(frame: pd.DataFrame) -> pd.DataFrame:
    """Generated foreground through stage 1 of every run of a study, for `figures.foreground_curves`."""
    curves = [foreground_history(run, str(MODELS.get(run.provenance["variant"]))) for run in frame["run"]]
    return pd.concat(curves, ignore_index=True)


def answers(runs: Mapping[str, Any], seed: int = 0) -> pd.DataFrame:
    """Whether the outputs of a freshly initialised generator change when the sign of one of its noises is flipped.

    A row for each run of `runs`, by name, and noise; columns masks, foreground, background and image, bool.
    """
    lines = {}
    for name, run in runs.items():
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            generator = Generator(run.config.generator).eval()
            noise = generator.noise(1)
            plain = generator(noise)
            for source in noise._fields:
                other = generator(noise._replace(**{source: -getattr(noise, source)}))
                outputs = ("masks", "foreground", "background", "image")
                lines[name, source] = {o: not torch.equal(getattr(plain, o), getattr(other, o)) for o in outputs}
    frame = pd.DataFrame.from_dict(lines, orient="index")
    return frame.rename_axis(index=["model", "noise"])


def causes_figure(scatter: pd.DataFrame, causes: Sequence[str], error: str = "error", groups: int = 5) -> Figure:
    """The error of each image against each supposed cause, and medians: of each of few values, else of `groups`."""
    figure = new_figure(3.0)
    for ax, cause in zip(np.atleast_1d(figure.subplots(1, len(causes), sharey=True)), causes, strict=True):
        ax.scatter(scatter[cause], scatter[error], s=6, color=LINES[0], alpha=0.35, linewidths=0)
        few = scatter[cause].nunique() <= 2 * groups
        bins = scatter[cause].rename("bin") if few else pd.qcut(scatter[cause], groups, duplicates="drop")
        medians = scatter.groupby(bins, observed=True)[[cause, error]].median()
        ax.plot(medians[cause], medians[error], "D-", color=LINES[1], markersize=5)
        dress(ax, cause, "error, in image sides" if cause == causes[0] else "")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=few))
        ax.set_ylim(bottom=0)
    return figure


def _titled(key: str) -> str:
    return BY_KEY[key].title + {1: " ↑", -1: " ↓", 0: ""}[BY_KEY[key].better]


def _side_by_side(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pairs (N, H, 2 W + gap, 4) with a transparent gap."""
    pair = [np.concatenate([side, np.full_like(side[..., :1], 255)], axis=-1) for side in (left, right)]
    return np.concatenate([pair[0], np.zeros_like(pair[0][:, :, :1]), pair[1]], axis=2)


def _panel(ax: Axes, picture: np.ndarray, title: str) -> None:
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, fontsize=9, color=INK)
    ax.spines[:].set_visible(False)


def _intervals(ax: Axes, lines: pd.DataFrame, models: Sequence[str]) -> None:
    for y, variant in enumerate(models):
        if variant not in lines.index:
            continue
        row, colour = lines.loc[variant], LINES[1] if variant == FULL else LINES[0]
        ax.plot(row["values"], [y] * len(row["values"]), ".", color=QUIET, markersize=4, zorder=3)
        ax.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=2)
        ax.plot([row["mean"]], [y], "D", color=colour, markersize=5)
    values = [value for known in lines["values"] for value in known]
    reach = (max(values, default=1) - min(values, default=0)) or 1.0
    ax.set_xlim(min(values, default=0) - 0.4 * reach, max(values, default=1) + 0.4 * reach)


def _sweep(ax: Axes, lines: pd.DataFrame, by: str, colour: str, label: str) -> None:
    for x, values in zip(lines[by], lines["values"], strict=True):
        ax.plot([x] * len(values), values, ".", color=colour, markersize=4, alpha=0.6)
    ax.fill_between(
        lines[by].astype(float), lines["low"].astype(float), lines["high"].astype(float), color=colour, alpha=0.15
    )
    ax.plot(lines[by], lines["mean"], "D-", color=colour, markersize=4, linewidth=1.2, label=label)
