"""What the pages on ablations show (section 4.6): settings that differ, Fig. 9, statistics of several studies.

`where`, in all `show_*`: `results` and `scale`, as of `page.show`.
"""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from ganseg import metrics, pictures, plots
from ganseg.generator import Generator
from ganseg.page import answer, show, show_table
from ganseg.runs import Run
from ganseg.studies import FULL, place, sample_rows, summary, table
from ganseg.tables import BLANK
from ganseg.titles import HEADS, MODELS, TITLES

TINT = 0.62  # how much of a part's pixel is the part's colour


def differences(full: Run, ablated: Run) -> pd.DataFrame:
    """The settings in which the configurations of two runs differ: columns Setting, Full model, Ablated."""
    one, other = (pd.json_normalize(run.config.model_dump()).iloc[0] for run in (full, ablated))
    text = lambda value: f"{value:.4g}" if isinstance(value, float) else str(value)
    lines = [(name, text(one[name]), text(other[name])) for name in one.index.drop("seed") if one[name] != other[name]]
    return pd.DataFrame(lines, columns=["Setting", "Full model", "Ablated"])


def show_differences(full: Run, ablated: Run, name: str, **where: Any) -> None:
    """Display `differences` as a table."""
    caption = "Every setting in which the configurations of the two models differ."
    show_table(differences(full, ablated), name, runs=[full, ablated], caption=caption, **where)


