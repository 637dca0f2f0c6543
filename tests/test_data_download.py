"""Downloads from a local server: whole, verified and resumed, whatever the server and the network do."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from ganseg.data.resume import Patience
from http_server import Site, serve

from ganseg.data import resume
from ganseg.data.download import RemoteFile, fetch, install, missing_bytes, state
from ganseg.files import UserError

CONTENT = np.random.default_rng(0).bytes(500_000)
HASTY = Patience(timeout=5.0, tries=3, pause=0.0)


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site({"birds.bin": CONTENT})) as running:
        yield running


def remote(site: Site, name: str = "birds.bin", **changes) -> RemoteFile:
    content = site.files.get(name, b"")
    file = RemoteFile(f"{site.address}/{name}", name, len(content), hashlib.md5(content).hexdigest())
    return replace(file, **changes)


def get(file: RemoteFile, folder: Path) -> bytes:
    return fetch(file, folder, progress=False, patience=HASTY).read_bytes()


def message(file: RemoteFile, folder: Path) -> str:
    with pytest.raises(UserError) as error:
        get(file, folder)
    return str(error.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def begun(site: Site, folder: Path, count: int = 200_000) -> RemoteFile:
    """A download that was stopped after `count` bytes."""
    site.cuts = [count, 0, 0, 0]
    assert "are kept" in message(remote(site), folder)
    site.cuts, site.ranges = [], []
    assert names(folder) == ["birds.bin.part", "birds.bin.part.json"]
    return remote(site)


def test_a_file_is_fetched_whole_and_not_asked_for_again(site, tmp_path):
    assert get(remote(site), tmp_path / "new") == CONTENT
    assert get(remote(site), tmp_path / "new") == CONTENT
    assert (site.asked, names(tmp_path / "new")) == (["birds.bin"], ["birds.bin"])


def test_a_cut_connection_is_resumed_where_it_was_cut(site, tmp_path):
    site.cuts = [100_000, 150_000]
    assert get(remote(site), tmp_path) == CONTENT
    assert site.ranges == [None, "bytes=100000-", "bytes=250000-"]


def test_more_cuts_than_tries_do_no_harm_as_long_as_bytes_arrive(site, tmp_path):
    site.cuts = [50_000] * 9
    assert get(remote(site), tmp_path) == CONTENT


def test_a_later_call_goes_on_from_what_an_earlier_one_got(site, tmp_path):
    file = begun(site, tmp_path)
    assert (state(file, tmp_path), missing_bytes(file, tmp_path)) == ("begun", 300_000)
    assert get(file, tmp_path) == CONTENT
    assert site.ranges == ["bytes=200000-"]
    assert names(tmp_path) == ["birds.bin"]


def test_a_file_that_was_whole_but_not_yet_named_is_not_sent_again(site, tmp_path, monkeypatch):
    with monkeypatch.context() as killed, pytest.raises(ZeroDivisionError):
        killed.setattr(resume.Partial, "finish", lambda part, path: 1 / 0)
        get(remote(site), tmp_path)
    assert get(remote(site), tmp_path) == CONTENT
    assert site.ranges == [None, "bytes=500000-"]
    assert site.sent == 500_000


def test_a_server_without_ranges_is_asked_for_the_whole_again(site, tmp_path):
    site.ranges_work, site.cuts = False, [300_000]
    assert get(remote(site), tmp_path) == CONTENT
    assert len(site.asked) == 2


def test_a_server_that_always_cuts_at_the_same_place_is_given_up(site, tmp_path):
    site.ranges_work, site.cuts = False, [300_000] * 50
    assert "cannot be fetched now" in message(remote(site), tmp_path)
    assert len(site.asked) == 4


@pytest.mark.parametrize("if_range_works", [True, False])
@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_a_changed_file_begins_anew(site, tmp_path, validator, if_range_works):
    site.if_range_works, site.etag = if_range_works, None
    setattr(site, validator, "Tue, 01 Feb 2022 00:00:00 GMT" if validator == "last_modified" else '"one"')
    begun(site, tmp_path)
    site.files["birds.bin"] = CONTENT[::-1]
    setattr(site, validator, "Wed, 02 Feb 2022 00:00:00 GMT" if validator == "last_modified" else '"two"')
    assert get(remote(site), tmp_path) == CONTENT[::-1]


def test_a_file_that_became_shorter_than_what_is_here_begins_anew(site, tmp_path):
    begun(site, tmp_path)
    site.files["birds.bin"], site.if_range_works = b"short", False
    assert get(remote(site), tmp_path) == b"short"


def test_bytes_of_another_address_are_not_continued(site, tmp_path):
    begun(site, tmp_path)
    site.files["bees.bin"] = CONTENT[::-1]
    assert get(replace(remote(site, "bees.bin"), name="birds.bin"), tmp_path) == CONTENT[::-1]


def test_bytes_of_nobody_knows_what_are_not_continued(site, tmp_path):
    (tmp_path / "birds.bin.part").write_bytes(b"odd")
    assert get(remote(site), tmp_path) == CONTENT
    assert site.ranges == [None]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_wrong_checksum_is_told_and_the_next_try_starts_fresh(site, tmp_path, resumed):
    if resumed:
        begun(site, tmp_path)
    right = remote(site)
    site.files["birds.bin"] = CONTENT[:-1] + b"?"
    said = message(right, tmp_path)
    assert right.md5 in said
    assert hashlib.md5(site.files["birds.bin"]).hexdigest() in said
    assert names(tmp_path) == ["birds.bin.wrong"]
    site.files["birds.bin"], site.ranges = CONTENT, []
    assert get(right, tmp_path) == CONTENT
    assert site.ranges == [None]


def test_a_damaged_file_that_was_there_is_moved_aside(site, tmp_path):
    (tmp_path / "birds.bin").write_bytes(b"half")
    assert "renamed to birds.bin.wrong" in message(remote(site), tmp_path)
    assert (tmp_path / "birds.bin.wrong").read_bytes() == b"half"
    assert site.asked == []


def test_a_missing_file_is_told_at_once(site, tmp_path):
    said = message(remote(site, "bees.bin", md5="0"), tmp_path)
    assert f"{site.address}/bees.bin: the server answers 404" in said
    assert (len(site.asked), names(tmp_path)) == (1, [])


def test_a_busy_server_is_asked_again(site, tmp_path):
    site.codes = [503, 429]
    assert get(remote(site), tmp_path) == CONTENT


def test_a_server_that_stays_busy_is_given_up(site, tmp_path):
    site.codes = [503] * 9
    assert "503" in message(remote(site), tmp_path)
    assert len(site.asked) == HASTY.tries


def test_a_server_that_is_not_there_is_told(tmp_path):
    file = RemoteFile("http://127.0.0.1:9/birds.bin", "birds.bin")
    assert "http://127.0.0.1:9/birds.bin cannot be fetched now" in message(file, tmp_path)


def test_a_log_in_page_is_not_taken_for_the_file(site, tmp_path):
    site.kind = "text/html; charset=utf-8"
    assert "sent a web page" in message(remote(site), tmp_path)
    assert names(tmp_path) == []


def test_a_server_that_does_not_tell_the_length_is_read_to_the_end(site, tmp_path):
    site.length_told = False
    assert get(remote(site, bytes=None), tmp_path) == CONTENT


def test_a_full_disk_is_told_before_anything_is_fetched(site, tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "SPARE", 10**18)
    assert "500,000 bytes are to come" in message(remote(site), tmp_path)


@pytest.fixture
def archived(site) -> tuple[Site, RemoteFile]:
    """The server with an archive of birds/images/a.jpg."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        entry = tarfile.TarInfo("birds/images/a.jpg")
        entry.size = 5
        file.addfile(entry, io.BytesIO(b"photo"))
    site.files["birds.tgz"] = packed.getvalue()
    return site, remote(site, "birds.tgz", unpacks="birds", makes="images")


