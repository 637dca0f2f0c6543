"""The paper's figures; `show`, `show_table`, `say` and `verdict` of `display` are to be had here, too.

Plot functions take arrays or DataFrames and return a matplotlib Figure. Images are uint8 (N, H, W, 3), label maps
(N, H, W) with the background 0 first, positions (x, y) in [-1, 1]. Figures have a light face of their own, so that
they read alike on light and dark pages; a part has one colour in all of them (`pictures.part_colours`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganseg import pictures
from ganseg.page import say, show, show_table, verdict  # noqa: F401 (notebooks use them from here)
from ganseg.pictures import to_pictures
from ganseg.plots import (  # noqa: F401
    FACE,
    INK,
    LINES,
    QUIET,
    blend,
    dots,
    draw_parts,
    dress,
    foreground_curves,
    foreground_history,
    hues,
    image_rows,
    learning_curves,
    new_figure,
    panels,
    picture,
    segmentation_figure,
)


class SceneArrays(NamedTuple):
    """A batch of generated scenes as NumPy arrays, ready to be drawn."""

    points: np.ndarray  # x_k^i, (B, K, n_per, 2)
    centres: np.ndarray  # x_k, (B, K, 2)
    scales: np.ndarray  # sigma_k, (B, K)
    heatmaps: np.ndarray  # H_k, (B, K, H, W)
    masks: np.ndarray  # M, (B, K + 1, H, W), background first
    foreground: np.ndarray  # uint8 (B, H, W, 3): Eq. 11 with M_bg = 0 everywhere
    background: np.ndarray  # uint8 (B, H, W, 3): Eq. 11 with M_bg = 1 everywhere
    image: np.ndarray  # I, uint8 (B, H, W, 3)


@torch.no_grad()
def scene_arrays(generator: Any, noise: Any) -> SceneArrays:
    """Generate the scenes of `noise` (a `generator.Noise`), with foreground and background painted alone."""
    scene = generator(noise)
    whole = (torch.zeros_like(scene.masks), torch.ones_like(scene.masks))
    alone = [to_pictures(generator.composition(m, scene.foreground, scene.background)) for m in whole]
    level1 = (scene.points, scene.centres, scene.scales, generator.heatmaps(scene), scene.masks)
    return SceneArrays(*(tensor.float().cpu().numpy() for tensor in level1), *alone, to_pictures(scene.image))


def generation_strip(scenes: SceneArrays, count: int = 4) -> Figure:
    """Fig. 2: one row a sample, one column a step of the hierarchy, from points to the image."""
    titles = ("points and parts", "heatmaps", "masks", "foreground", "background", "image")
    figure, axes = panels(count := min(count, len(scenes.image)), 6, 1.0)
    steps = (
        None,
        blend(scenes.heatmaps),
        blend(scenes.masks[:, 1:]),
        scenes.foreground,
        scenes.background,
        scenes.image,
    )
    for row in range(count):
        for ax, step, title in zip(axes[row], steps, titles, strict=True):
            picture(ax, None if step is None else step[row])
            ax.set_title(title if row == 0 else "", fontsize=10, color=INK)
        draw_parts(axes[row, 0], scenes, row, small=True)
    return figure


def points_figure(scenes: SceneArrays, count: int = 4) -> Figure:
    """Fig. 3: points of each part, their mean, and a circle of radius sigma_k, over the heatmaps."""
    figure, axes = panels(1, min(count, len(scenes.image)), 1.25)
    for i, (ax, heat) in enumerate(zip(axes[0], blend(scenes.heatmaps), strict=False)):
        picture(ax, heat)
        draw_parts(ax, scenes, i)
        ax.set_title(f"sample {i + 1}", fontsize=10, color=INK)
    marks = {
        "points": dict(marker="o", markersize=4),
        "their mean": dict(marker="X", markersize=8),
        "radius σ": dict(marker="o", markersize=11, fillstyle="none"),
    }
    handles = [Line2D([], [], linestyle="", color=QUIET, label=name, **style) for name, style in marks.items()]
    colours = enumerate(hues(scenes.centres.shape[1]), 1)
    handles += [Line2D([], [], linestyle="", marker="s", color=c, label=f"part {k}") for k, c in colours]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False, labelcolor=INK)
    return figure


def places_figure(centres: np.ndarray, scales: np.ndarray) -> Figure:
    """Where parts sit, `centres` (N, K, 2), and how large they are, `scales` (N, K), over many samples."""
    import seaborn as sns

    colours = hues(centres.shape[1])
    figure = new_figure(3.7)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    for k, colour in enumerate(colours):
        left.scatter(*centres[:, k].T, s=7, color=colour, alpha=0.5, linewidths=0)
    dots(left, centres.mean(axis=0), 60)
    reach = max(1.05, 1.03 * float(np.abs(centres).max()))
    left.set(
        xlim=(-reach, reach),
        ylim=(reach, -reach),
        xticks=(-1, 0, 1),
        yticks=(-1, 0, 1),
        aspect="equal",
        facecolor=pictures.BACKGROUND,
    )
    left.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color=FACE, linewidth=0.8, linestyle="--")
    dress(left, "x", "y", "places of the parts (X: the mean)")
    sizes = pd.DataFrame(scales, columns=range(1, len(colours) + 1)).melt(var_name="part", value_name="scale")
    sns.boxplot(
        sizes, x="part", y="scale", hue="part", palette=colours, legend=False, ax=right, fliersize=1.5, linewidth=0.9
    )
    dress(right, "part", "σ, in half images", "scales of the parts")
    right.set_ylim(bottom=0)
    return figure


def estimators_figure(scales: pd.DataFrame, profiles: pd.DataFrame) -> Figure:
    """Ways to estimate a part's scale: `scales` (columns estimator, scale), and the heatmap that each leads to,
    `profiles` (columns estimator, distance, height)."""
    import seaborn as sns

    figure = new_figure(3.0)
    left, right = figure.subplots(1, 2)
    palette = dict(zip(dict.fromkeys(scales["estimator"]), LINES, strict=False))
    sns.boxplot(
        scales,
        x="scale",
        y="estimator",
        hue="estimator",
        palette=palette,
        legend=False,
        ax=left,
        log_scale=True,
        fliersize=1.5,
        linewidth=0.9,
    )
    dress(left, "scale, in half images (logarithmic)", title="scale of the same parts")
    sns.lineplot(profiles, x="distance", y="height", hue="estimator", palette=palette, legend=False, ax=right)
    dress(right, "distance from the centre, in half images", "height", "heatmap at the median scale")
    return figure
