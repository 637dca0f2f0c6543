"""Fig. 4, 5 and 6: the paper's three modules, drawn with the tensors that a run really makes.

As in `figures`, a part has one colour in all pictures. A figure has two streams, as in the paper: above, what
conditions the blocks; below, what the blocks make.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch, Rectangle
from torch import Tensor

from ganseg import pictures
from ganseg.canvas import FACE, INK, QUIET, WIDTH, dots, draw_parts
from ganseg.chapters.probes import Trace, traced
from ganseg.figures import SceneArrays, blend
from ganseg.plots import DPI


class Panel(NamedTuple):
    """One step of a module: a picture, or the places of parts where `picture` is None."""

    title: str
    picture: np.ndarray | None = None  # uint8 (H, W, 3), or floats (rows, columns) of a strip of numbers
    reach: float = 1.0  # how far the picture goes, in half images; beyond 1 is the margin
    dots: np.ndarray | None = None  # places (K, 2) to mark


Place = tuple[int, int]  # row and column of a panel


def feature_colours(maps: Tensor) -> np.ndarray:
    """Three principal components of feature maps (C, H, W) as red, green and blue: uint8 (H, W, 3)."""
    pixels = maps.detach().float().flatten(1).T  # (HW, C)
    centred = pixels - pixels.mean(dim=0)
    axes = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :3]  # (C, 3)
    axes = axes * torch.where(axes.sum(dim=0) < 0, -1.0, 1.0)  # an eigenvector's sign is up to chance
    parts = torch.nn.functional.pad(centred @ axes, (0, 3 - axes.shape[1]))
    scaled = parts / parts.std(dim=0).clamp(min=1e-6) / 4 + 0.5
    return (scaled.clamp(0, 1) * 255).round().byte().unflatten(0, maps.shape[1:]).cpu().numpy()


def feature_panels(
    title: str, maps: Sequence[Tensor], sizes: Sequence[int], margin: int, first: int = 1
) -> list[Panel]:
    """A panel for each of the feature maps (1, C, H + 2m, W + 2m); `title` may hold {i} and {size}."""
    return [
        Panel(title.format(i=i, size=size), feature_colours(m[0]), 1 + 2 * margin / size)
        for i, (m, size) in enumerate(zip(maps, sizes, strict=True), first)
    ]


def mask_generator_figure(generator: Any, scenes: SceneArrays, parts: Any) -> Figure:
    """Fig. 4 of one scene: embeddings, heatmaps, W_mask above; points, M^(0), blocks and masks below."""
    config, trace = generator.config, traced(generator.mask_generator, parts)
    sizes, m = config.block_sizes, config.margin
    above = [
        Panel("embeddings $w_k$", parts.embeddings[0].numpy()),
        Panel("heatmaps $H_k$", blend(scenes.heatmaps[:1])[0]),
        *feature_panels("$W_{{mask}}$, {size} px", trace.conditions, sizes, m),
        None,
    ]
    below = [
        Panel("points, $x_k$, $\\sigma_k$"),
        *feature_panels("start $M^{{({i})}}$", [trace.start], sizes[:1], m, 0),
        *feature_panels("block $M^{{({i})}}$", trace.blocks, sizes, m),
        Panel("masks $M$", blend(scenes.masks[:1, 1:])[0]),
    ]
    figure, axes = flow([above, below], [*_two_streams(len(sizes)), ((1, 0), (0, 1))])
    draw_parts(axes[1, 0], scenes, 0, small=True)
    return figure


def foreground_figure(generator: Any, scenes: SceneArrays, masks: Tensor, parts: Any) -> Figure:
    """Fig. 5 of one scene: masks, embeddings, W_fg above; locations, F^(0), SPADE blocks and F below."""
    config, trace = (
        generator.config,
        traced(generator.foreground_generator, masks[:, 1:], parts.embeddings, parts.centres),
    )
    sizes, m = config.block_sizes, config.margin
    above = [
        Panel("masks $M_k$", blend(scenes.masks[:1, 1:])[0]),
        Panel("embeddings $w_k$", parts.embeddings[0].numpy()),
        *feature_panels("$W_{{fg}}$, {size} px", trace.conditions, sizes, m),
        None,
    ]
    below = [
        Panel("locations $x_k$", dots=scenes.centres[0]),
        *feature_panels("start $F^{{({i})}}$", [trace.start], sizes[:1], m, 0),
        *feature_panels("block $F^{{({i})}}$", trace.blocks, sizes, m),
        Panel("$F$, painted alone", scenes.foreground[0]),
    ]
    return flow([above, below], _two_streams(len(sizes)))[0]


def background_figure(generator: Any, scenes: SceneArrays, noise: Any) -> Figure:
    """Fig. 6 of one scene: noise, w_bg, each block's style above; position, B^(0), blocks and B below."""
    config, level = generator.config, generator.background_generator
    trace = traced(level, noise.background[:1], noise.position[:1])
    sizes, m = config.block_sizes, config.margin
    styles = [
        Panel(f"scale, shift, {size} px", style) for size, style in zip(sizes, adain_styles(level, trace), strict=True)
    ]
    above = [
        Panel("noise $z_{bg\\_app}$", square(noise.background[0])),
        Panel("style $w_{bg}$", square(trace.conditions[0][0])),
        *styles,
        None,
    ]
    below = [
        Panel("position $u_{bg\\_pos}$"),
        *feature_panels("start $B^{{({i})}}$", [trace.start], sizes[:1], m, 0),
        *feature_panels("block $B^{{({i})}}$", trace.blocks, sizes, m),
        Panel("$B$, painted alone", scenes.background[0]),
    ]
    figure, axes = flow([above, below], _two_streams(len(sizes)))
    axes[1, 0].plot(*noise.position[0].tolist(), "P", color="white", markersize=9)
    return figure


