"""The paper's printed numbers, and the tables that set ours beside them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from ganseg import reported, tables
from ganseg.files import UserError


@dataclass
class FakeRun:
    metrics: dict[str, Any]
    provenance: dict[str, Any] = field(default_factory=dict)


def run(seed: int, iou: float, **provenance: Any) -> FakeRun:
    base = {"scale": "tiny", "data": "flowers", "seed": seed, "device": "cpu", "commit": "0123456789abcdef"}
    return FakeRun({"iou": iou, "broken": None}, base | {"dirty": False, "key": f"k{seed}"} | provenance)


RUNS = [run(0, 0.5), run(1, 0.7), run(2, 0.9)]


# Reported


@pytest.mark.parametrize(
    ("table", "column", "number"),
    [
        ("Table 1", "aligned_k10", 3.98),
        ("Table 1", "wild_k4", 12.26),
        ("Table 1", "wild_k8", 6.18),
        ("Table 2", "cub", 0.629),
        ("Table 2", "flowers", 0.739),
        ("Table 3", "mae", 417.17),
        ("Table 3", "iou", 0.8538),
        ("Section 4.4", "cub", 3.23),
    ],
)
def test_the_papers_own_numbers(table, column, number):
    assert reported.TABLES[table].value(column) == number


def test_every_printed_cell_is_in_the_papers_text(shared):
    """The paper's table rows, cell by cell; a blank cell stands for a dash."""
    text = (shared / "reference" / "paper.txt").read_text()
    lines = [line.split("\t") for line in text.splitlines() if "\t" in line]
    for table in (reported.TABLE_1, reported.TABLE_2, reported.TABLE_3):
        columns = table.columns.values()
        kinds = {row.type for row in table.rows}
        printed = [line for line in lines if len(line) == 2 + len(columns) and line[1] in kinds]
        assert len(printed) == len(table.rows)
        for row, (_, kind, *cells) in zip(table.rows, printed, strict=True):
            assert row.type == kind
            for column, cell in zip(columns, cells, strict=True):
                number, mark = row.values.get(column.key), row.marks.get(column.key, "")
                ours = "-" if number is None else f"{number:.{column.digits}f}{column.unit} {mark}".strip()
                assert ours == cell.strip(), (row.method, column.key)


def test_every_row_has_a_source_and_every_mark_a_meaning():
    for table in reported.TABLES.values():
        for row in (*table.rows, *table.later):
            assert row.source and row.type and row.values
            assert set(row.marks.values()) <= set(table.marks)
    assert reported.TABLE_2.rows[0].source == "Table 2, row 'GrabCut [44]'"
    assert reported.CUB_LANDMARKS.rows[0].source == "Section 4.4, in the text"


def test_later_work_is_there_and_apart_from_the_papers_rows():
    best = min((row.values["wild_k8"], row.source) for row in reported.TABLE_1.later)
    assert best == (4.35, "StableKeypoints (Hedlin et al., CVPR 2024, arXiv 2312.00065)")
    assert not {row.method for row in reported.TABLE_2.rows} & {row.method for row in reported.TABLE_2.later}


def test_an_unknown_cell_is_refused():
    with pytest.raises(UserError, match="it has cub, flowers"):
        reported.TABLE_2.value("celeba")
    with pytest.raises(UserError, match="no number"):
        reported.TABLE_2.value("flowers", "PerturbGAN [2]")


# Summaries


def test_summary_by_hand():
    summary = tables.summarise(RUNS, "iou")
    assert summary["mean"] == pytest.approx(0.7) and summary["median"] == 0.7
    assert summary["std"] == pytest.approx(0.2)
    assert summary["n"] == 3
    assert math.isnan(tables.summarise(RUNS[:1], "iou")["std"])


@pytest.mark.parametrize("metric", ["broken", "absent"])
def test_a_metric_that_no_run_has_is_refused(metric):
    with pytest.raises(UserError, match=metric):
        tables.summarise(RUNS, metric)


