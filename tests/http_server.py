"""A server for tests of downloads, with the faults that servers and networks have."""

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
    cuts: list[int] = field(default_factory=list)  # bytes after which each answer is cut, first answer first
    address: str = ""
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request as the settings say."""
        name, wanted = request.path.lstrip("/"), request.headers["Range"] or ""
        self.asked.append(name)
        self.ranges.append(wanted)
        if name not in self.files:
            return request.send_error(404)
        content = self.files[name]
        part = re.fullmatch(r"bytes=(\d+)-", wanted) if self.ranges_work else None
        start = int(part[1]) if part else 0
        if start >= len(content):
            return request.send_error(416)
        request.send_response(206 if part else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : start + self.cuts.pop(0) if self.cuts else None])
        return None


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Run the server in a thread; its address is then in `site.address`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            server.shutdown()
