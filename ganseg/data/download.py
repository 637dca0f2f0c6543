"""Files of publishers: fetched, verified, unpacked into their data set's folder; what is there is kept."""

import hashlib
import http.client
import os
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ganseg.data.sets import RemoteFile
from ganseg.files import UserError, locked
from ganseg.progress import bar_of_place

TIMEOUT = 30.0  # seconds that a server may be silent


def state(file: RemoteFile, folder: Path) -> Literal["there", "to unpack", "to fetch", "to get by hand"]:
    """How far `file` has come in `folder`, where it may also lie one folder deeper."""
    wanted = file.makes or file.name
    if (folder / wanted).exists() or any(folder.glob(f"*/{wanted}")):
        return "there"
    if (folder / file.name).is_file():
        return "to unpack"
    return "to fetch" if file.url else "to get by hand"


def install(files: Sequence[RemoteFile], folder: Path) -> None:
    """Bring every file that has an address, or is there, into `folder`, verified and unpacked.

    What an earlier call finished is not done again; another process that is at it is waited for. UserError where a
    download is cut or wrong, or an archive is damaged or unsafe.
    """
    with locked(folder / ".ganseg-download.lock", f"a download into {folder}"):
        for file in files:
            if state(file, folder) in ("to unpack", "to fetch"):
                path = fetch(file, folder)
                if file.makes:
                    unpack(path, folder)


def fetch(file: RemoteFile, folder: Path) -> Path:
    """Get `file` into `folder`, whole and verified, and return its path; what is there already is kept.

    A cut download goes on where it stopped in a later call; the checksum decides. A wrong file is moved aside.
    """
    path = folder / file.name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            _receive(file, part)
        except (OSError, http.client.HTTPException) as error:
            kept = part.stat().st_size if part.exists() else 0
            goes_on = f" {kept:,} bytes are kept: the same command goes on from there." if kept else ""
            raise UserError(f"{file.url} cannot be fetched now: {error}.{goes_on}") from error
        os.replace(part, path)
    with path.open("rb") as whole:
        found = hashlib.file_digest(whole, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if file.md5 and found != file.md5:
        aside = path.with_name(f"{path.name}.wrong")
        os.replace(path, aside)
        raise UserError(
            f"{path} is damaged, or not the publisher's: its MD5 is {found}, expected is {file.md5}. "
            f"It was renamed to {aside.name}; get it anew{' with the same command' if file.url else ''}."
        )
    return path


def _receive(file: RemoteFile, part: Path) -> None:
    """Get the rest of a file into `part`, or all of it where the server sends no parts; ConnectionError if cut."""
    start = part.stat().st_size if part.exists() else 0
    if start and start >= file.bytes:
        return
    asked = urllib.request.Request(file.url, headers={"User-Agent": "ganseg", "Range": f"bytes={start}-"})
    with urllib.request.urlopen(asked, timeout=TIMEOUT) as response:
        start = start if response.status == 206 else 0
        bar = {"desc": part.stem, "total": file.bytes, "initial": start, "disable": None}
        with part.open("ab" if start else "wb") as out, bar_of_place().wrapattr(out, "write", **bar) as told:
            shutil.copyfileobj(response, told)
    if part.stat().st_size < file.bytes:
        raise ConnectionError(f"it was cut before byte {file.bytes:,}, or its publisher has changed it")


def unpack(archive: Path, folder: Path) -> None:
    """Move what the archive holds into `folder`; what is there already is kept.

    UserError, with nothing put there, where the archive is damaged or a tar's member would leave its folder; such
    members of a zip are passed over.
    """
    aside = folder / f".{archive.name}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
    try:
        shutil.unpack_archive(archive, aside, **({} if archive.suffix == ".zip" else {"filter": "data"}))
        for entry in aside.iterdir():
            if not (folder / entry.name).exists():
                os.replace(entry, folder / entry.name)
    except Exception as error:  # archives are damaged in many ways
        raise UserError(f"{archive} is refused: damaged, unsafe, or none ({error}).") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
