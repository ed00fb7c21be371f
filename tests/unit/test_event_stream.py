"""Streams of server-sent events: repeats, heartbeats, the end of the service, and a client that goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tmpnb_py.web import event_stream
from tmpnb_py.web.event_stream import Event


@contextlib.asynccontextmanager
async def serving(
    events: Callable[[], AsyncGenerator[Event, None]],
    *,
    is_stopping: Callable[[], bool] = lambda: False,
    retry: int | None = None,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer of a server with such a stream."""

    async def handler(request: web.Request) -> web.StreamResponse:
        return await event_stream.answer(request, events(), is_stopping=is_stopping, retry_milliseconds=retry)

    app = web.Application()
    app.router.add_get("/", handler)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        yield response


async def several(*events: Event) -> AsyncGenerator[Event, None]:
    """These and no more."""
    for event in events:
        yield event


def test_an_event_as_it_is_sent() -> None:
    assert Event("x", "7").encode() == b"id: 7\ndata: x\n\n"
    assert Event("x").encode() == b"data: x\n\n"


async def test_what_was_sent_last_is_not_sent_again() -> None:
    one, two = Event("one", "1"), Event("two", "1")
    async with serving(lambda: several(one, one, two, two, one), retry=2000) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        sent = await response.read()
    assert sent == b"retry: 2000\n\n" + one.encode() + two.encode() + one.encode()


async def test_a_long_silence_has_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.0)
    one = Event("one")
    async with serving(lambda: several(one, one)) as response:
        assert await response.read() == one.encode() + b": still here\n\n"


async def test_the_last_state_is_sent_when_the_service_stops() -> None:
    endless = asyncio.Event()

    async def states() -> AsyncGenerator[Event, None]:
        yield Event("one")
        await endless.wait()

    async with serving(states, is_stopping=lambda: True) as response:
        assert await response.read() == Event("one").encode()


async def test_the_generator_is_closed_at_once_when_the_client_goes() -> None:
    closed = asyncio.Event()

    async def states() -> AsyncGenerator[Event, None]:
        try:
            yield Event("one")
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with serving(states) as response:
        assert await response.content.readuntil(b"\n\n") == Event("one").encode()
        response.close()
        async with asyncio.timeout(10):
            await closed.wait()
