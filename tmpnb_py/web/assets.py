"""Scripts and style sheets of ours as files, under names that change with what is in them.

What has the hash of its content in its name may be kept for ever; a page names the files that belong to it. They may
be loaded by other sites' pages (`live.js` and its frame are made for that) and hold nothing of anybody.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import hashlib
from collections.abc import Mapping
from importlib import resources

from aiohttp import web

FOR_EVER = "public, max-age=31536000, immutable"
_LARGE = 200_000  # bytes
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
        return cls.plain(body, kind).packed()

    @classmethod
    def plain(cls, body: bytes, kind: str) -> Content:
        """What is compressed later, or never."""
        return cls(body, kind, b"", hashlib.sha256(body).hexdigest()[:20])

    def packed(self) -> Content:
        """The same with its compressed form."""
        return dataclasses.replace(self, compressed=gzip.compress(self.body, 9, mtime=0))


def answer(request: web.Request, content: Content, headers: Mapping[str, str]) -> web.Response:
    """The content, or 304 where the client has it (RFC 9110, 13.1.2)."""
    compressed = "gzip" in request.headers.get("Accept-Encoding", "") and 0 < len(content.compressed) < len(
        content.body
    )
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
    return web.Response(body=body, content_type=content.type, charset=charset, headers=all_headers)


def source(name: str) -> str:
    """A file of `templates/`, as it is."""
    return (resources.files("tmpnb_py") / "templates" / name).read_text(encoding="utf-8")


class Assets:
    """Files by their hashed names."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Content, Mapping[str, str]]] = {}
        self._packing = asyncio.Lock()

    def add(self, name: str, text: str, headers: Mapping[str, str] | None = None) -> str:
        """Offer a file; returns its path below the base of all addresses."""
        stem, _, extension = name.rpartition(".")
        body = text.encode()
        content = (Content.of if len(body) < _LARGE else Content.plain)(body, _TYPES[extension])
        hashed = f"{stem}-{content.etag[:12]}.{extension}"
        self._files[hashed] = content, headers or {}
        return f"assets/{hashed}"

    async def get(self, request: web.Request) -> web.Response:
        """Answer `/assets/<name>`."""
        found = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        content, headers = found
        if not content.compressed:
            content = await self._packed(request.match_info["name"])
        shared = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
        return answer(request, content, {"Cache-Control": FOR_EVER, **shared, **headers})

    async def _packed(self, name: str) -> Content:
        """A large file, compressed when it is first asked for: few services need it, and none at its start."""
        async with self._packing:
            content, headers = self._files[name]
            if not content.compressed:
                content = await asyncio.to_thread(content.packed)
                self._files[name] = content, headers
        return content
