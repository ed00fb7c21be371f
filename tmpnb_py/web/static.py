"""`/static/<digest>/…`: an image's static files, the same for all its notebooks.

The URL changes with the content, so browsers keep the files for good. The path below the digest is the one below a
notebook's base path. Nothing here depends on the visitor or tells of a notebook, because a script in any notebook
can ask; and every page may, since notebooks under hosts of their own get them from one other host. One answer serves
all of them: it has to be the same whoever asks, or browsers would keep one for each. A browser that left a page while
a file came asks for the rest of it (`Range`).
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

from tmpnb_py.core.http_negotiation import choose_coding, is_not_modified, wanted_part
from tmpnb_py.core.links import STATIC_PATTERN
from tmpnb_py.shared_files.shared import Content, Found
from tmpnb_py.shared_files.store import LostFileError
from tmpnb_py.shared_files.tree import content_type, etag
from tmpnb_py.web.assets import FOR_EVER, PIECE, joined

# A document of a hostile image, opened as a page, must be able to do nothing on the origin that all notebooks share.
# Scripts go without: they are no documents, and the policy would bind the workers that are started from them.
_INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_SCRIPT = "text/javascript"
_NOTHING = memoryview(b"")


class Files(Protocol):
    """Who has the files: `SharedFiles`, or a front end's `Mirror` of them."""

    def find(self, digest: str, name: str, /) -> Found | None: ...

    async def content(self, found: Found, coding: str, /) -> Content: ...

    async def size(self, found: Found, coding: str, /) -> int: ...

    async def taken_again(self, found: Found, /) -> bool: ...


def add_routes(app: web.Application, files: Files) -> None:
    """Every route of this module."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, files)

    app.router.add_get(STATIC_PATTERN, handler)


async def answer(request: web.Request, files: Files) -> web.StreamResponse:
    """A file, 304, 404 or 503. A file that is lost from the disk is taken from the image again first."""
    try:
        try:
            response, body = await _loaded(request, files)
        except LostFileError:
            if not await files.taken_again(_find(request, files)):
                raise
            response, body = await _loaded(request, files)
    except OSError:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"}) from None
    if not body:
        return response
    await response.prepare(request)
    for start in range(0, len(body), PIECE):
        await response.write(body[start : start + PIECE])
    await response.write_eof()
    return response


def _find(request: web.Request, files: Files) -> Found:
    found = files.find(request.match_info["digest"], request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    return found


async def _loaded(request: web.Request, files: Files) -> tuple[web.StreamResponse, memoryview]:
    """The response, not yet prepared, and what to send of the body, in the best coding. Raises `OSError`."""
    found = _find(request, files)
    coding = choose_coding(joined(request, "Accept-Encoding"), found.codings)
    headers = _headers(found, coding)
    if is_not_modified(joined(request, "If-None-Match"), headers["ETag"]):
        del headers["Content-Type"]
        return web.Response(status=304, headers=headers), _NOTHING
    if coding:
        headers["Content-Encoding"] = coding
    response = web.StreamResponse(headers=headers)
    if request.method == "HEAD":
        response.content_length = await files.size(found, coding)
        return response, _NOTHING
    body = memoryview((await files.content(found, coding)).body)
    asked = request.headers
    part = wanted_part(asked.get("Range", ""), asked.get("If-Range", ""), headers["ETag"], len(body))
    if part is not None:
        response.set_status(206)
        response.headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{len(body)}"
        body = body[slice(*part)]
    response.content_length = len(body)
    return response, body


def _headers(found: Found, coding: str) -> dict[str, str]:
    kind = content_type(found.name) or "application/octet-stream"
    headers = {
        "Accept-Ranges": "bytes",
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": FOR_EVER,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": etag(found.entry, coding),
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": kind,
    }
    if not kind.startswith(_SCRIPT):
        headers["Content-Security-Policy"] = _INERT
    return headers