def test_an_archive_is_fetched_and_unpacked_once(archived, tmp_path):
    site, file = archived
    for _ in range(2):
        install([file, remote(site)], tmp_path, False, HASTY)
    assert (tmp_path / "images" / "a.jpg").read_bytes() == b"photo"
    assert (state(file, tmp_path), state(remote(site), tmp_path)) == ("unpacked", "there")
    (tmp_path / "birds.tgz").unlink()
    install([file], tmp_path, False, HASTY)
    assert site.asked == ["birds.tgz", "birds.bin"]


def test_an_archive_that_is_unpacked_in_part_is_not_taken_for_whole(archived, tmp_path):
    _, file = archived
    (tmp_path / "images").mkdir()
    assert state(file, tmp_path) == "to fetch"
    install([file], tmp_path, False, HASTY)
    assert (tmp_path / "images" / "a.jpg").read_bytes() == b"photo"


def test_a_new_version_of_an_archive_is_not_taken_for_the_unpacked_one(archived, tmp_path):
    _, file = archived
    install([file], tmp_path, False, HASTY)
    (tmp_path / "birds.tgz").unlink()
    assert state(replace(file, md5="0" * 32), tmp_path) == "to fetch"


def test_what_a_person_put_there_is_verified_and_unpacked(archived, tmp_path):
    site, file = archived
    by_hand = replace(file, url="", how="log in and get it")
    assert state(by_hand, tmp_path) == "to get by hand"
    install([by_hand], tmp_path, False, HASTY)
    (tmp_path / "birds.tgz").write_bytes(site.files["birds.tgz"])
    install([by_hand], tmp_path, False, HASTY)
    assert state(by_hand, tmp_path) == "unpacked"
    assert site.asked == []


def test_two_downloads_into_one_folder_do_not_meet(site, tmp_path):
    with FileLock(tmp_path / ".ganseg-download.lock"), pytest.raises(UserError, match="another process"):
        install([remote(site)], tmp_path, False, HASTY)
    assert site.asked == []
