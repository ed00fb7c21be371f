"""What the pages of a preview have beside those of a service: they load again when a file of the folder is saved.

Only `image workshops --preview` has this. Each page listens to a stream of events (WHATWG HTML §9.2), which also
brings what is wrong in the folder.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from tmpnb_py.web import assets
from tmpnb_py.web.assets import Content, answer
from tmpnb_py.workshops.preview import Preview

_HEARTBEAT = 15.0
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
_PREVIEW = web.AppKey("preview", Preview)
_script = Content.of(assets.script("preview.js").encode(), "text/javascript")


def add_routes(app: web.Application, preview: Preview) -> None:
    """The script that every page has (`base.html`), and what it listens to."""
    app[_PREVIEW] = preview
    app.router.add_get("/preview.js", script)
    app.router.add_get("/preview/changes", changes, allow_head=False)


async def script(request: web.Request) -> web.Response:
    """The pages' script."""
    return answer(request, _script, {"Cache-Control": "no-cache"})


async def changes(request: web.Request) -> web.StreamResponse:
    """Each version of the folder, with what is wrong in it, from now on."""
    preview = request.app[_PREVIEW]
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    told = ""
    while True:
        if told != preview.version:
            told = preview.version
            event = json.dumps({"version": told, "problems": preview.problems[:50]})
            await response.write(f"data: {event}\n\n".encode())
        try:
            async with asyncio.timeout(_HEARTBEAT):
                await preview.changed_from(told)
        except TimeoutError:
            await response.write(b": nothing new\n\n")
