"""The comparison of this version with an earlier one, each from its own checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ganseg.bench import report, versions
from ganseg.cli import app
from ganseg.files import PACKAGE

SMALL = {
    "data.size": 16,
    "generator.block_sizes": (8, 16),
    "generator.block_widths": (8, 8),
    "discriminator.widths": (8, 8),
    "optim.batch_size": 2,
}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package whose scale tiny trains half as long and knows a setting that is gone."""
    folder = tmp_path_factory.mktemp("earlier")
    shutil.copytree(PACKAGE, folder / "ganseg", ignore=shutil.ignore_patterns("__pycache__"))
    scales, config = folder / "ganseg" / "scales.py", folder / "ganseg" / "config.py"
    text = scales.read_text()
    scales.write_text(text + '\nSCALES["tiny"] |= {"optim.steps": 17, "data.test_limit": 9}\n')
    text = config.read_text()
    config.write_text(text.replace("    steps: int", "    forgotten: int = 1\n    steps: int", 1))
    return folder


@pytest.fixture(scope="module")
def written(earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report that the command writes."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions, "STEPS", 1)
        patch.setattr(
            versions, "scores", lambda data, scale, settings, seeds: {"iou": [int(settings["optim.batch_size"]) / 10]}
        )
        words = [f"--set={name}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in SMALL.items()]
        done = CliRunner().invoke(
            app, ["bench", "--earlier", str(earlier), "--seconds", "0", "--results", str(results), *words]
        )
    assert done.exit_code == 0, done.output
    return Path(done.stdout.strip().splitlines()[-1])


def test_each_version_takes_its_steps_from_its_own_checkout_with_its_own_settings(written: Path) -> None:
    rows = json.loads(written.read_text())["versions"]
    steps = {name: row["config"]["optim"]["steps"] for name, row in rows.items()}
    assert steps["before"] == steps["code"] == 17 != steps["now"]
    assert "forgotten" in json.dumps(rows["before"]["config"]) and "forgotten" not in json.dumps(rows["code"]["config"])
    assert rows["before"]["commit"] == "unknown" != rows["now"]["commit"]
    assert all(row["config"]["data"]["size"] == 16 and row["seconds"]["median"] > 0 for row in rows.values())


def test_a_ratio_is_time_before_over_time_now_and_the_earlier_version_has_no_scores(written: Path) -> None:
    (found,) = report.versions(written.parents[2])
    table = versions.table([found]).set_index("version")
    assert table.loc["before", "times"] == 1
    assert table.loc["now", "times"] == pytest.approx(
        table.loc["now", "steps_per_second"] / table.loc["before", "steps_per_second"], rel=0.6
    )
    assert list(table["iou"]) == [[], [0.2], [0.2]] and list(table["sizes"]) == ["8, 16"] * 3


def test_as_many_images_are_scored_as_now() -> None:
    found: dict[str, Any] = versions.settings_of({"data": {"test_limit": 9, "size": 8}, "seed": 3, "gone": {"a": 1}})
    assert found == {"data.size": 8}


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--earlier", str(tmp_path)])
    assert done.exit_code == 2 and "is no checkout of this package" in done.output


def test_options_that_would_be_passed_over_are_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--earlier", str(tmp_path), "--against", "plain"])
    assert done.exit_code == 2 and "compares whole versions" in done.output
