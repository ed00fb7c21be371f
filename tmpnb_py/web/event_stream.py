"""Server-sent events (WHATWG HTML §9.2): the one loop behind every stream.

A handler passes an asynchronous generator, which may yield as often as it likes: an event that equals the last one is
not sent again. A stream ends with its generator, when its client goes (which cancels the handler), and when the
service stops.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable

from aiohttp import web

HEARTBEAT = 15.0  # seconds; proxies in between close silent connections, and a write finds a client that is gone
RETRY = 2000  # milliseconds until a browser reconnects, for who follows something

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
    "X-Content-Type-Options": "nosniff",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One event. A browser that reconnects sends the latest `id` as `Last-Event-ID`. `data` is one line."""

    data: str
    id: str = ""

    def encode(self) -> bytes:
        """The event as it is sent."""
        id_line = f"id: {self.id}\n" if self.id else ""
        return f"{id_line}data: {self.data}\n\n".encode()


async def answer(
    request: web.Request,
    events: AsyncGenerator[Event, None],
    *,
    is_stopping: Callable[[], bool],
    retry_milliseconds: int | None = None,
) -> web.StreamResponse:
    """Send events until there are no more; a repeated one is dropped, or makes a heartbeat after a long silence.

    `retry_milliseconds` is how long a browser waits before it reconnects (None: as it likes). `is_stopping` is asked
    after each event, so that the last state before a shutdown is still sent.
    """
    response = web.StreamResponse(headers=_HEADERS)
    async with contextlib.aclosing(events):
        await response.prepare(request)
        if retry_milliseconds is not None:
            await response.write(b"retry: %d\n\n" % retry_milliseconds)
        latest, silent_since = None, time.monotonic()
        async for event in events:
            if event != latest:
                await response.write(event.encode())
                latest, silent_since = event, time.monotonic()
            elif time.monotonic() - silent_since >= HEARTBEAT:
                await response.write(b": still here\n\n")
                silent_since = time.monotonic()
            if is_stopping():
                break
    return response
