"""`make reproduce` prints published and own numbers of the same experiments, and how much seeds differ."""

from pathlib import Path

import pytest
from commands import book
from finished_runs import write_run

from book.compare import beside
from ganseg.files import UserError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Own runs of two experiments, and published ones of three seeds of the first."""
    mine, published = tmp_path / "mine", tmp_path / "published"
    for seed, iou in enumerate((0.50, 0.54, 0.58)):
        write_run(published, seed=seed, iou=iou, scale="tiny")
    few = {"data.train_limit": 1000}
    write_run(published, seed=1, iou=0.1, scale="tiny", overrides=few, key="few00000")
    write_run(mine, seed=1, iou=0.57, scale="tiny", key="afresh00", nmi_both=None)
    write_run(mine, seed=0, iou=0.2, scale="tiny", overrides=few)
    write_run(mine, seed=0, iou=0.9, scale="gpu")
    return mine, published


def test_what_was_not_published_has_no_difference(folders) -> None:
    table = beside(*folders, "tiny")
    table = table[table["measure"] == "iou"].set_index("settings")
    assert len(table) == 2, "of this scale, one line a run and measure"
    line = table.loc["data.train_limit=1000"]
    assert line["mine"] == 0.2 and line[["published", "difference", "spread"]].isna().all() and line["seeds"] == 1
    unpublished = beside(folders[0], folders[0].parent / "none", "tiny")
    assert unpublished[["published", "seeds"]].isna().all(axis=None)


def test_the_command_prints_a_run_beside_the_published_one_of_its_seed_with_the_spread_over_seeds(folders, capsys):
    assert not book("compare", folders[0], "--published", folders[1], "--scale", "tiny")
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if " iou " in line and "train_limit" not in line)
    assert line.split()[-5:] == ["0.540", "0.570", "0.030", "0.040", "3"], said
    with pytest.raises(UserError, match="no finished run of scale paper in"):
        beside(*folders, "paper")