def answers(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Whether the outputs of a freshly initialised generator change when the sign of one of its noises is flipped.

    A row for each run of `runs`, by name, and noise; columns masks, foreground, background and image, bool.
    """
    outputs, lines = ("masks", "foreground", "background", "image"), {}
    for name, run in runs.items():
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            generator = Generator(run.config.generator).eval()
            noise = generator.noise(1)
            plain = generator(noise)
            for source, value in noise._asdict().items():
                other = generator(noise._replace(**{source: -value}))
                lines[name, source] = {o: not torch.equal(getattr(plain, o), getattr(other, o)) for o in outputs}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(index=["model", "noise"])


def show_answers(answers: pd.DataFrame, name: str, **where: Any) -> None:
    """Display `answers` as a table."""
    words = answers.replace({True: "yes", False: "no"}).reset_index().rename(columns=str.capitalize)
    show_table(words, name, caption="Which outputs of an untrained generator change with which of its noises.", **where)


def named(value: Any, by: str) -> str:
    """How pages call a model: by its variant, or by the value of what was changed."""
    return MODELS.get(value, f"{HEADS[by]}: {value}")


def firsts(frame: pd.DataFrame, by: str) -> dict[str, Run]:
    """The first run of each value of `by`, under the model's name."""
    first = frame.drop_duplicates(by)
    return {named(value, by): run for value, run in zip(first[by], first["run"], strict=True)}


def show_answer(outcomes: Mapping[str, str], frame: pd.DataFrame, by: str = "variant") -> None:
    """Display as the page's answer: how many claims have which verdict; IoU and samples of each model."""
    words = ", ".join(f"{count} {word.lower()}" for word, count in pd.Series(outcomes).value_counts().items())
    runs, found = firsts(frame, by), summary([frame], by, ["iou"])
    found = found.sort_values(by, key=lambda models: models != FULL, kind="stable")  # whose number stands on top
    told = [f"{row.mean:.3f} ({named(getattr(row, by), by)}, n = {row.n})" for row in found.itertuples()]
    answer(
        f"Claims: {words}",
        f"{found['mean'].iloc[0]:.3f}" if told else BLANK,
        f"foreground IoU on {place(frame)}: {'; '.join(told) or 'no labels to measure it by'}.",
        {textwrap.fill(name, 15): sample_rows(run)["its parts"] for name, run in runs.items()},
        f"Rows of eight generated images with their masks over them: {', '.join(runs)}.",
    )


def show_samples(frame: pd.DataFrame, name: str, by: str = "variant", **where: Any) -> None:
    """Display Fig. 9: a row for the first run of each value of `by`, samples from the same noise for all.

    Of each sample the image, and its masks over it in grey; as numbers the share of the image of each part.
    """
    runs, pairs, lines = firsts(frame, by), {}, []
    rows = {model: run.samples() for model, run in runs.items()}  # images (N, H, W, 3) and labels (N, H, W)
    parts = max(1, *(int(labels.max(initial=0)) for _, labels in rows.values()))
    for model, (images, labels) in rows.items():
        grey = np.stack([np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in images])
        masks = pictures.overlay(grey, labels, TINT, contour=0)
        pairs[model] = np.stack([images, masks], axis=1).reshape(-1, *images.shape[1:])  # (2 N, H, W, 3)
        shares = np.ndenumerate(metrics.part_areas(labels, parts))
        lines += [(model, sample + 1, part + 1, share) for (sample, part), share in shares]
    figure = plots.image_rows(pairs, columns=10)
    figure.set_figheight(0.3 + 0.82 * len(rows))  # less than square panels of the full width would need
    places = np.reshape(figure.axes, (len(rows), -1))
    for ax in places[:, 0]:
        ax.set_ylabel(textwrap.fill(ax.get_ylabel(), 13), rotation=0, ha="right", va="center", fontsize=9.5)
    for number, ax in enumerate(places[0, ::2], 1):
        ax.set_title(f"sample {number}", loc="left", fontsize=9, color=plots.INK)
    caption = f"{place(frame)}: images from the same noise for all models, and their masks in colour over them in grey."
    alt = f"Rows of generated images, each with its part masks beside it; from top to bottom: {', '.join(rows)}."
    data = pd.DataFrame(lines, columns=["model", "sample", "part", "share"]).round(5)
    show(figure, name, runs=[*runs.values()], data=data, **where, caption=caption, alt=alt)


def show_foreground(frame: pd.DataFrame, name: str, **where: Any) -> None:
    """Display the generated foreground through stage 1 of every run of a study."""
    figure, curves = plots.foreground_curves(zip(frame["variant"].map(MODELS), frame["run"], strict=True))
    show(figure, name, runs=list(frame["run"]), data=curves.round(4), **where,
         caption=f"{place(frame)}: share of the generated images that the parts cover, through stage 1.",
         alt="Lines of the generated foreground fraction over the first training stage: a colour for each model, "
         "a line for each seed.")  # fmt: skip


def show_numbers(frames: Sequence[pd.DataFrame], name: str, by: str = "variant", **where: Any) -> None:
    """Display the means and intervals of all statistics of several studies."""
    show_table(table(frames, by), name, data=summary(frames, by), runs=list(pd.concat(frames)["run"]), **where,
               caption="Means over seeds, with their 95 % intervals where there are several; arrows point to the "
               "better side. A dash: the data has no such labels, or nothing was found to measure.")  # fmt: skip


def show_statistics(frames: Sequence[pd.DataFrame], name: str, keys: Sequence[str], by: str = "variant",
                    **where: Any) -> None:  # fmt: skip
    """Display a panel for each of the statistics `keys` that the studies have, a colour a study: the runs of each value
    of `by`, their mean and its interval."""
    keys = [key for key in keys if any(key in frame for frame in frames)]
    found, places = summary(frames, by, keys), [place(frame) for frame in frames]
    names, rows = list(dict.fromkeys(found[by])) if by == "variant" else sorted(set(found[by])), -(-len(keys) // 3)
    figure = plots.new_figure(rows * (0.75 + 0.27 * len(names)) + 0.3)
    axes, colours = figure.subplots(rows, 3, squeeze=False, sharey=True).flat, plots.line_colours(len(frames))
    for ax, key in itertools.zip_longest(axes, keys):
        ax.set_visible(key is not None)
        for row in found[found["statistic"] == key].to_dict("records"):
            study = places.index(f"{row['data']}, scale {row['scale']}")
            y = names.index(row[by]) + 0.4 * ((study + 0.5) / len(frames) - 0.5)
            ax.scatter(row["values"], [y] * row["n"], s=9, color=colours[study], alpha=0.6, zorder=3)
            plots.whisker(ax, row | {"side": "right", "seeds": row["n"]}, y, colours[study])
        plots.dress(ax, title=TITLES[key].arrowed if key else "", y="" if by == "variant" else HEADS[by])
        ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_yticks(range(len(names)), [textwrap.fill(MODELS.get(name, str(name)), 20) for name in names])
    ax.set_ylim(len(names) - 0.5, -0.5)
    marks = [Line2D([], [], marker="D", color=c, label=name) for name, c in zip(places, colours, strict=True)]
    plots.legend(figure, handles=marks, loc="outside lower center", ncols=3)
    runs = [run for frame in frames for run in frame["run"]]
    show(figure, name, runs=runs, data=found, **where,
         caption="Runs (dots), their mean (diamond) and its 95 % interval (bar), within the statistic's range.",
         alt=f"Dots, diamonds and bars for each {HEADS[by].lower()}, a colour for each scale and data set; "
         f"a panel for each of: {'; '.join(TITLES[key].title for key in keys)}.")  # fmt: skip
