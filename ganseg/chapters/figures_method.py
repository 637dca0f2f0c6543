"""Further figures of the method chapters: masks, equivariance, and losses in games small enough to be drawn.

As in `figures`: arrays or DataFrames in, a matplotlib Figure out; a part has one colour in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from torch import Tensor

from ganseg.canvas import INK, LINES, WIDTH, dress, hues, line_colours, new_figure, panels
from ganseg.figures import SceneArrays, blend
from ganseg.pictures import to_pictures


def mask_table(scenes: SceneArrays, count: int = 4) -> Figure:
    """A row a sample: heatmaps, all masks, M_bg, and each part's mask with a cross at its location."""
    parts, count = scenes.centres.shape[1], min(count, len(scenes.image))
    figure, axes = panels(count, parts + 3, 1.12)
    titles = ["heatmaps", "masks", "$M_{bg}$", *(f"$M_{k}$" for k in range(1, parts + 1))]
    steps = [
        blend(scenes.heatmaps),
        blend(scenes.masks[:, 1:]),
        *(scenes.masks[:, k] for k in range(parts + 1)),
    ]
    for i, row in enumerate(axes):
        for k, (ax, step, title) in enumerate(zip(row, steps, titles, strict=True), -2):
            ax.set(xlim=(-1, 1), ylim=(1, -1), aspect="equal")
            ax.spines[:].set_visible(False)
            ax.imshow(step[i], extent=(-1, 1, 1, -1), interpolation="nearest", cmap="gray", vmin=0, vmax=1)
            ax.set_title(title if i == 0 else "", fontsize=10, color=INK)
            if k > 0:
                ax.scatter(
                    *scenes.centres[i, k - 1],
                    s=26,
                    marker="X",
                    color=hues(parts)[k - 1],
                    edgecolors="white",
                    linewidths=0.6,
                )
    return figure


