"""What the shared figures draw: a colour a part, a line a run, and nothing that is not there."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from test_equations import SMALL

from ganseg import pictures, plots
from ganseg.generator import Generator, Scene


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(SMALL).eval()


@pytest.fixture(scope="module")
def scene(generator: Generator) -> Scene:
    with torch.no_grad():
        return generator(generator.noise(2, torch.Generator().manual_seed(0)))


def test_blend_gives_each_part_its_colour_and_the_rest_to_the_background() -> None:
    maps = np.zeros((1, 2, 1, 4), np.float32)
    maps[0, 0, 0, 0] = maps[0, 1, 0, 1] = maps[0, :, 0, 3] = 1
    background, first, second = pictures.COLOURS[:3].astype(int)
    expected = [first, second, background, np.rint((first + second) / 2)]
    np.testing.assert_allclose(plots.blend(torch.from_numpy(maps))[0, 0].astype(int), expected, atol=1)


def test_a_scene_is_drawn_where_its_parts_are_and_painted_in_layers(generator: Generator, scene: Scene) -> None:
    ax = plots.new_figure(2).subplots()
    plots.draw_parts(ax, scene, 1)
    circles = [(*circle.center, circle.radius) for circle in ax.patches]
    np.testing.assert_allclose(circles, torch.cat([scene.centres[1], scene.scales[1, :, None]], 1), rtol=1e-6)
    alone = plots.painted(generator, scene)
    assert list(alone) == ["foreground", "background", "image"] and alone["foreground"].shape == (2, 16, 16, 3)
    assert not np.array_equal(alone["foreground"], alone["background"])
    np.testing.assert_array_equal(alone["image"], pictures.to_pictures(scene.image))


def test_features_are_coloured_by_what_they_are_and_not_by_their_sign() -> None:
    figure, (axes,) = plots.panels(1, 2, 1.0)
    maps = torch.zeros(5, 4, 4)
    maps[2, :, 2:] = 1
    for ax, sign in zip(axes, (1, -1), strict=True):
        plots.features(ax, sign * maps, margin=1)
    left, right = (np.asarray(ax.images[0].get_array()) for ax in axes)
    assert np.ptp(left[:, [0, 3]], axis=1).max() > 0.1 and np.allclose(left[:, :2], left[0, 0])
    np.testing.assert_allclose(right, left[:, ::-1], atol=1e-6)
    assert axes[0].get_xlim() == (-2, 2)  # the margin is as wide as the image


def test_learning_curves_leave_out_what_the_history_does_not_have() -> None:
    stages = {"stage": ["gan", "gan", "segmenter"], "step": [1, 2, 1]}
    history = pd.DataFrame(stages | {"d": [3.0, 4.0, None], "g": [1.0, 2.0, None], "foreground": [0.5, 0.4, None]})
    axes = plots.learning_curves(history.assign(area=np.nan)).axes
    assert [ax.get_title() for ax in axes] == ["Adversarial losses (Eq. 13, 14)", "Foreground of generated masks"]
    assert [line.get_label() for line in axes[0].lines] == ["generator", "discriminator"]
    np.testing.assert_array_equal(axes[0].lines[0].get_xydata(), [[1, 1], [2, 2]])


def test_each_seed_has_a_line_in_the_colour_of_its_model() -> None:
    history = pd.DataFrame({"stage": "gan", "step": [10, 20, 20], "foreground": [0.8, 0.2, None]})
    runs = [("a", 0), ("a", 1), ("b", 0)]
    runs = [(model, SimpleNamespace(history=history, provenance={"seed": seed})) for model, seed in runs]
    figure, frame = plots.foreground_curves(runs)
    ax = figure.axes[0]
    drawn = [line for line in ax.lines if len(line.get_xdata())]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    assert len(drawn) == 3 and drawn[0].get_color() == drawn[1].get_color() != drawn[2].get_color()
    assert list(frame["progress"]) == [0.5, 1.0] * 3
    np.testing.assert_array_equal(drawn[0].get_xydata(), [[0.5, 0.8], [1.0, 0.2]])


def test_keypoints_that_are_not_visible_are_left_out() -> None:
    keypoints = pd.DataFrame({"image": list("aaabbb"), "visible": [True, False, True] + 3 * [False]})
    keypoints = keypoints.assign(x=4.0, y=4.0, x_predicted=5.0, y_predicted=5.0)
    axes = plots.keypoints_figure(np.zeros((2, 8, 8, 3), np.uint8), keypoints).axes
    drawn = [[np.ma.getdata(marks.get_offsets()) for marks in ax.collections] for ax in axes]
    assert np.isnan(drawn[1]).all()
    for marks, place in zip(drawn[0], (4, 4, 5), strict=True):  # rings at the truth, dots at the prediction
        assert np.isnan(marks[1]).all()
        np.testing.assert_allclose(marks[::2], (place + 0.5) * 2 / 8 - 1)  # a pixel's centre


def test_a_whisker_reaches_over_its_interval_and_is_hollow_without_seeds() -> None:
    ax = plots.new_figure(2).subplots()
    plots.whisker(ax, {"side": "left", "mean": 2.0, "low": 1.0, "high": 4.0, "seeds": 3}, 0.5)
    plots.whisker(ax, {"side": "right", "mean": 3.0, "low": np.nan, "high": np.nan, "seeds": 0}, 0.5)
    assert [list(line.get_xdata()) for line in ax.lines] == [[1.0, 4.0], [2.0], [3.0]]
    assert [line.get_fillstyle() for line in ax.lines[1:]] == ["full", "none"]
