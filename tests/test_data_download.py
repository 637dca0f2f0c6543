"""Downloads from a local server: whole, verified and resumed; archives: unpacked whole, or refused."""

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from http_server import Site, serve

from ganseg.data.download import RemoteFile, fetch, install, state, unpack
from ganseg.files import UserError

CONTENT = np.random.default_rng(0).bytes(500_000)
FILES = {"birds/images/a.jpg": b"a" * 5000, "birds/images.txt": b"1 a.jpg\n", "notes.txt": b"of no use"}


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site({"birds.bin": CONTENT})) as running:
        yield running


def remote(site: Site, name: str = "birds.bin", **changes) -> RemoteFile:
    content = site.files.get(name, b"")
    file = RemoteFile(name, f"{site.address}/{name}", len(content), hashlib.md5(content).hexdigest())
    return replace(file, **changes)


def message(file: RemoteFile, folder: Path) -> str:
    with pytest.raises(UserError) as error:
        fetch(file, folder)
    return str(error.value)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_file_is_fetched_whole_and_not_asked_for_again(site, tmp_path):
    for _ in range(2):
        assert fetch(remote(site), tmp_path / "new").read_bytes() == CONTENT
    assert site.asked == ["birds.bin"] and list(contents(tmp_path)) == ["new/birds.bin"]


def test_a_cut_download_goes_on_where_it_was_cut(site, tmp_path):
    site.cuts = [100_000, 150_000]
    assert "100,000 bytes are kept: the same command goes on" in message(remote(site), tmp_path)
    assert "250,000 bytes are kept" in message(remote(site), tmp_path)
    assert state(remote(site), tmp_path) == "to fetch"
    assert fetch(remote(site), tmp_path).read_bytes() == CONTENT
    assert site.ranges == ["bytes=0-", "bytes=100000-", "bytes=250000-"] and list(contents(tmp_path)) == ["birds.bin"]


def test_a_file_that_was_whole_but_not_yet_named_is_not_sent_again(site, tmp_path):
    (tmp_path / "birds.bin.part").write_bytes(CONTENT)
    assert fetch(remote(site), tmp_path).read_bytes() == CONTENT
    assert site.asked == []


