"""Figures have the panels they promise; showing one writes its files and says what it is."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ganseg import figures, pictures
from ganseg.config import GeneratorConfig
from ganseg.files import UserError
from ganseg.generator import Generator

RUN = SimpleNamespace(provenance={"scale": "tiny", "data": "synthetic-bird", "seed": 3, "device": "a device",
                                  "commit": "0123456789abcdef", "key": "feed"})  # fmt: skip


@pytest.fixture(scope="module")
def scenes() -> figures.SceneArrays:
    """Five scenes of an untrained generator with three parts."""
    torch.manual_seed(0)
    small = dict(noise_dim=8, embedding_dim=4, spade_hidden=4, margin=2, block_sizes=(8, 16), block_widths=(8, 4))
    generator = Generator(GeneratorConfig(parts=3, **small)).eval()
    return figures.scene_arrays(generator, generator.noise(5, torch.Generator().manual_seed(0)))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What was displayed, instead of displaying it."""
    outputs: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw=False: outputs.append(bundle))
    return outputs


def test_scenes_are_arrays_with_foreground_and_background_painted_alone(scenes: figures.SceneArrays) -> None:
    assert scenes.points.shape == (5, 3, 4, 2) and scenes.heatmaps.shape == (5, 3, 16, 16)
    assert scenes.image.shape == scenes.foreground.shape == (5, 16, 16, 3) and scenes.image.dtype == np.uint8
    assert not np.array_equal(scenes.foreground, scenes.background)
    np.testing.assert_allclose(scenes.masks.sum(axis=1), 1, atol=1e-5)


def test_blend_gives_each_part_its_colour_and_the_rest_to_the_background() -> None:
    maps = np.zeros((1, 2, 1, 4), np.float32)
    maps[0, 0, 0, 0] = maps[0, 1, 0, 1] = maps[0, :, 0, 3] = 1
    background, first, second = pictures.part_colours(2).astype(int)
    expected = [first, second, background, np.rint((first + second) / 2)]
    np.testing.assert_allclose(figures.blend(maps)[0, 0].astype(int), expected, atol=1)


def test_generation_strip_has_a_row_a_sample_and_a_column_a_step(scenes: figures.SceneArrays) -> None:
    axes = figures.generation_strip(scenes, count=3).axes
    assert len(axes) == 3 * 6
    assert [ax.get_title() for ax in axes[:6]] == [
        "points and parts", "heatmaps", "masks", "foreground", "background", "image"]  # fmt: skip
    assert len(axes[0].patches) == 3  # a circle for each part


def test_points_figure_draws_a_circle_of_each_scale_at_each_centre(scenes: figures.SceneArrays) -> None:
    axes = figures.points_figure(scenes, count=2).axes
    assert len(axes) == 2
    circles = [[(*circle.center, circle.radius) for circle in ax.patches] for ax in axes]
    expected = np.concatenate([scenes.centres[:2], scenes.scales[:2, :, None]], axis=2)
    np.testing.assert_allclose(circles, expected, rtol=1e-6)


@pytest.mark.parametrize("truth", [False, True])
def test_segmentation_figure_has_the_truth_only_where_there_is_one(truth: bool) -> None:
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.ones((4, 8, 8), np.uint8)
    figure = figures.segmentation_figure(images, labels, labels if truth else None)
    names = [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel()]
    assert names == ["image", "parts found", "both"] + ["truth"] * truth
    assert len(figure.axes) == 4 * len(names)


def test_learning_curves_leave_out_what_the_history_does_not_have() -> None:
    history = pd.DataFrame({"stage": ["gan", "gan", "segmenter"], "step": [1, 2, 1], "g": [1.0, 2.0, None],
                            "foreground": [0.5, 0.4, None], "area": [None] * 3})  # fmt: skip
    axes = figures.learning_curves(history).axes
    assert [ax.get_title() for ax in axes] == ["Adversarial losses (Eq. 13, 14)", "Foreground of generated masks"]
    np.testing.assert_array_equal(axes[0].lines[0].get_xydata(), [[1, 1], [2, 2]])


def test_distributions_and_curves_draw_every_part_and_run(scenes: figures.SceneArrays) -> None:
    places = figures.places_figure(scenes.centres, scenes.scales).axes
    assert len(places) == 2 and [label.get_text() for label in places[1].get_xticklabels()] == ["1", "2", "3"]