def test_our_row_takes_scale_data_and_seeds_from_the_runs():
    row = tables.our_row(RUNS, "iou", factor=100, method="Ours, paper variant")
    assert row["mean"] == pytest.approx(70) and row["std"] == pytest.approx(20)
    assert (row["scale"], row["data"], row["seeds"], row["n"]) == ("tiny", "flowers", [0, 1, 2], 3)


def test_runs_of_several_scales_do_not_share_a_row():
    with pytest.raises(UserError, match="laptop, tiny"):
        tables.our_row([RUNS[0], run(1, 0.5, scale="laptop")], "iou")


# Tables


def test_table_2_sets_ours_beside_the_paper():
    frame = tables.wide(reported.TABLE_2, [tables.our_row(RUNS, "iou")]).set_index("Method")
    assert list(frame.columns) == ["Type", "CUB ↑", "Flowers ↑", "Scale"]
    assert list(frame.loc["Ours"]) == ["Part Segmentation", "0.629", "0.739", "as printed"]
    assert frame.loc["PerturbGAN [2]", "Flowers ↑"] == "–"
    assert frame.loc["SCOPS [17] w/ GT BG by us", "CUB ↑"] == "0.329 †"
    assert list(frame.loc["This reproduction"]) == ["Part", "–", "0.700 ± 0.200 (n = 3)", "tiny"]


def test_a_data_set_that_the_paper_does_not_use_gets_its_own_column():
    rows = [tables.our_row([run(0, 0.5, data="synthetic-bird")], "iou"), tables.our_row(RUNS, "iou")]
    frame = tables.wide(reported.TABLE_2, rows).set_index("Method")
    assert frame.loc["This reproduction", "synthetic-bird ↑"] == "0.500 (n = 1)"
    assert frame.loc["This reproduction", "Flowers ↑"].startswith("0.700")
    assert frame.loc["Ours", "synthetic-bird ↑"] == "–"


def test_scales_and_methods_have_rows_of_their_own():
    row = {"mean": 0.5, "std": math.nan, "n": 1, "scale": "tiny", "data": "cub"}
    rows = [row, row | {"scale": "gpu"}, row | {"method": "Best constant mask", "type": "baseline"}]
    assert list(tables.wide(reported.TABLE_2, rows).tail(3)["Scale"]) == ["tiny", "gpu", "tiny"]
    with pytest.raises(UserError, match="two numbers"):
        tables.wide(reported.TABLE_2, [row, row])


def test_table_1_is_in_per_cent_and_later_work_comes_on_request():
    plain = tables.wide(reported.TABLE_1)
    assert "Wild (K=8), % ↓" in plain.columns and not (plain["Scale"] == "later work").any()
    later = tables.wide(reported.TABLE_1, later=True).set_index("Method")
    assert later.loc["AutoLink", "Wild (K=4), % ↓"] == "6.11"
    assert later.loc["Thewlis et al. [52]", "Wild (K=8), % ↓"] == "31.30 *"


def test_table_3_has_two_metrics_of_one_data_set_with_the_digits_of_each():
    row = {"std": math.nan, "scale": "gpu", "data": "taichi", "seeds": [0]}
    rows = [row | {"column": "mae", "mean": 500.126, "n": None}, row | {"column": "iou", "mean": 0.75, "n": 1}]
    ours = tables.wide(reported.TABLE_3, rows).iloc[-1]
    assert (ours["MAE ↓"], ours["IoU ↑"]) == ("500.13", "0.7500 (n = 1)")


def test_the_data_behind_a_table_is_unrounded_numbers_with_their_sources(tmp_path):
    frame = tables.tidy(reported.TABLE_2, [tables.our_row(RUNS, "iou")])
    path = tables.to_csv(frame, tmp_path / "table2.csv")
    read = pd.read_csv(path)
    ours = read[read["method"] == "This reproduction"].iloc[0]
    assert (ours["mean"], ours["n"], ours["seeds"]) == (pytest.approx(0.7), 3, "0, 1, 2")
    assert ours["source"] == "flowers, seeds 0, 1, 2" and read["source"][0] == "Table 2, row 'GrabCut [44]'"
    assert len(read) == 11 + 1  # the paper's Table 2 has twelve cells, one of them blank
    assert list(tmp_path.iterdir()) == [path]


