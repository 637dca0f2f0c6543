"""`ganseg data`: lists, downloads, checks, prepares and shows data sets, and says what a person has to do."""

from __future__ import annotations

import hashlib
import io
import json
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
from test_cli import plain
from typer.testing import CliRunner

from ganseg import cli_data
from ganseg.cli import app
from ganseg.data import DATASETS
from ganseg.data.download import RemoteFile

IDS = {"tstid": [1, 2, 3], "trnid": [4, 5], "valid": [6]}


def ganseg(*arguments: str | Path, **options):
    """What `ganseg data ...` did."""
    return CliRunner().invoke(app, ["data", *map(str, arguments)], terminal_width=120, **options)


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
    for word in ("45,609", "5,379", "10,000", "6,149", "161,962", "non-commercial", "ganseg data download flowers"):
        assert word in said


def test_a_data_set_is_downloaded_verified_unpacked_and_readable_and_then_kept(published, tmp_path):
    done = ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert done.exit_code == 0, done.output
    said = plain(done.stdout)
    assert said.index("Licence: None is stated") < said.index("To fetch:") < said.index("ganseg data check flowers")
    assert len(list((tmp_path / "new" / "jpg").iterdir())) == 6
    report = json.loads(ganseg("check", "flowers", tmp_path / "new", "--json").stdout)
    assert report["usable"] and report["counts"] == {"train": 3, "test": 2, "val": 1, "test+val": 3}
    asked = list(published.asked)
    again = ganseg("download", "flowers", "--to", tmp_path / "new")
    assert (again.exit_code, published.asked) == (0, asked)
    assert "To fetch" not in again.stdout


def test_the_same_command_goes_on_after_a_cut(published, tmp_path):
    published.cuts = [100]
    assert "the same command goes on" in mistaken("download", "flowers", "--to", tmp_path / "new", "--yes")
    done = ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert done.exit_code == 0, done.output
    assert "bytes=100-" in published.ranges


def test_a_wrong_checksum_is_refused_and_nothing_is_unpacked(published, tmp_path):
    published.files["102flowers.tgz"] += b"?"
    assert "its MD5 is" in mistaken("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert not (tmp_path / "new" / "jpg").exists()


def test_without_a_terminal_nothing_is_fetched_unless_yes_is_said(published, tmp_path):
    assert "--yes" in mistaken("download", "flowers", "--to", tmp_path / "new")
    assert published.asked == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("\n", 130)])
def test_a_person_is_asked_before_anything_is_fetched(published, tmp_path, monkeypatch, answer, code):
    monkeypatch.setattr(cli_data, "sys", Mock())
    done = ganseg("download", "flowers", "--to", tmp_path / "new", input=answer)
    assert done.exit_code == code, done.output
    assert bool(published.asked) == (code == 0)


@pytest.mark.parametrize("name", ["celeba-wild", "celeba-aligned", "taichi"])
def test_sets_that_only_a_person_can_get_are_explained_file_by_file_but_for_what_is_there(tmp_path, name):
    there, *others = DATASETS[name].files
    (tmp_path / (there.makes or there.name)).mkdir(parents=True)
    done = ganseg("download", name, "--to", tmp_path)
    assert done.exit_code == 2 and "by hand" in done.stderr
    said = plain(done.stdout)
    for file in others:
        assert f"{tmp_path / file.name}" in said and plain(file.how) in said
    assert f"{tmp_path / there.name}:" not in said


def test_every_file_of_a_publisher_has_an_address_and_a_checksum_or_says_how_to_get_it():
    for spec in DATASETS.values():
        for file in spec.files:
            assert (file.url.startswith("https://") and len(file.md5) == 32) or file.how, file.name
    assert all(file.url for name in ("flowers", "cub") for file in DATASETS[name].files)


def test_preparing_decodes_every_split_and_says_where_it_lies(flowers, cache):
    done = ganseg("prepare", "flowers", "--data-dir", flowers, "--size", "16")
    assert done.exit_code == 0, done.output
    for split, count in (("train", "3"), ("test", "2"), ("val", "1")):
        (place,) = cache.glob(f"flowers-{split}-16-*")
        (row,) = [line.split() for line in done.stdout.splitlines() if place.name in line]
        assert row[:2] == [split, count]


def test_a_sound_folder_is_checked_with_exit_code_0(flowers):
    done = ganseg("check", "flowers", flowers)
    assert done.exit_code == 0, done.output
    assert "train 3 6,149" in plain(done.stdout) and "It can be used" in done.stdout


def test_missing_images_are_counted_named_and_fatal(flowers):
    (flowers / "jpg" / "image_00004.jpg").unlink()
    (flowers / "jpg" / "image_00001.jpg").unlink()
    done, as_json = ganseg("check", "flowers", flowers), ganseg("check", "flowers", flowers, "--json")
    assert (done.exit_code, as_json.exit_code) == (2, 2)
    fault = "1 of 3 images and masks of the split train are missing (image_00001.jpg)"
    assert "must be mended: " + fault in done.stdout
    report = json.loads(as_json.stdout)
    assert not report["usable"] and fault in "".join(report["faults"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "birds", "."], "unknown data set 'birds'; known are synthetic"),
        (["check", "flowers"], "needs its folder"),
        (["check", "flowers", "/no/such/folder"], "/no/such/folder is missing"),
        (["check", "synthetic-bird"], "nothing to check"),
        (["download", "birds"], "unknown data set 'birds'"),
        (["download", "folder", "--yes"], "nothing to download"),
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


@pytest.mark.parametrize("name", ["synthetic-face", "flowers-102", "cub-200-2011-classes-1-50"])
def test_real_and_synthetic_sets_are_shown(name, request, tmp_path):
    arguments = [name]
    if not name.startswith("synthetic"):
        arguments = [name.partition("-")[0], "--data-dir", request.getfixturevalue("shared") / "data" / name]
    done = ganseg("show", *arguments, "--count", "4", "--size", "64", "--out", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "sheet.png").width == 4 * 196 - 4


def test_a_download_that_is_stopped_is_told_how_to_go_on(published, tmp_path, monkeypatch):
    monkeypatch.setattr("ganseg.data.download.install", Mock(side_effect=KeyboardInterrupt))
    done = ganseg("download", "flowers", "--to", tmp_path / "new", "--yes")
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr
