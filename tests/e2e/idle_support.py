"""JupyterLabs in a browser, some touched and some not, and whether their sessions end: for the matrices of idleness.

Nothing here is timed: what nobody touches has to end as idle before the service's `--cull-max` ends it as too old,
and what somebody touches has to outlive a session that was begun later and left alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
from playwright.async_api import BrowserContext, Error, Locator, Page, WebSocket, expect

from tests.e2e.cutting import Front, front
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Service
from tests.integration.browser_support import MILLISECONDS

LIMITS = ("--cull-timeout=90s", "--cull-disconnected=0", "--cull-unvisited=0")
TOO_OLD = 600  # seconds; what has not ended by then is taken for one that never ends
PATIENCE = TOO_OLD + 120.0
CUT_EVERY = 6.0
_TOUCH_PAUSE = 3.0

Touch = Callable[[], Awaitable[object]]


class Rounds:
    """Sessions under test: those that have to end, and those that must not."""

    def __init__(self, service: Service, context: BrowserContext, client: aiohttp.ClientSession) -> None:
        self.service = service
        self.context = context
        self.client = client
        self.untouched: dict[str, Notebook] = {}
        self.touched: dict[str, Notebook] = {}
        self._stack = contextlib.AsyncExitStack()
        self._touching: list[asyncio.Task[None]] = []

    async def notebook(self, path: str = "") -> tuple[Notebook, str]:
        """A session, and its address for a browser."""
        spawned = await self.service.spawn(self.client, path or None)
        return Notebook.of(self.client, spawned), spawned["open_url"]

    async def page(self, open_url: str, base: str = "") -> Page:
        """A tab of its own with a session's page."""
        page = await self.context.new_page()
        page.set_default_timeout(2 * MILLISECONDS)
        await page.goto((base or self.service.url).rstrip("/") + open_url)
        # Where networks come and go (other tests' containers), Chromium drops what is on its way.
        for _ in range(2):
            with contextlib.suppress(Error):
                await page.locator("#main").wait_for(timeout=MILLISECONDS)
                return page
            await page.reload()
        await page.locator("#main").wait_for()
        return page

    async def front(self) -> tuple[Front, str]:
        """A front to the service, until the end of the test."""
        return await self._stack.enter_async_context(front(int(self.service.url.rstrip("/").rpartition(":")[2])))

    def meanwhile(self, work: Awaitable[None]) -> None:
        """Do something until nothing is touched any more."""
        self._touching.append(asyncio.ensure_future(work))

    def touch(self, how: Touch) -> None:
        """Touch a session again and again."""

        async def touching() -> None:
            while True:
                await how()
                await asyncio.sleep(_TOUCH_PAUSE)

        self.meanwhile(touching())

    async def let_go(self) -> None:
        """Touch nothing any more."""
        touching, self._touching = self._touching, []
        for task in touching:
            assert not task.done(), repr(task.exception())
            task.cancel()
        await asyncio.gather(*touching, return_exceptions=True)

    async def end_as_idle(self, names: dict[str, Notebook]) -> None:
        """Each of these ends because nobody uses it, and not because it is too old."""
        ended = {}
        for name, notebook in names.items():
            event = await self.service.event("removing", id=notebook.id, seconds=PATIENCE)
            ended[name] = event["reason"]
        assert ended == dict.fromkeys(names, "idle"), ended

    async def outlive_an_untouched_one(self) -> None:
        """A session that is begun now and left alone ends before those that are touched."""
        control, _ = await self.notebook()
        await control.call("GET", "api/status")
        await self.end_as_idle({"control": control})
        alive = {}
        for name, notebook in self.touched.items():
            async with self.client.get(f"/api/sessions/{notebook.id}", headers=notebook.headers) as response:
                alive[name] = (await response.json())["state"]
        assert alive == dict.fromkeys(self.touched, "claimed"), alive

    async def close(self) -> None:
        """End what goes on."""
        for task in self._touching:
            task.cancel()
        await asyncio.gather(*self._touching, return_exceptions=True)
        await self._stack.aclose()


@contextlib.asynccontextmanager
async def rounds(service: Service, context: BrowserContext) -> AsyncIterator[Rounds]:
    """Sessions of a service in a browser."""
    async with service.http() as client:
        made = Rounds(service, context, client)
        try:
            yield made
        finally:
            await made.close()


# --- What a person does, and what happens to tabs


async def until_idle_kernel(page: Page) -> None:
    """A notebook is open and its kernel has come.

    Where networks come and go (other tests' containers), Chromium drops what is on its way, and JupyterLab does not
    ask again: then the page is loaded once more, as a visitor would.
    """
    kernel = page.get_by_role("button", name=re.compile(r"Python 3.* \| Idle"))
    for _ in range(3):
        with contextlib.suppress(Error):
            await kernel.wait_for(timeout=MILLISECONDS)
            return
        await page.reload()
    await expect(kernel).to_be_visible(timeout=MILLISECONDS)


def terminal(page: Page) -> Locator:
    """What takes a terminal's keys."""
    return page.locator(".jp-Terminal .xterm-helper-textarea")


async def new_terminal(page: Page) -> None:
    """A terminal of JupyterLab's, with its prompt: what is typed before it is connected is lost."""
    prompted = asyncio.Event()

    def hear(frame: str | bytes) -> None:
        if isinstance(frame, str) and frame.startswith('["stdout"'):
            prompted.set()

    def listen(socket: WebSocket) -> None:
        if "/terminals/websocket/" in socket.url:
            socket.on("framereceived", hear)

    page.on("websocket", listen)
    card = page.locator(".jp-LauncherCard").filter(has_text="Terminal")
    if not await card.count():
        await page.keyboard.press("Control+Shift+L")
    await card.first.click()
    await terminal(page).wait_for(state="attached")
    async with asyncio.timeout(2 * MILLISECONDS / 1000):
        await prompted.wait()


async def hide(page: Page) -> None:
    """What a tab is told that is no longer shown. A headless browser shows them all."""
    await page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { get: () => true });
            Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )


async def without_reports(page: Page) -> None:
    """As if the image had no extension of ours."""
    await page.route("**/keep", lambda route: route.abort())


async def freeze(page: Page) -> None:
    """A browser that saves memory or energy stops a tab's scripts; its connections stay."""
    session = await page.context.new_cdp_session(page)
    with contextlib.suppress(Error):
        await session.send("Page.setWebLifecycleState", {"state": "frozen"})
