"""`/static/<digest>/…`: an image's static files, the same for all its notebooks.

The address changes with the content, so browsers keep the files for good. What is not here may be in the
visitor's own notebook (an extension installed there, an image that is forgotten). The path below the digest is that
below the notebook's base path. A notebook's pages do not tell other addresses theirs, so the cookie of the visitor's
sessions has to say which it is, where no `Referer` does.
"""

from __future__ import annotations

import re

from aiohttp import web

from tmpnb_py.static.shared import ROOT, SharedFiles
from tmpnb_py.static.tree import accepted, content_type, etag, matches
from tmpnb_py.web import visits
from tmpnb_py.web.context import CONTEXT

_PIECE = 64 * 1024  # bytes written at once: a slow reader must not be held a whole file of its own
_FOR_EVER = "public, max-age=31536000, immutable"
# A document of a hostile image, opened as a page, must do nothing on the origin that all notebooks share. A script is
# no document, and a worker started from one would be bound by this.
_INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_SCRIPT = "text/javascript"
_PAGE = re.compile(r"https?://[^/?#]*/user/([a-z0-9]{1,64})/")


def add_routes(app: web.Application, files: SharedFiles) -> None:
    """The one route of this module."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await answer(request, files)

    app.router.add_get(f"{ROOT}{{digest:[0-9a-f]{{32}}}}/{{name:.+}}", handler)


async def answer(request: web.Request, files: SharedFiles) -> web.StreamResponse:
    """A file, 304, the way to the notebook that has it, or 404."""
    found = files.find(request.match_info["digest"], request.match_info["name"])
    if found is None:
        raise _elsewhere(request)
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
    if matches(request.headers.get("If-None-Match", ""), found.entry):
        del headers["Content-Type"]
        return web.Response(status=304, headers=headers)
    if coding:
        headers["Content-Encoding"] = coding
    try:
        content = await files.content(found, coding)
    except OSError:
        raise _elsewhere(request) from None
    response = web.StreamResponse(headers=headers)
    response.content_length = len(content)
    await response.prepare(request)
    if request.method != "HEAD":
        for start in range(0, len(content), _PIECE):
            await response.write(memoryview(content)[start : start + _PIECE])
    await response.write_eof()
    return response


def _elsewhere(request: web.Request) -> web.HTTPException:
    """The same file in the notebook whose page asks for it, or which the visitor opened last."""
    page = _PAGE.match(request.headers.get("Referer", ""))
    known = (
        request.app[CONTEXT].pool.session(page[1]) if page is not None else next(iter(visits.sessions(request)), None)
    )
    if known is None:
        return web.HTTPNotFound()
    rest = request.rel_url.raw_path_qs.split("/", 3)[3]
    return web.HTTPTemporaryRedirect(f"/user/{known.id}/{rest}")
