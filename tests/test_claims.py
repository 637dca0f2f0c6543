"""The claims ledger: its data, its rules, and verdicts that follow made-up metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from finished_runs import write_run

from ganseg import reported
from ganseg.files import UserError
from ganseg.ledger import LEDGER, NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Role, evaluate_claims, load_ledger, parse
from ganseg.recipes import variant_settings
from ganseg.studies import interval

ROLES = {"full": Role("full model", "paper"), "ablated": Role("without it", "paper+no-points")}
GOOD, BAD = (0.80, 0.81, 0.82), (0.30, 0.31, 0.32)


def write(results: Path, values: Sequence[float], variant: str = "paper", metric: str = "iou", **fields: Any) -> None:
    """Finished runs, one a seed, whose `metric` is `values` by seed."""
    for seed, value in enumerate(values):
        write_run(results, variant, seed=seed, **fields, **{metric: value})


def judged(results: Path, name: str = "points-help") -> Any:
    """The row of the evaluated ledger for the claim `name`; points-help: higher(full.iou, no_points.iou)."""
    return evaluate_claims(results).set_index("id").loc[name]


# ---- the data file


def test_the_ledger_has_claims_from_the_abstract_to_the_limitations() -> None:
    listed = load_ledger()
    assert len({claim["id"] for claim in listed}) == len(listed) >= 20
    assert {claim["section"].split(".")[0] for claim in listed} == {"Abstract", *"12345"}
    assert all(claim["claim"] and claim["statistic"] and claim["place"] and claim["chapters"] for claim in listed)
    numbers = {number for claim in listed for number in claim["chapters"]}
    assert not [number for number in numbers if not list((ROOT / "notebooks").glob(f"{number}_*.ipynb"))]


def test_every_experiment_of_the_ledger_can_be_configured() -> None:
    sides = [side for claim in load_ledger() for rule in claim["rule"] for side in rule.sides]
    assert sides and all(isinstance(variant_settings(side.role.variant), dict) for side in sides)


def test_no_verdict_is_stored_and_without_runs_none_is_given(tmp_path: Path) -> None:
    assert not re.search(r"reproduced|reproduces|testable|verdict|✓|✗", LEDGER.read_text().lower())
    found = evaluate_claims(tmp_path)
    assert set(found["verdict"]) == {NOT_TESTABLE} and all(found["why"])


# ---- the rules


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("higher(full.beauty, ablated.beauty)", "unknown metric 'beauty'"),
        ("higher(full.iou, nobody.iou)", "unknown role 'nobody'"),
        ("better(full.iou, ablated.iou)", "not a rule"),
        ("higher(full.iou", "not a rule"),
        ("above(0.5, full.iou)", "measured by no run"),
        ("above(full.iou, __import__('os').getpid())", "not a rule"),
        ('above(full.iou, printed("Table 9", "cub", "Ours"))', "known are Table 1"),
        ('above(full.iou, printed("Table 2", "dogs", "Nobody"))', "no number for 'Nobody' in column 'dogs'"),
        ("above(full.iou, ablated.iou - full.iou)", "not a rule"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(rule, ROLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": ["higher(full.beauty, no_points.iou)"]}, "unknown metric"),
        ({"verdict": "anything"}, "claim faithful-masks has unknown or missing verdict"),
        ({"scales": ["huge"]}, "unknown or missing huge"),
        ({"rule": [], "needs": ""}, "neither a rule nor what it needs"),
    ],
)
def test_a_ledger_with_an_unknown_name_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = yaml.safe_load(LEDGER.read_text())
    content["claims"][0] |= change
    (tmp_path / "claims.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        load_ledger(tmp_path / "claims.yml")


def test_printed_numbers_come_from_the_paper_as_fractions() -> None:
    rule = parse('below(full.landmark_error, 2 * printed("Table 1", "wild_k8", "Liu et al. [32]"))', ROLES)
    assert rule.right.offset == pytest.approx(2 * reported.TABLE_1.value("wild_k8", "Liu et al. [32]") / 100)
    rule = parse('above(full.iou, printed("Table 2", "cub", "ReDO [4]") - 0.05)', ROLES)
    assert rule.right.offset == pytest.approx(0.376) and "ReDO [4] in Table 2 - 0.05" in rule.words


# ---- verdicts on made-up metrics


@pytest.mark.parametrize(
    ("full", "ablated", "verdict", "order"),
    [
        (GOOD, BAD, REPRODUCED, 1),
        (BAD, GOOD, NOT_REPRODUCED, -1),
        ((0.5, 0.7, 0.9), (0.4, 0.6, 0.8), NOT_REPRODUCED, 0),  # intervals overlap
    ],
)
def test_other_metrics_flip_the_verdict(tmp_path: Path, full: Any, ablated: Any, verdict: str, order: int) -> None:
    write(tmp_path, full)
    write(tmp_path, ablated, "paper+no-points")
    row = judged(tmp_path)
    (check,) = row.checks
    assert (row.verdict, row.why, check.order) == (verdict, "", order)
    assert (check.scale, check.data, check.left.name) == ("laptop", "synthetic-bird", "full model")
    assert [side.interval for side in check.sides] == [interval(full), interval(ablated)]


@pytest.mark.parametrize(("scale", "seeds", "why"), [("laptop", 2, "2 of 3 seeds"), ("tiny", 3, "tiny is too small")])
def test_few_seeds_and_a_tiny_scale_decide_nothing(tmp_path: Path, scale: str, seeds: int, why: str) -> None:
    write(tmp_path, GOOD[:seeds], scale=scale)
    write(tmp_path, BAD[:seeds], "paper+no-points", scale=scale)
    row = judged(tmp_path)
    assert row.verdict == NOT_TESTABLE and why in row.why and len(row.checks[0].left.rows) == seeds


def test_the_best_scale_that_decides_is_taken(tmp_path: Path) -> None:
    for scale, ablated in (("laptop", BAD), ("gpu", (0.90, 0.91, 0.92))):
        write(tmp_path, GOOD, scale=scale)
        write(tmp_path, ablated, "paper+no-points", scale=scale)
    write(tmp_path, (0.95,), scale="paper")
    row = judged(tmp_path)
    assert (row.verdict, row.checks[0].scale) == (NOT_REPRODUCED, "gpu")


def test_a_rule_must_hold_on_each_data_set(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert judged(tmp_path).verdict == NOT_TESTABLE
    write(tmp_path, BAD, "paper+no-points")
    write(tmp_path, GOOD, data="synthetic-face")
    assert judged(tmp_path).verdict == REPRODUCED
    write(tmp_path, (0.90, 0.91, 0.92), "paper+no-points", data="synthetic-face")
    row = judged(tmp_path)
    assert row.verdict == NOT_REPRODUCED
    assert [check.data for check in row.checks] == ["synthetic-bird", "synthetic-face"]


@pytest.mark.parametrize(("images", "verdict"), [(142, NOT_TESTABLE), (1020, REPRODUCED)])
def test_trimaps_do_not_test_the_coverage_of_table_2(tmp_path: Path, images: int, verdict: str) -> None:
    write(tmp_path, (0.70, 0.71, 0.72), data="cub", scale="gpu", parts=8)
    write(tmp_path, (0.70, 0.71, 0.72), data="flowers", scale="gpu", parts=8, iou_images=images)
    assert judged(tmp_path, "coverage-of-parts").verdict == verdict


def test_an_empty_counterpart_does_not_count_as_equivariant(tmp_path: Path) -> None:
    write(tmp_path, (0.05, 0.06, 0.07), metric="equivariance_error")
    write(tmp_path, (0.0, 0.0, 0.0), "paper+no-points", metric="equivariance_error", foreground_fraction=0.0)
    row = judged(tmp_path, "position-robust")
    assert row.verdict == NOT_TESTABLE and "It does not hold that foreground share (without points)" in row.why


@pytest.mark.parametrize("limit", [1000, "1000"])  # as a notebook and as the command line gives it
def test_runs_with_settings_of_their_own_play_only_their_own_role(tmp_path: Path, limit: int | str) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, BAD, overrides={"data.train_limit": limit}, train_images=1000)
    row = judged(tmp_path, "many-images")
    assert row.verdict == REPRODUCED and row.checks[0].left.interval.mean == pytest.approx(0.81)
