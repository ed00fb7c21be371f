"""What operator and teacher tell a notebook's visitor, as server-sent events: for JupyterLab and for notes pages.

Knowing the session's id is the permission, as for its state. It is no activity, and the page opens the stream only
while somebody sees it: a browser has few connections for one host. Under a notebook's own host it is there, too.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator

from aiohttp import web

from tmpnb_py.bookings.model import Message
from tmpnb_py.core.models import State
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.pools.container import Container
from tmpnb_py.web import event_stream
from tmpnb_py.web.api import programs, views
from tmpnb_py.web.api.schema import SessionMessages
from tmpnb_py.web.context import CONTEXT, Context
from tmpnb_py.web.event_stream import Event

_LOOK_SECONDS = 5.0  # after which it is seen that a message is over, or the session


def add_routes(app: web.Application) -> None:
    """Every endpoint of this module."""
    app.router.add_get("/api/sessions/{id:[a-z0-9]+}/messages", stream, allow_head=False)


async def stream(request: web.Request) -> web.StreamResponse:
    """The messages now, and again at each change, as long as the session runs."""
    context = request.app[CONTEXT]
    container = context.site.find(request.match_info["id"])
    if container is None or container.state is not State.CLAIMED:
        raise programs.unknown(request, "There is no such session, or it has ended.")
    return await event_stream.answer(
        request,
        _events(context, container),
        is_stopping=context.is_stopping,
        retry_milliseconds=event_stream.RETRY,
    )


async def _events(context: Context, container: Container) -> AsyncGenerator[Event, None]:
    while container.state is State.CLAIMED:
        change = context.site.agenda.messages.next_change
        yield Event(_shown(tuple(context.site.told(container))))
        await event_or_time(change, _LOOK_SECONDS)


@functools.lru_cache(64)
def _shown(messages: tuple[Message, ...]) -> str:
    """As JSON; made once for all who are told the same."""
    return SessionMessages(messages=tuple(map(views.told, messages))).model_dump_json()
