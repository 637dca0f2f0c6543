"""The ablations' statistics: intervals, paired comparisons, stored samples, and which experiments the pages ask for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from ganseg import Experiment, UserError, notebooks, pictures
from ganseg.chapters import ablation_study, ablation_tables, failures, figures_ablation
from ganseg.chapters.ablation_study import FULL, MODELS

PAGES = sorted(path for path in (ROOT / "notebooks").glob("2[0-7]_*.ipynb"))
SIZE, PARTS = 16, 3


def sheet(directory: Path, seed: int = 0, parts: int = PARTS, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Write a `samples.png` of random images and labels, and return them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    labels = rng.integers(0, parts + 1, (count, SIZE, SIZE))
    pictures.sample_sheet(images, labels, directory / "samples.png")
    return images, labels


def write_run(results: Path, experiment: Experiment, finished: str = "2025-01-01", **values: Any) -> Path:
    """A finished run without weights, as published ones are."""
    directory = experiment.directory(results)
    directory.mkdir(parents=True)
    overrides = dict(experiment.overrides)
    record = {name: getattr(experiment, name) for name in ("data", "variant", "parts", "seed", "scale", "key")}
    record |= {"overrides": overrides, "finished": finished, "train_images": overrides.get("data.train_limit", 4000)}
    config = experiment.config.replace(
        {"data.size": SIZE, "generator.block_sizes": (8, 16), "generator.block_widths": (8, 8)}
    )
    metrics = {"part_usage": [1.0] * experiment.parts, "iou": 0.5, "components_per_part": 1.0} | values
    for name, content in (("provenance", record), ("config", {"config": config.to_dict()}), ("metrics", metrics)):
        (directory / f"{name}.json").write_text(json.dumps(content))
    sheet(directory, parts=experiment.parts)
    return directory


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Full model and two ablations with three seeds at laptop, a pair at tiny, and runs that do not belong to them."""
    folder = tmp_path_factory.mktemp("results")
    for seed in range(3):
        write_run(folder, Experiment(scale="laptop", seed=seed), iou=0.8 + 0.01 * seed, components_per_part=1.1)
        worse = {"iou": 0.6 + 0.01 * seed, "components_per_part": 1.9 + 0.1 * seed}
        write_run(folder, Experiment(variant="paper+no-concentration", scale="laptop", seed=seed), **worse)
        usage = [1.0, 1.0, 1.0, 0.04, 0.0, 0.5]
        write_run(folder, Experiment(variant="paper+no-area", scale="laptop", seed=seed), iou=0.8, part_usage=usage)
    write_run(folder, Experiment())
    write_run(folder, Experiment(variant="paper+no-area"), iou=0.1)
    write_run(folder, Experiment(parts=4), iou=0.3)
    write_run(folder, Experiment(overrides={"data.train_limit": 250}), finished="2026-01-01", iou=0.2)
    return folder


def test_interval_is_student_t_of_the_seeds() -> None:
    mean, low, high = ablation_study.interval([1.0, 2.0, 3.0, None, float("nan")])
    reach = 4.302653 / np.sqrt(3)  # t of 2 degrees of freedom, deviation 1
    assert (mean, low, high) == pytest.approx((2.0, 2.0 - reach, 2.0 + reach), abs=1e-5)
    assert str(ablation_study.interval([0.5, 0.5])) == "0.500 [0.500, 0.500]"


def test_interval_of_one_seed_has_no_bounds_and_of_none_no_mean() -> None:
    one = ablation_study.interval([0.25])
    assert one.mean == 0.25 and np.isnan([one.low, one.high]).all() and str(one) == "0.250"
    assert np.isnan(ablation_study.interval([])).all() and str(ablation_study.interval([None])) == "–"


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(size=(2000, 3))
    inside = [low <= 0 <= high for _, low, high in map(ablation_study.interval, draws)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.015)


def test_samples_are_read_back_pixel_by_pixel(tmp_path: Path) -> None:
    images, labels = sheet(tmp_path, count=10)  # the second block is not full
    config = SimpleNamespace(data=SimpleNamespace(size=SIZE), generator=SimpleNamespace(parts=PARTS))
    read = ablation_study.samples(SimpleNamespace(directory=tmp_path, config=config))
    np.testing.assert_array_equal(read[0], images)
    np.testing.assert_array_equal(read[1], labels)


def test_a_study_has_the_runs_of_one_scale_and_k_without_settings_of_their_own(results: Path) -> None:
    tiny = ablation_study.study(results, "tiny", "synthetic-bird")
    assert list(zip(tiny["variant"], tiny["iou"], strict=True)) == [("paper+no-area", 0.1), (FULL, 0.5)]
    every = ablation_study.study(results, "tiny", "synthetic-bird", parts=0)
    assert sorted(every["parts"]) == [4, 6, 6]
    assert ablation_study.study(results, "gpu", "synthetic-bird").empty


def test_a_newer_run_with_settings_of_its_own_does_not_hide_the_plain_one(results: Path) -> None:
    limited = ablation_study.study(results, "tiny", "synthetic-bird", overrides=["data.train_limit"])
    full = limited[limited["variant"] == FULL]
    assert dict(zip(full["train_images"], full["iou"], strict=True)) == {250: 0.2, 4000: 0.5}


