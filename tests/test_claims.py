"""The claims ledger: its data, its rules, and verdicts that follow made-up metrics."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import ROOT
from finished_runs import write_run

from ganseg import baselines, ledger, tables
from ganseg.data import Split
from ganseg.files import UserError
from ganseg.ledger import CONTRADICTED, LEDGER, REPRODUCED, UNDECIDED, UNTESTED, Ledger, evaluate_claims
from ganseg.recipes import SCALES, resolve
from ganseg.runs import find_runs

GOOD, BAD = (0.80, 0.81, 0.82, 0.83, 0.84), (0.30, 0.32, 0.31, 0.34, 0.33)
NAME, OTHER = "background-helps", "paper+no-background"  # full.iou > no_background.iou


@pytest.fixture(autouse=True)
def _no_image_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = {"nmi_foreground": 0.3, "ari_foreground": 0.2, "components_per_part": 1.5, "landmark_error_ratio": 0.5}
    monkeypatch.setattr(ledger, "reached", lambda *about: {key: [bar] for key, bar in bars.items()})


def write(results: Path, values: Sequence[float], variant: str = "paper", metric: str = "iou", **fields: Any) -> None:
    """Finished runs, one a seed, whose `metric` is `values` by seed."""
    for seed, value in enumerate(values):
        write_run(results, variant, seed=seed, **fields, **{metric: value})


def judged(results: Path, name: str = NAME) -> Any:
    """The row of the evaluated ledger for the claim `name`."""
    return evaluate_claims(results).set_index("id").loc[name]


# ---- the data file and the plan


def test_the_ledger_has_claims_from_the_abstract_to_the_limitations() -> None:
    listed = Ledger().claims
    assert len({claim["id"] for claim in listed}) == len(listed) == 41
    assert {claim["section"].split(".")[0] for claim in listed} == {"Abstract", *"12345"}
    assert all(claim["claim"] and claim["statistic"] and claim["place"] and claim["chapters"] for claim in listed)
    numbers = {number for claim in listed for number in claim["chapters"]}
    assert not [number for number in numbers if not list((ROOT / "notebooks").glob(f"{number}_*.ipynb"))]


def test_without_runs_no_verdict_is_given_and_none_is_stored(tmp_path: Path) -> None:
    assert not re.search(r"reproduced|contradicted|undecided|untested|verdict|✓|✗", LEDGER.read_text().lower())
    found = evaluate_claims(tmp_path)
    assert set(found["verdict"]) == {UNTESTED} and all(found["why"])


def test_only_what_needs_celeba_taichi_or_masks_of_cub_has_no_planned_runs() -> None:
    known, runs = Ledger(), {(one.data, one.variant) for one in ledger.planned("laptop", "flowers", "a folder")}
    planned = lambda side: (side.role.data or ledger.HOME, side.role.variant) in runs or side.role.data == "cub"
    rules = {claim["id"]: [known.read(text) for text in claim["rule"]] for claim in known.claims}
    within_reach = [name for name, checks in rules.items() if any(all(map(planned, c.sides)) for c in checks)]
    assert len(within_reach) >= 34
    whole = [name for name, checks in rules.items() if checks and all(planned(s) for c in checks for s in c.sides)]
    assert len(whole) >= 32


def test_the_plan_has_every_seed_of_every_experiment_on_the_data_at_hand_and_nothing_at_scale_tiny() -> None:
    assert ledger.planned("tiny") == []
    drawn, more = ledger.planned("laptop"), ledger.planned("laptop", "flowers", "a folder")
    assert len({one.config for one in drawn}) == len(drawn)
    assert {one.data for one in more} - {one.data for one in drawn} == {"flowers"} and len(more) == len(drawn) + 20
    limits = {one.overrides.get("data.train_limit") for one in more if one.data == "flowers"}
    assert limits == {None, 500, 1000, 2000} and {one.seed for one in more} == {0, 1, 2, 3, 4}


# ---- the rules


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("full.beauty > no_area.beauty", "unknown metric 'beauty'"),
        ("full.iou > nobody.iou", "unknown role 'nobody'"),
        ("full.iou better than no_area.iou", "is no rule"),
        ("full.iou >", "is no rule"),
        ("0.5 > full.iou", "measured by no run"),
        ("grid.ari_foreground > full.ari_foreground", "measured by no run"),
        ("full.iou > __import__('os').getpid()", "unknown role"),
        ("full.iou > Table 9 / cub / Ours", "known are Table 1"),
        ("full.iou > Table 2 / dogs / Nobody", "no number for 'Nobody' in column 'dogs'"),
        ("full.iou > no_area.iou - full.iou", "unknown metric"),
    ],
)
def test_what_is_no_rule_is_refused(rule: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Ledger().read(rule)


def test_every_claim_has_known_fields_and_scales_and_rules_that_are_read() -> None:
    known, fields = Ledger(), set("id section place claim statistic rule chapters".split()) | set(ledger.DEFAULTS)
    for claim in known.claims:
        assert set(claim) == fields and set(claim["scales"]) <= set(SCALES) and (claim["rule"] or claim["needs"])
        assert all(known.read(text).sides for text in (*claim["rule"], *claim["given"]))


def test_printed_numbers_come_from_the_paper_as_fractions(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    known = Ledger(ledger.measurements(find_runs(tmp_path)).to_dict("records"))
    check = known.read("full.iou > 2 * Table 1 / wild_k8 / Liu et al. [32]", "laptop", "synthetic-bird")
    assert set(check.right.values) == {2 * tables.TABLE_1.value("wild_k8", "Liu et al. [32]") / 100}
    check = known.read("full.iou ~ Table 2 / cub / ReDO [4] +- 0.05", "laptop", "synthetic-bird")
    assert check.margin == 0.05 and check.right.values[3] == 0.426 and "ReDO [4] in Table 2" in str(check)


# ---- verdicts on made-up metrics


@pytest.mark.parametrize(
    ("full", "ablated", "verdict"),
    [(GOOD, BAD, REPRODUCED), (BAD, GOOD, CONTRADICTED), (GOOD, (0.7, 0.9, 0.8, 0.6, 1.0), UNDECIDED)],
)
def test_other_metrics_turn_the_verdict(tmp_path: Path, full: Any, ablated: Any, verdict: str) -> None:
    write(tmp_path, full)
    write(tmp_path, ablated, OTHER)
    row = judged(tmp_path)
    (check,) = row.checks
    assert (row.verdict, row.why, check.scale, check.data) == (verdict, "", "laptop", "synthetic-bird")
    assert check.gap.mean == pytest.approx(np.mean(full) - np.mean(ablated))
    assert f"full model {np.mean(full):.3f} [" in str(check) and "without separate background" in str(check)


def test_equality_is_shown_by_being_within_a_margin_and_refuted_by_being_beyond_it(tmp_path: Path) -> None:
    write(tmp_path, [0.01, 0.02, 0.03, 0.02, 0.01], metric="embedding_leak")
    assert judged(tmp_path, "batch-norm-harmless").verdict == REPRODUCED
    write(tmp_path, [0.41, 0.42, 0.43, 0.42, 0.41], metric="embedding_leak")
    assert judged(tmp_path, "batch-norm-harmless").verdict == CONTRADICTED
    write(tmp_path, [0.1, 0.2, 0.3, 0.4, 0.3], metric="embedding_leak")
    assert judged(tmp_path, "batch-norm-harmless").verdict == UNDECIDED


def test_steadiness_is_a_matter_of_spread_alone(tmp_path: Path) -> None:
    write(tmp_path, GOOD[::-1])
    write(tmp_path, (0.1, 0.9, 0.2, 0.8, 0.55), "paper+single-point")
    assert judged(tmp_path, "grouped-points-stable").verdict == REPRODUCED
    write(tmp_path, BAD, "paper+single-point")
    assert judged(tmp_path, "grouped-points-stable").verdict == UNDECIDED


def test_the_bar_is_what_a_competitor_reaches_that_learned_nothing(tmp_path: Path) -> None:
    write(tmp_path, [0.11, 0.12, 0.13, 0.12, 0.11], metric="ari_foreground")  # beyond chance, below the grid's 0.2
    row = judged(tmp_path, "pairs-train-a-segmenter")
    assert row.verdict == CONTRADICTED and "a fixed grid 0.200" in str(row.checks[0])
    write(tmp_path, [0.21, 0.22, 0.23, 0.22, 0.21], metric="ari_foreground")
    assert judged(tmp_path, "pairs-train-a-segmenter").verdict == REPRODUCED


@pytest.mark.parametrize(
    ("scale", "seeds", "why"), [("laptop", 4, "4 of 5 seeds"), ("tiny", 5, "tiny decides nothing")]
)
def test_few_seeds_and_a_tiny_scale_test_nothing(tmp_path: Path, scale: str, seeds: int, why: str) -> None:
    write(tmp_path, GOOD[:seeds], scale=scale)
    write(tmp_path, BAD[:seeds], OTHER, scale=scale)
    row = judged(tmp_path)
    assert row.verdict == UNTESTED and why in row.why and len(row.checks[0].left.rows) == seeds


@pytest.mark.parametrize("gone", [{"foreground_fraction": 0.01}, {"foreground_fraction": 0.9},
                                  {"part_usage": [1.0, 1.0, 0.0, 0.0, 0.0, 1.0]}])  # fmt: skip
@pytest.mark.parametrize("side", [0, 1])
def test_a_collapsed_model_on_either_side_decides_nothing(tmp_path: Path, gone: dict[str, Any], side: int) -> None:
    write(tmp_path, GOOD, **(gone if side == 0 else {}))
    write(tmp_path, BAD, OTHER, **(gone if side == 1 else {}))
    row = judged(tmp_path)
    assert row.verdict == UNDECIDED and f"{row.checks[0].sides[side].name} has collapsed" in row.why


def test_where_the_claim_is_about_collapse_a_collapsed_model_decides(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, BAD, "paper+no-points", foreground_fraction=0.0)
    row = judged(tmp_path, "equivariance-prevents-collapse")
    assert row.verdict == REPRODUCED and row.checks[0].supports == pytest.approx(1 / 252)
    assert judged(tmp_path, "position-robust").verdict == UNTESTED  # no run has the error


def test_the_best_scale_that_decides_is_taken(tmp_path: Path) -> None:
    for scale, ablated in (("laptop", BAD), ("gpu", [0.9 + value / 10 for value in GOOD])):
        write(tmp_path, GOOD, scale=scale)
        write(tmp_path, ablated, OTHER, scale=scale)
    write(tmp_path, (0.95,), scale="paper")
    row = judged(tmp_path)
    assert (row.verdict, row.checks[0].scale) == (CONTRADICTED, "gpu")


def test_a_rule_must_hold_on_each_data_set(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert judged(tmp_path).verdict == UNTESTED
    write(tmp_path, BAD, OTHER)
    write(tmp_path, GOOD, data="synthetic-face")
    assert judged(tmp_path).verdict == REPRODUCED
    write(tmp_path, [0.9 + value / 10 for value in GOOD], OTHER, data="synthetic-face")
    row = judged(tmp_path)
    assert row.verdict == CONTRADICTED and [check.data for check in row.checks] == ["synthetic-bird", "synthetic-face"]


@pytest.mark.parametrize(("images", "verdict"), [(142, UNDECIDED), (1020, REPRODUCED)])
def test_trimaps_do_not_decide_the_coverage_of_table_2(tmp_path: Path, images: int, verdict: str) -> None:
    write(tmp_path, GOOD, data="cub", scale="gpu", parts=8)
    write(tmp_path, GOOD, data="flowers", scale="gpu", parts=8, iou_images=images)
    assert judged(tmp_path, "coverage-of-parts").verdict == verdict


def test_a_claim_of_many_data_sets_is_undecided_until_all_are_there_but_one_can_contradict_it(tmp_path: Path) -> None:
    write(tmp_path, GOOD, data="flowers", scale="gpu", parts=8, iou_images=6149)
    row = judged(tmp_path, "state-of-the-art")  # Taichi is missing
    assert row.verdict == UNDECIDED and "no run has foreground IoU of: Taichi" in row.why
    write(tmp_path, BAD, data="flowers", scale="gpu", parts=8, iou_images=6149)
    assert judged(tmp_path, "state-of-the-art").verdict == CONTRADICTED


@pytest.mark.parametrize("limit", [1000, "1000"])  # as a notebook and as the command line gives it
def test_runs_with_settings_of_their_own_play_only_their_own_role(tmp_path: Path, limit: int | str) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, BAD, overrides={"data.train_limit": limit}, train_images=1000)
    check = judged(tmp_path, "many-images").checks[0]
    assert check.level == 3 and check.gap.mean == pytest.approx(0.5)


# ---- how often verdicts are right


def simulated(path: Path, shifts: Sequence[float], draws: int) -> np.ndarray:
    """Verdicts (draws, claims) of a ledger whose claims compare metrics that differ by `shifts` deviations."""
    metrics = [f"landmark_error_{kind}" for kind in ("ratio", "centred", "affine", "object", "edge", "inter_ocular")]
    metrics = metrics[: len(shifts)]
    claims = [{"id": key, "section": "1", "place": "-", "claim": "-", "statistic": "-", "chapters": [],
               "rule": [f"full.{key} > other.{key}"]} for key in metrics]  # fmt: skip
    roles = {"full": {"title": "a"}, "other": {"title": "b", "variant": "paper+no-area"}}
    path.write_text(yaml.safe_dump({"roles": roles, "claims": claims}))
    random, known, found = np.random.default_rng(0), Ledger(path=path), []
    for _ in range(draws):
        values = random.normal(size=(2, 5, len(metrics))) + np.array([shifts, np.zeros(len(metrics))])[:, None]
        for role, rows in zip(known.roles.values(), values, strict=True):
            measured = enumerate(dict(zip(metrics, row, strict=True)) for row in rows)
            runs = [{"seed": seed, "collapsed": 0} | row for seed, row in measured]
            known.runs[role.key("laptop", "synthetic-bird")] = runs
        found.append(known.judged()["verdict"])
    return np.array(found)


def test_a_difference_of_two_deviations_is_found_in_four_of_five_draws(tmp_path: Path) -> None:
    found = simulated(tmp_path / "claims.yml", [2.0], 400)
    assert (found == REPRODUCED).mean() >= 0.8 and (found == CONTRADICTED).mean() == 0


def test_no_difference_is_reproduced_in_one_of_twenty_draws_at_most(tmp_path: Path) -> None:
    found = simulated(tmp_path / "claims.yml", [0.0, 0.0], 200)
    assert (found == REPRODUCED).mean() <= 0.05 and (found == CONTRADICTED).mean() <= 0.05
    assert (found == UNDECIDED).mean() >= 0.9


def test_among_many_claims_one_in_twenty_of_the_reproduced_is_wrong_at_most(tmp_path: Path) -> None:
    found = simulated(tmp_path / "claims.yml", [4.0, 4.0, 4.0, 0.0, 0.0, 0.0], 80) == REPRODUCED
    wrong = found[:, 3:].sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    assert wrong.mean() <= 0.05 and found[:, :3].mean() >= 0.8


# ---- competitors that learned nothing


def test_a_grid_reaches_everything_where_the_parts_are_one_and_the_truth_has_its_own_share() -> None:
    config, rows = resolve("synthetic-bird", "paper", "tiny"), np.arange(12)
    parts = np.broadcast_to(1 + 3 * (rows[:, None] // 6) + rows // 4, (5, 12, 12)).astype(np.uint8)  # 2 x 3 cells
    test = Split(np.zeros((5, 12, 12, 3), np.uint8), tuple("abcde"), (parts > 3).astype(np.uint8), parts)
    assert baselines.grid(config, test) == {"nmi_foreground": [pytest.approx(1)], "ari_foreground": [pytest.approx(1)]}
    assert baselines.truth(config, test) == {"foreground_fraction": [0.5]}


def test_competitors_are_better_than_chance_on_drawn_birds_and_are_measured_once(monkeypatch: Any) -> None:
    about = ("tiny", "synthetic-bird", 6)
    assert 0.05 < baselines.reached("grid", *about)["ari_foreground"][0] < 0.3
    assert 0.3 < baselines.reached("centroid", *about)["landmark_error_ratio"][0] < 0.7
    pieces = [baselines.reached(name, *about)["components_per_part"] for name in ("kmeans", "untrained")]
    assert all(pieces) and min(map(min, pieces)) >= 1
    monkeypatch.setitem(baselines.COMPETITORS, "grid", ("a fixed grid", None))
    assert baselines.reached("grid", *about)["nmi_foreground"][0] > 0
    assert baselines.reached("grid", "laptop", "flowers", 8) == {}  # photographs have no true parts
