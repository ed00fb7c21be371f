"""`/static/<digest>/…`: an image's static files, the same for all its notebooks.

The address changes with the content, so browsers keep the files for good. The path below the digest is that below
the notebook's base path. Nothing here depends on the visitor: who asks is told of no notebook, not even of their own,
for a script in any notebook can ask.
"""

from __future__ import annotations

from aiohttp import web

from tmpnb_py.links import STATIC
from tmpnb_py.static.shared import SharedFiles
from tmpnb_py.static.tree import accepted, content_type, etag, matches

_PIECE = 64 * 1024  # bytes written at once: what a slow reader does not take is not copied
_FOR_EVER = "public, max-age=31536000, immutable"
# A document of a hostile image, opened as a page, must do nothing on the origin that all notebooks share. A script is
# no document, and a worker started from one would be bound by this.
_INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_SCRIPT = "text/javascript"


def add_routes(app: web.Application, files: SharedFiles) -> None:
    """The one route of this module."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, files)

    app.router.add_get(f"/{STATIC}/{{digest:[0-9a-f]{{32}}}}/{{name:.+}}", handler)


async def answer(request: web.Request, files: SharedFiles) -> web.StreamResponse:
    """A file, 304, or 404."""
    found = files.find(request.match_info["digest"], request.match_info["name"])
    if found is None:
        raise web.HTTPNotFound
    coding = accepted(", ".join(request.headers.getall("Accept-Encoding", ())), found.codings)
    kind = content_type(found.name) or "application/octet-stream"
    headers = {
        "Cache-Control": _FOR_EVER,
        "ETag": etag(found.entry, coding),
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Content-Type": kind,
    }
    if not kind.startswith(_SCRIPT):
        headers["Content-Security-Policy"] = _INERT
    if matches(request.headers.get("If-None-Match", ""), headers["ETag"]):
        del headers["Content-Type"]
        return web.Response(status=304, headers=headers)
    if coding:
        headers["Content-Encoding"] = coding
    response = web.StreamResponse(headers=headers)
    try:
        if request.method == "HEAD":
            response.content_length = await files.size(found, coding)
            await response.prepare(request)
            return response
        content = await files.content(found, coding)
    except OSError:
        raise web.HTTPServiceUnavailable(headers={"Retry-After": "5"}) from None
    response.content_length = len(content.body)
    await response.prepare(request)
    for start in range(0, len(content.body), _PIECE):
        await response.write(memoryview(content.body)[start : start + _PIECE])
    await response.write_eof()
    return response