def test_studies_are_in_the_papers_order_and_the_best_scale_comes_first(results: Path) -> None:
    frames = ablation_study.ablations(results, "synthetic-bird")
    assert [ablation_study.place(frame) for frame in frames] == [
        "synthetic-bird, scale laptop",
        "synthetic-bird, scale tiny",
    ]
    order = [list(MODELS).index(variant) for variant in frames[0]["variant"]]
    assert order == sorted(order) and set(frames[0]["seed"]) == {0, 1, 2}
    assert ablation_study.ablations(results, "synthetic-bird", ["paper+no-points"]) == []


def test_full_is_compared_with_ablated_seed_by_seed(results: Path) -> None:
    frame = ablation_study.study(results, "laptop", "synthetic-bird")
    iou = ablation_study.compare(frame, "paper+no-concentration", "iou")
    assert iou.gain == pytest.approx((0.2, 0.2, 0.2)) and iou.pairs == 3 and iou.holds
    pieces = ablation_study.compare(frame, "paper+no-concentration", "components_per_part")  # lower is better
    assert pieces.gain.mean == pytest.approx(0.9) and pieces.holds
    unclear = ablation_study.compare(frame, "paper+no-area", "iou")  # 0.80, 0.81, 0.82 against 0.80
    assert unclear.gain.mean > 0 and not unclear.holds
    assert ablation_study.compare(frame, "paper+no-points", "iou").pairs == 0


def test_runs_of_different_scales_do_not_compare(results: Path) -> None:
    sides = [ablation_study.study(results, scale, "synthetic-bird") for scale in ("laptop", "tiny")]
    with pytest.raises(UserError, match="different scales"):
        ablation_study.paired(*sides, "iou")


def test_parts_that_are_rarely_seen_have_vanished(results: Path) -> None:
    frame = ablation_study.study(results, "laptop", "synthetic-bird")
    assert set(frame[frame["variant"] == "paper+no-area"]["vanished_parts"]) == {2}
    assert ablation_study.compare(frame, "paper+no-area", "vanished_parts").gain == (2, 2, 2)


def test_a_verdict_counts_three_seeds_above_tiny_only(results: Path) -> None:
    frames = ablation_study.ablations(results, "synthetic-bird")
    checks, tested = ablation_study.judged(frames, {"paper+no-concentration": ["iou", "nmi_foreground"]})
    assert tested and len(checks) == 1 and all(checks.values())  # no true parts, no NMI
    checks, tested = ablation_study.judged(frames[1:], {"paper+no-area": ["iou"]})
    assert not tested and list(checks.values()) == [False]  # one pair has no interval
    assert ablation_study.judged(frames, {"paper+no-points": ["iou"]}) == ({}, False)


def test_numbers_of_parts_and_of_images_are_compared_within_a_study(results: Path) -> None:
    (frame,) = ablation_study.several(results, "synthetic-bird", by="parts", parts=0)
    sides = [("6 against 4", frame[frame["parts"] == 6], frame[frame["parts"] == 4], ["iou"])]
    (text,), tested = ablation_study.judged_pairs([frame], lambda _: sides)
    assert "6 against 4" in text and not tested
    (limits,) = ablation_study.several(results, by="train_images", overrides=["data.train_limit"])
    assert list(limits["train_images"]) == [250, 4000]


def test_tables_have_a_row_a_model_with_intervals_and_their_csv_has_every_value(results: Path) -> None:
    frames = ablation_study.ablations(results, "synthetic-bird")
    shown = ablation_tables.table(frames)
    assert list(shown["Model"]) == ["no concentration loss", "no area loss", "full model", "no area loss", "full model"]
    assert shown["Foreground IoU ↑"][2] == "0.810 [0.785, 0.835]" and shown["Foreground IoU ↑"][4] == "0.500"
    values = ablation_tables.summary(frames).set_index(["scale", "variant", "statistic"])["values"]
    assert values["laptop", FULL, "iou"] == pytest.approx([0.8, 0.81, 0.82])
    gains = ablation_tables.gains(frames, ["paper+no-area"], ["vanished_parts"])
    assert list(gains["Vanished parts, found"]) == ["2.000 [2.000, 2.000]", "0.000"]


def test_configurations_of_ablated_models_differ_in_what_is_switched_off_alone() -> None:
    runs = {variant: SimpleNamespace(config=Experiment(variant=variant).config) for variant in MODELS}
    changed = {variant: set(ablation_tables.differences(runs[FULL], run)["Setting"]) for variant, run in runs.items()}
    assert changed["paper+no-points"] == {"generator.use_points", "losses.lambda_area"}
    assert changed["paper+no-background"] == {"generator.separate_background"}
    assert changed["paper+no-concentration"] == {"losses.lambda_con"}
    assert changed["paper+no-area"] == {"losses.lambda_area"}
    assert changed["paper+no-points+no-background"] == changed["paper+no-points"] | changed["paper+no-background"]


