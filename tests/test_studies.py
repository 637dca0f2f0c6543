"""Studies of runs over seeds: intervals, tests of differences, stored samples, and the experiments of the pages."""

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from finished_runs import write_run, write_samples
from scipy import stats

from book.execute import experiments_of
from ganseg import Experiment, ablations, pictures, studies
from ganseg.ledger import evaluate_claims
from ganseg.recipes import resolve
from ganseg.runs import Run, find_runs
from ganseg.studies import FULL, MODELS

PAGES = sorted(path for path in (ROOT / "notebooks").glob("2[0-7]_*.ipynb"))
SIZE = 16


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full model and two ablations with three seeds at laptop, a pair at tiny, and runs that do not belong to them."""
    folder = tmp_path_factory.mktemp("results")
    usage = {"part_usage": [1.0, 1.0, 1.0, 0.04, 0.0, 0.5], "components_per_part": None}
    for seed in range(3):
        write_run(folder, seed=seed, iou=0.8 + 0.01 * seed, components_per_part=1.1)
        worse = {"iou": 0.6 + 0.01 * seed, "components_per_part": 1.9 + 0.1 * seed}
        write_run(folder, "paper+no-concentration", seed=seed, **worse)
        write_run(folder, "paper+no-area", seed=seed, iou=0.8, **usage)
    write_samples(write_run(folder, scale="tiny"), np.ones((12, SIZE, SIZE)))
    write_run(folder, "paper+no-area", scale="tiny", iou=0.1)
    write_run(folder, scale="tiny", parts=4, iou=0.3, train_images=None)  # as an imported one; none has samples but one
    own = {"overrides": {"data.train_limit": 250}, "train_images": 250}
    write_run(folder, scale="tiny", finished="2026-02-02", iou=0.2, **own)
    return folder


@pytest.fixture(scope="module")
def laptop(results: Path) -> Any:
    return studies.settings(results)[0]


@pytest.mark.parametrize(
    ("values", "mean", "reach", "text"),
    [
        ([1.0, 2.0, 3.0, None, np.nan], 2, 4.302653 / np.sqrt(3), "2.000 [-0.484, 4.484]"),
        ([0.5, 0.5], 0.5, 0, "0.500"),
        ([0.25], 0.25, np.nan, "0.250"),
        ([None], np.nan, np.nan, "–"),
    ],
)
def test_interval_is_student_t_of_the_seeds(values: list[Any], mean: float, reach: float, text: str) -> None:
    found = studies.interval(values)  # t of 2 degrees of freedom, deviation 1
    assert found == pytest.approx((mean, mean - reach, mean + reach), abs=1e-5, nan_ok=True) and str(found) == text


@pytest.mark.parametrize(
    ("low", "high", "keys"),
    [(0, 1, "iou collapsed swapped_ends"), (-1, 1, "ari_foreground"), (0, np.inf, "landmark_error vanished_parts")],
)
def test_no_interval_leaves_the_range_of_its_statistic(low: float, high: float, keys: str) -> None:
    random = np.random.default_rng(0)
    for key, count in itertools.product(keys.split(), (2, 3, 5)):
        values = low + random.beta(0.3, 0.3, (2, 20, count)) * (min(high, 9) - low)
        for one, other in values.swapaxes(0, 1):
            found = studies.interval(one, key)
            assert low <= found.low <= found.mean <= found.high <= high
            gap = studies.difference(pd.Series(one), pd.Series(other), key).gap
            assert low - high <= gap.low <= gap.mean <= gap.high <= high - low


def test_a_difference_is_tested_as_scipy_does_in_pairs_and_by_welch() -> None:
    one, other = pd.Series([3.0, 5, 4, 7]), pd.Series([1.0, 2, 4, 3])
    for way, told in (("greater", "higher"), ("less", "lower")):
        paired = stats.ttest_rel(one, other, alternative=way).pvalue
        welch = stats.ttest_ind(one - 1, other, equal_var=False, alternative=way).pvalue
        assert getattr(studies.difference(one, other), told) == pytest.approx(paired)
        assert getattr(studies.difference(one, other, margin=1, paired=False), told) == pytest.approx(welch)
        assert getattr(studies.difference(one, other.set_axis([1, 2, 3, 4]), margin=1), told) == pytest.approx(welch)
    assert studies.difference(one, other).gap.mean == pytest.approx(2.25)


def test_counts_are_tested_exactly_and_one_value_says_nothing() -> None:
    none, all_, some = pd.Series([0] * 5), pd.Series([1] * 5), pd.Series([0, 0, 1, 1, 1])
    assert studies.difference(all_, none, "collapsed").higher == pytest.approx(1 / 252)  # 10 over 5 ways
    assert studies.difference(some, none, "collapsed").higher == pytest.approx(21 / 252)
    assert studies.difference(none, none, "vanished_parts")[1:] == (1, 1)
    assert studies.difference(pd.Series([1.0]), pd.Series([0.0]))[1:] == (1, 1)
    assert studies.difference(all_, none)[1:] == (0, 1) and studies.difference(none, none)[1:] == (1, 1)  # all alike


@pytest.mark.parametrize(
    ("foreground", "gone", "collapsed"), [(0.2, 0, 0), (0.2, 2, 0), (0.2, 3, 1), (0.04, 0, 1), (0.81, 0, 1)]
)
def test_a_run_has_collapsed_where_its_foreground_or_half_of_its_parts_are_gone(tmp_path, foreground, gone, collapsed):
    usage = [0.0] * gone + [1.0] * (6 - gone)
    write_run(tmp_path, foreground_fraction=foreground, part_usage=usage)
    (row,) = studies.measurements(find_runs(tmp_path)).to_dict("records")
    assert (row["collapsed"], row["vanished_parts"]) == (collapsed, gone)


def test_a_study_has_the_usual_runs_of_one_scale_or_all_k_or_those_with_settings_of_their_own(results: Path) -> None:
    tiny = studies.settings(results)[1]
    assert list(zip(tiny["variant"], tiny["iou"], strict=True)) == [("paper+no-area", 0.1), (FULL, 0.5)]
    (every,) = studies.several(results, "synthetic-bird", by="parts", parts=0)
    assert list(every["parts"]) == [4, 6] and list(every["generated_vanished"].isna()) == [True, False]
    (limits,) = studies.several(results, by="train_images", overrides=["data.train_limit"])
    assert list(zip(limits["train_images"], limits["iou"], strict=True)) == [(250, 0.2), (10000, 0.5)]


def test_the_newest_runs_of_todays_recipe_are_compared(tmp_path: Path) -> None:
    old = {"losses": resolve("synthetic-bird", FULL, "laptop").losses.model_dump() | {"lambda_area": 7.0}}
    for seed in range(3):
        write_run(tmp_path, seed=seed, iou=0.5, key="old", finished="2026-03-03", config=old)
        write_run(tmp_path, "paper+no-area", seed=seed, iou=0.4, config=old if seed else None)
    for iou, key, day in ((0.7, "first", "2025-12-31"), (0.8, "again", "2026-01-01")):
        write_run(tmp_path, iou=iou, key=key, finished=day)
    (frame,) = studies.settings(tmp_path)
    rows = zip(frame["variant"], frame["seed"], frame["iou"], strict=True)
    assert list(rows) == [("paper+no-area", 0, 0.4), (FULL, 0, 0.8)]
    row = evaluate_claims(tmp_path).set_index("id").loc["losses-prevent-collapse"]
    assert {side.rows[0]["iou"] for check in row["checks"] for side in check.sides if side.rows} == {0.4, 0.8}


def test_studies_are_in_the_papers_order_and_the_best_scale_comes_first(results: Path) -> None:
    frames = studies.several(results, "synthetic-bird", MODELS)
    assert [studies.place(frame) for frame in frames] == [f"synthetic-bird, scale {s}" for s in ("laptop", "tiny")]
    order = [list(MODELS).index(variant) for variant in frames[0]["variant"]]
    assert order == sorted(order) and set(frames[0]["seed"]) == {0, 1, 2}
    assert studies.several(results, "synthetic-bird", ["paper+no-points"]) == []
    assert studies.place(studies.most_seeds(frames[::-1])) == "synthetic-bird, scale laptop"


def test_samples_are_counted_as_parts_are(results: Path, tmp_path: Path) -> None:
    labels = np.zeros((12, SIZE, SIZE), np.uint8)
    labels[:, 2:4, 2:4], labels[:, 2:4, 8:10], labels[0, 8:12, 8:12] = 1, 1, 2  # two pieces; one image has part 2
    folder = write_run(tmp_path, parts=3, part_usage=[1, 0.06, 0.04], foreground_fraction=0.1)
    write_samples(folder, labels)
    counts = Run(folder).counts
    assert counts["generated_vanished"] == 1 and counts["vanished_parts"] == 1
    assert counts["generated_pieces"] == pytest.approx((12 * 2 + 1) / 13)
    assert counts["generated_foreground"] == pytest.approx((12 * 8 + 16) / labels.size)


def test_a_run_is_read_once_and_anew_where_a_file_of_it_changes(tmp_path: Path) -> None:
    find = lambda: find_runs(tmp_path)[0]
    write_run(tmp_path, iou=0.4)
    first = find()
    assert find() is first and first.metrics["iou"] == 0.4
    write_run(tmp_path, iou=0.25)
    assert find() is not first and find().metrics["iou"] == 0.25


def test_numbers_out_of_their_range_are_seen(laptop: Any) -> None:
    assert studies.in_range([laptop])
    assert not studies.in_range([laptop, laptop.assign(iou=1.1)])
    assert not studies.in_range([laptop.assign(landmark_error=-0.1)])


def test_tables_have_a_row_a_model_with_intervals_and_their_csv_has_every_value(results: Path) -> None:
    frames = studies.several(results, "synthetic-bird", MODELS)
    shown = studies.table(frames)
    assert list(shown["Model"]) == ["no concentration loss", "no area loss", "full model", "no area loss", "full model"]
    assert shown["Foreground IoU ↑"][2] == "0.810 [0.785, 0.835]" and shown["Foreground IoU ↑"][4] == "0.500"
    assert shown["Pieces per part, found ↓"][1] == "–" and list(shown["Seeds"]) == [3, 3, 3, 1, 1]
    values = studies.summary(frames).set_index(["scale", "variant", "statistic"])["values"]
    assert values["laptop", FULL, "iou"] == pytest.approx([0.8, 0.81, 0.82])


def test_configurations_of_ablated_models_differ_in_what_is_switched_off_alone() -> None:
    runs = {variant: SimpleNamespace(config=Experiment(variant=variant).config) for variant in MODELS}
    changed = {variant: set(ablations.differences(runs[FULL], run)["Setting"]) for variant, run in runs.items()}
    assert changed["paper+no-points-own-centres"] == {"generator.use_points"}
    assert changed["paper+no-points"] == {"generator.use_points", "losses.lambda_con", "losses.lambda_area"}
    assert changed["paper+no-background"] == {"generator.separate_background"}
    assert changed["paper+no-concentration"] == {"losses.lambda_con"}
    assert changed["paper+no-area"] == {"losses.lambda_area"}
    assert changed["paper+no-points+no-background"] == changed["paper+no-points"] | changed["paper+no-background"]


def test_switched_off_inputs_reach_nothing() -> None:
    named = {"full": FULL, "no points": "paper+no-points", "no background": "paper+no-background"}
    runs = {name: SimpleNamespace(config=Experiment(variant=variant).config) for name, variant in named.items()}
    answers = ablations.answers(runs)
    assert answers.loc[("full", "point"), "masks"] and not answers.loc[("no points", "point")].any()
    assert answers.loc[("full", "position"), "image"] and not answers.loc[("no background", "position")].any()
    assert not answers.loc[("full", "background"), "foreground"]
    assert answers.loc[("no background", "background"), "foreground"]


def test_figures_have_a_row_a_model_and_a_panel_a_statistic(laptop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(ablations, "show", lambda figure, name, data, **told: shown.append((figure.axes, data)))
    images, labels = np.zeros((12, 8, 8, 3), np.uint8), np.zeros((2, 12, 8, 8), int)
    labels[1, :, :4] = 1
    runs = [SimpleNamespace(samples=lambda found=found: (images, found)) for found in labels]
    frame = pd.DataFrame({"variant": ["paper+no-points", FULL], "run": runs, "data": "drawn", "scale": "tiny"})
    ablations.show_samples(frame, "a")
    ablations.show_statistics([laptop], "b", ["iou", "components_per_part"])  # one has no value
    (axes, data), (panels, _) = shown
    assert [ax.get_ylabel() for ax in axes[::10]] == ["no points", "full model"] and len(axes) == 20
    image, masks = (ax.images[0].get_array() for ax in axes[10:12])
    tint = np.rint(ablations.TINT * pictures.COLOURS[1].astype(float))
    assert not image.any() and not masks[4:].any() and (np.abs(masks[:4].astype(float) - tint) <= 1).all()
    assert [ax.get_title() for ax in panels if ax.get_visible()] == ["Foreground IoU ↑", "Pieces per part, found ↓"]
    assert [label.get_text() for label in panels[0].get_yticklabels()][-1] == "full model"
    assert dict(data.groupby("model")["share"].max()) == {"full model": 0.5, "no points": 0} and len(data) == 24


# ---- the pages and the graph


@pytest.mark.parametrize("scale", ["tiny", "laptop", "gpu", "paper"])
def test_the_graph_trains_what_the_pages_read(scale: str) -> None:
    kind = lambda experiment: (experiment.variant, experiment.config.generator.parts, *experiment.overrides.items())
    needed = lambda page: {kind(Experiment(**row)) for row in experiments_of(page, scale=scale)}
    reading, *ablated, full = [(variant, 6) for variant in MODELS]
    wanted = {number: {full, one} for number, one in zip(("20", "21", "22", "23", "24"), ablated, strict=True)}
    wanted["20"].add(reading)
    wanted |= {"25": {reading, *ablated, full}, "26": {full, (FULL, 4), (FULL, 8)}}
    wanted["27"] = {full, (FULL, 6, ("data.train_limit", 1000))}
    assert {page.stem[:2]: needed(page) for page in PAGES} == wanted
