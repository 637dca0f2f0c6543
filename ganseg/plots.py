"""The figures that two or more pages share, and what all figures have in common: size, colours, panels, marks.

Arrays or DataFrames in, a matplotlib Figure out. Images are uint8 (N, H, W, 3), label maps (N, H, W) with background 0,
positions (x, y) in [-1, 1]. Figures have a light face of their own, and so read alike on light and dark pages.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from sklearn.decomposition import PCA
from torch import Tensor, nn

from ganseg import pictures

DPI, WIDTH = 150, 9.0  # dots an inch, inches
FACE, INK, QUIET = "#f4f4f1", "#26262a", "#6a6a70"
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
SIDES = {"left": ("o", LINES[0]), "right": ("D", LINES[1])}  # of a comparison: mark and colour
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1, 1)}  # a legend to the right of its axes
LOSSES = {  # panels of `learning_curves`, and the columns of a history that each draws
    "Adversarial losses (Eq. 13, 14)": {"g": "generator", "d": "discriminator"},
    "Geometric losses (Eq. 16, 17)": {"con": "concentration", "area": "area"},
    "Foreground of generated masks": {"foreground": "fraction of the image"},
    "Segmentation loss (stage 2)": {"segmentation": "½ cross-entropy + ½ Dice"},
}


def new_figure(height: float) -> Figure:
    """As wide as the page's text; `height` in inches."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=FACE, layout="constrained")


def panels(rows: int, columns: int, stretch: float) -> tuple[Figure, np.ndarray]:
    """Square panels that fill the width; `stretch` leaves room below them. Axes (rows, columns)."""
    figure = new_figure(rows * WIDTH / columns * stretch + 0.25)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    return figure, figure.subplots(rows, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})


def dress(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Names of the axes and a title, in the book's type."""
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    ax.set_title(title, fontsize=10, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)


def legend(where: Axes | Figure, **options: Any) -> None:
    """A legend without a frame; `options` as matplotlib takes them."""
    where.legend(**{"fontsize": 9, "frameon": False, "labelcolor": INK} | options)


def line_colours(count: int) -> list[Any]:
    """One colour a line: those of the book while they last, else as many hues."""
    return list(LINES[:count]) if count <= len(LINES) else sns.husl_palette(count, l=0.5)


def hues(parts: int) -> list[tuple[float, ...]]:
    """The colours of so many parts as matplotlib takes them, without the background's."""
    return [tuple(colour / 255) for colour in pictures.COLOURS[1 : parts + 1]]


def picture(ax: Axes, image: np.ndarray | None, reach: float = 1.0, **look: Any) -> None:
    """An image, or a map of [0, 1] in grey, over [-reach, reach]^2; without one, the background's colour."""
    ax.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", facecolor=pictures.BACKGROUND)
    ax.spines[:].set_visible(False)
    if image is not None:
        look = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "nearest"} | look
        ax.imshow(image, extent=(-reach, reach, reach, -reach), **look)


def dots(ax: Axes, centres: np.ndarray, size: float) -> None:
    """Mark `centres` (K, 2) in the parts' colours with a white rim."""
    ax.scatter(*centres.T, s=size, marker="X", color=hues(len(centres)), edgecolors="white", linewidths=0.8, zorder=4)


def blend(maps: np.ndarray) -> np.ndarray:
    """Soft maps (B, K, H, W) as colours of their parts, uint8 (B, H, W, 3); what they leave is the background's."""
    maps, colours = np.asarray(maps), pictures.COLOURS[: maps.shape[1] + 1].astype(np.float32)  # (K + 1, 3)
    total = maps.sum(axis=1)  # (B, H, W)
    mixed = np.einsum("bkhw,kc->bhwc", maps, colours[1:]) / np.maximum(total, 1)[..., None]
    return np.rint(mixed + np.clip(1 - total, 0, 1)[..., None] * colours[0]).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def painted(generator: Any, scene: Any) -> dict[str, np.ndarray]:
    """A scene's foreground and background alone (Eq. 11 with M_bg 0 and 1), and its image: uint8 (B, H, W, 3)."""
    masks = {"foreground": torch.zeros_like(scene.masks), "background": torch.ones_like(scene.masks)}
    paint = lambda m: pictures.to_pictures(generator.composition(m, scene.foreground, scene.background))
    return {name: paint(m) for name, m in (masks | {"image": scene.masks}).items()}


