"""The paper's figures; `show`, `show_table`, `say` and `verdict` of `display` are to be had here, too.

Plot functions take arrays or DataFrames and return a matplotlib Figure. Images are uint8 (N, H, W, 3), label maps
(N, H, W) with the background 0 first, positions (x, y) in [-1, 1]. Figures have a light face of their own, so that
they read alike on light and dark pages; a part has one colour in all of them (`pictures.part_colours`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ganseg import pictures
from ganseg.canvas import (
    FACE,
    INK,
    LINES,
    QUIET,
    dots,
    draw_parts,
    dress,
    hues,
    line_colours,
    new_figure,
    panels,
    picture,
)
from ganseg.page import say, show, show_table, verdict  # noqa: F401 (notebooks use them from here)
from ganseg.pictures import to_pictures

LOSSES = (
    ("Adversarial losses (Eq. 13, 14)", {"g": "generator", "d": "discriminator"}),
    ("Geometric losses (Eq. 16, 17)", {"con": "concentration", "area": "area"}),
    ("Foreground of generated masks", {"foreground": "fraction of the image"}),
    ("Segmentation loss (stage 2)", {"segmentation": "½ cross-entropy + ½ Dice"}),
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


def image_rows(
    rows: Mapping[str, np.ndarray], centres: Mapping[str, np.ndarray] | None = None, columns: int = 8
) -> Figure:
    """Named rows of images (N, H, W, 3); `centres` (N, K, 2) of a row are marked on its images."""
    columns = min(columns, *(len(images) for images in rows.values()))
    figure, axes = panels(len(rows), columns, 1.0)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for i, ax in enumerate(row):
            picture(ax, images[i])
            if centres and name in centres:
                dots(ax, centres[name][i], 44)
        row[0].set_ylabel(name, fontsize=10, color=INK)
    return figure


def segmentation_figure(
    images: np.ndarray, labels: np.ndarray, truth: np.ndarray | None = None, columns: int = 8
) -> Figure:
    """Fig. 1, right: images, the parts found in them, and the truth (parts, or 0, 1 and 255) where there is one."""
    rows = {
        "image": images,
        "parts found": pictures.colour_labels(labels),
        "both": pictures.overlay(images, labels, contour=0),
    }
    if truth is not None:
        rows["truth"] = pictures.colour_labels(truth)
    return image_rows(rows, columns=columns)


def learning_curves(history: pd.DataFrame) -> Figure:
    """Losses over the steps of both stages, from a run's `history`; what it does not have is left out."""
    lines = {name: history[["step", name]].dropna() for name in history if name != "stage"}
    known = [(title, names) for title, names in LOSSES if any(len(lines.get(name, ())) for name in names)]
    rows = -(-len(known) // 2)
    figure = new_figure(1.9 * rows + 0.3)
    for place, (title, names) in enumerate(known, 1):
        ax = figure.add_subplot(rows, 2, place)
        for colour, name in zip(LINES, filter(lines.__contains__, names), strict=False):
            ax.plot(*lines[name].to_numpy().T, color=colour, label=names[name])
        dress(ax, "step", title=title)
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=9, frameon=False, labelcolor=INK)
    return figure


def foreground_history(run: Any, model: str) -> pd.DataFrame:
    """What `foreground_curves` draws of one run of `model`: columns model, seed, progress (0 to 1), foreground."""
    known = run.history.dropna(subset=["foreground"])
    progress = known["step"] / known["step"].max()
    return pd.DataFrame(
        {"model": model, "seed": run.provenance["seed"], "progress": progress, "foreground": known["foreground"]}
    )


def foreground_curves(curves: pd.DataFrame) -> Figure:
    """Mean area of the generated foreground through stage 1: a colour for each model, a line for each of its seeds."""
    import seaborn as sns

    figure = new_figure(3.2)
    ax = figure.subplots()
    palette = line_colours(curves["model"].nunique())
    sns.lineplot(
        curves,
        x="progress",
        y="foreground",
        hue="model",
        style="model",
        units="seed",
        estimator=None,
        palette=palette,
        linewidth=1.2,
        ax=ax,
    )
    dress(ax, "fraction of stage 1", "foreground, fraction of the image")
    ax.set_ylim(0, 1)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
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


def blend(maps: np.ndarray) -> np.ndarray:
    """Soft maps (B, K, H, W) as colours of their parts, uint8 (B, H, W, 3); what they leave is the background's."""
    colours = pictures.part_colours(maps.shape[1]).astype(np.float32)  # (K + 1, 3)
    total = maps.sum(axis=1)  # (B, H, W)
    mixed = np.einsum("bkhw,kc->bhwc", maps, colours[1:]) / np.maximum(total, 1)[..., None]
    return np.rint(mixed + np.clip(1 - total, 0, 1)[..., None] * colours[0]).clip(0, 255).astype(np.uint8)
