"""The method chapters' figures and probes: they show what the network made, and measure what they say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ganseg import figures
from ganseg.chapters import figures_method, figures_modules, loss_games, probes
from ganseg.config import GeneratorConfig, LossConfig
from ganseg.generator import Generator, Noise
from ganseg.layers import pixel_grid
from ganseg.points import heatmaps

CONFIG = GeneratorConfig(
    parts=3,
    noise_dim=8,
    embedding_dim=4,
    spade_hidden=4,
    margin=2,
    block_sizes=(8, 16),
    block_widths=(8, 6),
)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return probes.random_generator(CONFIG)


@pytest.fixture(scope="module")
def noise(generator: Generator) -> Noise:
    return generator.noise(3, torch.Generator().manual_seed(0))


def test_a_trace_ends_in_what_the_level_returns(generator: Generator, noise: Noise) -> None:
    with torch.no_grad():
        scene = generator(noise)
    level = generator.foreground_generator
    trace = probes.traced(level, scene.masks[:, 1:], scene.embeddings, scene.centres)
    torch.testing.assert_close(trace.blocks[-1], scene.foreground)
    assert [w.shape[1:] for w in trace.conditions] == [(4, 12, 12), (4, 20, 20)]
    assert trace.start.shape == (3, 8, 12, 12)
    assert not any(block._forward_hooks for block in level.blocks)


def test_moved_by_nothing_is_the_generators_own_scene(generator: Generator, noise: Noise) -> None:
    with torch.no_grad():
        scene = generator(noise)
    for mine, own in zip(probes.moved(generator, noise, (0, 0)), scene, strict=True):
        torch.testing.assert_close(mine, own)


def test_moving_one_part_leaves_the_others_and_the_background(generator: Generator, noise: Noise) -> None:
    still, moved = probes.moved(generator, noise, (0, 0)), probes.moved(generator, noise, (0.3, -0.1), part=1)
    step = moved.centres - still.centres
    torch.testing.assert_close(step[:, 1], torch.tensor([0.3, -0.1]).expand(3, 2))
    assert step[:, [0, 2]].abs().max() == 0 and torch.equal(moved.background, still.background)


def test_the_margin_makes_masks_equivariant_and_its_absence_does_not(generator: Generator, noise: Noise) -> None:
    made = {f"margin {m}": probes.altered(generator, margin=m) for m in (0, 10)}
    errors = probes.shift_errors(made, noise, [(2, 0), (0, -4)]).groupby(["setting", "layer"])["largest"].max()
    assert errors["margin 10", "masks"] < 1e-5 and errors["margin 0", "masks"] > 1e-3


def test_batch_statistics_are_taken_where_the_weights_have_none(generator: Generator, noise: Noise) -> None:
    batch = probes.altered(generator, noise, margin=10, adain_norm="batch")
    instance = probes.altered(generator, margin=10)
    errors = probes.shift_errors({"batch": batch, "instance": instance}, noise, [(2, 0)])
    largest = errors[errors["layer"] == "background"].set_index("setting")["largest"]
    assert largest["batch"] < 1e-5 and largest["instance"] > 1e-4


def test_a_mask_made_of_heatmaps_follows_its_points_all_the_way(
    generator: Generator, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bumps(parts) -> torch.Tensor:
        maps = heatmaps(generator.grid, parts.centres, torch.full_like(parts.scales, 0.3))
        return torch.cat([1 - maps.amax(dim=1, keepdim=True), maps], dim=1)

    monkeypatch.setattr(generator.mask_generator, "forward", bumps)
    centred = noise._replace(point=torch.zeros_like(noise.point))  # all parts in the middle
    ways = probes.responses(generator, centred, (-0.2, 0.2))
    gain = (ways["travelled"] / ways["step"]).groupby(ways["mask"]).median()
    assert gain["of the moved part"] == pytest.approx(1, abs=0.05) and gain["of the others"] == 0


def test_agreement_counts_pixels_of_each_label() -> None:
    found, made = torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([[[0, 1], [2, 2]]])
    table = probes.agreement(found, made, 2).set_index("label")
    np.testing.assert_allclose(table["iou"], [1, 0.5, 0.5])
    np.testing.assert_allclose(table["made"], [0.25, 0.25, 0.5])


def test_concentration_pulls_inside_its_circle_and_area_pulls_small_masks_alone() -> None:
    grid, masks = pixel_grid(16, 0), torch.ones(1, 2, 16, 16)
    masks[:, 1] = 0.01
    centres, scales = torch.zeros(1, 2, 2), torch.full((1, 2), 0.4)
    pulls = loss_games.pulls(masks, centres, scales, grid)
    assert pulls["concentration"][0, 0, 8, 8] > 0 > pulls["concentration"][0, 0, 0, 0]
    assert (pulls["area"][0, 0] == 0).all() and (pulls["area"][0, 1] == 1).all()


def test_free_masks_shrink_below_their_heatmaps_only_without_the_area_loss() -> None:
    torch.manual_seed(0)
    grid, centres, scales = (
        pixel_grid(16, 0),
        torch.tensor([[[-0.3, 0.0], [0.4, 0.1]]]),
        torch.full((1, 2), 0.35),
    )
    wanted = heatmaps(grid, centres, scales).sum(dim=(2, 3))[0]
    start, ends = torch.randn(1, 3, 16, 16), {}
    for weight in (0.0, 0.2):
        descent = loss_games.descend(start, centres, scales, grid, 3.0, weight, keep=(0, 300))
        assert descent.frames.shape == (2, 2, 16, 16) and len(descent.areas) == 2 * 301
        ends[weight] = descent.frames[-1].sum(dim=(1, 2)) / wanted
    assert ends[0.0].max() < 0.8 and ends[0.2].min() > 0.9


def test_the_one_point_game_ends_only_with_the_cited_penalty() -> None:
    def distance(**fields: object) -> float:
        game = loss_games.one_point_game(LossConfig(**{"lambda_gp": 0.5, "penalty_every": 1, **fields}), steps=200)
        return float(game[["theta", "psi"]].iloc[-1].abs().max())

    assert distance() < 0.02
    assert distance(lambda_gp=0.0) > 0.1 and distance(gradient_penalty="unit_norm") > 0.1


def test_the_figures_of_the_three_modules_have_two_streams(generator: Generator, noise: Noise) -> None:
    scenes, one = figures.scene_arrays(generator, noise), Noise(*(z[:1] for z in noise))
    with torch.no_grad():
        scene = generator(one)
    drawn = {
        "masks $M$": figures_modules.mask_generator_figure(generator, scenes, scene),
        "$F$, painted alone": figures_modules.foreground_figure(generator, scenes, scene.masks, scene),
        "$B$, painted alone": figures_modules.background_figure(generator, scenes, one),
    }
    for title, figure in drawn.items():
        assert len(figure.axes) == 2 * 5 and figure.axes[-1].get_title() == title
        assert len(figure.artists) == 3 + 4 + 2 + title.startswith("masks")  # arrows


def test_feature_colours_follow_the_features_and_not_their_sign() -> None:
    maps = torch.zeros(5, 4, 6)
    maps[2, :, 3:] = 1
    colours = figures_modules.feature_colours(maps)
    assert colours.shape == (4, 6, 3) and (colours[:, 0] != colours[:, 3]).any()
    np.testing.assert_array_equal(colours[:, :3], np.broadcast_to(colours[0, 0], (4, 3, 3)))


def test_mask_table_has_a_panel_for_each_mask(generator: Generator, noise: Noise) -> None:
    scenes = figures.scene_arrays(generator, noise)
    axes = figures_method.mask_table(scenes, count=2).axes
    assert len(axes) == 2 * 6 and [ax.get_title() for ax in axes[2:6]] == [
        "$M_{bg}$",
        "$M_1$",
        "$M_2$",
        "$M_3$",
    ]
    np.testing.assert_array_equal(axes[3].images[0].get_array(), scenes.masks[0, 1])


def test_curves_draw_a_line_for_each_group_in_each_panel() -> None:
    frame = pd.DataFrame(
        {"x": [0, 1] * 4, "y": range(1, 9), "who": list("aabb") * 2, "where": list("pppp") + list("qqqq")}
    )
    axes = figures_method.curves(frame, "x", "y", "who", ("x", "y"), panel="where", log=True).axes
    assert [ax.get_title() for ax in axes] == ["p", "q"] and axes[0].get_yscale() == "log"
    assert [text.get_text() for text in axes[1].get_legend().get_texts()] == ["a", "b"]


def test_untrained_generators_of_one_seed_are_equal_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = (probes.random_generator(CONFIG.model_copy(update={"parts": 2}), seed=5) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_more_lines_than_the_book_has_colours_are_all_drawn_in_colours_of_their_own() -> None:
    frame = pd.DataFrame({"x": [0, 1] * 9, "y": range(18), "who": np.repeat(list("abcdefghi"), 2)})
    (axes,) = figures_method.curves(frame, "x", "y", "who", ("x", "y")).axes
    colours = {handle.get_color() for handle in axes.get_legend().legend_handles}
    assert len(colours) == 9
