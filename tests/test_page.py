"""Showing a figure or a table writes its files and says what it is; a verdict follows from its checks."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from ganseg import page, plots
from ganseg.files import UserError

RUN = SimpleNamespace(provenance={"scale": "tiny", "data": "synthetic-bird", "seed": 3, "device": "a device",
                                  "commit": "0123456789abcdef", "key": "feed"})  # fmt: skip


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What was displayed, instead of displaying it."""
    outputs: list[dict[str, str]] = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw=False: outputs.append(bundle))
    return outputs


def fields(bundle: dict[str, Any]) -> dict[str, str]:
    """The attributes of a displayed figure or table that matter."""
    return dict(re.findall(r'(alt|download|src|href)="([^"]*)"', bundle["text/html"]))


def test_show_writes_picture_and_data_and_displays_them(tmp_path: Path, shown: list[dict[str, str]]) -> None:
    data = pd.DataFrame({"x": [0.5], "name": ["a, b"]})
    told = {"caption": "Points & parts.", "alt": "Two panels with points."}
    page.show(plots.new_figure(1), "01_points", data=data, runs=[RUN], results=tmp_path, **told)
    folder = tmp_path / "tiny" / "figures"
    assert sorted(path.name for path in folder.iterdir()) == ["01_points.csv", "01_points.png"]
    assert min(Image.open(folder / "01_points.png").info["dpi"]) > 149
    pd.testing.assert_frame_equal(pd.read_csv(folder / "01_points.csv"), data)
    (bundle,) = shown
    found = fields(bundle)
    assert found["alt"] == "Two panels with points." and found["download"] == "01_points.csv"
    assert base64.b64decode(found["src"].split(",")[1]) == (folder / "01_points.png").read_bytes()
    assert base64.b64decode(found["href"].split(",")[1]) == (folder / "01_points.csv").read_bytes()
    assert "<figcaption>Points &amp; parts." in bundle["text/html"]
    origin = "Scale tiny; data synthetic-bird; seed 3; device a device; commit 0123456789; run feed."
    assert origin in bundle["text/html"] and bundle["text/plain"] == "Figure: Two panels with points."


@pytest.mark.parametrize(
    ("told", "message"),
    [({"alt": "points.png", "runs": [RUN]}, "alt text"), ({"alt": "A panel with points."}, "scale"),
     ({"alt": "A panel with points.", "runs": [RUN], "caption": ""}, "caption")],
)  # fmt: skip
def test_show_refuses_a_figure_without_words_or_origin(tmp_path: Path, told: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        page.show(plots.new_figure(1), "a", data=pd.DataFrame(), results=tmp_path, **{"caption": "A caption."} | told)
    assert not list(tmp_path.iterdir())


def test_a_table_is_well_formed_escaped_and_its_data_unrounded(tmp_path: Path, shown: list[dict[str, str]]) -> None:
    cells = {"Method": ["ours", "<b>theirs</b>"], "IoU": ["0.71 ± 0.20 (n = 3)", "0.3 †"], "Scale": ["tiny", "printed"]}
    data, told = pd.DataFrame({"iou": [0.7123]}), {"caption": "A < B.", "notes": ["A note."], "runs": [RUN]}
    page.show_table(pd.DataFrame(cells), "t", data=data, results=tmp_path, **told)
    assert (tmp_path / "tiny" / "tables" / "t.csv").read_text() == "iou\n0.7123\n"
    (bundle,) = shown
    assert base64.b64decode(fields(bundle)["href"].split(",")[1]) == b"iou\n0.7123\n"
    assert "seed 3" in bundle["text/html"] and "0.71" in bundle["text/plain"]
    tree = ElementTree.fromstring(f"<div>{bundle['text/html'].replace('&nbsp;', '_').replace('<br>', '')}</div>")
    assert [head.get("scope") for head in tree.iter("th")] == ["col"] * 3 + ["row"] * 2
    assert [row.get("class") for row in tree.iter("tr")] == [None, "ours", None]
    assert [row.find("th").text for row in list(tree.iter("tr"))[1:]] == cells["Method"]
    assert [cell.text for cell in tree.iter("td")] == ["0.71_±_0.20 (n_=_3)", None, "0.3_†", "printed"]
    assert tree.find(".//td/span").get("class") == "ganseg-badge ganseg-tiny"
    assert tree.find(".//caption").text == "A < B."
    assert "A note." in [note.text for note in tree.iter("p")]


def test_a_long_table_folds_under_its_caption_and_the_provenance_of_several_runs_under_a_line(tmp_path, shown):
    frame = pd.DataFrame({"Seed": [3, 4]})
    page.show_table(frame, "t", caption="Runs.", runs=[RUN, RUN], results=tmp_path, folded=True)
    (bundle,) = shown
    assert re.match(r'<details class="ganseg-folded"><summary>2 rows: Runs\.</summary>', bundle["text/html"])
    inside = bundle["text/html"].partition("</summary>")[2]
    below = inside.partition("</details>")[2]
    assert 'download="t.csv"' in below
    line = below.partition('<details class="ganseg-provenance">')[2]
    assert re.match(r"<summary>Scale \w+; data [\w-]+; 2 runs</summary>Scale", line) and "; seed 3;" in line


def test_a_reader_chooses_among_rows_of_pictures_and_without_a_script_unfolds_them(tmp_path, shown):
    frame = pd.DataFrame({"model": ["a & b", "c"], "step": [1, 20], "iou": [0.5, 0.25]})
    rows = np.zeros((2, 3, 4, 5, 3), np.uint8)
    told = {"choices": ["model", "step"], "caption": "{model} after {step}: {iou}"}
    page.show_choices(frame, rows, "r", **told, runs=[RUN], results=tmp_path)
    place = BeautifulSoup(shown[0]["text/html"], "html.parser").select_one(".ganseg-explorer")
    assert [json.loads(one["data-told"]) for one in place.select("details > figure")] == [
        {"model": "a & b", "step": "1"}, {"model": "c", "step": "20"}
    ]  # fmt: skip
    assert [one.get_text() for one in place.select("figcaption")] == ["a & b after 1: 0.5", "c after 20: 0.25"]
    for image in place.select("img"):
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
        assert (picture.format, picture.size) == ("WEBP", (15, 4))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tiny" / "tables" / "r.csv"), frame)


def test_an_answer_shows_its_word_its_number_and_its_picture(shown: list[dict[str, str]]) -> None:
    rows = {"image": np.zeros((2, 4, 4, 3), np.uint8)}
    for given in (rows, {}):
        page.answer("Undecided", "0.5", "of <all> images", given, "Two black images.")
    with_picture, without = texts = [bundle["text/html"] for bundle in shown]
    assert all("Undecided" in text and "<strong>0.5</strong> of &lt;all&gt; images" in text for text in texts)
    assert 'alt="Two black images."' in with_picture and "<img" not in without


def test_provenance_names_all_there_is_of_the_runs_and_uncommitted_changes() -> None:
    more = {"seed": 4, "commit": "f" * 40, "dirty": True, "key": "beef"}
    line = page.provenance_line([RUN, SimpleNamespace(provenance=RUN.provenance | more)])
    assert line == ("Scale tiny; data synthetic-bird; seeds 3, 4; device a device; "
                    "commits 0123456789, ffffffffff with uncommitted changes; runs feed, beef.")  # fmt: skip
    assert page.provenance_line([SimpleNamespace(provenance={"scale": "tiny", "commit": None})]) == "Scale tiny."


@pytest.mark.parametrize(
    ("checks", "testable", "word"),
    [({"a": True, "b": True}, True, "Reproduced"), ({"a": True, "b": False}, True, "Not reproduced"),
     ({"a": True}, False, "Not testable at this scale")],
)  # fmt: skip
def test_a_verdict_follows_from_its_checks(checks, testable, word, shown):
    assert page.verdict("A claim.", checks, testable, "too short") == word
    (bundle,) = shown
    assert f"Verdict: {word}" in bundle["text/html"] and bundle["text/html"].count("<li>") == len(checks)
    assert ("too short" in bundle["text/html"]) is not testable