def test_each_seed_has_a_line_in_the_colour_of_its_model() -> None:
    history = pd.DataFrame({"stage": "gan", "step": [10, 20, 20], "foreground": [0.8, 0.2, None]})
    runs = [("a", 0), ("a", 1), ("b", 0)]
    curves = [figures.foreground_history(SimpleNamespace(history=history, provenance={"seed": s}), m) for m, s in runs]
    ax = figures.foreground_curves(pd.concat(curves)).axes[0]
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert len(drawn) == 3 and drawn[0].get_color() == drawn[1].get_color() != drawn[2].get_color()
    np.testing.assert_array_equal(drawn[0].get_xydata(), [[0.5, 0.8], [1.0, 0.2]])


def fields(bundle: dict[str, Any]) -> dict[str, str]:
    """The attributes of a displayed figure or table that matter."""
    return dict(re.findall(r'(alt|download|src|href)="([^"]*)"', bundle["text/html"]))


def test_show_writes_picture_and_data_and_displays_them(
    tmp_path: Path, scenes: figures.SceneArrays, shown: list[dict[str, str]]
) -> None:
    data = pd.DataFrame({"x": [0.5], "name": ["a, b"]})
    told = {"caption": "Points & parts.", "alt": "Two panels with points."}
    figures.show(figures.points_figure(scenes, 2), "01_points", data=data, runs=[RUN], results=tmp_path, **told)
    folder = tmp_path / "tiny" / "figures"
    assert sorted(path.name for path in folder.iterdir()) == ["01_points.csv", "01_points.png"]
    assert min(Image.open(folder / "01_points.png").info["dpi"]) > 149
    pd.testing.assert_frame_equal(pd.read_csv(folder / "01_points.csv"), data)
    (bundle,) = shown
    found = fields(bundle)
    assert found["alt"] == "Two panels with points." and found["download"] == "01_points.csv"
    assert base64.b64decode(found["src"].split(",")[1]) == (folder / "01_points.png").read_bytes()
    assert base64.b64decode(found["href"].split(",")[1]) == (folder / "01_points.csv").read_bytes()
    assert "<figcaption>Points &amp; parts." in bundle["text/html"]
    assert (
        "Scale tiny; data synthetic-bird; seed 3; device a device; commit 0123456789; run feed." in bundle["text/html"]
    )
    assert bundle["text/plain"] == "Figure: Two panels with points."


def test_show_refuses_a_figure_without_words_or_origin(tmp_path: Path, scenes: figures.SceneArrays) -> None:
    figure, nothing = figures.points_figure(scenes, 1), pd.DataFrame()
    with pytest.raises(UserError, match="alt text"):
        figures.show(figure, "a", caption="A caption.", alt="points.png", data=nothing, runs=[RUN], results=tmp_path)
    with pytest.raises(UserError, match="scale"):
        figures.show(figure, "a", caption="A caption.", alt="A panel with points.", data=nothing, results=tmp_path)
    assert not list(tmp_path.iterdir())


def test_show_table_writes_the_unrounded_data(tmp_path: Path, shown: list[dict[str, str]]) -> None:
    frame, data = pd.DataFrame({"Method": ["m"], "IoU": ["0.71"]}), pd.DataFrame({"iou": [0.7123]})
    figures.show_table(frame, "t", caption="A table.", data=data, notes=["A note."], runs=[RUN], results=tmp_path)
    assert (tmp_path / "tiny" / "tables" / "t.csv").read_text() == "iou\n0.7123\n"
    (bundle,) = shown
    assert "<caption>A table.</caption>" in bundle["text/html"] and "A note." in bundle["text/html"]
    assert base64.b64decode(fields(bundle)["href"].split(",")[1]) == b"iou\n0.7123\n"
    assert "seed 3" in bundle["text/html"] and "0.71" in bundle["text/plain"]


@pytest.mark.parametrize(
    ("checks", "testable", "word"),
    [({"a": True, "b": True}, True, "Reproduced"), ({"a": True, "b": False}, True, "Not reproduced"),
     ({"a": True}, False, "Not testable at this scale")],
)  # fmt: skip
def test_a_verdict_follows_from_its_checks(
    checks: dict[str, bool], testable: bool, word: str, shown: list[dict[str, str]]
) -> None:
    assert figures.verdict("A claim.", checks, testable, "too short") == word
    (bundle,) = shown
    assert f"Verdict: {word}" in bundle["text/html"] and bundle["text/html"].count("<li>") == len(checks)
    assert ("too short" in bundle["text/html"]) is not testable
