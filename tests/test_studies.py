"""Studies of runs over seeds: intervals, paired comparisons, stored samples, and the experiments of the pages."""

from __future__ import annotations

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
from finished_runs import write_run, write_samples

from book.execute import experiments_of
from ganseg import Experiment, UserError, ablations, pictures, studies
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
    return studies.study(results, "laptop", "synthetic-bird")


def compared(frame: Any, variant: str, key: str) -> studies.Comparison:
    (comparison,) = studies.against([frame], [variant], [key])
    return comparison


@pytest.mark.parametrize(
    ("values", "mean", "reach", "text"),
    [
        (
            [1.0, 2.0, 3.0, None, np.nan],
            2,
            4.302653 / np.sqrt(3),
            "2.000 [-0.484, 4.484]",
        ),
        ([0.5, 0.5], 0.5, 0, "0.500 [0.500, 0.500]"),
        ([0.25], 0.25, np.nan, "0.250"),
        ([None], np.nan, np.nan, "–"),
    ],
)
def test_interval_is_student_t_of_the_seeds(values: list[Any], mean: float, reach: float, text: str) -> None:
    found = studies.interval(values)  # t of 2 degrees of freedom, deviation 1
    assert found == pytest.approx((mean, mean - reach, mean + reach), abs=1e-5, nan_ok=True) and str(found) == text


def test_a_study_has_the_runs_of_one_scale_and_k_without_settings_of_their_own(results: Path) -> None:
    tiny = studies.study(results, "tiny", "synthetic-bird")
    assert list(zip(tiny["variant"], tiny["iou"], strict=True)) == [("paper+no-area", 0.1), (FULL, 0.5)]
    every = studies.study(results, "tiny", "synthetic-bird", parts=0)
    assert list(every["parts"]) == [6, 4, 6] and list(every["generated_vanished"].isna()) == [True, True, False]
    assert studies.study(results, "gpu", "synthetic-bird").empty


def test_a_newer_run_with_settings_of_its_own_does_not_hide_the_plain_one(results: Path) -> None:
    limited = studies.study(results, "tiny", "synthetic-bird", overrides=["data.train_limit"])
    full = limited[limited["variant"] == FULL]
    assert dict(zip(full["train_images"], full["iou"], strict=True)) == {250: 0.2, 10000: 0.5}


def test_studies_are_in_the_papers_order_and_the_best_scale_comes_first(results: Path) -> None:
    frames = studies.several(results, "synthetic-bird", MODELS)
    assert [studies.place(frame) for frame in frames] == [f"synthetic-bird, scale {s}" for s in ("laptop", "tiny")]
    order = [list(MODELS).index(variant) for variant in frames[0]["variant"]]
    assert order == sorted(order) and set(frames[0]["seed"]) == {0, 1, 2}
    assert studies.several(results, "synthetic-bird", ["paper+no-points"]) == []
    assert studies.place(studies.most_seeds(frames[::-1])) == "synthetic-bird, scale laptop"


def test_full_is_compared_with_ablated_seed_by_seed(laptop: Any) -> None:
    iou = compared(laptop, "paper+no-concentration", "iou")
    assert iou.gain == pytest.approx((0.2, 0.2, 0.2)) and iou.pairs == 3 and iou.holds
    pieces = compared(laptop, "paper+no-concentration", "components_per_part")  # lower is better
    assert pieces.gain.mean == pytest.approx(0.9) and pieces.holds
    vanished = compared(laptop, "paper+no-area", "vanished_parts")  # seen in less than 5 % of the images
    assert vanished.gain == (2, 2, 2)
    unclear = compared(laptop, "paper+no-area", "iou")  # 0.80, 0.81, 0.82 against 0.80
    assert unclear.gain.mean > 0 and not unclear.holds
    missing = compared(laptop, "paper+no-area", "components_per_part")
    assert missing.pairs == 0 and str(missing) == "pieces per part, found – against –; better by –, n = 0"
    assert compared(laptop, "paper+no-points", "iou").pairs == 0


def test_runs_of_different_scales_do_not_compare(results: Path, laptop: Any) -> None:
    both = pd.concat([laptop, studies.study(results, "tiny", "synthetic-bird")])
    with pytest.raises(UserError, match="different scales"):
        studies.compare(both, both["variant"] == FULL, both["variant"] == FULL, "iou")


def test_samples_are_counted_as_parts_are(results: Path, tmp_path: Path) -> None:
    labels = np.zeros((12, SIZE, SIZE), np.uint8)
    labels[:, 2:4, 2:4], labels[:, 2:4, 8:10], labels[0, 8:12, 8:12] = 1, 1, 2  # two pieces; one image has part 2
    write_samples(tmp_path, labels)
    run = SimpleNamespace(directory=tmp_path, provenance={"parts": 3}, metrics={"part_usage": [1, 0.06, 0.04]})
    counts = studies.counts(run)
    assert counts["generated_vanished"] == 1 and counts["vanished_parts"] == 1
    assert counts["generated_pieces"] == pytest.approx((12 * 2 + 1) / 13)
    assert counts["generated_foreground"] == pytest.approx((12 * 8 + 16) / labels.size)


