"""Archives: what is sound is unpacked whole, what is unsafe or damaged leaves nothing behind."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from ganseg.data.archives import unpack

from ganseg.data import archives
from ganseg.files import UserError

FILES = {"birds/images/a.jpg": b"a" * 5000, "birds/images.txt": b"1 a.jpg\n", "notes.txt": b"of no use"}


def tar(path: Path, files: dict[str, bytes] = FILES, *special: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as file:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
        for entry in special:
            file.addfile(entry)
    return path


def entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def zipped(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def refused(archive: Path, folder: Path, **options) -> str:
    """What is said; nothing may be written, neither in the folder nor around it."""
    folder.mkdir(exist_ok=True)
    before = contents(folder.parent)
    with pytest.raises(UserError) as error:
        unpack(archive, folder, **options)
    assert contents(folder.parent) == before
    assert list(folder.iterdir()) == []
    return str(error.value)


@pytest.mark.parametrize("name", ["a.tgz", "a.tar", "a.zip"])
def test_all_members_are_unpacked(tmp_path, name):
    archive = (zipped if name.endswith("zip") else tar)(tmp_path / name)
    assert unpack(archive, tmp_path / "data") == 3
    assert contents(tmp_path / "data") == FILES


def test_an_inner_folder_alone_is_unpacked(tmp_path):
    assert unpack(tar(tmp_path / "a.tgz"), tmp_path / "data", "birds") == 2
    inner = {name.removeprefix("birds/"): content for name, content in FILES.items() if "/" in name}
    assert contents(tmp_path / "data") == inner
    assert "no folder 'bees'" in refused(tmp_path / "a.tgz", tmp_path / "other", inner="bees")


@pytest.mark.parametrize(
    "name",
    ["../evil", "birds/../../evil", "/evil", "C:/evil", "C:evil", "..\\evil", "\\evil", "//host/share/evil"],
)
@pytest.mark.parametrize("make", [tar, zipped])
def test_paths_that_lead_out_are_refused(tmp_path, make, name):
    (tmp_path / "deep").mkdir()
    archive = make(tmp_path / "archive", FILES | {name: b"evil"})
    said = refused(archive, tmp_path / "deep" / "data")
    assert "leads out of the folder" in said
    assert repr(name)[1:-1] in said


@pytest.mark.parametrize(
    "made",
    [
        entry("birds/link", tarfile.SYMTYPE, "/etc"),
        entry("birds/link", tarfile.SYMTYPE, "images.txt"),
        entry("birds/hard", tarfile.LNKTYPE, "birds/images.txt"),
        entry("birds/hard", tarfile.LNKTYPE, "../../outside"),
        entry("birds/device", tarfile.CHRTYPE),
        entry("birds/disk", tarfile.BLKTYPE),
        entry("birds/pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda made: f"{made.name}-{made.linkname}",
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, made):
    said = refused(tar(tmp_path / "a.tgz", FILES, made), tmp_path / "data")
    assert made.name in said
    assert "a link" in said or "neither a file nor a folder" in said


def test_a_link_does_not_lead_later_members_out(tmp_path):
    (tmp_path / "outside").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.addfile(entry("door", tarfile.SYMTYPE, "../../outside"))
        file.addfile(tarfile.TarInfo("door/evil"), io.BytesIO())
    assert "a link" in refused(tmp_path / "a.tar", tmp_path / "data")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    with zipfile.ZipFile(zipped(tmp_path / "a.zip"), "a") as file:
        made = zipfile.ZipInfo("birds/odd")
        made.create_system, made.external_attr = 3, (kind | 0o777) << 16
        file.writestr(made, "/etc/passwd")
    assert "birds/odd" in refused(tmp_path / "a.zip", tmp_path / "data")


@pytest.mark.parametrize("make", [tar, zipped])
def test_too_much_is_refused_without_being_written(tmp_path, make):
    archive = make(tmp_path / "archive", {"zeros": bytes(10_000_000)})
    assert "more than 1,000 bytes" in refused(archive, tmp_path / "data", max_bytes=1000)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 2)
    assert "more than 2 members" in refused(tar(tmp_path / "a.tgz"), tmp_path / "data")


def test_a_member_that_comes_twice_is_refused(tmp_path):
    assert "comes twice" in refused(tar(tmp_path / "a.tar", FILES, tarfile.TarInfo("notes.txt")), tmp_path / "data")


@pytest.mark.parametrize("name", ["a.tgz", "a.zip"])
def test_half_an_archive_leaves_nothing(tmp_path, name):
    files = {f"{i}.bin": os.urandom(3000) for i in range(20)}
    archive = (zipped if name.endswith("zip") else tar)(tmp_path / name, files)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    assert "is damaged" in refused(archive, tmp_path / "data")


def test_what_is_no_archive_is_told(tmp_path):
    (tmp_path / "page.tgz").write_text("<html>log in</html>")
    assert "is damaged" in refused(tmp_path / "page.tgz", tmp_path / "data")


def test_a_partly_unpacked_folder_is_completed(tmp_path):
    folder = tmp_path / "data"
    (folder / "birds").mkdir(parents=True)
    (folder / "birds" / "images.txt").write_bytes(FILES["birds/images.txt"])
    (folder / "own.txt").write_text("mine")
    unpack(tar(tmp_path / "a.tgz"), folder)
    assert contents(folder) == FILES | {"own.txt": b"mine"}


def test_a_different_file_is_not_overwritten_and_nothing_is_unpacked(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "notes.txt").write_text("my own notes")
    with pytest.raises(UserError, match=r"notes\.txt differs from the one in the archive"):
        unpack(tar(tmp_path / "a.tgz"), folder)
    assert contents(folder) == {"notes.txt": b"my own notes"}


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / "data" / ".a.tgz.unpacking"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    unpack(tar(tmp_path / "a.tgz"), tmp_path / "data")
    assert contents(tmp_path / "data") == FILES
