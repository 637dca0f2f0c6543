"""The landing page and README: their numbers and their picture are what the results say, and no results break them."""

from pathlib import Path
from typing import Any

import numpy as np
from conftest import ROOT
from finished_runs import write_run
from PIL import Image

from book import front
from ganseg import tables
from ganseg.pictures import sample_sheet
from ganseg.runs import Run
from ganseg.tables import TABLE_2


def seed(results: Path, number: int, iou: float, **more: Any) -> Run:
    """A run on flowers with a sheet of twelve grey images, as dark as its seed is low."""
    folder = write_run(results, data="flowers", parts=8, seed=number, iou=iou, **more)
    images, labels = np.full((12, 8, 8, 3), 40 * number, np.uint8), np.eye(8, dtype=np.uint8)[None].repeat(12, axis=0)
    sample_sheet(images, labels, folder / "segmentation.png", labels)
    return Run(folder)


def test_readme_shows_between_its_marks_the_picture_and_the_numbers_of_the_committed_results(committed: Path) -> None:
    """Where this fails, `python -m book front` writes them again."""
    readme, text = committed.parent / "README.md", (ROOT / "README.md").read_text()
    readme.write_text(front.README.sub(r"\1old\n\2", text))
    (committed / front.PICTURE).unlink()
    front.front(committed.parent)
    assert readme.read_text() == text
    shown, drawn = (Image.open(folder / front.PICTURE) for folder in (ROOT / "results", committed))
    assert np.array_equal(np.asarray(shown), np.asarray(drawn))


def test_current_runs_speak_at_the_scale_with_the_most_seeds(tmp_path: Path) -> None:
    assert tables.headline(tmp_path, "flowers") == []
    seed(tmp_path, 0, 0.9, config={"seed": 7})
    spoken = [seed(tmp_path, number, iou) for number, iou in enumerate((0.5, 0.8, 0.7, 0.6), start=1)]
    seed(tmp_path, 0, 0.1, scale="gpu"), seed(tmp_path, 0, 0.1, scale="tiny")
    assert tables.headline(tmp_path, "flowers") == spoken
    assert tables.middle(spoken).provenance["seed"] == 4


def test_numbers_and_picture_follow_the_runs(tmp_path: Path) -> None:
    for number, iou in enumerate((0.5, 0.9, 0.7)):
        seed(tmp_path, number, iou)
    texts = front.facts(tmp_path, tmp_path)
    told = "**0.700** foreground IoU on Oxford Flowers-102, mean of 3 seeds, 0.500 to 0.900, at"
    assert texts["flowers"].startswith(told) and f"{TABLE_2.value('flowers'):.3f}" in texts["flowers"]
    assert "seed 2" in texts["caption"] and "Terms: " in texts["caption"]
    assert Image.open(tmp_path / front.PICTURE).getpixel((0, 0))[:3] == (80, 80, 80)
    seed(tmp_path, 3, 0.1)
    assert front.facts(tmp_path, tmp_path)["flowers"].startswith("**0.550**") and "plus" not in texts["flowers"]
    seed(tmp_path, 0, 0.75, variant="plus")
    assert "our variant `plus` 0.750. " in front.facts(tmp_path, tmp_path)["flowers"]


def test_without_runs_there_is_no_picture_and_no_number(tmp_path: Path) -> None:
    texts = front.stage(tmp_path, tmp_path)
    assert texts["picture"] == "" and not list(tmp_path.iterdir())
    assert texts["flowers"].startswith(f"**{tables.BLANK}**") and texts["claims"].startswith("**0 of ")