def test_numbers_out_of_their_range_are_seen(laptop: Any) -> None:
    assert studies.in_range([laptop])
    assert not studies.in_range([laptop, laptop.assign(iou=1.1)])
    assert not studies.in_range([laptop.assign(landmark_error=-0.1)])


def test_a_verdict_counts_three_seeds_above_tiny_only(results: Path) -> None:
    frames = studies.several(results, "synthetic-bird", MODELS)
    keys = ["iou", "nmi_foreground", "components_per_part"]
    checks, tested = studies.judged(studies.against(frames, ["paper+no-concentration"], keys))
    assert tested and len(checks) == 2 and all(checks.values())  # no true parts, no NMI
    checks, tested = studies.judged(studies.against(frames[1:], ["paper+no-area"], ["iou"]))
    assert not tested and list(checks.values()) == [False]  # one pair has no interval
    assert studies.judged(studies.against(frames, ["paper+no-points"], ["iou"])) == ({}, False)


def test_numbers_of_parts_and_of_images_are_compared_within_a_study(results: Path) -> None:
    (frame,) = studies.several(results, "synthetic-bird", by="parts", parts=0)
    assert list(frame["parts"]) == [4, 6]
    one = studies.compare(frame, frame["parts"] == 6, frame["parts"] == 4, "iou", "6 against 4")
    (text,), tested = studies.judged([one])
    assert text.startswith("synthetic-bird, scale tiny: 6 against 4, foreground IoU 0.500 against 0.300") and not tested
    (limits,) = studies.several(results, by="train_images", overrides=["data.train_limit"])
    assert list(limits["train_images"]) == [250, 10000]


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


def test_figures_have_a_row_a_model_and_a_panel_a_statistic(laptop: Any) -> None:
    rows = {name: (np.zeros((12, 8, 8, 3), np.uint8), np.zeros((12, 8, 8), int)) for name in ("no points", "full")}
    rows["full"][1][:, :4] = 1
    figure = ablations.models_figure(rows, columns=4)
    assert [ax.get_ylabel() for ax in figure.axes[::8]] == list(rows) and len(figure.axes) == 16
    image, masks = (ax.images[0].get_array() for ax in figure.axes[8:10])
    tint = np.rint(ablations.TINT * pictures.part_colours(1)[1].astype(float))
    assert not image.any() and not masks[4:].any() and (np.abs(masks[:4].astype(float) - tint) <= 1).all()
    panels = ablations.intervals_figure(laptop, ["iou", "components_per_part"]).axes  # one model has no value
    assert [ax.get_title() for ax in panels if ax.get_visible()] == ["Foreground IoU ↑", "Pieces per part, found ↓"]
    data = ablations.samples_data(rows)
    assert set(data["model"]) == {"full"} and set(data["share"]) == {0.5} and set(data["pieces"]) == {1}


# ---- the pages and the graph


def needed(page: Path, scale: str) -> list[Experiment]:
    """What the graph trains for a page at `scale`."""
    return [Experiment(**row) for row in experiments_of(page, scale=scale)]


@pytest.mark.parametrize("scale", ["tiny", "laptop", "gpu", "paper"])
def test_the_graph_trains_what_the_pages_read(scale: str) -> None:
    kind = lambda experiment: (experiment.variant, experiment.config.generator.parts, *experiment.overrides.items())
    pages = {page.stem[:2]: set(map(kind, needed(page, scale))) for page in PAGES}
    plain = (FULL, 6)
    assert pages["25"] == {(variant, 6) for variant in MODELS}
    readings, *others = zip(("20", "20", "21", "22", "23", "24"), MODELS, strict=False)
    assert pages["20"] == {plain, (readings[1], 6), (others.pop(0)[1], 6)}
    for number, variant in others:
        assert pages[number] == {plain, (variant, 6)}
    assert pages["26"] == {plain, (FULL, 4), (FULL, 8)}
    assert pages["27"] == {plain, (FULL, 6, ("data.train_limit", 1000))}


def test_shared_experiments_are_trained_once(tmp_path: Path) -> None:
    snakemake = [sys.executable, "-m", "snakemake", "experiments", "--dry-run", "--cores", "2"]
    run = subprocess.run([*snakemake, "--config", f"results={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    names = re.findall(r"training (\S+) at scale tiny", run.stdout)
    wanted = {experiment.directory().name for page in PAGES for experiment in needed(page, "tiny")}
    assert len(wanted) == 10 and wanted <= set(names)
    assert len(set(names)) == len(names)
