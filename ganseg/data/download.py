"""Files of publishers: fetched, verified, unpacked into their data set's folder; what is there is kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from ganseg.data.archives import unpack
from ganseg.data.resume import Partial, Patience, receive
from ganseg.files import UserError, read_json, write_json

RECORD = ".ganseg-download.json"  # archive -> MD5, of those that were unpacked to the end
State = Literal["unpacked", "there", "begun", "to fetch", "to get by hand"]


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set, and where it comes from.

    `name`: its path in the folder of the data set. `url`: empty where only a person can get it, as `how`
    says. `unpacks`: for an archive, which of its folders holds what belongs into the data set's folder ("."
    is all of it); `makes`: a file or folder that is then there. `optional`: the reader does without it.
    """

    url: str
    name: str
    bytes: int | None = None
    md5: str | None = None
    unpacks: str | None = None
    makes: str = ""
    how: str = ""
    optional: bool = False


def md5_of(path: Path) -> str:
    """The MD5 of a file, as 32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def state(file: RemoteFile, folder: Path) -> State:
    """How far `file` has come in `folder`."""
    recorded = _record(folder).get(file.name)
    if recorded and recorded == (file.md5 or recorded) and (folder / file.makes).exists():
        return "unpacked"
    if (folder / file.name).is_file():
        return "there"
    if not file.url:
        return "there" if _put_there(file, folder) else "to get by hand"
    return "begun" if _partial(file, folder).size else "to fetch"


def missing_bytes(file: RemoteFile, folder: Path) -> int | None:
    """How many bytes are still to be fetched; None where the size is not known."""
    if state(file, folder) not in ("begun", "to fetch"):
        return 0
    return None if file.bytes is None else max(0, file.bytes - _partial(file, folder).size)


def install(files: Sequence[RemoteFile], folder: Path, progress: bool = True, patience: Patience = Patience()) -> None:
    """Bring every file that has an address, or is there, into `folder`, verified and unpacked.

    What an earlier call finished is not done again. UserError as by `fetch` and `unpack`, and where another
    process is at it.
    """
    files = [file for file in files if file.url or (folder / file.name).is_file()]
    if not files:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".ganseg-download.lock", timeout=0):
            for file in files:
                if state(file, folder) != "unpacked":
                    _install(file, folder, progress, patience)
    except Timeout as error:
        raise UserError(f"{folder}: another process is downloading into this folder.") from error


def fetch(file: RemoteFile, folder: Path, progress: bool = True, patience: Patience = Patience()) -> Path:
    """Get `file` into `folder`, whole and verified, and return its path; what is there already is kept.

    A cut download goes on where it stopped, also in a later call, unless the server's file has changed.
    UserError where the server has no such file, gives up, or sends something else than was expected.
    """
    path = folder / file.name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _partial(file, folder)
        quiet = None if progress else True  # None: quiet where nobody watches
        with tqdm(desc=path.name, total=file.bytes, unit="B", unit_scale=True, disable=quiet) as bar:
            receive(part, bar, patience)
        part.finish(path)
    verify(path, file)
    return path


def verify(path: Path, file: RemoteFile) -> None:
    """UserError, with the file moved aside, where its checksum is not the expected one."""
    if not file.md5 or (found := md5_of(path)) == file.md5:
        return
    aside = path.with_name(f"{path.name}.wrong")
    os.replace(path, aside)
    raise UserError(
        f"{path} is damaged, or not the publisher's: its MD5 is {found}, expected is {file.md5}. "
        f"It was renamed to {aside.name}; get it anew{' with the same command' if file.url else ''}."
    )


def _install(file: RemoteFile, folder: Path, progress: bool, patience: Patience) -> None:
    path = fetch(file, folder, progress, patience)
    if file.unpacks is not None:
        unpack(path, folder, file.unpacks)
        write_json(folder / RECORD, _record(folder) | {file.name: file.md5 or md5_of(path)})


def _put_there(file: RemoteFile, folder: Path) -> bool:
    """Whether a person put the file, or what it unpacks to, into `folder` or a folder of it."""
    names = [name for name in (file.name, file.makes) if name]
    return any((folder / name).exists() or next(folder.glob(f"*/{name}"), None) for name in names)


def _record(folder: Path) -> dict[str, Any]:
    try:
        found = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _partial(file: RemoteFile, folder: Path) -> Partial:
    path = folder / file.name
    return Partial(path.with_name(f"{path.name}.part"), file.url)
