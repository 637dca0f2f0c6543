"""A server for tests of downloads, with the faults that servers and networks have."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has and how it behaves; `asked` and `ranges` tell what it was asked for."""

    files: dict[str, bytes]
    ranges_work: bool = True
    if_range_works: bool = True
    etag: str | None = '"one"'
    last_modified: str | None = None
    length_told: bool = True
    kind: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)  # bytes after which each answer is cut, first answer first
    codes: list[int] = field(default_factory=list)  # answers that come before all others
    address: str = ""
    sent: int = 0  # bytes of files
    asked: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request as the settings say."""
        name, wanted = request.path.lstrip("/"), request.headers.get("Range")
        self.asked.append(name)
        self.ranges.append(wanted)
        if self.codes or name not in self.files:
            return request.send_error(self.codes.pop(0) if self.codes else 404)
        content, start = self.files[name], 0
        if wanted and self.ranges_work and self._same(request.headers.get("If-Range")):
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
        if start and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            return request.end_headers()
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self._headers(request, len(content) - start)
        end = start + self.cuts.pop(0) if self.cuts else len(content)
        self.sent += len(content[start:end])
        request.wfile.write(content[start:end])
        return None

    def _same(self, if_range: str | None) -> bool:
        return not self.if_range_works or if_range in (None, self.etag, self.last_modified)

    def _headers(self, request: BaseHTTPRequestHandler, length: int) -> None:
        told = {"Content-Type": self.kind, "ETag": self.etag, "Last-Modified": self.last_modified}
        told["Content-Length"] = str(length) if self.length_told else None
        for name, value in told.items():
            if value:
                request.send_header(name, value)
        request.end_headers()


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Run the server in a thread; its address is then in `site.address`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
