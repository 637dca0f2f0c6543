"""Archives of others, unpacked with care: no member is written outside its folder, all of them or none.

Only plain files and folders are taken. A link, a device, a path that leads out of the folder, a name that
comes twice, or more than `MAX_BYTES` or `MAX_MEMBERS` in all: the archive is refused.
"""

from __future__ import annotations

import filecmp
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from ganseg.files import UserError

MAX_BYTES = 50_000_000_000  # of all members together, unpacked
MAX_MEMBERS = 2_000_000
BLOCK = 1 << 20
BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, OSError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """An entry of an archive; `kind` is "file", "folder", or what else it is and will not be unpacked."""

    name: str
    kind: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, inner: str = ".", max_bytes: int = MAX_BYTES) -> int:
    """Put what the archive's folder `inner` holds into `folder`; returns the number of files.

    Tar (also gz, bz2, xz) and zip. What `folder` has already is kept where it is the same. UserError, with
    nothing put there, where the archive is damaged or unsafe, or a file there differs from the archive's.
    """
    temporary = folder / f".{archive.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    temporary.mkdir(parents=True)
    try:
        _extract(archive, temporary, max_bytes)
        source = temporary / inner
        if not source.is_dir():
            raise UserError(f"{archive} has no folder {inner!r}: it is not the archive that was expected.")
        count = sum(len(files) for _, _, files in os.walk(source))
        _refuse_differences(source, folder)
        _move(source, folder)
        return count
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def safe_path(name: str) -> Path:
    """The relative path that a member's name means; ValueError where it leads out of its folder."""
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or windows.drive or windows.root or ".." in path.parts + windows.parts:
        raise ValueError("its path leads out of the folder")
    return Path(path)


def _extract(archive: Path, folder: Path, max_bytes: int) -> None:
    """Write all members into the empty `folder`."""
    written, name = 0, ""
    try:
        for number, member in enumerate(_members(archive)):
            name = member.name
            written += _write(folder, member, max_bytes - written)
            if written > max_bytes or number >= MAX_MEMBERS:
                limit = f"{max_bytes:,} bytes" if written > max_bytes else f"{MAX_MEMBERS:,} members"
                raise UserError(f"{archive} is refused: unpacked, it has more than {limit}.")
    except ValueError as error:
        raise UserError(f"{archive} is refused because of its member {name!r}: {error}.") from error
    except FileExistsError as error:
        raise UserError(f"{archive} is refused: its member {name!r} comes twice.") from error
    except BROKEN as error:
        raise UserError(f"{archive} is damaged, or cannot be unpacked here: {error}") from error


def _write(folder: Path, member: Member, limit: int) -> int:
    """Write one member, up to a little more than `limit` bytes; returns how many."""
    path = folder / safe_path(member.name)
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return 0
    if member.kind != "file" or path == folder:
        raise ValueError(f"it is {member.kind}" if member.kind != "file" else "it has no name")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with member.open() as content, path.open("xb") as file:
        while written <= limit and (block := content.read(BLOCK)):
            written += file.write(block)
    return written


def _members(archive: Path) -> Iterator[Member]:
    """The members of a tar or zip archive, in its order."""
    with archive.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                yield Member(entry.filename, _zip_kind(entry), lambda entry=entry: opened.open(entry))
    else:
        with tarfile.open(archive) as opened:
            for entry in opened:
                yield Member(entry.name, _tar_kind(entry), lambda entry=entry: opened.extractfile(entry))


def _tar_kind(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return f"a link (to {entry.linkname!r})"
    return "file" if entry.isreg() else "folder" if entry.isdir() else "neither a file nor a folder"


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if stat.S_ISLNK(mode):
        return "a link"
    known = mode in (0, stat.S_IFREG, stat.S_IFDIR)
    return "neither a file nor a folder" if not known else "folder" if entry.is_dir() else "file"


def _refuse_differences(source: Path, folder: Path) -> None:
    """UserError where a file under `source` would take the place of another in `folder`."""
    for place, folders, files in os.walk(source):
        for name in files + folders:
            mine, theirs = Path(place) / name, folder / (Path(place) / name).relative_to(source)
            same = theirs.is_dir() if mine.is_dir() else theirs.is_file() and filecmp.cmp(mine, theirs, False)
            if os.path.lexists(theirs) and not same:
                raise UserError(
                    f"{theirs} differs from the one in the archive; nothing was unpacked. "
                    "Move it away, or choose another folder."
                )


def _move(source: Path, folder: Path) -> None:
    """Move what is not yet in `folder`."""
    for entry in sorted(source.iterdir()):
        place = folder / entry.name
        if not place.exists():
            os.replace(entry, place)
        elif entry.is_dir():
            _move(entry, place)
