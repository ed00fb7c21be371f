"""A service with two notebooks of one visitor, in each of the modes that it can run in, and a browser on it.

The service runs in this process, with the engine in memory and TLS on a listener of its own. Every name leads to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page

from tests.attacks.web.notebook import Notebooks
from tests.e2e.inprocess import Rig, running
from tests.integration.browser_support import browser
from tests.integration.front_rig import NAME, make_certificate
from tmpnb_py.core.host_names import FILES
from tmpnb_py.core.models import ImageFacts, State
from tmpnb_py.engines.fake import FakeHost
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.client import ClientConnection
from tmpnb_py.proxy.header_rules import ClientFacts

MAIN = NAME
ALL_NAMES_ARE_HERE = "--host-resolver-rules=MAP * 127.0.0.1"
# What `--session-host` is, by the mode's name.
MODES = {"path": None, "same domain": "{name}.nb.example.org", "own domain": "{name}.nb.example.net"}

# What an image has for all notebooks, among it what a hostile image could have.
SHARED = {
    "/lab/main.js": b"globalThis.shared = 42;",
    "/lab/evil.svg": b"""<svg xmlns="http://www.w3.org/2000/svg">
<script>parent.postMessage("here", "*")</script></svg>""",
}


@dataclasses.dataclass
class World:
    """The service as its visitor's browser reaches it: `main` is the first page's URL."""

    rig: Rig
    notebooks: Notebooks
    main: str
    port: int

    def claimed(self) -> set[str]:
        """The ids of all sessions."""
        return {one.id for one in self.rig.pool.in_state(State.CLAIMED)}

    def container(self, container_id: str) -> Container:
        """A session."""
        found = self.rig.pool.get(container_id)
        assert found is not None
        return found

    def url(self, container: Container) -> str:
        """The base URL of a notebook, where its visitor's browser opens it."""
        sessions = self.rig.service.options.current.session_host
        host = f"{MAIN}:{self.port}" if sessions is None else sessions.format(name=container.session_name)
        port = "" if sessions is None else f":{self.port}"
        return f"https://{host}{port}{container.path}"

    @property
    def files(self) -> str:
        """The URL of the files that all notebooks share, as their pages use it."""
        sessions = self.rig.service.options.current.session_host
        host = MAIN if sessions is None else sessions.format(name=FILES)
        path = next(iter(self.rig.host.containers.values())).spec.config.static_url
        return f"https://{host}:{self.port}{path}"

    def harm_to(self, prey: Container) -> str:
        """What has happened to the other notebook, "" for nothing."""
        if written := self.notebooks.written[prey.id]:
            return f"written: {written}"
        return "" if prey.id in self.claimed() else "the other session ended"

    def known(self, hostile: Container, prey: Container) -> dict[str, Any]:
        """What the hostile page is told."""
        return {
            "main": self.main,
            "files": self.files,
            "tossed": f"{hostile.id}-{'0' * 32}",
            "prey": {
                "id": prey.id,
                "url": self.url(prey),
                "by_main": self.main.rstrip("/") + prey.path,
                "secret": self.notebooks.secret(prey.id),
            },
        }


@contextlib.asynccontextmanager
async def world(mode: str, directory: Path) -> AsyncIterator[World]:
    """The service in a mode (see `MODES`), over TLS."""
    notebooks = Notebooks()
    async with FakeHost() as host:
        host.answering = notebooks.answering
        host.images["fake"] = ImageFacts("fake", "sha256:one", supports_socket=True, static=(("static/lab", "/lab"),))
        host.files["fake"] = SHARED
        options = {"session_host": MODES[mode], "allowed_hosts": MAIN, "binder_spec": "*"}
        async with running(host, pool_size=3, max_containers=100, **options) as rig, _tls(rig, directory) as port:
            await rig.ready(3)
            yield World(rig, notebooks, f"https://{MAIN}:{port}/", port)


@contextlib.asynccontextmanager
async def _tls(rig: Rig, directory: Path) -> AsyncIterator[int]:
    """The same proxy over TLS. Returns its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    await asyncio.to_thread(make_certificate, directory, "DNS:*.nb.example.org", "DNS:*.nb.example.net")
    context.load_cert_chain(directory / "fullchain.pem", directory / "privkey.pem")
    proxy = rig.service.proxy
    listener = await asyncio.get_running_loop().create_server(
        lambda: ClientConnection(proxy, ClientFacts("127.0.0.1", scheme="https")), "127.0.0.1", 0, ssl=context
    )
    async with listener:
        yield int(listener.sockets[0].getsockname()[1])


@dataclasses.dataclass
class Visitor:
    """A visitor in Chromium: their browser, and the hostile page in it."""

    context: BrowserContext
    page: Page
    framed: list[str]


@contextlib.asynccontextmanager
async def visitor() -> AsyncIterator[Visitor]:
    """A fresh Chromium."""
    async with browser(ignore_https_errors=True, flags=(ALL_NAMES_ARE_HERE,)) as context:
        page = await context.new_page()
        framed: list[str] = []
        page.on("framenavigated", lambda frame: framed.append(frame.url) if frame.parent_frame else None)
        yield Visitor(context, page, framed)
