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
from tmpnb_py.engines.docker.options import entry_of
from tmpnb_py.engines.docker.usage import read_cpu_seconds

VERSION = {"Version": "20.10.24", "ApiVersion": "1.41", "Components": []}
NONSENSE = ("null", '[{"Id": nul}]', '["x"]', '[{"Id": 1}]', '[{"Id": "1", "Names": null, "Labels": null}]')
STATS = {
    "runs": '{"cpu_stats": {"cpu_usage": {"total_usage": 2500000000}}}',
    "ends": "",  # what Docker 20.10 answers for a container that ends meanwhile
    "cut": '{"cpu_stats":',
    "null": "null",
}
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

    async def nonsense(request: web.Request) -> web.Response:
        return web.Response(text=NONSENSE[int(request.query["filters"])], content_type="application/json")

    application.router.add_get("/{version}/containers/json", nonsense)

    async def stats(request: web.Request) -> web.Response:
        return web.Response(text=STATS[request.match_info["id"]], content_type="application/json")

    application.router.add_get("/{version}/containers/{id}/stats", stats)
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


@pytest.mark.parametrize("number", range(len(NONSENSE)))
async def test_what_is_not_understood_leaves_open_what_the_engine_did(address: str, number: int) -> None:
    connection, filters = Connection(address, call_timeout=5), str(number)

    async def call() -> None:
        async with connection.calling("list") as client:
            [entry_of(one) for one in await client.containers.list(filters=filters)]

    async def stream() -> None:
        params = {"filters": filters}
        async with connection.stream("GET", "containers/json", params=params, timeout=NO_TIMEOUT) as response:
            entry_of((await response.json())[0])

    for ask in (call, stream):
        with pytest.raises(EngineDownError, match="not of Docker's API"):
            await ask()
    await connection.close()


async def test_a_container_of_which_the_engine_says_nothing_hides_no_other(address: str) -> None:
    connection = Connection(address, call_timeout=5)
    for silent in ("ends", "cut", "null"):
        asked = {"a": silent, "b": "runs"}
        assert await read_cpu_seconds(connection.stream, asked) == {"b": 2.5}, silent
    with pytest.raises(EngineDownError, match="not of Docker's API"):  # of none that it should know of
        await read_cpu_seconds(connection.stream, {"a": "cut", "b": "null", "c": "cut"})
    await connection.close()
