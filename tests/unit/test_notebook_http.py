"""Notebook servers are called over Unix sockets, IPv4 and IPv6 alike."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tmpnb_py.core.models import Address, SocketAddress, TcpAddress
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.http import http_session
from tmpnb_py.jupyter.questions import report


async def _answer(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != "token secret":
        return web.Response(status=403)
    kernels = [{"execution_state": "busy", "last_activity": "2026-01-01T00:00:00Z"}]
    return web.json_response(kernels if request.path.endswith("kernels") else [])


@pytest.fixture(params=["unix", "127.0.0.1", "::1"])
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Address]:
    application = web.Application()
    application.router.add_get("/user/x/api/{what}", _answer)
    runner = web.AppRunner(application)
    await runner.setup()
    if request.param == "unix":
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        yield SocketAddress(str(tmp_path), "s")
    else:
        family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
        listener = socket.create_server((request.param, 0), family=family)
        await web.SockSite(runner, listener).start()
        yield TcpAddress(request.param, listener.getsockname()[1])
    await runner.cleanup()


async def test_each_kind_of_address_is_called(address: Address) -> None:
    endpoint = Endpoint(address)
    assert (await report(endpoint, "/user/x/", "secret")).busy
    async with http_session(endpoint, "", seconds=5) as http, http.get("/user/x/api/kernels") as answer:
        assert answer.status == 403
    endpoint.close()
