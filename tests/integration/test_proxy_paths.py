"""Path confusion: what is matched is what is sent, whatever the servers behind make of it.

The notebook servers here are Tornado's, as Jupyter's are; the orchestrator's own pages are the real ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import tornado.httpserver
import tornado.netutil
import tornado.web
from aiohttp import web

from tests.e2e.inprocess import running
from tests.fuzz.nginx import send
from tests.integration import proxy_support
from tests.integration.proxy_support import Rig
from tmpnb_py.core.models import State, TcpAddress

rig = proxy_support.rig

ONE, OTHER = "a" * 26, "b" * 26
HOST = "Host: localhost\r\nConnection: close\r\n"

# What belongs to the session ONE, however it looks: its own server gets it as it was sent.
OF_ONE = [
    "/user/{one}/../{other}/x",
    "/user/{one}/../../api/stats",
    "/user/{one}/%2e%2e/{other}/x",
    "/user/{one}/%2E%2E/%2e./{other}/x",
    "/user/{one}/..%2f{other}/x",
    "/user/{one}/..%2f..%2fapi/stats",
    "/user/{one}/%252e%252e/{other}/x",
    "/user/{one}/..%252f{other}/x",
    "/user/{one}/..\\{other}\\x",
    "/user/{one}/..%5c{other}/x",
    "/user/{one}/..;/{other}/x",
    "/user/{one}/;/../{other}/x",
    "/user/{one}/x;/../../{other}/x",
    "/user/{one}/.//../{other}/x",
    "/user/{one}/x//..//..//{other}/x",
    "/user/{one}/%00/../{other}/x",
    "/user/{one}/%c0%ae%c0%ae/{other}/x",
    "/user/{one}/%2e%2e%2f%2e%2e%2fmetrics",
    "/user/{one}/x?y=/../../{other}/x",
    "/user/{one}/http://t/user/{other}/x",
    "/user/{one}/@t/user/{other}/x",
    "/user/{one}/%zz/%/../{other}",
]
# What belongs to no session: only the orchestrator's own pages may see it.
OF_NOBODY = [
    "/./user/{one}/x",
    "/x/../user/{one}/x",
    "/x/%2e%2e/user/{one}/x",
    "/user/./{one}/x",
    "/user//{one}/x",
    "/user/../user/{one}/x",
    "/user/{one};x/y",
    "/user/{one}%2fx",
    "/user/{one}%2f..%2f{other}/x",
    "/user/{one}\\x",
    "/user/{one}%00/x",
    "/user/{one}./x",
    "/user/%41{rest}/x",
    "/user/A{rest}/x",
    "/User/{one}/x",
    "/%55ser/{one}/x",
    "/user%2f{one}%2fx",
    "\\user\\{one}\\x",
    "/user\\{one}/x",
    "/user;/{one}/x",
    "/user/{one}x/y",
]


def _filled(target: str) -> str:
    return target.format(one=ONE, other=OTHER, rest=ONE[1:])


class Jupyter:
    """A Tornado server that answers everything and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Everything(tornado.web.RequestHandler):
            def get(self) -> None:
                seen.append(str(self.request.uri))
                self.write(str(self.request.path))

        self._server = tornado.httpserver.HTTPServer(tornado.web.Application([(r"(?s).*", Everything)]))
        (listener,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
        self._server.add_sockets([listener])
        self.address = TcpAddress("127.0.0.1", listener.getsockname()[1])

    async def stop(self) -> None:
        """Close everything."""
        self._server.stop()
        await self._server.close_all_connections()


@pytest.fixture
async def servers(rig: Rig) -> AsyncIterator[tuple[Jupyter, Jupyter]]:
    """The servers of two sessions behind the proxy."""
    await rig.start()
    one, other = Jupyter(), Jupyter()
    rig.claimed(ONE, one.address)
    rig.claimed(OTHER, other.address)
    yield one, other
    await rig.proxy.shut_down(0)
    await one.stop()
    await other.stop()


@pytest.mark.parametrize("target", OF_ONE)
async def test_nothing_leads_from_one_session_to_another(
    rig: Rig, servers: tuple[Jupyter, Jupyter], target: str
) -> None:
    own: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        own.append(request.raw_path)
        return web.Response()

    await rig.application(handler)
    one, other = servers
    target = _filled(target)
    answer, _ = await send(rig.port, f"GET {target} HTTP/1.1\r\n{HOST}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert (one.seen, other.seen, own) == ([target], [], [])


@pytest.mark.parametrize("target", OF_NOBODY)
async def test_what_only_looks_like_a_session_reaches_none(
    rig: Rig, servers: tuple[Jupyter, Jupyter], target: str
) -> None:
    own: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        own.append(request.raw_path)
        return web.Response(status=404)

    await rig.application(handler)
    one, other = servers
    target = _filled(target)
    answer, _ = await send(rig.port, f"GET {target} HTTP/1.1\r\n{HOST}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 40")
    assert (one.seen, other.seen) == ([], [])
    assert own in ([target], [])  # a backslash at the beginning is no path at all


@pytest.mark.parametrize("target", ["//user/{one}/x", "///user/{one}//x", "/user/{one}///x"])
async def test_doubled_slashes_round_the_base_path_are_collapsed(
    rig: Rig, servers: tuple[Jupyter, Jupyter], target: str
) -> None:
    await send(rig.port, f"GET {_filled(target)} HTTP/1.1\r\n{HOST}\r\n".encode())
    assert (servers[0].seen, servers[1].seen) == ([f"/user/{ONE}/x"], [])


async def test_no_detour_leads_to_the_orchestrators_own_addresses() -> None:
    """Through its real pages: a path that a lenient reader would take for `/api/spawn` starts nothing."""
    detours = (
        "/x/../api/spawn",
        "/./api/spawn",
        "//api/spawn",
        "/api//spawn",
        "/api/./spawn",
        "/api/x/../spawn",
        "/api/%2e/spawn",
        "/x/%2e%2e/api/spawn",
        "/api%2fspawn",
        "/api\\spawn",
        "/api/spawn;x",
        "/api/spawn%00",
        "/API/spawn",
        "/user/{one}/../../api/spawn",
        "/user/{one}/%2e%2e/%2e%2e/api/spawn",
        "/user/{one}/..%2f..%2fapi%2fspawn",
        "/user/..%2fapi/spawn",
    )
    async with running(pool_size=1) as service:
        await service.ready(1)
        for detour in detours:
            message = f"POST {_filled(detour)} HTTP/1.1\r\n{HOST}Content-Length: 2\r\n\r\n{{}}"
            answer, _ = await send(service.service.port, message.encode(), half_close=False)
            assert int(answer[9:12]) in (400, 403, 404, 405, 410), (detour, answer)
        assert service.pool.count(State.CLAIMED) == 0
        assert (await service.spawn())["id"]  # by its own name it does