@torch.no_grad()
def adain_styles(level: Any, trace: Trace) -> list[np.ndarray]:
    """gamma and beta, (2, C), that each AdaIN block makes of the style vector."""
    styles = []
    for block, style in zip(level.blocks, trace.conditions, strict=True):
        hidden = torch.nn.functional.leaky_relu(block.adain.shared(style), 0.2)
        styles.append(torch.stack([block.adain.gamma(hidden)[0], block.adain.beta(hidden)[0]]).numpy())
    return styles


def square(values: Tensor) -> np.ndarray:
    """A vector (D,) as a near-square of numbers, filled up with zeros."""
    side = int(np.ceil(np.sqrt(len(values))))
    return (
        torch.nn.functional.pad(values.detach().float(), (0, side * -(-len(values) // side) - len(values)))
        .view(-1, side)
        .numpy()
    )


def flow(rows: Sequence[Sequence[Panel | None]], arrows: Sequence[tuple[Place, Place]]) -> tuple[Figure, np.ndarray]:
    """Panels in rows, with arrows from place to place; a dashed frame marks the image within its margin.

    Returns the figure and its axes (rows, columns).
    """
    columns = len(rows[0])
    figure = Figure(figsize=(WIDTH, len(rows) * (WIDTH / columns + 0.38)), dpi=DPI, facecolor=FACE)
    figure.subplots_adjust(0.01, 0.02, 0.99, 0.92, wspace=0.22, hspace=0.34)
    axes = figure.subplots(len(rows), columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    for ax, panel in zip(axes.flat, (panel for row in rows for panel in row), strict=True):
        ax.set_axis_off() if panel is None else _panel(ax, panel)
        ax.set_title("" if panel is None else panel.title, fontsize=8.5, color=INK, pad=3)
    for start, end in arrows:
        _arrow(figure, axes[start], axes[end], end[0] - start[0])
    return figure, axes


def _panel(ax: Axes, panel: Panel) -> None:
    ax.spines[:].set_visible(False)
    ax.set_facecolor(pictures.BACKGROUND)
    if panel.picture is not None and panel.picture.ndim == 2:
        limit = max(float(np.abs(panel.picture).max()), 1e-6)
        ax.imshow(panel.picture, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set_box_aspect(1)
        return
    r = panel.reach
    ax.set(xlim=(-r, r), ylim=(r, -r), aspect="equal")
    if panel.picture is not None:
        ax.imshow(panel.picture, extent=(-r, r, r, -r), interpolation="nearest")
    if r > 1:
        ax.add_patch(Rectangle((-1, -1), 2, 2, fill=False, edgecolor="white", linewidth=0.9, linestyle="--"))
    if panel.dots is not None:
        dots(ax, panel.dots, 40)


def _arrow(figure: Figure, start: Axes, end: Axes, down: int) -> None:
    """From the right edge to the left one; within a column, between the edges that face each other."""
    same = start.get_subplotspec().colspan == end.get_subplotspec().colspan
    ends = ((0.5, 0), (0.5, 1.17)) if same else ((1.01, 0.5), (-0.02, 0.5))
    if down < 0:
        ends = ((1.01, 0.9), (-0.02, 0.1))
    figure.add_artist(
        ConnectionPatch(
            *ends,
            "axes fraction",
            "axes fraction",
            axesA=start,
            axesB=end,
            arrowstyle="-|>",
            color=QUIET,
            linewidth=1.1,
            mutation_scale=9,
            shrinkA=0,
            shrinkB=0,
        )
    )


def _two_streams(blocks: int) -> list[tuple[Place, Place]]:
    """Both rows run to the right, and the upper one conditions each block of the lower."""
    upper = [((0, i), (0, i + 1)) for i in range(blocks + 1)]
    lower = [((1, i), (1, i + 1)) for i in range(blocks + 2)]
    return upper + lower + [((0, i), (1, i)) for i in range(2, blocks + 2)]
