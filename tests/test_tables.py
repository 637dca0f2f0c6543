"""The paper's printed numbers, and the tables that set ours beside them."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ganseg import tables
from ganseg.files import UserError


def run(seed: int, iou: float, **provenance: Any) -> SimpleNamespace:
    base = {"scale": "tiny", "data": "flowers", "seed": seed, "device": "cpu", "commit": "0123456789abcdef"}
    base |= {"variant": "paper", "parts": 8, "dirty": False, "key": f"k{seed}"}
    return SimpleNamespace(metrics={"iou": iou, "broken": None}, provenance=base | provenance)


RUNS = [run(0, 0.5), run(1, 0.7), run(2, 0.9)]


# Reported


def test_every_printed_cell_is_in_the_papers_text(shared: Path) -> None:
    """The paper's table rows, cell by cell; a blank cell stands for a dash."""
    text = (shared / "reference" / "paper.txt").read_text()
    lines = [line.split("\t") for line in text.splitlines() if "\t" in line]
    for table in (tables.TABLE_1, tables.TABLE_2, tables.TABLE_3):
        frame = pd.DataFrame([number for number in table.numbers if number["scale"] == "as printed"]).fillna("")
        printed = [line for line in lines if len(line) == 2 + len(table.columns) and line[1] in set(frame["type"])]
        ours = []
        for (_, kind), row in frame.groupby(["method", "type"], sort=False):
            cells = dict.fromkeys(table.columns, "-")
            for key, value, mark in zip(row["column"], row["mean"], row["mark"], strict=True):
                cells[key] = f"{value:.{table.columns[key].digits}f}{table.columns[key].unit} {mark}".strip()
            ours.append([kind, *cells.values()])
        assert ours == [[kind, *(cell.strip() for cell in cells)] for _, kind, *cells in printed]


def test_every_number_has_its_source_and_every_mark_its_meaning() -> None:
    for table in tables.TABLES.values():
        assert all(number["source"] and number["type"] for number in table.numbers)
        assert {number["mark"] for number in table.numbers} - {None} <= set(table.marks)
    assert tables.TABLE_2.numbers[0]["source"] == "Table 2, row 'GrabCut [44]'"
    assert tables.CUB_LANDMARKS.numbers[0]["source"] == "Section 4.4, in the text"
    assert tables.CUB_LANDMARKS.value("cub") == 3.23


@pytest.mark.parametrize("place", [("celeba",), ("flowers", "PerturbGAN [2]"), ("cub", "Dombrowski et al.")])
def test_what_the_paper_does_not_print_is_refused(place: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="no number for .* it has cub, flowers"):
        tables.TABLE_2.value(*place)  # the last is later work


# Rows of ours


def test_our_row_takes_scale_data_and_seeds_from_the_runs_which_must_be_of_one_scale() -> None:
    row = tables.our_row(RUNS, "iou", factor=100, method="Ours, paper variant")
    assert [row[key] for key in ("mean", "median", "std")] == pytest.approx([70, 70, 20])
    assert (row["scale"], row["data"], row["column"]) == ("tiny", "flowers", "flowers")
    assert (row["seeds"], row["n"]) == ("0, 1, 2", 3)
    assert math.isnan(tables.our_row(RUNS[:1], "iou")["std"])
    with pytest.raises(UserError, match="mixes runs of flowers at"):
        tables.our_row([RUNS[0], run(1, 0.5, scale="laptop")], "iou")


def test_a_metric_that_no_run_has_is_refused() -> None:
    for metric in ("broken", "absent"):
        with pytest.raises(UserError, match=metric):
            tables.summarise(RUNS, metric)


# Tables


