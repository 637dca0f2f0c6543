"""The paper's figures, and how a notebook shows a figure, a table, a sentence with numbers, and its verdict.

Plot functions take arrays or DataFrames and return a matplotlib Figure. Images are uint8 (N, H, W, 3), label maps
(N, H, W) with the background 0 first, positions (x, y) in [-1, 1]. Figures have a light face of their own, so that
they read alike on light and dark pages; a part has one colour in all of them (`pictures.part_colours`).
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from ganseg import pictures, tables
from ganseg.errors import UserError
from ganseg.files import atomic_path
from ganseg.paths import results_dir
from ganseg.pipeline import to_pictures

FACE, INK, QUIET = "#f4f4f1", "#26262a", "#6a6a70"
DPI, WIDTH = 150, 9.0  # dots an inch; inches
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
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
    figure, axes = _panels(count := min(count, len(scenes.image)), 6, 1.0)
    steps = (None, blend(scenes.heatmaps), blend(scenes.masks[:, 1:]), scenes.foreground, scenes.background, scenes.image)
    for row in range(count):
        for ax, step, title in zip(axes[row], steps, titles, strict=True):
            _picture(ax, None if step is None else step[row])
            ax.set_title(title if row == 0 else "", fontsize=10, color=INK)
        _draw_parts(axes[row, 0], scenes, row, small=True)
    return figure


def points_figure(scenes: SceneArrays, count: int = 4) -> Figure:
    """Fig. 3: points of each part, their mean, and a circle of radius sigma_k, over the heatmaps."""
    figure, axes = _panels(1, min(count, len(scenes.image)), 1.25)
    for i, (ax, heat) in enumerate(zip(axes[0], blend(scenes.heatmaps), strict=False)):
        _picture(ax, heat)
        _draw_parts(ax, scenes, i)
        ax.set_title(f"sample {i + 1}", fontsize=10, color=INK)
    marks = {"points": dict(marker="o", markersize=4), "their mean": dict(marker="X", markersize=8),
             "radius σ": dict(marker="o", markersize=11, fillstyle="none")}
    handles = [Line2D([], [], linestyle="", color=QUIET, label=name, **style) for name, style in marks.items()]
    colours = enumerate(_colours(scenes.centres.shape[1]), 1)
    handles += [Line2D([], [], linestyle="", marker="s", color=c, label=f"part {k}") for k, c in colours]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=9, frameon=False, labelcolor=INK)
    return figure


def image_rows(rows: Mapping[str, np.ndarray], centres: Mapping[str, np.ndarray] | None = None, columns: int = 8) -> Figure:
    """Named rows of images (N, H, W, 3); `centres` (N, K, 2) of a row are marked on its images."""
    columns = min(columns, *(len(images) for images in rows.values()))
    figure, axes = _panels(len(rows), columns, 1.0)
    for row, (name, images) in zip(axes, rows.items(), strict=True):
        for i, ax in enumerate(row):
            _picture(ax, images[i])
            if centres and name in centres:
                _dots(ax, centres[name][i], 44)
        row[0].set_ylabel(name, fontsize=10, color=INK)
    return figure


def segmentation_figure(images: np.ndarray, labels: np.ndarray, truth: np.ndarray | None = None, columns: int = 8) -> Figure:
    """Fig. 1, right: images, the parts found in them, and the truth (parts, or 0, 1 and 255) where there is one."""
    rows = {"image": images, "parts found": pictures.colour_labels(labels),
            "both": pictures.overlay(images, labels, contour=0)}
    if truth is not None:
        rows["truth"] = pictures.colour_labels(truth)
    return image_rows(rows, columns=columns)


def learning_curves(history: pd.DataFrame) -> Figure:
    """Losses over the steps of both stages, from a run's `history`; what it does not have is left out."""
    lines = {name: history[["step", name]].dropna() for name in history if name != "stage"}
    known = [(title, names) for title, names in LOSSES if any(len(lines.get(name, ())) for name in names)]
    rows = -(-len(known) // 2)
    figure = _figure(1.9 * rows + 0.3)
    for place, (title, names) in enumerate(known, 1):
        ax = figure.add_subplot(rows, 2, place)
        for colour, name in zip(LINES, filter(lines.__contains__, names), strict=False):
            ax.plot(*lines[name].to_numpy().T, color=colour, label=names[name])
        _dress(ax, "step", title=title)
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=9, frameon=False, labelcolor=INK)
    return figure


def foreground_curves(curves: pd.DataFrame) -> Figure:
    """Mean area of the generated foreground through stage 1: columns run, progress (0 to 1), foreground."""
    figure = _figure(3.2)
    ax = figure.subplots()
    palette = sns.husl_palette(curves["run"].nunique(), l=0.5)
    sns.lineplot(curves, x="progress", y="foreground", hue="run", style="run", ax=ax, palette=palette)
    _dress(ax, "fraction of stage 1", "foreground, fraction of the image")
    ax.set_ylim(0, 1)
    ax.legend(fontsize=8, frameon=False, labelcolor=INK, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def places_figure(centres: np.ndarray, scales: np.ndarray) -> Figure:
    """Where parts sit, `centres` (N, K, 2), and how large they are, `scales` (N, K), over many samples."""
    colours = _colours(centres.shape[1])
    figure = _figure(3.7)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.35))
    for k, colour in enumerate(colours):
        left.scatter(*centres[:, k].T, s=7, color=colour, alpha=0.5, linewidths=0)
    _dots(left, centres.mean(axis=0), 60)
    reach = max(1.05, 1.03 * float(np.abs(centres).max()))
    left.set(xlim=(-reach, reach), ylim=(reach, -reach), xticks=(-1, 0, 1), yticks=(-1, 0, 1), aspect="equal",
             facecolor=pictures.BACKGROUND)
    left.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color=FACE, linewidth=0.8, linestyle="--")
    _dress(left, "x", "y", "places of the parts (X: the mean)")
    sizes = pd.DataFrame(scales, columns=range(1, len(colours) + 1)).melt(var_name="part", value_name="scale")
    sns.boxplot(sizes, x="part", y="scale", hue="part", palette=colours, legend=False, ax=right, fliersize=1.5, linewidth=0.9)
    _dress(right, "part", "σ, in half images", "scales of the parts")
    right.set_ylim(bottom=0)
    return figure


def estimators_figure(scales: pd.DataFrame, profiles: pd.DataFrame) -> Figure:
    """Ways to estimate a part's scale: `scales` (columns estimator, scale), and the heatmap that each leads to,
    `profiles` (columns estimator, distance, height)."""
    figure = _figure(3.0)
    left, right = figure.subplots(1, 2)
    palette = dict(zip(dict.fromkeys(scales["estimator"]), LINES, strict=False))
    sns.boxplot(scales, x="scale", y="estimator", hue="estimator", palette=palette, legend=False, ax=left,
                log_scale=True, fliersize=1.5, linewidth=0.9)
    _dress(left, "scale, in half images (logarithmic)", title="scale of the same parts")
    sns.lineplot(profiles, x="distance", y="height", hue="estimator", palette=palette, legend=False, ax=right)
    _dress(right, "distance from the centre, in half images", "height", "heatmap at the median scale")
    return figure


def blend(maps: np.ndarray) -> np.ndarray:
    """Soft maps (B, K, H, W) as colours of their parts, uint8 (B, H, W, 3); what they leave is the background's."""
    colours = pictures.part_colours(maps.shape[1]).astype(np.float32)  # (K + 1, 3)
    total = maps.sum(axis=1)  # (B, H, W)
    mixed = np.einsum("bkhw,kc->bhwc", maps, colours[1:]) / np.maximum(total, 1)[..., None]
    return np.rint(mixed + np.clip(1 - total, 0, 1)[..., None] * colours[0]).clip(0, 255).astype(np.uint8)


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=FACE, layout="constrained")


def _panels(rows: int, columns: int, stretch: float) -> tuple[Figure, np.ndarray]:
    """Square panels that fill the width; `stretch` leaves room below them. Axes (rows, columns)."""
    figure = _figure(rows * WIDTH / columns * stretch + 0.25)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    return figure, axes


def _picture(ax: Axes, image: np.ndarray | None) -> None:
    """An image in the coordinates of its scene; without one, the colour of the background."""
    ax.set(xlim=(-1, 1), ylim=(1, -1), aspect="equal", facecolor=pictures.BACKGROUND)
    ax.spines[:].set_visible(False)
    if image is not None:
        ax.imshow(image, extent=(-1, 1, 1, -1), interpolation="nearest")


def _draw_parts(ax: Axes, scenes: SceneArrays, i: int, small: bool = False) -> None:
    for k, colour in enumerate(_colours(scenes.centres.shape[1])):
        ax.scatter(*scenes.points[i, k].T, s=7 if small else 20, color=colour, edgecolors="black", linewidths=0.4, zorder=3)
        ax.add_patch(Circle(scenes.centres[i, k], scenes.scales[i, k], fill=False, edgecolor=colour, linewidth=1.3))
    _dots(ax, scenes.centres[i], 16 if small else 40)


