"""Notebook servers are called over Unix sockets, IPv4 and IPv6 alike."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from tmpnb_py.cli.commands import measure
from tmpnb_py.core.models import Address, ContainerSpec, SocketAddress, TcpAddress
from tmpnb_py.jupyter.client import notebook_client
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


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of it, a WebSocket's handshake included: `doctor` says that no kernel could be started."""

    async def silent(request: web.Request) -> web.Response:
        if request.method == "POST":
            return web.json_response({"id": "k"}, status=201)
        await asyncio.sleep(20)
        raise web.HTTPNotFound

    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", silent)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "s")).start()
    endpoint = Endpoint(SocketAddress(str(tmp_path), "s"))
    monkeypatch.setattr(measure, "_KERNEL_SECONDS", 0.2)
    spec = cast(ContainerSpec, SimpleNamespace(token="", base_path="/user/x/"))
    async with asyncio.timeout(5), notebook_client(endpoint, spec) as client:
        assert not await measure._start_kernel(client)
    endpoint.close()
    await runner.cleanup()
