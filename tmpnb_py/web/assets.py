"""Our scripts and style sheets as files whose names contain a hash of their content, so that browsers keep them.

A page names the files that belong to it. Pages of other sites may load them (`live.js` and its frame are made for
that): they hold nothing private.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from tmpnb_py.core.http_negotiation import choose_coding, is_not_modified
from tmpnb_py.words.words import Words

PIECE = 64 * 1024  # bytes per write; only so much is copied for a slow reader
FOR_EVER = "public, max-age=31536000, immutable"
# Comments that have lines of their own. Types are in some of them, and readers of a page need neither.
_COMMENTS = re.compile(r"^[ \t]*(?://[^\n]*|/\*(?:(?!\*/).)*\*/)[ \t]*\n", re.MULTILINE | re.DOTALL)
_TYPES = {"css": "text/css", "js": "text/javascript", "html": "text/html", "json": "application/json"}


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """A body, its gzip form, and the hash that its entity tags are made from."""

    body: bytes
    type: str
    compressed: bytes
    etag: str

    @classmethod
    def of(cls, body: bytes, kind: str) -> Content:
        """Compress a body, once for all requests."""
        return cls(body, kind, gzip.compress(body, 9, mtime=0), hashlib.sha256(body).hexdigest()[:20])


class _Pieces(Payload):
    """A body that is written in pieces: aiohttp itself would copy the whole of it for each slow reader."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write piece by piece, as the reader takes them."""
        for start in range(0, len(self._value), PIECE):
            await writer.write(memoryview(self._value)[start : start + PIECE])


def joined(request: web.BaseRequest, name: str) -> str:
    """A header that is a list, which may have come in several lines (RFC 9110 §5.3)."""
    return ", ".join(request.headers.getall(name, ()))


def answer(request: web.Request, content: Content, headers: Mapping[str, str]) -> web.Response:
    """The content in the coding that the client prefers, or 304 where the client has it (RFC 9110 §13.1.2)."""
    is_smaller = len(content.compressed) < len(content.body)
    coding = choose_coding(joined(request, "Accept-Encoding"), ("gzip",) if is_smaller else ())
    etag = f'"{content.etag}-gz"' if coding else f'"{content.etag}"'
    vary = ", ".join(("Accept-Encoding", *filter(None, (headers.get("Vary"),))))
    all_headers = {"X-Content-Type-Options": "nosniff", **headers, "Vary": vary, "ETag": etag}
    if is_not_modified(joined(request, "If-None-Match"), etag):
        return web.Response(status=304, headers=all_headers)
    if coding:
        all_headers["Content-Encoding"] = coding
    charset = None if content.type.startswith(("image/", "audio/", "video/")) else "utf-8"
    body = content.compressed if coding else content.body
    return web.Response(body=_Pieces(body), content_type=content.type, charset=charset, headers=all_headers)


@functools.cache
def sources() -> Mapping[str, str]:
    """The texts of the files in `frontend/`, by their paths there.

    All are read at the start (`respond`): what is installed while the service runs is another version's.
    """
    return dict(_texts(resources.files("tmpnb_py") / "frontend", ""))


def _texts(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _texts(one, f"{above}{one.name}/")
        else:
            yield above + one.name, one.read_text(encoding="utf-8")


def source(name: str) -> str:
    """The text of a file in `frontend/`."""
    return sources()[name]


@functools.cache
def script(name: str) -> str:
    """A script of `frontend/` as pages get it: without the comments that have lines of their own.

    No template literal of ours has a line that looks like one.
    """
    return _COMMENTS.sub("", source(name))


_HELPERS = "words.js"
# Where errors of the API come from that scripts get in English, and show in their reader's language.
_REFUSALS = tuple(f"tmpnb_py/web/{name}.py" for name in ("allocation", "respond", "api/programs", "api/tickets"))
# And those with which a notebook of our image refuses an archive.
_OF_NOTEBOOKS = {
    "keeping.js": tuple(f"workshop_image/server/{name}.py" for name in ("tmpnb_archive", "tmpnb_restore")),
}


def table(names: Iterable[str], texts: Words) -> dict[str, object]:
    """What scripts need to show their texts in a language: those of these files of `frontend/`."""
    known = {"tag": texts.tag, "dir": texts.direction, "plurals": dict(texts.plurals)}
    files = [file for name in names for file in (f"tmpnb_py/frontend/{name}", *_OF_NOTEBOOKS.get(name, ()))]
    return {**known, "texts": texts.of_files((*files, *_REFUSALS))}


def spoken(names: Iterable[str], texts: Words) -> str:
    """Constants and functions that stand before these scripts of `frontend/`."""
    constant = json.dumps(table(names, texts), ensure_ascii=False).replace("<", "\\u003c")
    return f"const WORDS = {constant};\n{script(_HELPERS)}"


@functools.lru_cache(64)
def page_script(names: str, texts: Words) -> str:
    """Scripts of `frontend/`, as a page has them inline: in one function, with their texts in a language."""
    every = names.split()
    return f'"use strict";\n(() => {{\n{spoken(every, texts)}{"".join(map(script, every))}}})();\n'


class Assets:
    """Files by their hashed names. Each is compressed when it is first asked for."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[Callable[[], Content], Mapping[str, str]]] = {}

    def add(self, name: str, text: str, headers: Mapping[str, str] | None = None) -> str:
        """Serve a file from now on. Returns its path below the base of all URLs."""
        stem, _, extension = name.rpartition(".")
        hashed = f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.{extension}"
        make = functools.cache(lambda: Content.of(text.encode(), _TYPES[extension]))
        self._files[hashed] = make, headers or {}
        return f"assets/{hashed}"

    @property
    def names(self) -> Iterable[str]:
        """The names of all files."""
        return self._files.keys()

    async def get(self, request: web.Request) -> web.Response:
        """Answer `/assets/<name>`."""
        found = self._files.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        make, headers = found
        content = await asyncio.to_thread(make)  # compresses it the first time
        shared = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
        return answer(request, content, {"Cache-Control": FOR_EVER, **shared, **headers})
