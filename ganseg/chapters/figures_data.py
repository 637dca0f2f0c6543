"""Tables and figures of the evidence: data sets, metrics on hand-made cases, baselines and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy import ndimage

from ganseg import metrics, pictures
from ganseg.canvas import INK, LINES, QUIET, dress, new_figure, panels, picture
from ganseg.data import DATASETS, Split
from ganseg.figures import image_rows
from ganseg.evaluation import Protocol
from ganseg.reported import TABLE_1, TABLE_2, TABLE_3

# Numbers of images that section 4.1 prints; "160k" and "19k" are rounded.
PRINTED = {
    "celeba-wild": {"train": 45_609, "regression": 5_379, "test": 283},
    "celeba-aligned": {"train": 160_000, "regression": 19_000, "test": 1_000},
    "cub": {"train": 10_000, "val": 778, "test": 1_000},
    "flowers": {"train": 6_149, "val": 1_020, "test": 1_020},
    "taichi": {"regression": 5_000, "test": 300},
}
PRINTED_TOTALS = {"cub": 11_788, "flowers": 8_189}  # of all splits, printed as well
UNITS = {"object": "size of the object", "inter-ocular": "distance of the eyes", "edge": "edge of the image",
         "taichi": "none: MAE in pixels"}  # fmt: skip
NEEDS = {  # as section 4.2 words it, and for GrabCut as it is run here
    "DEF [6]": "the test images at training time",
    "SCOPS [17] (w/o": "single images",
    "SCOPS [17] w/ GT": "true backgrounds",
    "SCOPS [17]": "saliency maps",
    "Liu et al. [32]": "objects in the middle of the image",
    "Siarohin et al. [48]": "videos",
    "GrabCut [44]": "a frame of certain background",
    "Ours": "single images",
}
NO_KEYPOINTS = ("flowers",)
WITHHELD = ("cub",)  # photographs that a stored figure must not show


def coded_counts() -> dict[str, dict[str, int]]:
    """Images of each split as the readers expect them; counted where the list is in the package."""
    return {data.name: data.counts for data in DATASETS.values() if data.counts}


def split_table() -> pd.DataFrame:
    """The paper's number of images of each split beside the code's.

    Columns data, split, printed, coded, agrees: same in the digits before the printed number's last zeros.
    """
    coded, rows = coded_counts(), []
    for data, splits in PRINTED.items():
        everything = {"all splits": PRINTED_TOTALS[data]} if data in PRINTED_TOTALS else {}
        for split, printed in (splits | everything).items():
            ours = sum(coded[data][s] for s in splits) if split == "all splits" else coded[data][split]
            zeros = len(str(printed)) - len(str(printed).rstrip("0"))
            agrees = round(ours, -zeros) == printed
            rows.append({"data": data, "split": split, "printed": printed, "coded": ours, "agrees": agrees})
    return pd.DataFrame(rows)


def protocol_table(data_dirs: Mapping[str, str | Path] | None = None) -> pd.DataFrame:
    """Each data set's splits with their sizes, and how a run is scored, from registry and `Protocol.of`."""
    coded, rows = coded_counts(), []
    for spec in dict.fromkeys(DATASETS.values()):
        protocol, counts = Protocol.of(spec.name, (data_dirs or {}).get(spec.name)), coded.get(spec.name, {})
        regressed = spec.name not in NO_KEYPOINTS
        sizes = (f"{split} {counts[split]:,}" if split in counts else split for split in spec.splits)
        rows.append({
            "Data set": spec.name, "Splits": ", ".join(sizes), "Scored on": protocol.split,
            "Keypoints fitted on": protocol.regression if regressed else "–",
            "Unit of their error": UNITS[protocol.normaliser] if regressed else "–",
            "Augmented by": {"crop_flip": "crop, flip"}.get(spec.augment, spec.augment)})  # fmt: skip
    return pd.DataFrame(rows)


def printed_baselines() -> pd.DataFrame:
    """The methods of section 4.2, and GrabCut: what they need, and all that Tables 1 to 3 print of them."""
    rows: dict[tuple[int, str, str], list[str]] = {}
    for table in (TABLE_1, TABLE_2, TABLE_3):
        for row in table.rows:
            name = next((name for name in NEEDS if row.method.startswith(name)), None)
            cells = [f"{table.name}, {c.title}: {row.values[c.key]:.{c.digits}f}{c.unit and f' {c.unit}'}"
                     for c in table.columns if c.key in row.values]  # fmt: skip
            if name:
                rows.setdefault((list(NEEDS).index(name), row.method, NEEDS[name]), []).extend(cells)
    lines = ((method, needs, "; ".join(cells)) for (_, method, needs), cells in sorted(rows.items()))
    return pd.DataFrame(lines, columns=["Method", "Needs", "As printed"])


