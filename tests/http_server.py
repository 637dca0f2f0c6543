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


@contextmanager
def serve(site: Site) -> Iterator[Site]:
    """Run the server in a thread; its address is then in `site.address`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, wanted = self.path.lstrip("/"), self.headers["Range"] or ""
            site.asked.append(name)
            site.ranges.append(wanted)
            content = site.files.get(name)
            part = re.fullmatch(r"bytes=(\d+)-", wanted) if site.ranges_work else None
            start = int(part[1]) if part else 0
            if content is None or start >= len(content):
                self.send_error(404 if content is None else 416)
                return
            self.send_response(206 if part else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : start + site.cuts.pop(0) if site.cuts else None])

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        site.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield site
        finally:
            server.shutdown()