def draw_parts(ax: Axes, scene: Any, i: int, small: bool = False) -> None:
    """Of image `i` of a `generator.Scene`: its points, a circle of one scale around each part, the parts' places."""
    look = {"s": 7 if small else 20, "edgecolors": "black", "linewidths": 0.4, "zorder": 3}
    parts = [np.asarray(values[i]) for values in (scene.points, scene.centres, scene.scales)]
    for points, centre, scale, colour in zip(*parts, hues(len(parts[0])), strict=True):
        ax.scatter(*points.T, color=colour, **look)
        ax.add_patch(Circle(centre, scale, fill=False, edgecolor=colour, linewidth=1.3))
    dots(ax, parts[1], 16 if small else 40)


@torch.no_grad()
def traced(level: nn.Module, *inputs: Any) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """What `level`, a generator of masks, foreground or background, makes on its way, margins included.

    The starting tensor (B, C, H0 + 2m, W0 + 2m); what conditions each block, W (B, D_emb, H + 2m, W + 2m) or the style
    vector (B, D_emb); and what each block returns (B, C, H + 2m, W + 2m).
    """
    passed = []  # a pair of what a module was given, and what it made of it
    keep = lambda module, given, made: passed.append((given[1], made))
    hooks = [module.register_forward_hook(keep) for module in (level.start, *level.blocks)]
    level(*inputs)
    for hook in hooks:
        hook.remove()
    return passed[0][1], [given for given, _ in passed[1:]], [made for _, made in passed[1:]]


def features(ax: Axes, maps: Tensor, margin: int) -> None:
    """Three principal components of maps (C, H + 2m, W + 2m) as red, green and blue; the image's frame is dashed."""
    places = PCA(3).fit_transform(maps.detach().float().flatten(1).T)  # (HW, 3)
    scaled = (places / places.std(axis=0).clip(1e-6) / 4 + 0.5).clip(0, 1)
    picture(ax, scaled.reshape(*maps.shape[1:], 3), maps.shape[-1] / (maps.shape[-1] - 2 * margin))
    ax.add_patch(Rectangle((-1, -1), 2, 2, fill=False, edgecolor="white", linewidth=0.9, linestyle="--"))


def numbers(ax: Axes, values: Tensor) -> None:
    """A table of numbers (rows, columns) as a square, red above zero and blue below."""
    ax.imshow(values.detach().numpy(), aspect="auto", cmap="RdBu_r", norm=CenteredNorm(), interpolation="nearest")
    ax.set_box_aspect(1)


