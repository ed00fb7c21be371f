"""The straightforward proxy: an aiohttp server that asks with a ClientSession. A peer for the benchmark only.

python -m tests.benchmarks.plain_proxy PORT SOCKET
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop
from aiohttp import web

_HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def forwarding(session: aiohttp.ClientSession) -> Handler:
    """The handler of every request."""

    async def forward(request: web.Request) -> web.StreamResponse:
        url = "http://upstream" + request.raw_path
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await _websocket(request, session, url)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        body = request.content if request.can_read_body else None
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    return forward


async def _websocket(request: web.Request, session: aiohttp.ClientSession, url: str) -> web.WebSocketResponse:
    client = web.WebSocketResponse()
    await client.prepare(request)
    async with session.ws_connect(url) as server:

        async def to_client() -> None:
            async for message in server:
                await client.send_str(message.data)

        back = asyncio.create_task(to_client())
        async for message in client:
            await server.send_str(message.data)
        back.cancel()
    return client


async def main() -> None:
    """Serve until killed."""
    port, path = int(sys.argv[1]), sys.argv[2]
    connector = aiohttp.UnixConnector(path, limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", forwarding(session))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