def test_a_server_without_ranges_sends_the_whole(site, tmp_path):
    site.ranges_work = False
    (tmp_path / "birds.bin.part").write_bytes(CONTENT[:1000])
    assert fetch(remote(site), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("begun", ["birds.bin.part", "birds.bin"])
def test_a_wrong_file_is_told_and_moved_aside_and_the_next_try_starts_fresh(site, tmp_path, begun):
    (tmp_path / begun).write_bytes(b"other bytes")
    said = message(remote(site), tmp_path)
    found = hashlib.md5((tmp_path / "birds.bin.wrong").read_bytes()).hexdigest()
    assert remote(site).md5 in said and found in said and "renamed to birds.bin.wrong" in said
    assert list(contents(tmp_path)) == ["birds.bin.wrong"]
    assert fetch(remote(site), tmp_path).read_bytes() == CONTENT and site.ranges[-1] == "bytes=0-"


def test_servers_without_the_file_or_out_of_reach_are_told(site, tmp_path):
    away = RemoteFile("birds.bin", "http://127.0.0.1:9/birds.bin", 5)
    for file, said in ((remote(site, "bees.bin"), "cannot be fetched now: HTTP Error 404"), (away, "fetched now")):
        assert f"{file.url} " in message(file, tmp_path) and said in message(file, tmp_path)
    assert contents(tmp_path) == {}


def tar(path: Path, files: dict[str, bytes] = FILES, *special: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as file:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
        for entry in special:
            file.addfile(entry)
    return path


def zipped(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def test_what_a_person_put_there_is_verified_and_unpacked(site, tmp_path):
    content = tar(tmp_path / "birds.tgz").read_bytes()
    by_hand = RemoteFile("birds.tgz", "", None, hashlib.md5(content).hexdigest(), "images")
    folder = tmp_path / "new"
    install([by_hand], folder)
    assert state(by_hand, folder) == "to get by hand"
    (folder / "birds.tgz").write_bytes(b"another")
    with pytest.raises(UserError, match="its MD5 is"):
        install([by_hand], folder)
    (folder / "birds.tgz").write_bytes(content)
    assert state(by_hand, folder) == "to unpack"
    install([by_hand], folder)
    assert state(by_hand, folder) == "there"


def test_a_second_download_into_a_folder_says_that_it_waits(site, tmp_path, caplog):
    lock = FileLock(tmp_path / ".ganseg-download.lock")
    with ThreadPoolExecutor() as pool, lock:
        waiting = pool.submit(install, [remote(site)], tmp_path)
        assert not wait([waiting], timeout=1).done and site.asked == []
        lock.release()
        waiting.result()
    assert f"another process is at a download into {tmp_path}; waiting" in caplog.text and site.asked


@pytest.mark.parametrize("name", ["a.tgz", "a.tar", "a.zip"])
def test_all_members_are_unpacked_and_what_is_there_is_kept(tmp_path, name):
    folder = tmp_path / "data"
    left = folder / f".{name}.unpacking"  # of a process that was killed
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    (folder / "notes.txt").write_text("my own notes")
    unpack((zipped if name.endswith("zip") else tar)(tmp_path / name), folder)
    assert contents(folder) == FILES | {"notes.txt": b"my own notes"}


def refused(archive: Path, folder: Path) -> str:
    """What is said; nothing may be written, neither in the folder nor around it."""
    folder.mkdir(parents=True)
    before = contents(folder.parent.parent)
    with pytest.raises(UserError, match="is refused") as error:
        unpack(archive, folder)
    assert contents(folder.parent.parent) == before and list(folder.iterdir()) == []
    return str(error.value)


@pytest.mark.parametrize("name", ["../evil", "birds/../../evil", "/evil", "C:/evil", "..\\evil", "//host/evil"])
def test_paths_that_lead_out_never_leave_the_folder(tmp_path, name):
    folder = tmp_path / "deep" / "data"
    if ".." in name.split("/"):
        assert "evil" in refused(tar(tmp_path / "a.tar", FILES | {name: b"evil"}), folder)
    else:  # slashes that lead a path are dropped
        folder.mkdir(parents=True)
        unpack(tar(tmp_path / "a.tar", {name: b"evil"}), folder)
    unpack(zipped(tmp_path / "a.zip", FILES | {name: b"evil"}), folder)
    found = contents(tmp_path)
    assert all(path.startswith(("deep/data/", "a.")) for path in found) and not Path("/evil").exists()
    assert {f"deep/data/{path}" for path in FILES} < {*found}


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("birds/link", tarfile.SYMTYPE, "/etc"),
        ("door", tarfile.SYMTYPE, "../../outside"),
        ("birds/hard", tarfile.LNKTYPE, "../../outside"),
        ("birds/device", tarfile.CHRTYPE, ""),
        ("birds/pipe", tarfile.FIFOTYPE, ""),
    ],
)
def test_links_that_lead_out_and_devices_are_refused(tmp_path, name, kind, link):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    through = tarfile.TarInfo(f"{name}/evil")
    assert name in refused(tar(tmp_path / "a.tgz", FILES, made, through), tmp_path / "deep" / "data")


def test_a_link_in_a_zip_becomes_no_link(tmp_path):
    with zipfile.ZipFile(zipped(tmp_path / "a.zip"), "a") as file:
        made = zipfile.ZipInfo("birds/odd")
        made.create_system, made.external_attr = 3, 0o120777 << 16
        file.writestr(made, "/etc/passwd")
    (tmp_path / "data").mkdir()
    unpack(tmp_path / "a.zip", tmp_path / "data")
    assert not (tmp_path / "data" / "birds" / "odd").is_symlink()


@pytest.mark.parametrize("name", ["a.tgz", "a.zip"])
def test_half_an_archive_and_what_is_none_leave_nothing(tmp_path, name):
    archive = (zipped if name.endswith("zip") else tar)(tmp_path / name, {f"{i}": os.urandom(3000) for i in range(20)})
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    refused(archive, tmp_path / "half" / "data")
    archive.write_text("<html>log in</html>")
    refused(archive, tmp_path / "page" / "data")
