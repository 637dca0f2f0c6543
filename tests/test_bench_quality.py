"""The comparison of runs that different versions of the training code made."""

from types import SimpleNamespace

from ganseg.bench.quality import compared, versions


def run(seed, iou, code=None, commit="aaaaaaaaaa", day=1, parts=6):
    provenance = {
        "scale": "laptop", "data": "synthetic-bird", "variant": "paper", "parts": parts, "seed": seed, "steps": 2700,
        "finished": f"2026-01-{day:02}T00:00:00+00:00", "commit": commit, "seconds_gan": 60.0, "seconds_segmenter": 0.0,
    } | ({"training_code": code} if code else {})  # fmt: skip
    return SimpleNamespace(provenance=provenance, metrics={"iou": iou, "nmi_both": 0.6, "landmark_error_ratio": 0.2})


def test_runs_of_one_code_are_one_version_at_whatever_commit_they_were_made():
    assert versions([run(s, 0.8, "same", commit) for s, commit in enumerate(("aaaaaaaaaa", "bbbbbbbbbb"))]).empty


def test_runs_without_a_recorded_code_are_told_apart_by_their_commit():
    lines = versions([run(0, 0.8, commit="aaaaaaaaaa"), run(0, 0.8, "new", "bbbbbbbbbb", day=2)])
    assert list(lines["commit"]) == ["aaaaaaa", "bbbbbbb"]


def test_seeds_added_at_a_later_commit_join_their_version():
    before = [run(s, 0.8) for s in range(3)]
    after = [run(s, 0.8, "new", f"{'bcd'[s]}bbbbbbbbb", day=2 + s) for s in range(3)]
    table = compared(versions([*reversed(after), *before]))
    assert (
        set(table["seeds_after"]) == {3} and set(table["before"]) == {"aaaaaaa"} and set(table["after"]) == {"bbbbbbb"}
    )


def test_other_numbers_of_parts_are_other_experiments():
    assert versions([run(0, 0.8), run(0, 0.8, "new", day=2, parts=8)]).empty


def test_a_later_version_holds_within_or_above_the_range_of_the_first_and_not_below():
    first = [run(s, iou) for s, iou in enumerate((0.7, 0.8))]
    for iou, holds in ((0.69, False), (0.75, True), (0.9, True)):
        table = compared(versions([*first, run(0, iou, "new", "bbbbbbbbbb", day=2)]))
        assert bool(table.set_index("metric").loc["iou", "holds"]) is holds


def test_p_is_small_where_all_seeds_of_one_version_are_below_all_of_the_other():
    first = [run(s, 0.8 + s / 1000) for s in range(6)]
    for lower, is_small in ((0.1, True), (0.0005, False)):
        later = [run(s, 0.8 + s / 1000 - lower, "new", "bbbbbbbbbb", day=2) for s in range(6)]
        p = compared(versions([*first, *later])).set_index("metric").loc["iou", "p"]
        assert bool(p < 0.01) is is_small