def test_table_2_sets_ours_beside_the_paper_and_data_that_it_does_not_use_into_a_column_of_its_own() -> None:
    rows = [tables.our_row(RUNS, "iou"), tables.our_row([run(0, 0.5, data="synthetic-bird")], "iou")]
    frame, data, _ = tables.TABLE_2.beside(rows).values()
    assert len(data) == 11 + 2  # the paper's Table 2 has twelve cells, one of them blank
    assert data.iloc[-2][["mean", "source"]].tolist() == [pytest.approx(0.7), "flowers, seeds 0, 1, 2"]
    frame = frame.set_index("Method")
    assert list(frame.columns) == ["Type", "CUB ↑", "Flowers ↑", "synthetic-bird ↑", "Scale"]
    assert list(frame.loc["Ours"]) == ["Part Segmentation", "0.629", "0.739", "–", "as printed"]
    assert frame.loc["PerturbGAN [2]", "Flowers ↑"] == "–"
    assert frame.loc["SCOPS [17] w/ GT BG by us", "CUB ↑"] == "0.329 †"
    assert list(frame.loc["This reproduction"]) == ["Part", "–", "0.700 ± 0.200 (n = 3)", "0.500 (n = 1)", "tiny"]


def test_scales_and_methods_have_rows_of_their_own() -> None:
    row = tables.our_row(RUNS, "iou")
    rows = [row, row | {"scale": "gpu"}, row | {"method": "Best constant mask", "type": "baseline"}]
    assert list(tables.TABLE_2.beside(rows)["frame"].tail(3)["Scale"]) == ["tiny", "gpu", "tiny"]
    with pytest.raises(UserError, match="two numbers"):
        tables.TABLE_2.beside([row, row])["frame"]


def test_table_1_is_in_per_cent_and_later_work_comes_on_request() -> None:
    plain = tables.TABLE_1.beside()["frame"]
    assert "Wild (K=8), % ↓" in plain.columns and not (plain["Scale"] == "later work").any()
    later = tables.TABLE_1.beside(later=True)["frame"].set_index("Method")
    assert later.loc["AutoLink", "Wild (K=4), % ↓"] == "6.11"
    assert later.loc["Thewlis et al. [52]", "Wild (K=8), % ↓"] == "31.30 *"


def test_table_3_has_two_metrics_of_one_data_set_with_the_digits_of_each() -> None:
    rows = [tables.our_row(RUNS[:1], "iou", column="mae", factor=1000.252), tables.our_row(RUNS, "iou", column="iou")]
    ours = tables.TABLE_3.beside(rows)["frame"].iloc[-1]
    assert (ours["MAE ↓"], ours["IoU ↑"]) == ("500.13 (n = 1)", "0.7000 ± 0.2000 (n = 3)")


def test_runs_of_one_kind_stand_together_and_the_best_scale_of_the_wanted_data_first() -> None:
    others = [run(0, 0.5, scale="gpu"), run(1, 0.5, data="cub"), run(0, 0.5, data="cub", scale="laptop")]
    groups = tables.grouped([*RUNS, *others], first="cub")
    assert [len(group) for group in groups] == [1, 1, 1, 3]
    assert tables.group_name(groups[0]) == "cub, scale laptop, variant paper, K = 8"


# Keypoints


def test_errors_by_origin_stand_beside_the_mean_predictors() -> None:
    values = {"landmark_error": 0.1, "landmark_error_centred": 0.2, "landmark_error_affine": 0.3}
    one = SimpleNamespace(metrics=values | {"landmark_error_mean": 0.5}, provenance={"seed": 4})
    _, errors = tables.conventions_figure([one], "%")
    found = errors.groupby("predictor")["error"].apply(list)
    assert found["part centres"] == pytest.approx([10, 20, 30]) and found["average keypoints"] == [50.0] * 3


def test_drawable_are_runs_with_weights_on_drawn_images_or_on_the_data_at_hand() -> None:
    run_on = lambda data, weights=True: SimpleNamespace(has_weights=weights, provenance={"data": data})
    runs = [run_on("synthetic-face"), run_on("synthetic-bird", False), run_on("cub"), run_on("flowers")]
    assert [r.provenance["data"] for r in tables.drawable(runs, "cub")] == ["cub", "synthetic-face"]