def showable(data: str) -> bool:
    """Whether photographs of a data set may stand in a figure that is stored."""
    return data not in WITHHELD


def labelled_images(split: Split, columns: int = 8) -> Figure:
    """A contact sheet: some images of `split`, their parts (or foreground), their visible keypoints."""
    few = np.linspace(0, len(split) - 1, min(columns, len(split))).round().astype(int)
    truth = split.parts if split.parts is not None else split.foreground
    rows = {"image": split.images[few]}
    if truth is not None:
        rows["truth"] = pictures.colour_labels(truth[few])
    marks = {}
    if split.keypoints is not None:
        rows["keypoints"] = split.images[few]
        shown = np.ones(split.keypoints.shape[:2], bool) if split.visible is None else split.visible
        places = np.where(shown[few][..., None], split.keypoints[few], np.nan)
        marks["keypoints"] = (places + 0.5) * 2 / split.size - 1
    return image_rows(rows, marks, columns)


def occupancy_figure(foregrounds: Mapping[str, np.ndarray]) -> Figure:
    """Name -> true foregrounds (N, S, S): how often a pixel is object; outlined, the best constant mask."""
    figure, axes = panels(1, max(2, len(foregrounds)), 0.5 if len(foregrounds) < 3 else 1.0)
    for ax, (name, truth) in zip(axes[0], foregrounds.items(), strict=False):
        known = truth[(truth != 255).any(axis=(1, 2))]
        frequency = (known == 1).sum(axis=0) / np.maximum((known != 255).sum(axis=0), 1)
        mask, iou = metrics.best_constant_mask(known)
        picture(ax, None)
        drawn = ax.imshow(frequency, extent=(-1, 1, 1, -1), cmap="cividis", vmin=0, vmax=1)
        place = np.linspace(-1, 1, 2 * len(mask) + 1)[1::2]  # centres of the pixels
        ax.contour(place, place, mask.astype(float), levels=[0.5], colors="white", linewidths=1.5)
        ax.set_title(f"{name}: IoU {iou:.3f}", fontsize=9, color=INK)
    for ax in axes[0][len(foregrounds) :]:
        ax.set_visible(False)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=12)
    bar.set_label("share of images", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=8, colors=INK)
    return figure


def cases_figure(cases: Mapping[str, Sequence[np.ndarray]], names: Sequence[str]) -> Figure:
    """Hand-made label maps: a panel a case and map; `cases`: title -> one map (H, W) for each of `names`."""
    figure, axes = panels(len(names), max(5, len(cases)), 1.12)
    for ax in axes.ravel():
        ax.set_visible(False)
    for i, (title, maps) in enumerate(cases.items()):
        for ax, name, labels in zip(axes[:, i], names, maps, strict=True):
            ax.set_visible(True)
            picture(ax, pictures.colour_labels(labels))
            for line in np.linspace(-1, 1, len(labels) + 1):
                ax.axhline(line, color="#f4f4f1", linewidth=0.5)
                ax.axvline(line, color="#f4f4f1", linewidth=0.5)
            ax.set_ylabel("" if i else name, fontsize=9, color=INK)
        axes[0, i].set_title(title, fontsize=9, color=INK)
    return figure


def regression_figure(
    centres: np.ndarray, landmarks: np.ndarray, maps: Mapping[str, tuple[np.ndarray, float]]
) -> Figure:
    """One coordinate of part centres (N,) and landmarks (N,), and the line that each convention fits.

    `maps`: name -> (predictions (N,), the origin that the line goes through; NaN where it has a bias).
    """
    figure = new_figure(2.9)
    for ax, (name, (found, origin)) in zip(figure.subplots(1, len(maps)), maps.items(), strict=True):
        slope, start = np.polyfit(centres, found, 1)
        ends = np.array([-0.4, 4.6])
        ax.plot(ends, slope * ends + start, color=LINES[1], linewidth=1.4, label="the map")
        for x, y, f in zip(centres, landmarks, found, strict=True):
            ax.plot((x, x), (y, f), color=QUIET, linewidth=1.2, linestyle=":")
        ax.scatter(centres, landmarks, s=42, color=LINES[0], zorder=3, label="landmark of an image")
        ax.scatter(origin, origin, s=60, marker="+", color=INK, zorder=3, label="(0, 0)")
        ax.set(xlim=(-0.4, 4.6), ylim=(-0.4, 4.6), aspect="equal", xticks=range(5), yticks=range(5))
        dress(ax, "place of the part, px", "place of the landmark, px", name)
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=3, fontsize=9, frameon=False, labelcolor=INK)
    return figure


