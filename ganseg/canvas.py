"""What the figures of the book have in common: size, colours, panels, marks.

A figure has a light face of its own, so that it reads alike on light and dark pages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from ganseg import pictures
from ganseg.page import DPI

FACE, INK, QUIET = "#f4f4f1", "#26262a", "#6a6a70"
WIDTH = 9.0  # inches
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def line_colours(count: int) -> list[Any]:
    """One colour a line: those of the book while they last, else as many hues."""
    return list(LINES[:count]) if count <= len(LINES) else spread_colours(count)


def spread_colours(count: int, lightness: float = 0.5) -> list[Any]:
    """As many hues, equally far apart and equally light."""
    from seaborn import husl_palette  # a third of a chapter's imports, so only where it draws

    return husl_palette(count, l=lightness)


def new_figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=FACE, layout="constrained")


def panels(rows: int, columns: int, stretch: float) -> tuple[Figure, np.ndarray]:
    """Square panels that fill the width; `stretch` leaves room below them. Axes (rows, columns)."""
    figure = new_figure(rows * WIDTH / columns * stretch + 0.25)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    return figure, axes


def picture(ax: Axes, image: np.ndarray | None) -> None:
    """An image in the coordinates of its scene; without one, the colour of the background."""
    ax.set(xlim=(-1, 1), ylim=(1, -1), aspect="equal", facecolor=pictures.BACKGROUND)
    ax.spines[:].set_visible(False)
    if image is not None:
        ax.imshow(image, extent=(-1, 1, 1, -1), interpolation="nearest")


def draw_parts(ax: Axes, scenes: Any, i: int, small: bool = False) -> None:
    for k, colour in enumerate(hues(scenes.centres.shape[1])):
        ax.scatter(
            *scenes.points[i, k].T, s=7 if small else 20, color=colour, edgecolors="black", linewidths=0.4, zorder=3
        )
        ax.add_patch(Circle(scenes.centres[i, k], scenes.scales[i, k], fill=False, edgecolor=colour, linewidth=1.3))
    dots(ax, scenes.centres[i], 16 if small else 40)


def dots(ax: Axes, centres: np.ndarray, size: float) -> None:
    """Mark `centres` (K, 2) in the parts' colours with a white rim."""
    ax.scatter(*centres.T, s=size, marker="X", color=hues(len(centres)), edgecolors="white", linewidths=0.8, zorder=4)


def hues(parts: int) -> list[tuple[float, ...]]:
    """As matplotlib takes them, without the background's."""
    return [tuple(colour / 255) for colour in pictures.part_colours(parts)[1:]]


def dress(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    ax.set_title(title, fontsize=10, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)
