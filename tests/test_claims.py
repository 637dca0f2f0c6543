"""The claims ledger: its data, its rules, and verdicts that follow made-up metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from ganseg import reported
from ganseg.claims import LEDGER, load_ledger, parse
from ganseg.files import UserError
from ganseg.ledger import NOT_REPRODUCED, NOT_TESTABLE, REPRODUCED, Measured, evaluate_claims
from ganseg.recipes import variant_settings

ROLES = {"full": "full model", "ablated": "without it"}
USUAL = {"part_usage": [1.0] * 6, "iou_images": 1000, "test_images": 1000, "foreground_fraction": 0.2}


def write(results: Path, values: dict[str, Sequence[float]], *, variant: str = "paper", scale: str = "laptop",
          data: str = "synthetic-bird", parts: int = 6, overrides: dict[str, Any] | None = None,
          train_images: int = 10000, **more: Any) -> None:  # fmt: skip
    """Finished runs, one a seed, whose metrics are `values` by seed."""
    for seed in range(len(next(iter(values.values())))):
        own = "".join(c for c in str(overrides or "") if c.isalnum())
        directory = results / scale / "runs" / f"{data}-{variant}-k{parts}-s{seed}-0{own}"
        directory.mkdir(parents=True)
        metrics = USUAL | more | {name: numbers[seed] for name, numbers in values.items()}
        record = {"scale": scale, "data": data, "variant": variant, "parts": parts, "seed": seed, "finished": "2026",
                  "overrides": overrides or {}, "train_images": train_images}  # fmt: skip
        (directory / "metrics.json").write_text(json.dumps(metrics))
        (directory / "provenance.json").write_text(json.dumps(record))


def judged(results: Path, name: str) -> Any:
    """The row of the evaluated ledger for the claim `name`."""
    return evaluate_claims(results).set_index("id").loc[name]


# ---- the data file


def test_the_ledger_has_claims_from_the_abstract_to_the_limitations() -> None:
    listed = load_ledger()[1]
    assert len(listed) >= 20
    assert {claim.section.split(".")[0] for claim in listed} == {"Abstract", *"12345"}
    assert all(claim.claim and claim.statistic and claim.place and claim.chapters for claim in listed)


def test_no_verdict_is_stored_in_the_data_file() -> None:
    text = LEDGER.read_text().lower()
    assert not re.search(r"reproduced|reproduces|testable|verdict|✓|✗", text)


def test_every_chapter_of_a_claim_exists() -> None:
    numbers = {number for claim in load_ledger()[1] for number in claim.chapters}
    assert not [number for number in numbers if not list((ROOT / "notebooks").glob(f"{number}_*.ipynb"))]


def test_every_experiment_of_the_ledger_can_be_configured() -> None:
    for role in load_ledger()[0].values():
        assert isinstance(variant_settings(role["variant"]), dict)


def test_no_ledger_of_claims_is_a_ledger_of_one_outcome(tmp_path: Path) -> None:
    assert set(evaluate_claims(tmp_path)["verdict"]) == {NOT_TESTABLE}
    assert all(evaluate_claims(tmp_path)["why"])


# ---- the rules


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("higher(full.beauty, ablated.beauty)", "unknown metric 'beauty'"),
        ("higher(full.iou, nobody.iou)", "unknown role 'nobody'"),
        ("better(full.iou, ablated.iou)", "not a rule"),
        ("higher(full.iou", "not a rule"),
        ("higher(full.iou, 0.5)", "compares two measurements"),
        ("above(0.5, full.iou)", "measured by no run"),
        ("above(full.iou, __import__('os').getpid())", "neither role.metric"),
        ('above(full.iou, printed("Table 9", "cub", "Ours"))', "tables are Table 1"),
        ('above(full.iou, printed("Table 2", "cub", "Nobody"))', "no number for 'Nobody'"),
        ("above(full.iou, ablated.iou - full.iou)", "neither role.metric"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(rule, ROLES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": ["higher(full.beauty, no_points.iou)"]}, "unknown metric"),
        ({"verdict": "anything"}, "unknown verdict"),
        ({"scales": ["huge"]}, "unknown huge"),
        ({"rule": [], "needs": ""}, "neither a rule nor what it needs"),
    ],
)
def test_a_ledger_with_an_unknown_name_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    head, first, *_ = re.split(r"(?m)^  - id:", LEDGER.read_text())
    content = yaml.safe_load(f"{head}  - id:{first}")
    content["claims"][0] |= change
    (tmp_path / "claims.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message):
        load_ledger(tmp_path / "claims.yml")


def side(low: float, high: float) -> Measured:
    return Measured("", "iou", (low + high) / 2, low, high, (0, 1, 2), ())


def test_overlapping_intervals_decide_for_neither_side() -> None:
    higher, lower = (parse(f"{name}(full.iou, ablated.iou)", ROLES) for name in ("higher", "lower"))
    assert higher.holds(side(0.6, 0.8), side(0.3, 0.5)) and not lower.holds(side(0.6, 0.8), side(0.3, 0.5))
    assert lower.holds(side(0.3, 0.5), side(0.6, 0.8))
    assert not higher.holds(side(0.4, 0.8), side(0.3, 0.5)) and not lower.holds(side(0.4, 0.8), side(0.3, 0.5))


def test_printed_numbers_come_from_the_paper_as_fractions() -> None:
    rule = parse('below(full.landmark_error, 2 * printed("Table 1", "wild_k8", "Liu et al. [32]"))', ROLES)
    assert rule.right.offset == pytest.approx(2 * reported.TABLE_1.value("wild_k8", "Liu et al. [32]") / 100)
    rule = parse('above(full.iou, printed("Table 2", "cub", "ReDO [4]") - 0.05)', ROLES)
    assert rule.right.offset == pytest.approx(0.376) and "ReDO [4] in Table 2 - 0.05" in rule.words


# ---- verdicts on made-up metrics


def test_other_metrics_flip_the_verdict(tmp_path: Path) -> None:
    write(tmp_path / "a", {"iou": (0.80, 0.81, 0.82)})
    write(tmp_path / "a", {"iou": (0.30, 0.31, 0.32)}, variant="paper+no-points")
    row = judged(tmp_path / "a", "points-help")
    assert (row.verdict, row.scale, row.seeds, len(row.runs)) == (REPRODUCED, "laptop", 3, 6)
    assert "full model 0.810 [0.785, 0.835] against without points 0.310" in row.measured
    write(tmp_path / "b", {"iou": (0.30, 0.31, 0.32)})
    write(tmp_path / "b", {"iou": (0.80, 0.81, 0.82)}, variant="paper+no-points")
    row = judged(tmp_path / "b", "points-help")
    assert row.verdict == NOT_REPRODUCED and row.measured.endswith("the other way round")


def test_overlap_is_said_and_is_no_reproduction(tmp_path: Path) -> None:
    write(tmp_path, {"iou": (0.5, 0.7, 0.9)})
    write(tmp_path, {"iou": (0.4, 0.6, 0.8)}, variant="paper+no-points")
    row = judged(tmp_path, "points-help")
    assert row.verdict == NOT_REPRODUCED and row.measured.endswith("intervals overlap")


@pytest.mark.parametrize(("scale", "seeds"), [("laptop", 2), ("tiny", 3)])
def test_few_seeds_and_a_tiny_scale_decide_nothing(tmp_path: Path, scale: str, seeds: int) -> None:
    write(tmp_path, {"iou": (0.80, 0.81, 0.82)[:seeds]}, scale=scale)
    write(tmp_path, {"iou": (0.30, 0.31, 0.32)[:seeds]}, variant="paper+no-points", scale=scale)
    row = judged(tmp_path, "points-help")
    assert row.verdict == NOT_TESTABLE and ("2 of 3 seeds" in row.why or "tiny is too small" in row.why)
    assert "full model 0.8" in row.measured


def test_the_best_scale_that_decides_is_taken(tmp_path: Path) -> None:
    for scale, ablated in (("laptop", (0.30, 0.31, 0.32)), ("gpu", (0.90, 0.91, 0.92))):
        write(tmp_path, {"iou": (0.80, 0.81, 0.82)}, scale=scale)
        write(tmp_path, {"iou": ablated}, variant="paper+no-points", scale=scale)
    write(tmp_path, {"iou": (0.95,)}, scale="paper")
    row = judged(tmp_path, "points-help")
    assert (row.verdict, row.scale) == (NOT_REPRODUCED, "gpu")


def test_a_rule_must_hold_on_each_data_set(tmp_path: Path) -> None:
    for data, ablated in (("synthetic-bird", (0.30, 0.31, 0.32)), ("synthetic-face", (0.90, 0.91, 0.92))):
        write(tmp_path, {"iou": (0.80, 0.81, 0.82)}, data=data)
        if data == "synthetic-bird":
            assert judged(tmp_path, "points-help").verdict == NOT_TESTABLE
        write(tmp_path, {"iou": ablated}, variant="paper+no-points", data=data)
        if data == "synthetic-bird":
            assert judged(tmp_path, "points-help").verdict == REPRODUCED
    row = judged(tmp_path, "points-help")
    assert row.verdict == NOT_REPRODUCED and row.data == "synthetic-bird, synthetic-face"


def test_trimaps_do_not_test_the_coverage_of_table_2(tmp_path: Path) -> None:
    good = {"iou": (0.70, 0.71, 0.72)}
    for name, images in (("trimaps", 142), ("masks", 1020)):
        write(tmp_path / name, good, data="cub", scale="gpu", parts=8)
        write(tmp_path / name, good, data="flowers", scale="gpu", parts=8, iou_images=images)
    assert judged(tmp_path / "trimaps", "coverage-of-parts").verdict == NOT_TESTABLE
    assert judged(tmp_path / "masks", "coverage-of-parts").verdict == REPRODUCED


def test_an_empty_counterpart_does_not_count_as_equivariant(tmp_path: Path) -> None:
    write(tmp_path, {"equivariance_error": (0.05, 0.06, 0.07)})
    write(tmp_path, {"equivariance_error": (0.0, 0.0, 0.0)}, variant="paper+no-points", foreground_fraction=0.0)
    row = judged(tmp_path, "position-robust")
    assert row.verdict == NOT_TESTABLE and "It does not hold that foreground share (without points)" in row.why


@pytest.mark.parametrize("limit", [1000, "1000"])  # as a notebook and as the command line gives it
def test_runs_with_settings_of_their_own_play_only_their_own_role(tmp_path: Path, limit: int | str) -> None:
    write(tmp_path, {"iou": (0.80, 0.81, 0.82)})
    few = {"overrides": {"data.train_limit": limit}, "train_images": 1000}
    write(tmp_path, {"iou": (0.30, 0.31, 0.32)}, **few)
    assert judged(tmp_path, "many-images").verdict == REPRODUCED
    assert "full model 0.810" in judged(tmp_path, "many-images").measured