def test_switched_off_inputs_reach_nothing() -> None:
    named = {"full": FULL, "no points": "paper+no-points", "no background": "paper+no-background"}
    runs = {name: SimpleNamespace(config=Experiment(variant=variant).config) for name, variant in named.items()}
    answers = figures_ablation.answers(runs)
    assert answers.loc[("full", "point"), "masks"] and not answers.loc[("no points", "point")].any()
    assert answers.loc[("full", "position"), "image"] and not answers.loc[("no background", "position")].any()
    assert (
        not answers.loc[("full", "background"), "foreground"]
        and answers.loc[("no background", "background"), "foreground"]
    )


def test_the_background_is_grey_and_parts_have_their_colours() -> None:
    images = np.full((1, 2, 2, 3), (200, 40, 90), np.uint8)
    tinted = figures_ablation.over_grey(images, np.array([[[0, 0], [1, 2]]]))
    assert np.ptp(tinted[0, 0].astype(int), axis=-1).max() == 0
    grey, colours = tinted[0, 0, 0].astype(float), pictures.part_colours(2).astype(float)
    for part, pixel in enumerate(tinted[0, 1], 1):
        mixed = figures_ablation.TINT * colours[part] + (1 - figures_ablation.TINT) * grey
        np.testing.assert_allclose(pixel, mixed, atol=1)


def test_figures_have_a_row_a_model_and_a_panel_a_statistic(results: Path) -> None:
    frame = ablation_study.study(results, "laptop", "synthetic-bird")
    rows = figures_ablation.rows_of(frame)
    figure = figures_ablation.models_figure(rows, columns=4)
    assert [ax.get_ylabel().replace("\n", " ") for ax in figure.axes[::4]] == list(rows) and len(figure.axes) == 12
    panels = figures_ablation.intervals_figure(ablation_tables.summary([frame]), ["iou", "components_per_part"]).axes
    assert [ax.get_title() for ax in panels if ax.get_visible()] == ["Foreground IoU ↑", "Pieces per part, found ↓"]
    data = figures_ablation.samples_data(rows)
    assert set(data["model"]) == set(rows) and data["share"].between(0, 1).all()


def test_rarity_grows_with_the_distance_from_the_usual_pose_and_not_with_its_place() -> None:
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(1, 5, 2))
    usual = shape + 0.1 * rng.normal(size=(500, 5, 2))
    odd = shape + np.array([0.0, 0.3, 1.0])[:, None, None] * rng.normal(size=(1, 5, 2))
    rare = failures.rarity(usual, odd)
    assert rare[0] < rare[1] < rare[2]
    np.testing.assert_allclose(failures.rarity(usual, odd + 7.0), rare, rtol=1e-6)


def test_relations_see_a_cause_and_no_cause() -> None:
    rng = np.random.default_rng(0)
    cause, noise = rng.normal(size=(2, 300))
    scores = pd.DataFrame(
        {"iou": 1.0, "error": cause + noise, "keypoints hidden": cause, "rarity of the pose": noise[::-1]}
    )
    found = failures.relations(scores).set_index("cause")
    assert found.loc["keypoints hidden", "p"] < 1e-6 < 0.01 < found.loc["rarity of the pose", "p"]


def test_the_worst_images_are_those_of_lowest_iou() -> None:
    scores = pd.DataFrame({"iou": [0.5, 0.1, np.nan, 0.9, 0.1]})
    assert failures.ranked(scores, 3).tolist() == [1, 4, 0] and failures.ranked(scores, 1, worst=False).tolist() == [3]


# ---- the pages and the graph


def needed(page: Path, scale: str) -> list[Experiment]:
    """What the graph trains for a page at `scale`."""
    return [Experiment(**row) for row in notebooks.experiments_of(page, scale=scale)]


@pytest.mark.parametrize("scale", ["tiny", "laptop", "gpu", "paper"])
def test_the_graph_trains_what_the_pages_read(scale: str) -> None:
    pages = {page.stem[:2]: {(e.variant, e.parts, json.dumps(dict(e.overrides))) for e in needed(page, scale)}
             for page in PAGES}  # fmt: skip
    plain = (FULL, 6, "{}")
    assert pages["25"] == {(variant, 6, "{}") for variant in MODELS}
    for number, variant in zip(("20", "21", "22", "23", "24"), MODELS, strict=False):
        assert pages[number] == {plain, (variant, 6, "{}")}
    assert pages["26"] == {plain} | {(FULL, parts, "{}") for parts in ablation_study.STUDIED_PARTS}
    limits = [json.dumps({"data.train_limit": limit}) for limit in ablation_study.STUDIED_LIMITS]
    assert pages["27"] == {plain} | {(FULL, 6, limit) for limit in limits}


def test_shared_experiments_are_trained_once(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "experiments",
        "--dry-run",
        "--cores",
        "2",
        "--config",
        f"results={tmp_path}",
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    names = re.findall(r"training (\S+) at scale tiny", run.stdout)
    wanted = {experiment.directory().name for page in PAGES for experiment in needed(page, "tiny")}
    assert len(wanted) == 9 and wanted <= set(names)
    assert len(set(names)) == len(names)