def _dots(ax: Axes, centres: np.ndarray, size: float) -> None:
    """Mark `centres` (K, 2) in the parts' colours with a white rim."""
    ax.scatter(*centres.T, s=size, marker="X", color=_colours(len(centres)), edgecolors="white", linewidths=0.8, zorder=4)


def _colours(parts: int) -> list[tuple[float, ...]]:
    """As matplotlib takes them, without the background's."""
    return [tuple(colour / 255) for colour in pictures.part_colours(parts)[1:]]


def _dress(ax: Axes, x: str = "", y: str = "", title: str = "") -> None:
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    ax.set_title(title, fontsize=10, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    sns.despine(ax=ax)


def show(figure: Figure, name: str, *, caption: str, alt: str, data: pd.DataFrame | None = None, runs: Sequence[Any] = (),
         results: str | Path | None = None, scale: str | None = None) -> None:
    """Write results/<scale>/figures/<name>.png, and .csv where there is `data`; display it with caption, alt text, CSV, provenance.

    `scale` is that of the first of `runs` unless given. UserError without a caption or an alt text of some words.
    """
    if len(alt.split()) < 4 or not caption:
        raise UserError(f"figure {name!r} needs a caption, and an alt text that says what it shows")
    path = _folder(results, scale, runs, "figures") / f"{name}.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    image = f'<img class="dark-light" src="{_data_uri("image/png", path.read_bytes())}" alt="{html.escape(alt)}">'
    below = f"<figcaption>{html.escape(caption)} {_download(data, path)}{_origin(runs)}</figcaption>"
    _display(f'<figure class="ganseg-figure">{image}\n{below}</figure>', f"Figure: {alt}")


def show_table(frame: pd.DataFrame, name: str, *, caption: str, data: pd.DataFrame | None = None, notes: Sequence[str] = (),
               runs: Sequence[Any] = (), results: str | Path | None = None, scale: str | None = None) -> None:
    """Write results/<scale>/tables/<name>.csv (`data`, or what is shown) and display the table like a figure."""
    path = _folder(results, scale, runs, "tables") / f"{name}.csv"
    link = _download(frame if data is None else data, path)
    below = f'<p class="ganseg-below">{link}{_origin(runs)}</p>'
    _display(f"{tables.to_html(frame, caption, notes)}\n{below}", f"Table: {caption}\n{frame.to_string(index=False)}")


def say(text: str) -> None:
    """Display a sentence whose numbers were computed, as Markdown."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def verdict(claim: str, checks: Mapping[str, bool], testable: bool = True, why_not: str = "") -> str:
    """Display and return the verdict on `claim`: reproduced if all `checks` hold and the setting is `testable`."""
    word = ("Reproduced" if all(checks.values()) else "Not reproduced") if testable else "Not testable at this scale"
    kind = {"Reproduced": "tip", "Not reproduced": "warning"}.get(word, "note")
    rows = "".join(f"<li>{'✓ holds: ' if holds else '✗ does not hold: '}{html.escape(text)}</li>" for text, holds in checks.items())
    reason = f"<p>{html.escape(why_not)}</p>" if why_not and not testable else ""
    box = f'<p class="admonition-title">Verdict: {word}</p><p>{html.escape(claim)}</p>{reason}<ul>{rows}</ul>'
    _display(f'<div class="admonition {kind} ganseg-verdict">{box}</div>', f"Verdict: {word}. {claim}")
    return word


def _folder(results: str | Path | None, scale: str | None, runs: Sequence[Any], kind: str) -> Path:
    if not (scale or runs):
        raise UserError("name a scale, or the runs that the numbers come from")
    return results_dir(results or None) / (scale or runs[0].provenance["scale"]) / kind


def _download(data: pd.DataFrame | None, path: Path) -> str:
    """A link to `data` as CSV, which is also written beside `path`."""
    if data is None:
        return ""
    content = tables.to_csv(data, path.with_suffix(".csv")).read_bytes()
    return f'<a class="ganseg-csv" download="{path.stem}.csv" href="{_data_uri("text/csv", content)}">Data (CSV)</a>'


def _origin(runs: Sequence[Any]) -> str:
    return f'<br><small class="ganseg-provenance">{html.escape(tables.provenance_line(runs))}</small>' if runs else ""


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _display(markup: str, plain: str) -> None:
    from IPython.display import display

    display({"text/html": markup, "text/plain": plain}, raw=True)
