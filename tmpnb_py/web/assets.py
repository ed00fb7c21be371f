"""Scripts and style sheets of ours as files, under names that change with what is in them.

What has the hash of its content in its name may be kept for ever; a page names the files that belong to it. They may
be loaded by other sites' pages (`live.js` and its frame are made for that) and hold nothing of anybody.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gzip
import hashlib
import re
from collections.abc import Callable, Mapping
from importlib import resources

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

PIECE = 64 * 1024  # bytes written at once: what a slow reader does not take is not copied
FOR_EVER = "public, max-age=31536000, immutable"
# Comments that have lines of their own. Types are in some of them, and readers of a page need neither.
_COMMENTS = re.compile(r"^[ \t]*(?://[^\n]*|/\*(?:(?!\*/).)*\*/)[ \t]*\n", re.MULTILINE | re.DOTALL)
_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html"}


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """A body with its compressed form and its validator."""

    body: bytes
    type: str
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes, kind: str) -> Content:
        """Compress it once, for everybody."""
        return cls(body, kind, gzip.compress(body, 9, mtime=0), hashlib.sha256(body).hexdigest()[:20])


class _Pieces(Payload):
    """A body of which a slow reader holds no copy: as it is, aiohttp hands over the whole at once."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write what the reader takes."""
        for start in range(0, len(self._value), PIECE):
            await writer.write(memoryview(self._value)[start : start + PIECE])


def answer(request: web.Request, content: Content, headers: Mapping[str, str]) -> web.Response:
    """The content, or 304 where the client has it (RFC 9110, 13.1.2)."""
    compressed = "gzip" in request.headers.get("Accept-Encoding", "") and len(content.compressed) < len(content.body)
    etag = f"{content.etag}-gz" if compressed else content.etag
    vary = ", ".join(("Accept-Encoding", *filter(None, (headers.get("Vary"),))))
    all_headers = {"X-Content-Type-Options": "nosniff", **headers, "Vary": vary, "ETag": f'"{etag}"'}
    known = request.if_none_match or ()
    if any(one.value in ("*", etag) for one in known):
        return web.Response(status=304, headers=all_headers)
    if compressed:
        all_headers["Content-Encoding"] = "gzip"
    charset = None if content.type.startswith(("image/", "audio/", "video/")) else "utf-8"
    body = content.compressed if compressed else content.body
    return web.Response(body=_Pieces(body), content_type=content.type, charset=charset, headers=all_headers)


def source(name: str) -> str:
    """A file of `frontend/`, as it is."""
    return (resources.files("tmpnb_py") / "frontend" / name).read_text(encoding="utf-8")


@functools.cache
def script(name: str) -> str:
    """A script of `frontend/` as pages get it: without the comments that have lines of their own.

    No template literal of ours has a line that looks like one.
    """
    return _COMMENTS.sub("", source(name))


class Assets:
    """Files by their hashed names."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Callable[[], Content], Mapping[str, str]]] = {}

    def add(self, name: str, text: str, headers: Mapping[str, str] | None = None) -> str:
        """Offer a file; returns its path below the base of all addresses."""
        stem, _, extension = name.rpartition(".")
        hashed = f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.{extension}"
        make = functools.cache(lambda: Content.of(text.encode(), _TYPES[extension]))
        self._files[hashed] = make, headers or {}
        return f"assets/{hashed}"

    async def get(self, request: web.Request) -> web.Response:
        """Answer `/assets/<name>`."""
        found = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        make, headers = found
        content = await asyncio.to_thread(make)  # the first time it is compressed
        shared = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
        return answer(request, content, {"Cache-Control": FOR_EVER, **shared, **headers})