def scores_figure(table: pd.DataFrame, columns: Mapping[str, str]) -> Figure:
    """Bars of methods: `table` has method, ours (bool) and the `columns` (name -> title), all 0 to 1."""
    figure = new_figure(0.32 * len(table) + 0.8)
    colours = dict(zip(table["method"], np.where(table["ours"], LINES[1], "#a8a8a4"), strict=True))
    for ax, (name, title) in zip(figure.subplots(1, len(columns), sharey=True), columns.items(), strict=True):
        sns.barplot(table, x=name, y="method", hue="method", palette=colours, legend=False, ax=ax)
        for bars in ax.containers:
            ax.bar_label(bars, [f"{v:.2f}" if v == v else "" for v in bars.datavalues], padding=3,
                         fontsize=8, color=INK)  # fmt: skip
        dress(ax, title=title)
        ax.set_xlim(0, 1.12)
    return figure


def agreement_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """`part_names_table` of several methods side by side, as shades."""
    figure = new_figure(2.9)
    axes = np.atleast_1d(figure.subplots(1, len(tables), sharey=False))
    for ax, (name, table) in zip(axes, tables.items(), strict=True):
        sns.heatmap(table, ax=ax, cmap="cividis", vmin=0, vmax=1, annot=True, fmt=".0%", cbar=False,
                    annot_kws={"fontsize": 7}, linewidths=0.5)  # fmt: skip
        dress(ax, "true part", "found part" if ax is axes[0] else "", name)
        ax.tick_params(axis="x", rotation=45)
        ax.tick_params(axis="y", rotation=0)
    return figure


def part_names_table(labels: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Share of each found part's pixels (rows) that lie on the background and each true part (columns).

    labels and truth: (N, S, S); `names`: of the true parts.
    """
    found = int(labels.max())
    counts = np.zeros((found, len(names) + 1))
    for k in range(found):
        counts[k] = np.bincount(truth[labels == k + 1], minlength=len(names) + 1)[: len(names) + 1]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return pd.DataFrame(share, index=range(1, found + 1), columns=["background", *names])


def spoilt(images: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Uint8 `images` (N, S, S, 3), and made worse in known ways; by what was done to them."""
    noise = np.random.default_rng(seed).normal(size=images.shape)
    blurred = {f"blurred by {s} pixel{'s' * (s > 1)}": ndimage.gaussian_filter(images, (0, s, s, 0)) for s in (1, 2)}
    noisy = {f"with noise of {s} levels": (images + s * noise).clip(0, 255).astype(np.uint8) for s in (10, 40)}
    return {"as they are": images} | blurred | noisy


def spoilt_distances(images: np.ndarray) -> pd.DataFrame:
    """How far half of the real `images` (N, S, S, 3) is from the rest, as is and `spoilt`: what, distance, images."""
    from ganseg.devices import make_fabric
    from ganseg.evaluation import described, random_network, relative_distance

    fabric, half = make_fabric("cpu", precision="32-true"), len(images) // 2
    real = described(images[:half], random_network(), fabric)
    rows = [(what, relative_distance(real, described(other, random_network(), fabric)), half)
            for what, other in spoilt(np.asarray(images[half : 2 * half])).items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["what", "distance", "images"])


def comparison_rows(
    test: Split, found: Mapping[str, np.ndarray], few: Sequence[int], photographs: bool
) -> dict[str, np.ndarray]:
    """Rows for `figures.image_rows`, one a method: parts over images `few`, alone without `photographs`."""
    images, few = np.asarray(test.images), np.asarray(few)
    truth = test.parts if test.parts is not None else test.foreground
    rows = {"image": images[few]} if photographs else {}
    for name, labels in found.items():
        chosen = np.asarray(labels)[few]
        alone = pictures.colour_labels(chosen)
        rows[name] = pictures.overlay(images[few], chosen, 0.75) if photographs else alone
    return rows if truth is None else rows | {"truth": pictures.colour_labels(truth[few])}
