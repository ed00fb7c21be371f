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
from tmpnb_py.options.tables import pool_of
from tmpnb_py.pools.pool import Pool
from tmpnb_py.service.app import Service
from tmpnb_py.service.pool_lock import PoolLock, lock_pool
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.workshops.preview import Preview


@dataclasses.dataclass(frozen=True)
class Rig:
    """A running service with its engine and clients for both listeners."""

    service: Service
    host: FakeHost
    engines: dict[str, FakeEngine]
    client: aiohttp.ClientSession
    admin: aiohttp.ClientSession

    @property
    def engine(self) -> FakeEngine:
        """The engine of the default pool."""
        return self.engines[self.pool.engine_name]

    @property
    def pool(self) -> Pool:
        """The default pool: without tables, the only one."""
        return self.service.site.default_pool

    @property
    def claims(self) -> Claims:
        """The claims of that pool."""
        return self.service.site.default_claims

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


class Maker:
    """Makes what pools work with, on the engine in memory."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host
        self.engines: dict[str, FakeEngine] = {}

    def engine(self, settings: Settings) -> FakeEngine:
        """An engine for the pool."""
        found = self.engines[settings.pool_name] = FakeEngine(self._host, pool=settings.pool_name)
        return found

    def lock(self, settings: Settings) -> PoolLock:
        """The lock of a pool."""
        return lock_pool(settings.runtime_path, settings.pool_name)

    def provider(self, settings: Settings) -> None:
        """There is nothing to build."""


def with_tables(settings: Settings, **tables: dict[str, Any]) -> Settings:
    """The settings with a pool for each of these; what a table leaves out is the top level's."""
    own = {
        name: {"max_containers": None, "workshops_file": None, "timetable": (), **options}
        for name, options in tables.items()
    }
    pools = {name: pool_of(settings.model_copy(update=options), name) for name, options in own.items()}
    size = sum(one.base_size for one in pools.values())
    return settings.model_copy(update={"pool_size": size}).with_tables(pools)


def _client(port: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        f"http://127.0.0.1:{port}/", cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=60)
    )


@contextlib.asynccontextmanager
async def running(host: FakeHost | None = None, **options: Any) -> AsyncIterator[Rig]:
    """A service with a pool of one, unless told otherwise. At its end no container is left."""
    preview: Preview | None = options.pop("preview", None)
    tracing: Tracing | None = options.pop("tracing", None)
    tables: dict[str, dict[str, Any]] = options.pop("tables", {})
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
        places = {"runtime_dir": Path(directory), "state_dir": Path(directory, "state")}
        settings = Settings(**{**places, **chosen})
        if tables:
            settings = with_tables(settings, **tables)
        maker = Maker(host)
        service = Service(settings, maker, preview=preview, tracing=tracing)
        service.pools.take_locks()
        stack.callback(service.pools.release_locks)
        async with service.running():
            async with _client(service.port) as client, _client(service.admin_port) as admin:
                yield Rig(service, host, maker.engines, client, admin)
            if not service.has_stopped:
                await service.stop()
        if settings.cleanup_on_exit and not host.down and service.fault is None:
            assert host.containers == {}
