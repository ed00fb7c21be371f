"""A whole service in this process, on the engine in memory: real sockets and real HTTP, and quick."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from tmpnb_py.claims.claims import Claims
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.pool import Pool
from tmpnb_py.service.app import Service
from tmpnb_py.workshops.preview import Preview


@dataclasses.dataclass(frozen=True)
class Rig:
    """A running service with its engine and clients for both listeners."""

    service: Service
    host: FakeHost
    engine: FakeEngine
    client: aiohttp.ClientSession
    admin: aiohttp.ClientSession

    @property
    def pool(self) -> Pool:
        """The service's only pool."""
        return self.service.site.pool_for()

    @property
    def claims(self) -> Claims:
        """The claims of that pool."""
        return self.service.site.claims_for()

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Look again and again; everything here happens on the test's own loop."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            await asyncio.sleep(0.01)

    async def ready(self, count: int) -> None:
        """Wait until so many containers are ready."""
        await self.until(lambda: self.pool.count(State.READY) == count)

    async def spawn(self, query: str = "") -> dict[str, Any]:
        """`POST /api/spawn`."""
        async with self.client.post(f"/api/spawn{query}") as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())


def _client(port: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        f"http://127.0.0.1:{port}/", cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=60)
    )


@contextlib.asynccontextmanager
async def running(host: FakeHost | None = None, **options: Any) -> AsyncIterator[Rig]:
    """A service with a pool of one, unless told otherwise. At its end no container is left."""
    preview: Preview | None = options.pop("preview", None)
    chosen: dict[str, Any] = {
        "image": "fake",
        "pool_size": 1,
        "ip": "127.0.0.1",
        "port": 0,
        "admin_port": 0,
        "shutdown_timeout": 1.0,
        "cleanup_on_exit": True,
        **options,
    }
    async with contextlib.AsyncExitStack() as stack:
        if host is None:
            host = await stack.enter_async_context(FakeHost())
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="tmpnb-e2e-"))
        settings = Settings(**{"runtime_dir": Path(directory), **chosen})
        engine = FakeEngine(host)
        service = Service(settings, engine, preview=preview)
        async with service.running():
            async with _client(service.port) as client, _client(service.admin_port) as admin:
                yield Rig(service, host, engine, client, admin)
            if not service.has_stopped:
                await service.stop()
        if settings.cleanup_on_exit and not host.down and service.fault is None:
            assert host.containers == {}
