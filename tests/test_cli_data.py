"""`ganseg data`: lists, downloads, checks, prepares and shows data sets, and says what a person has to do."""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import published as of
import pytest
from commands import done, ganseg, mistaken, plain
from http_server import Site, serve
from PIL import Image

from ganseg.data import DATASETS
from ganseg.data.download import RemoteFile

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def flowers(tmp_path) -> Path:
    return of.flowers(tmp_path / "flowers")


@pytest.fixture
def published(flowers, tmp_path, monkeypatch) -> Iterator[Site]:
    """A publisher of flowers on this machine, that the registry knows instead of the real one."""
    with tarfile.open(tmp_path / "102flowers.tgz", mode="w:gz") as archive:
        archive.add(flowers / "jpg", "jpg")
    paths = tmp_path / "102flowers.tgz", flowers / "setid.mat"
    contents = {path.name: path.read_bytes() for path in paths}
    with serve(Site(contents)) as site:
        known = [RemoteFile(n, f"{site.address}/{n}", len(c), hashlib.md5(c).hexdigest()) for n, c in contents.items()]
        known[0] = replace(known[0], makes="jpg")
        monkeypatch.setitem(DATASETS, "flowers", replace(DATASETS["flowers"], files=tuple(known)))
        yield site


def test_the_list_has_every_data_set_its_licence_and_the_way_to_it():
    said = plain(done("data list").stdout)
    numbers, words = ["45,609", "5,379", "10,000", "6,149", "161,962", "19,000"], ["ganseg data download flowers"]
    words += [spec.name for spec in DATASETS.values()] + [spec.licence for spec in DATASETS.values()]
    assert not [word for word in numbers + words if word not in said]


def test_a_data_set_is_downloaded_verified_unpacked_and_readable_and_then_kept(published, tmp_path):
    said = plain(done("data download flowers --yes --to", tmp_path / "new").stdout)
    assert said.index("Licence: None is stated") < said.index("to fetch") < said.index("ganseg data check flowers")
    assert len(list((tmp_path / "new" / "jpg").iterdir())) == 7
    assert "train 3 6,149" in plain(done("data check flowers", tmp_path / "new").stdout)
    asked = list(published.asked)
    assert "to fetch" not in done("data download flowers --to", tmp_path / "new").stdout
    assert published.asked == asked


def test_the_same_command_goes_on_after_a_cut(published, tmp_path):
    published.cuts = [100]
    assert "the same command goes on" in mistaken("data download flowers --yes --to", tmp_path / "new")
    done("data download flowers --yes --to", tmp_path / "new")
    assert "bytes=100-" in published.ranges


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 130), ("\n", 130), ("", 130)])
def test_a_person_is_asked_before_anything_is_fetched(published, tmp_path, answer, code):
    asked = ganseg("data download flowers --to", tmp_path / "new", input=answer)
    assert asked.exit_code == code and "--yes" in asked.stdout, asked.output
    assert bool(published.asked) == (code == 0)


@pytest.mark.parametrize("name", ["celeba-wild", "celeba-aligned", "taichi"])
def test_sets_that_only_a_person_can_get_are_explained_file_by_file_but_for_what_is_there(tmp_path, name):
    there, *others = DATASETS[name].files
    (tmp_path / (there.makes or there.name)).mkdir(parents=True)
    told = ganseg("data download", name, "--to", tmp_path)
    assert told.exit_code == 2 and "by hand" in told.stderr
    said = plain(told.stdout)
    assert all(f"{tmp_path / file.name}" in said and plain(file.how) in said for file in others)
    assert f"{tmp_path / there.name}:" not in said


def test_every_file_of_a_publisher_has_an_address_and_a_checksum_or_says_how_to_get_it():
    for spec in DATASETS.values():
        for file in spec.files:
            assert (file.url.startswith("https://") and len(file.md5) == 32) or file.how, file.name
    assert all(file.url for name in ("flowers", "cub") for file in DATASETS[name].files)


def test_preparing_decodes_every_split_and_says_where_it_lies(flowers, cache):
    printed = done("data prepare flowers --size 16 --data-dir", flowers).stdout
    for split, count in (("train", "3"), ("test", "2"), ("val", "2")):
        (place,) = cache.glob(f"flowers-{split}-16-*")
        (row,) = [line.split() for line in printed.splitlines() if place.name in line]
        assert row[:2] == [split, count]


def test_missing_images_are_counted_named_and_fatal(flowers):
    assert "It can be used" in done("data check flowers", flowers).stdout
    for number in (1, 2):
        (flowers / "jpg" / f"image_0000{number}.jpg").unlink()
    told = ganseg("data check flowers", flowers)
    fault = "must be mended: 1 of 3 images and masks of the split train are missing (image_00001.jpg)"
    assert told.exit_code == 2 and fault in told.stdout


def test_the_sheet_shows_images_masks_and_keypoints(tmp_path):
    words = "data show synthetic-bird --count 3 --size 32 --out"
    assert done(words, tmp_path / "birds.png").stdout.strip() == str(tmp_path / "birds.png")
    side, gap = 192, 4
    with Image.open(tmp_path / "birds.png") as sheet:
        assert sheet.width == 3 * (side + gap) - gap and sheet.height >= 3 * side + 2 * gap
        pixels = np.asarray(sheet.convert("RGB"))[24:]
    rows = [pixels[i * (side + gap) :][:side, :side].astype(int) for i in range(3)]
    assert all(0.002 < (rows[0] != row).any(-1).mean() < 0.9 for row in rows[1:])


def test_photographs_of_a_folder_are_shown(flowers, tmp_path):
    done("data show flowers --count 2 --size 16 --data-dir", flowers, "--out", tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").width == 2 * 196 - 4


def test_a_download_that_is_stopped_is_told_how_to_go_on(published, tmp_path, monkeypatch):
    monkeypatch.setattr("ganseg.data.download.install", Mock(side_effect=KeyboardInterrupt))
    stopped = ganseg("data download flowers --yes --to", tmp_path / "new")
    assert stopped.exit_code == 130 and "the same command goes on" in stopped.stderr
