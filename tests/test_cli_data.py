"""`ganseg data`: lists, downloads, checks, prepares and shows data sets, and says what a person has to do."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import scipy.io
from http_server import Site, serve
from PIL import Image
from typer.testing import CliRunner

from ganseg import cli_data as commands
from ganseg.cli import app
from ganseg.data import DATASETS
from ganseg.data.download import RemoteFile
from ganseg.pictures import draw_keypoints

IDS = {"tstid": [1, 2, 3], "trnid": [4, 5], "valid": [6]}


def ganseg(*arguments: str | Path, **options):
    """What `ganseg data ...` did."""
    return CliRunner().invoke(app, ["data", *map(str, arguments)], terminal_width=120, **options)


def plain(text: str) -> str:
    """Without colours and frames, in one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def mistaken(*arguments: str | Path, **options) -> str:
    """What is said to a mistake: on stderr, with exit code 2 and without a traceback."""
    done = ganseg(*arguments, **options)
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    return plain(done.stderr)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GANSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def flower_files() -> dict[str, bytes]:
    """Six photographs and setid.mat, as the publisher names them."""
    files = {}
    for number in range(1, 7):
        file = io.BytesIO()
        Image.fromarray(np.full((30, 50, 3), 40 * number, np.uint8)).save(file, "JPEG")
        files[f"jpg/image_{number:05d}.jpg"] = file.getvalue()
    table = io.BytesIO()
    scipy.io.savemat(table, {key: np.array([ids], np.uint16) for key, ids in IDS.items()})
    return files | {"setid.mat": table.getvalue()}


@pytest.fixture
def flowers(tmp_path) -> Path:
    for name, content in flower_files().items():
        path = tmp_path / "flowers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "flowers"


@pytest.fixture
def published(monkeypatch) -> Iterator[Site]:
    """A publisher of flowers on this machine, that the registry knows instead of the real one."""
    files = flower_files()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in (name for name in files if name.startswith("jpg")):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    contents = {"102flowers.tgz": packed.getvalue(), "setid.mat": files["setid.mat"]}
    with serve(Site(contents)) as site:
        known = [RemoteFile(n, f"{site.address}/{n}", len(c), hashlib.md5(c).hexdigest()) for n, c in contents.items()]
        known[0] = replace(known[0], unpacks=".", makes="jpg")
        monkeypatch.setitem(DATASETS, "flowers", replace(DATASETS["flowers"], files=tuple(known)))
        yield site


def test_the_list_has_every_data_set_its_licence_and_the_way_to_it():
    said = plain(ganseg("list").stdout)
    for spec in DATASETS.values():
        assert spec.name in said
    for number in ("45,609", "5,379", "283", "10,000", "6,149", "1,020", "161,962"):
        assert number in said
    assert "non-commercial" in said
    assert "548" in said  # MB of flowers


def test_a_data_set_is_downloaded_verified_unpacked_and_readable(published, tmp_path):
    done = ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert done.exit_code == 0, done.output
    said = plain(done.stdout)
    assert said.index("Licence: None is stated") < said.index("To fetch:") < said.index("ganseg data check flowers")
    assert len(list((tmp_path / "new" / "jpg").iterdir())) == 6
    report = json.loads(ganseg("check", "flowers", tmp_path / "new", "--json").stdout)
    assert (report["usable"], report["counts"]) == (
        True,
        report["counts"] | {"train": 3, "test": 2, "val": 1},
    )


def test_a_second_download_fetches_nothing_and_asks_nothing(published, tmp_path):
    ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    asked = list(published.asked)
    done = ganseg("download", "flowers", "--to", tmp_path / "new")
    assert (done.exit_code, published.asked) == (0, asked)
    assert "there" in done.stdout
    assert "To fetch" not in done.stdout


def test_the_same_command_goes_on_after_a_cut(published, tmp_path):
    published.cuts = [100]
    assert "the same command goes on" in mistaken("download", "flowers", "--to", tmp_path / "new", "--yes")
    done = ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert done.exit_code == 0, done.output
    assert "bytes=100-" in published.ranges


def test_a_wrong_checksum_is_refused_and_nothing_is_unpacked(published, tmp_path):
    published.files["102flowers.tgz"] += b"?"
    said = mistaken("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert "its MD5 is" in said
    assert DATASETS["flowers"].files[0].md5 in said
    assert not (tmp_path / "new" / "jpg").exists()


def test_without_a_terminal_nothing_is_fetched_unless_yes_is_said(published, tmp_path):
    assert "--yes" in mistaken("download", "flowers", "--to", tmp_path / "new")
    assert published.asked == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("\n", 130)])
def test_a_person_is_asked_before_anything_is_fetched(published, tmp_path, monkeypatch, answer, code):
    monkeypatch.setattr(commands, "can_ask", lambda: True)
    done = ganseg("download", "flowers", "--to", tmp_path / "new", input=answer)
    assert done.exit_code == code, done.output
    assert bool(published.asked) == (code == 0)


@pytest.mark.parametrize("name", ["celeba-wild", "celeba-aligned", "taichi"])
def test_sets_that_only_a_person_can_get_are_explained_file_by_file(tmp_path, name):
    done = ganseg("download", name, "--to", tmp_path / "new")
    assert done.exit_code == 2
    said = plain(done.stdout)
    for file in DATASETS[name].files:
        assert str(tmp_path / "new" / file.name) in said
        assert plain(file.how) in said
    assert "by hand" in done.stderr


def test_what_a_person_already_put_there_is_not_asked_for_again(tmp_path):
    for name in ("MAFL/training.txt", "Anno/list_bbox_celeba.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("1\n")
    said = plain(ganseg("download", "celeba-wild", "--to", tmp_path).stdout)
    assert f"{tmp_path}/MAFL/testing.txt:" in said
    assert f"{tmp_path}/MAFL/training.txt:" not in said
    assert f"{tmp_path}/list_bbox_celeba.txt:" not in said


@pytest.mark.parametrize("name", ["folder", "synthetic-bird"])
def test_sets_without_files_have_nothing_to_download(name):
    assert "nothing to download" in mistaken("download", name, "--yes")


def test_every_file_of_a_publisher_has_an_address_and_a_checksum_or_says_how_to_get_it():
    for spec in DATASETS.values():
        for file in spec.files:
            assert (file.url.startswith("https://") and len(file.md5) == 32) or file.how, file.name
    assert all(file.url for name in ("flowers", "cub") for file in DATASETS[name].files)


def test_preparing_decodes_every_split_and_says_where_it_lies(flowers, cache):
    done = ganseg("prepare", "flowers", "--data-dir", flowers, "--size", "16")
    assert done.exit_code == 0, done.output
    for split, count in (("train", 3), ("test", 2), ("val", 1)):
        (row,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [split]]
        assert row.split()[1] == str(count)
        (place,) = cache.glob(f"flowers-{split}-16-*")
        assert place.name in row


def test_a_sound_folder_is_checked_with_exit_code_0(flowers):
    done = ganseg("check", "flowers", flowers)
    assert done.exit_code == 0, done.output
    assert re.search(r"train\s+3\s+6,149", done.stdout)
    assert "It can be used" in done.stdout


def test_missing_images_are_counted_named_and_fatal(flowers):
    for number in (1, 4):
        (flowers / "jpg" / f"image_{number:05d}.jpg").unlink()
    done = ganseg("check", "flowers", flowers)
    assert done.exit_code == 2
    assert "must be mended" in done.stdout
    assert "image_00001.jpg" in done.stdout
    as_json = ganseg("check", "flowers", flowers, "--json")
    report = json.loads(as_json.stdout)
    assert (as_json.exit_code, report["usable"]) == (2, False)
    assert "1 of 3 images and masks of the split train are missing (image_00001.jpg)" in "".join(report["faults"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "birds", "."], "unknown data set 'birds'; known are synthetic"),
        (["check", "flowers"], "needs its folder"),
        (["check", "flowers", "/no/such/folder"], "/no/such/folder is missing"),
        (["check", "synthetic-bird"], "nothing to check"),
        (["download", "birds"], "unknown data set 'birds'"),
        (["prepare", "flowers"], "needs its folder"),
        (["prepare", "synthetic-bird", "--size", "4"], "images of 4 pixels are too small"),
        (["show", "synthetic-bird", "--split", "valid"], "has no split 'valid'; it has train, val, test"),
        (["show", "synthetic-bird", "--out", "birds.jpg"], "end its name in .png"),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(arguments, said):
    assert said in mistaken(*arguments)


def test_the_sheet_shows_images_masks_and_keypoints(tmp_path):
    done = ganseg("show", "synthetic-bird", "--count", "3", "--size", "32", "--out", tmp_path / "birds.png")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "birds.png")
    side, gap = 192, 4
    with Image.open(tmp_path / "birds.png") as sheet:
        assert sheet.width == 3 * (side + gap) - gap
        assert sheet.height >= 3 * side + 2 * gap
        pixels = np.asarray(sheet.convert("RGB"))[24:]
    rows = [pixels[i * (side + gap) :][:side, :side].astype(int) for i in range(3)]
    assert all(0.002 < (rows[0] != row).any(-1).mean() < 0.9 for row in rows[1:])


def test_a_sheet_of_images_without_labels_is_one_row(flowers, tmp_path):
    done = ganseg("show", "flowers", "--data-dir", flowers, "--size", "16", "--out", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "sheet.png").size == (2 * 192 + 4, 24 + 192)


def test_keypoints_are_drawn_at_their_place_in_their_colour_and_only_if_visible():
    from ganseg.pictures import part_colours

    black = np.zeros((1, 60, 90, 3), np.uint8)
    points = np.array([[[20.0, 40.0], [70.0, 10.0], [45.0, 30.0]]])
    drawn = draw_keypoints(black, points, np.array([[True, True, False]]))[0]
    colours = part_colours(3)[1:]
    np.testing.assert_array_equal(drawn[40, 20], colours[0])
    np.testing.assert_array_equal(drawn[10, 70], colours[1])
    assert not drawn[25:36, 40:51].any()
    assert not black.any()


@pytest.mark.parametrize("name", ["synthetic-face", "flowers-102", "cub-200-2011-classes-1-50"])
def test_real_and_synthetic_sets_are_shown(name, request, tmp_path):
    arguments = [name]
    if not name.startswith("synthetic"):
        arguments = [name.partition("-")[0], "--data-dir", request.getfixturevalue("shared") / "data" / name]
    done = ganseg("show", *arguments, "--count", "4", "--size", "64", "--out", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "sheet.png").width == 4 * 196 - 4


def test_help_of_every_command_has_an_example():
    for command in ("list", "download", "prepare", "check", "show"):
        assert f"Example: ganseg data {command}" in plain(ganseg(command, "--help").output)


def test_a_download_that_is_stopped_is_told_how_to_go_on(published, tmp_path, monkeypatch):
    monkeypatch.setattr("ganseg.data.download.install", Mock(side_effect=KeyboardInterrupt))
    done = ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr
