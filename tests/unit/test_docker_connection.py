"""The connection to a Docker engine: what goes wrong on it leaves as one of this program's errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.engines.docker.connection import Connection
from tmpnb_py.engines.docker.host import RefusedError

VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "Components": []}
NO_TIMEOUT = aiohttp.ClientTimeout(total=5)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    """A server that answers as an engine does, as far as a connection asks."""

    async def version(_: web.Request) -> web.Response:
        return web.json_response(VERSION)

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"message": "no such thing"}, status=404)

    application = web.Application()
    application.router.add_get("/{version:(v[^/]+/)?}version", version)
    application.router.add_get("/{anything:.*}", refuse)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "docker.sock")).start()
    yield f"unix://{tmp_path}/docker.sock"
    await runner.cleanup()


async def test_it_opens_calls_and_closes(address: str) -> None:
    connection = Connection(address, call_timeout=5)
    async with connection.opening() as host:
        assert host.socket == address.removeprefix("unix://")
    async with connection.calling("ask") as client:
        assert (await client.version())["Version"] == VERSION["Version"]
    await connection.close()
    assert connection.is_closed
    with pytest.raises(EngineDownError, match="was closed"):
        async with connection.calling("ask"):
            pass
    async with connection.opening(), connection.calling("ask") as client:
        assert await client.version()
    await connection.close()


async def test_what_is_refused_and_what_is_not_an_engine(address: str) -> None:
    connection = Connection(address, call_timeout=5)
    with pytest.raises(RefusedError, match="no such thing"):
        async with connection.stream("GET", "nothing", params={}, timeout=NO_TIMEOUT):
            pass
    with pytest.raises(EngineDownError, match="not a usable Docker engine"):
        async with connection.opening():
            raise KeyError("ServerVersion")
    await connection.close()


async def test_nothing_answers(tmp_path: Path) -> None:
    connection = Connection(f"unix://{tmp_path}/none.sock", call_timeout=5)
    with pytest.raises(EngineError, match="no Docker engine at") as caught:
        async with connection.opening():
            pass
    assert caught.value.remedy
    await connection.close()
