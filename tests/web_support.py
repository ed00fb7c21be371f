"""The web layer round a pool that a test fills by hand: no engine starts anything, and no proxy is in between.

Handlers are asked over HTTP as the proxy asks them, so `X-Forwarded-For` names the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.test_utils import TestClient, TestServer

from tests.pool_support import HandMadePool
from tmpnb_py.claims.claims import Claims
from tmpnb_py.claims.line_store import LineStore
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.host_names import EVERY_NAME, Hosts
from tmpnb_py.core.models import State, TcpAddress
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import Limits
from tmpnb_py.proxy.counters import Counters, ProxyMetrics
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.offers import Offer, Offers
from tmpnb_py.site.site import Site
from tmpnb_py.web.application import admin_application, public_application
from tmpnb_py.web.context import Context
from tmpnb_py.web.documents import Documents
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Manifest, Workshop
from tmpnb_py.workshops.notes_cache import ImageFiles, NotesCache

ADDRESS = "203.0.113.7"
KNOTS = Workshop(
    slug="knots",
    title="Knots & loops",
    language="Python",
    description="How to tie them.",
    duration=20,
    start="knots/First knot.ipynb",
)


class Engine(FakeEngine):
    """Takes every claim as durable."""

    async def claim(self, container_id: str, unix_time: float) -> bool:
        """Somebody has it now."""
        await self._called("claim", container_id)
        return True


@dataclasses.dataclass
class World:
    """A context with its pool, and a client of each listener."""

    context: Context
    pool: HandMadePool
    claims: Claims
    client: TestClient[Any, Any]
    admin: TestClient[Any, Any]
    port: int  # where every container answers

    def ready(self, container_id: str) -> Container:
        """One more container is started and answers."""
        endpoint = Endpoint(TcpAddress("127.0.0.1", self.port))
        container = self.pool.make_ready(container_id, endpoint, time.monotonic())
        container.token = f"secret-{container_id}"
        return container

    async def claimed(self, container_id: str) -> Container:
        """One more container is a visitor's session."""
        self.ready(container_id)
        return await self.claims.claim()

    async def until_served(self) -> None:
        """Wait until nobody is in line any more, and whoever was has a notebook."""
        while self.claims.waiting or self.pool.count(State.READY):
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)

    @property
    def origin(self) -> str:
        """The origin of our own pages."""
        return str(self.client.make_url("")).rstrip("/")

    async def ask(self, method: str, path: str, **more: Any) -> tuple[aiohttp.ClientResponse, str]:
        """A request of the visitors' listener with its answer, without following redirects."""
        headers = {"X-Forwarded-For": ADDRESS, **more.pop("headers", {})}
        async with self.client.request(method, path, headers=headers, allow_redirects=False, **more) as response:
            return response, await response.text(errors="replace")


@contextlib.asynccontextmanager
async def serving(
    directory: Path, *, workshops: tuple[Workshop, ...] = (KNOTS,), **options: Any
) -> AsyncIterator[World]:
    """The web layer over an empty pool whose engine has been listed."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(await asyncio.start_server(hang_up, "127.0.0.1", 0))
        engine = Engine(await stack.enter_async_context(FakeHost()))
        pool = HandMadePool(engine, directory, **options)
        pool.engine_is_listed()
        claims = Claims(engine, pool, LineStore(None))
        pool.serve(claims)
        stack.push_async_callback(claims.close)
        context = _context(engine, pool, claims)
        context.offers.default.catalogue.own = Manifest(workshops=workshops)
        public = public_application(context, SharedFiles(directory / "static"))
        client = await stack.enter_async_context(_client(public))
        admin = await stack.enter_async_context(_client(admin_application(context)))
        yield World(context, pool, claims, client, admin, server.sockets[0].getsockname()[1])


def _context(engine: Engine, pool: HandMadePool, claims: Claims) -> Context:
    site, catalogue = Site([claims]), Catalogue(engine)
    notes = NotesCache(ImageFiles(engine, catalogue), catalogue)
    offers = Offers([Offer(claims, catalogue, notes, pool.options.derive(Limits.of))])
    return Context(
        pool.options,
        site,
        SiteMetrics(site.pools.values(), ProxyMetrics(Counters()), version="1"),
        offers=offers,
        documents=Documents(offers),
        hosts=pool.options.derive(lambda now: Hosts(now.allowed_hosts or (EVERY_NAME,), (), now.session_host or "")),
        branding=Branding(),
    )


def _client(app: aiohttp.web.Application) -> TestClient[Any, Any]:
    return TestClient(TestServer(app), cookie_jar=aiohttp.DummyCookieJar())
