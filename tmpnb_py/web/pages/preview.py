"""What pages have in a preview only (`image workshops --preview`): they reload when a file of the folder is saved.

Each page listens to a stream of events, which also reports problems in the folder.
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
from tmpnb_py.web.language import headers_of, words_of
from tmpnb_py.words.tags import tags
from tmpnb_py.words.words import words
from tmpnb_py.workshops.preview import Preview

_PREVIEW = web.AppKey("preview", Preview)
_scripts = {
    tag: Content.of(assets.page_script("preview.js", words(tag)).encode(), "text/javascript") for tag in tags()
}


def add_routes(app: web.Application, preview: Preview) -> None:
    """The script of every page (`base.html`), and the stream that it listens to."""
    app[_PREVIEW] = preview
    app.router.add_get("/preview.js", script)
    app.router.add_get("/preview/changes", changes, allow_head=False)


async def script(request: web.Request) -> web.Response:
    """The pages' script."""
    texts = words_of(request)
    return answer(request, _scripts[texts.tag], {"Cache-Control": "no-cache", **headers_of(request, texts)})


async def changes(request: web.Request) -> web.StreamResponse:
    """The current version of the folder and each later one, with its problems."""
    events = _versions(request.app[_PREVIEW])
    return await event_stream.answer(request, events, is_stopping=request.app[CONTEXT].is_stopping)


async def _versions(preview: Preview) -> AsyncGenerator[Event, None]:
    while True:
        version = preview.version
        yield Event(json.dumps({"version": version, "problems": preview.problems[:50]}))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(event_stream.HEARTBEAT):
                await preview.changed_from(version)