def curves(frame: pd.DataFrame, x: str, y: str, hue: str, labels: tuple[str, str], panel: str | None = None,
           log: bool = False, height: float = 3.0, palette: Sequence[Any] = (),
           **options: Any) -> Figure:  # fmt: skip
    """Lines of `y` over `x`, one colour a `hue`, one panel a `panel`; repeats: mean and middle half."""
    figure, panels = new_figure(height), list(dict.fromkeys(frame[panel])) if panel else [None]
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    names = list(dict.fromkeys(frame[hue]))
    colours = dict(zip(names, palette or line_colours(len(names)), strict=False))
    style = {"hue": hue, "style": hue, "palette": colours, "dashes": False, "errorbar": ("pi", 50)} | options
    for ax, name in zip(axes, panels, strict=True):
        shown = frame if name is None else frame[frame[panel] == name]
        sns.lineplot(shown, x=x, y=y, ax=ax, legend=ax is axes[-1], **style)
        dress(ax, labels[0], labels[1], name or "")
        if pd.api.types.is_integer_dtype(shown[x]):
            ax.locator_params(axis="x", integer=True)
        if log:
            ax.set_yscale("log")
    axes[-1].legend(fontsize=8, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def grids_figure(lines: pd.DataFrame) -> Figure:
    """Where the pixels of each resolution sit on an axis: columns grid, size, position, margin (a bool)."""
    kinds = list(dict.fromkeys(lines["grid"]))
    figure = new_figure(1.5 * len(kinds))
    sizes = sorted(set(lines["size"]))
    for ax, kind in zip(figure.subplots(len(kinds), 1, sharex=True), kinds, strict=True):
        ax.axvspan(-1, 1, color=LINES[4], alpha=0.25, linewidth=0)
        for level, size in enumerate(sizes):
            rows = lines[(lines["grid"] == kind) & (lines["size"] == size)]
            for margin, colour in ((False, LINES[0]), (True, LINES[1])):
                x = rows.loc[rows["margin"] == margin, "position"]
                ax.plot(x, np.full(len(x), level), "|", color=colour, markersize=13, markeredgewidth=1.3)
        ax.set_yticks(range(len(sizes)), [f"{size} px" for size in sizes])
        ax.set_ylim(len(sizes) - 0.5, -0.5)
        dress(ax, "x" if kind == kinds[-1] else "", title=kind)
    return figure


def error_maps(maps: Mapping[str, np.ndarray], floor: float = 1e-7) -> Figure:
    """Errors (H, W) in one logarithmic colour scale; black is `floor` or less, NaN is blank."""
    figure, axes = panels(1, len(maps), 1.12)
    top = max(float(np.nanmax(values)) for values in maps.values())
    for ax, (name, values) in zip(axes[0], maps.items(), strict=True):
        drawn = ax.imshow(
            np.maximum(values, floor),
            cmap="magma",
            norm=LogNorm(floor, max(top, 10 * floor)),
            interpolation="nearest",
        )
        ax.spines[:].set_visible(False)
        ax.set_title(name, fontsize=9, color=INK)
    bar = figure.colorbar(drawn, ax=axes[0].tolist(), shrink=0.7, pad=0.01)
    bar.ax.tick_params(labelsize=8, colors=INK)
    return figure


def orbits(games: pd.DataFrame) -> Figure:
    """Paths of the one-point GAN (columns game, step, theta, psi), a panel a game; they start at the dot."""
    names = list(dict.fromkeys(games["game"]))
    figure = new_figure(WIDTH / len(names) + 0.4)
    reach = 1.1 * games[["theta", "psi"]].abs().to_numpy().max()
    for ax, name, colour in zip(figure.subplots(1, len(names), sharey=True), names, LINES, strict=False):
        path = games[games["game"] == name]
        ax.plot(path["theta"], path["psi"], color=colour, linewidth=0.9)
        ax.plot(*path[["theta", "psi"]].iloc[0], "o", color=colour, markersize=5)
        ax.plot(0, 0, "x", color=INK, markersize=7)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        dress(ax, "θ, the generated point", "ψ, slope of D" if name == names[0] else "", name)
    return figure


def pull_figure(masks: np.ndarray, pulls: Mapping[str, np.ndarray], centres: np.ndarray, radii: np.ndarray) -> Figure:
    """A column a part: its mask (K, H, W), then each pull (K, H, W), blue where the mask should grow.

    `centres` (K, 2) are marked; a circle of `radii` (K,) shows where the pull changes its sign. Colours
    end at twice the strongest wish to grow.
    """
    figure, axes = panels(1 + len(pulls), len(masks), 1.05)
    for row, (name, values) in zip(axes, {"mask": masks, **pulls}.items(), strict=True):
        row[0].set_ylabel(name, fontsize=9, color=INK)
        for k, (ax, value) in enumerate(zip(row, values, strict=True)):
            grey, ends = name == "mask", max(2 * float(value.max()), 1e-9)
            coloured = {"cmap": "RdBu", "vmin": -ends, "vmax": ends}
            look = {"cmap": "gray", "vmin": 0, "vmax": 1} if grey else coloured
            ax.set(xlim=(-1, 1), ylim=(1, -1), aspect="equal")
            ax.spines[:].set_visible(False)
            ax.imshow(value, extent=(-1, 1, 1, -1), interpolation="nearest", **look)
            mark = {"s": 26, "marker": "X", "edgecolors": "black", "linewidths": 0.6}
            ax.scatter(*centres[k], color=hues(len(masks))[k], **mark)
            if not grey:
                ax.add_patch(Circle(centres[k], radii[k], fill=False, edgecolor="black", linestyle="--"))
    for k, ax in enumerate(axes[0], 1):
        ax.set_title(f"part {k}", fontsize=9, color=INK)
    return figure


def column_titles(figure: Figure, titles: Sequence[str]) -> Figure:
    """Put a title over each column of a figure whose first row has as many axes."""
    for ax, title in zip(figure.axes, titles, strict=False):
        ax.set_title(title, fontsize=9, color=INK)
    return figure


def soft_pictures(masks: Tensor) -> np.ndarray:
    """Maps (N, H, W) in [0, 1] as grey pictures, uint8 (N, H, W, 3)."""
    return to_pictures(2 * masks[:, None].expand(-1, 3, -1, -1) - 1)
