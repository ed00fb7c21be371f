"""Other people's web sites: pages on ports of their own, which are origins of their own to a browser."""

from __future__ import annotations

import contextlib
import http.server
import mimetypes
import threading
from collections.abc import Iterator
from pathlib import Path

Content = str | bytes | Path


class Site:
    """One site. `content` may be changed while it is served: texts, bytes, files, and directories below a path."""

    def __init__(self, host: str, port: int) -> None:
        self.origin = f"http://{host}:{port}"
        self.content: dict[str, Content] = {}
        self.asked: list[str] = []

    def find(self, path: str) -> tuple[str, bytes] | None:
        """What is at a path: its type and itself."""
        for place, content in self.content.items():
            if isinstance(content, Path) and content.is_dir() and path.startswith(place):
                found = (content / path.removeprefix(place)).resolve()
                if found.is_file() and found.is_relative_to(content.resolve()):
                    return mimetypes.guess_type(found.name)[0] or "application/octet-stream", found.read_bytes()
        content = self.content.get(path, b"")
        if not content:
            return None
        if isinstance(content, Path):
            content = content.read_bytes()
        kind = mimetypes.guess_type(path)[0] or "text/html"
        return kind, content.encode() if isinstance(content, str) else content


@contextlib.contextmanager
def site(host: str = "127.0.0.1") -> Iterator[Site]:
    """Serve a site on a free port of loopback. `localhost` is another site than `127.0.0.1` in cookies' eyes, too."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            served.asked.append(path)
            found = served.find(path)
            kind, body = found or ("text/plain", b"not here")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", f"{kind}; charset=utf-8" if kind.startswith("text/") else kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class names it so)
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Site(host, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