def test_runs_of_one_kind_stand_together_and_the_best_scale_of_the_wanted_data_first():
    others = [run(0, 0.5, scale="gpu"), run(1, 0.5, data="cub"), run(0, 0.5, data="cub", scale="laptop")]
    shared = {"variant": "paper", "parts": 8}
    groups = tables.grouped([FakeRun({}, r.provenance | shared) for r in [*RUNS, *others]], first="cub")
    assert [len(group) for group in groups] == [1, 1, 1, 3]
    assert tables.group_name(groups[0]) == "cub, scale laptop, variant paper, K = 8"


# Keypoints


def test_errors_by_origin_stand_beside_the_mean_predictors():
    values = {"landmark_error": 0.1, "landmark_error_centred": 0.2, "landmark_error_affine": 0.3}
    errors = tables.errors_by_convention([FakeRun(values | {"landmark_error_mean": 0.5}, {"seed": 4})])
    found = errors.groupby("predictor")["error"].apply(list)
    assert found["part centres"] == pytest.approx([10, 20, 30]) and found["average keypoints"] == [50.0] * 3


def test_drawable_are_runs_with_weights_on_drawn_images_or_on_the_data_at_hand():
    run_on = lambda data, weights=True: SimpleNamespace(has_weights=weights, provenance={"data": data})
    runs = [run_on("synthetic-face"), run_on("synthetic-bird", False), run_on("cub"), run_on("flowers")]
    assert [r.provenance["data"] for r in tables.drawable(runs, "cub")] == ["cub", "synthetic-face"]


# HTML


class Tags(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.seen, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_well_formed_and_headers_have_scopes():
    frame = tables.wide(reported.TABLE_2, [tables.our_row(RUNS, "iou")])
    tags = Tags(tables.to_html(frame, "Table 2 & ours", tables.notes(reported.TABLE_2)))
    assert not tags.open
    scopes = [attributes.get("scope") for tag, attributes in tags.seen if tag == "th"]
    assert scopes == ["col"] * len(frame.columns) + ["row"] * len(frame)
    assert [attributes for tag, attributes in tags.seen if tag == "tr"].count({"class": "ours"}) == 1
    assert sum(tag == "caption" for tag, _ in tags.seen) == 1


def test_html_escapes_text_and_shows_the_scale_as_a_badge():
    row = tables.our_row(RUNS, "iou", method="<b>mine</b>")
    text = tables.to_html(tables.wide(reported.TABLE_2, [row]), "A < B")
    assert "<b>" not in text and "&lt;b&gt;mine" in text and "<caption>A &lt; B" in text
    assert len(re.findall(r'class="ganseg-badge ganseg-tiny"', text)) == 1


def test_html_breaks_no_value_from_its_deviation_nor_its_mark():
    text = tables.to_html(
        pd.DataFrame({"Method": ["Ours"], "IoU": ["0.5 ± 0.1 (n = 3)"], "CUB": ["0.329 †"]}), "Values"
    )
    assert "<td>0.5&nbsp;±&nbsp;0.1 (n&nbsp;=&nbsp;3)</td><td>0.329&nbsp;†</td>" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.7126, 0.0104, 3), "0.713 ± 0.010 (n = 3)"),
        ((0.5, math.nan, 1), "0.500 (n = 1)"),
        ((math.nan,), "–"),
    ],
)
def test_mean_and_deviation_as_text(arguments, text):
    assert tables.mean_std(*arguments) == text


# Provenance


def test_provenance_names_scale_data_seeds_device_commit_and_runs():
    assert tables.provenance_line(RUNS) == (
        "Scale tiny; data flowers; seeds 0, 1, 2; device cpu; commit 0123456789; runs k0, k1, k2."
    )


def test_provenance_shows_uncommitted_changes_and_every_commit():
    line = tables.provenance_line([RUNS[0], run(1, 0.5, commit="f" * 40, dirty=True)])
    assert "commits 0123456789, ffffffffff with uncommitted changes" in line


def test_provenance_without_runs_or_fields_says_so():
    assert tables.provenance_line([]) == "No run yet."
    assert tables.provenance_line([FakeRun({}, {"scale": "tiny", "commit": None})]) == "Scale tiny."