def arrow(start: Axes, end: Axes, leave: Sequence[float] = (1.01, 0.5), arrive: Sequence[float] = (-0.02, 0.5)) -> None:
    """From the right edge of one panel to the left one of another, or between other places, in panel sizes."""
    look = {"arrowstyle": "-|>", "color": QUIET, "linewidth": 1.1, "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0}
    end.annotate("", arrive, leave, xycoords=end.transAxes, textcoords=start.transAxes, arrowprops=look)


def streams(above: Sequence[str], below: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """Two rows of titled, empty panels (2, columns), an arrow from each to the next; the upper conditions the lower."""
    columns = len(below)
    figure = Figure(figsize=(WIDTH, 2 * (WIDTH / columns + 0.38)), dpi=DPI, facecolor=FACE)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.92, wspace=0.22, hspace=0.34)
    axes = figure.subplots(2, columns, subplot_kw={"xticks": [], "yticks": []})
    axes[0, -1].set_axis_off()
    for ax, title in zip(axes.flat, [*above, "", *below], strict=True):
        ax.set_title(title, fontsize=8.5, color=INK, pad=3)
        ax.spines[:].set_visible(False)
    for left, right in [*itertools.pairwise(axes[0, :-1]), *itertools.pairwise(axes[1])]:
        arrow(left, right)
    for upper, lower in axes[:, 2:-1].T:
        arrow(upper, lower, (0.5, 0), (0.5, 1.17))
    return figure, axes


def image_rows(rows: Mapping[str, Any], marks: Mapping[str, Any] | None = None, columns: int = 8,
               titles: Sequence[str] = ()) -> Figure:  # fmt: skip
    """Named rows of images (N, H, W, 3) or grey maps (N, H, W) below `titles`; `marks`: places (N, K, 2) in a row."""
    columns = min(columns, *(len(images) for images in rows.values()))
    figure, axes = panels(len(rows), columns, 1.0)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(name, fontsize=10, color=INK)
        for i, ax in enumerate(row):
            picture(ax, images[i])
            if marks and name in marks:
                dots(ax, marks[name][i], 44)
    for ax, title in zip(axes[0], titles, strict=False):
        ax.set_title(title, fontsize=8, color=INK)
    return figure


def curves(frame: pd.DataFrame, x: str, y: str, hue: str, labels: tuple[str, str], **options: Any) -> Figure:
    """Lines of `y` over `x`, one colour a `hue`; repeats: mean and middle half. `options`: of `seaborn.lineplot`."""
    figure = new_figure(3.0)
    ax = figure.subplots()
    style = {"palette": line_colours(frame[hue].nunique()), "dashes": False, "errorbar": ("pi", 50)} | options
    sns.lineplot(frame, x=x, y=y, hue=hue, style=hue, ax=ax, **style)
    dress(ax, *labels)
    legend(ax, fontsize=8, **BESIDE)
    return figure


def learning_curves(history: pd.DataFrame) -> Figure:
    """Losses over the steps of both stages, from a run's `history`; what it does not have is left out."""
    history = history.dropna(axis=1, how="all").set_index("step")
    known = {title: history.filter(items=names).dropna(how="all") for title, names in LOSSES.items()}
    known = {title: frame for title, frame in known.items() if len(frame)}
    rows = -(-len(known) // 2)
    figure = new_figure(1.9 * rows + 0.3)
    for place, (title, frame) in enumerate(known.items(), 1):
        ax = figure.add_subplot(rows, 2, place)
        frame.rename(columns=LOSSES[title]).plot(ax=ax, color=LINES, ylim=(0, None))
        dress(ax, "step", title=title)
        legend(ax)
    return figure


def foreground_curves(runs: Iterable[tuple[str, Any]]) -> tuple[Figure, pd.DataFrame]:
    """Area of the generated foreground through stage 1: a colour a model, a line a run; and what it draws.

    `runs`: models and a run of each. Columns model, seed, progress (0 to 1), foreground.
    """
    known = [run.history.dropna(subset=["foreground"]).assign(model=m, seed=run.provenance["seed"]) for m, run in runs]
    frame = pd.concat([one.assign(progress=one["step"] / one["step"].max()) for one in known], ignore_index=True)
    look = {"units": "seed", "estimator": None, "dashes": True, "linewidth": 1.2}
    labels = ("fraction of stage 1", "foreground, fraction of the image")
    figure = curves(frame, "progress", "foreground", "model", labels, **look)
    figure.axes[0].set_ylim(0, 1)
    return figure, frame[["model", "seed", "progress", "foreground"]]


def keypoints_figure(images: np.ndarray, keypoints: pd.DataFrame) -> Figure:
    """Images (N, S, S, 3) with their visible `tables.held_out_keypoints`: rings the truth, dots the predictions."""
    figure, axes = panels(-(-len(images) // 6), 6, 1.0)
    for ax, image in itertools.zip_longest(axes.flat, images):
        picture(ax, image)
    names = ["x", "y", "x_predicted", "y_predicted"]
    places = ((keypoints[names] + 0.5) * 2 / images.shape[1] - 1).where(keypoints["visible"])  # nan is not drawn
    for ax, (_, frame) in zip(axes.flat, places.groupby(keypoints["image"], sort=False), strict=False):
        (x, y, u, v), colours = frame.to_numpy().T, sns.husl_palette(len(frame), l=0.62)
        ax.plot([x, u], [y, v], color="white", linewidth=1.0, zorder=2)
        ax.scatter(x, y, s=38, facecolor="none", edgecolor="white", linewidths=2.4, zorder=3)
        true = ax.scatter(x, y, s=38, facecolor="none", edgecolor=colours, linewidths=1.3, zorder=3)
        found = ax.scatter(u, v, s=20, color=colours, edgecolor="black", linewidths=0.5, zorder=4)
    marks = {"handles": [true, found], "labels": ["true keypoint", "predicted from part centres"]}
    legend(figure, **marks, loc="outside lower center", ncols=2)
    return figure


def whisker(ax: Axes, row: Mapping[str, Any], y: float, colour: Any = None) -> None:
    """The `mean` of a `row` and its interval, `low` to `high`, at `y` in the look of its `side`; hollow if no seeds."""
    marker, usual = SIDES[row["side"]]
    look = {"color": usual if colour is None else colour}
    if pd.notna(row["low"]):
        ax.plot([row["low"], row["high"]], [y, y], linewidth=1.6, solid_capstyle="butt", **look)
    ax.plot(row["mean"], y, marker, markersize=5.5, fillstyle="full" if row["seeds"] else "none", **look)
