"""One file over HTTP, in as many requests as it takes: each goes on where the one before was cut.

RFC 9110: `Range` asks for the rest, `If-Range` for the whole where the file has changed. Servers that ignore
either are noticed by their answer, and the file begins anew.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ganseg.files import UserError, read_json, write_json

BLOCK = 1 << 16
SPARE = 1 << 28  # bytes that stay free on the disk
AGAIN = (408, 425, 429, 500, 502, 503, 504)  # answers of a server that may do better in a moment
CUT = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Patience:
    """Seconds that a server may be silent, tries in a row without progress, seconds of the first pause."""

    timeout: float = 30.0
    tries: int = 5
    pause: float = 1.0


@dataclass(frozen=True)
class Partial:
    """What is here of a file: its first bytes at `path`, and a note beside them on whose bytes they are."""

    path: Path
    url: str

    @property
    def size(self) -> int:
        """Bytes that are here, as far as it is known whose they are."""
        return self.path.stat().st_size if self.path.is_file() and self.known() else 0

    @property
    def note(self) -> Path:
        """Where it is written which file these bytes begin."""
        return self.path.with_name(f"{self.path.name}.json")

    def known(self) -> dict[str, Any]:
        """total, etag and last_modified of the file that these bytes begin; empty where nothing is known."""
        try:
            found = read_json(self.note)
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) and found.get("url") == self.url else {}

    def begin(self, total: int | None, validators: dict[str, str | None]) -> None:
        """Forget the bytes that are here; those to come are of a file of `total` bytes."""
        self.path.write_bytes(b"")
        write_json(self.note, {"url": self.url, "total": total, **validators})

    def discard(self) -> None:
        """Delete the bytes and the note."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Give the whole file its name."""
        os.replace(self.path, path)
        self.note.unlink(missing_ok=True)


def receive(part: Partial, bar: tqdm, patience: Patience) -> None:
    """Ask until the file is whole; UserError after `patience.tries` in a row that brought nothing new."""
    furthest, vain = part.size, 0
    while True:
        try:
            return _request(part, bar, patience.timeout)
        except CUT as error:
            code = getattr(error, "code", None)
            if code and code not in AGAIN:
                raise UserError(f"{part.url}: the server answers {code} ({error.reason}).") from error
            reason = error
        vain = 0 if part.size > furthest else vain + 1
        furthest = max(furthest, part.size)
        if vain >= patience.tries:
            kept = f" {part.size:,} bytes are kept: the same command goes on from there." if part.size else ""
            raise UserError(f"{part.url} cannot be fetched now: {reason}.{kept}") from reason
        time.sleep(patience.pause * 2 ** max(0, vain - 1))


def _request(part: Partial, bar: tqdm, timeout: float) -> None:
    """Get the rest of a file in one request; ConnectionError where it was cut."""
    start = part.size
    headers = {"User-Agent": "ganseg", "Accept-Encoding": "identity"} | _range(start, part.known())
    try:
        response = urllib.request.urlopen(urllib.request.Request(part.url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if error.headers.get("Content-Range", "").strip() == f"bytes */{start}":  # nothing is left to send
            return
        part.discard()
        raise ConnectionError("the file on the server has changed") from error
    with response:
        total = _continue(part, response, start) if start and response.status == 206 else _begin(part, response)
        bar.reset(total)
        bar.n = bar.initial = part.size
        _write(part, response, bar)
    if total is not None and part.size != total:
        raise ConnectionError(f"the connection was cut after {part.size:,} of {total:,} bytes")


def _range(start: int, known: dict[str, Any]) -> dict[str, str]:
    """Headers that ask for what comes after `start` bytes, or for the whole file where it has changed."""
    if not start:
        return {}
    etag = known.get("etag") or ""
    unchanged = etag if etag and not etag.startswith("W/") else known.get("last_modified")
    return {"Range": f"bytes={start}-"} | ({"If-Range": unchanged} if unchanged else {})


def _begin(part: Partial, response: Any) -> int | None:
    """Prepare for the whole file; returns its size where the server tells it."""
    if response.headers.get_content_type() == "text/html":
        raise UserError(
            f"{part.url}: the server sent a web page instead of the file. Does your network ask for a log-in?"
        )
    length = response.headers.get("Content-Length")
    total = int(length) if length else None
    _refuse_full_disk(part, total or 0)
    part.begin(total, _validators(response))
    return total


def _continue(part: Partial, response: Any, start: int) -> int | None:
    """Check that the response is the rest of the file that is here; returns the whole file's size."""
    stated = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    known, now = part.known(), _validators(response)
    if not stated or int(stated[1]) != start or any(now[k] and known.get(k, now[k]) != now[k] for k in now):
        part.discard()
        raise ConnectionError("the file on the server has changed")
    total = int(stated[2]) if stated[2] != "*" else known.get("total")
    _refuse_full_disk(part, (total or start) - start)
    return total


def _validators(response: Any) -> dict[str, str | None]:
    """What tells one version of a file from another."""
    return {"etag": response.headers.get("ETag"), "last_modified": response.headers.get("Last-Modified")}


def _refuse_full_disk(part: Partial, coming: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if coming + SPARE > free:
        raise UserError(
            f"{part.path.parent}: {coming:,} bytes are to come, and its disk has {free:,} free. "
            "Free some space, or name a folder on another disk with --to."
        )


def _write(part: Partial, response: Any, bar: tqdm) -> None:
    with part.path.open("ab") as file:
        while block := response.read(BLOCK):
            file.write(block)
            bar.update(len(block))
