"""What the pages of a preview have beside those of a service: they load again when a file of the folder is saved.

Only `image workshops --preview` has this. Each page listens to a stream of events (WHATWG HTML §9.2), which also
brings what is wrong in the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator

from aiohttp import web

from tmpnb_py.web import assets, event_stream
from tmpnb_py.web.assets import Content, answer
from tmpnb_py.web.context import CONTEXT
from tmpnb_py.web.event_stream import Event
from tmpnb_py.workshops.preview import Preview

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
    claims = request.app[CONTEXT].site.claims_for()
    events = _versions(request.app[_PREVIEW])
    return await event_stream.answer(request, events, is_stopping=lambda: claims.stopping)


async def _versions(preview: Preview) -> AsyncGenerator[Event, None]:
    while True:
        version = preview.version
        yield Event(json.dumps({"version": version, "problems": preview.problems[:50]}))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(event_stream.HEARTBEAT):
                await preview.changed_from(version)
