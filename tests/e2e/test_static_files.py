"""JupyterLab in a browser takes its files from where all notebooks share them, and none of them a second time."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from typing import Any

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Route, expect

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Service
from tests.integration.browser_support import browser, picture

pytestmark = [pytest.mark.engine, pytest.mark.browser]

SHARED = re.compile(r"/static/[0-9a-f]{32}/")


@dataclasses.dataclass
class Got:
    """What came over the link: one answer."""

    url: str
    cached: bool
    coding: str
    size: float = 0.0


class Visit:
    """A page whose traffic is watched from its beginning."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.got: dict[str, Got] = {}
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._said)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" or "preload" in message.text:  # browsers warn of what was preloaded for nothing
            self.complaints.append(message.text)

    async def watch(self) -> None:
        """Begin."""
        session = await self.page.context.new_cdp_session(self.page)
        session.on("Network.responseReceived", self._answered)
        session.on("Network.loadingFinished", self._finished)
        await session.send("Network.enable")

    def _answered(self, event: dict[str, Any]) -> None:
        answer = event["response"]
        headers = {name.lower(): value for name, value in answer["headers"].items()}
        coding = headers.get("content-encoding", "")
        self.got[event["requestId"]] = Got(answer["url"], bool(answer.get("fromDiskCache")), coding)

    def _finished(self, event: dict[str, Any]) -> None:
        if one := self.got.get(event["requestId"]):
            one.size = event["encodedDataLength"]

    async def settled(self) -> None:
        """Wait until nothing has come for a second. (The network is never idle: messages have a stream.)"""
        async with asyncio.timeout(60):
            count = -1
            while len(self.got) != count:
                count = len(self.got)
                await asyncio.sleep(1)

    @property
    def size(self) -> float:
        """Bytes in all."""
        return sum(one.size for one in self.got.values())

    def shared(self) -> list[Got]:
        """What came from the shared place."""
        return [one for one in self.got.values() if SHARED.search(one.url)]

    def own(self, *kinds: str) -> list[str]:
        """What of these kinds came from the notebook itself."""
        return [
            one.url for one in self.got.values() if "/user/" in one.url and one.url.partition("?")[0].endswith(kinds)
        ]


async def visit(lab: Service, context: BrowserContext, theme: str = "", document: str = "") -> Visit:
    """A new session, opened in the browser up to the launcher, or to a cell of the document."""
    async with lab.http() as client:
        spawned = await lab.spawn(client, *([f"lab/tree/{document}"] if document else []))
        if theme:
            where = f"{spawned['url']}lab/api/settings/@jupyterlab/apputils-extension:themes"
            headers = {"Authorization": f"token {spawned['token']}"}
            wish = {"raw": json.dumps({"theme": theme, "adaptive-theme": False})}
            async with client.put(where, json=wish, headers=headers) as response:
                assert response.status == 204
    seen = Visit(await context.new_page())
    await seen.watch()
    await seen.page.goto(lab.url + spawned["open_url"].removeprefix("/"))
    shown = ".jp-Notebook .jp-CodeCell" if document else ".jp-Launcher .jp-LauncherCard"
    await seen.page.locator(shown).first.wait_for()
    await seen.settled()
    return seen


async def test_the_second_notebook_has_its_files_already(lab: Service) -> None:
    async with browser() as context:
        first = await visit(lab, context)
        assert len(first.shared()) > 40
        assert first.own(".js", ".css") == []
        assert {one.coding for one in first.shared()} <= {"br", "gzip"}
        assert first.size < 1.9e6  # with brotli 1.4 MB; here its minute of work may not be done
        assert first.complaints == []
        await first.page.close()

        second = await visit(lab, context, theme="JupyterLab Dark")
        fresh = [one.url for one in second.shared() if not one.cached]
        assert [one for one in fresh if "theme-dark" not in one] == []
        assert second.own(".js", ".css") == []
        assert second.size < 0.25e6
        assert second.complaints == []
        # The dark theme is there, from the shared place.
        assert any("/lab/api/themes/@jupyterlab/theme-dark-extension/index.css" in url for url in fresh)
        assert await second.page.locator("body").get_attribute("data-jp-theme-light") == "false"
        color = await second.page.locator("#main").evaluate("one => getComputedStyle(one).backgroundColor")
        assert max(map(int, re.findall(r"\d+", color)[:3])) < 128, color


INSTALL = """
import json
from pathlib import Path
package = Path.home() / ".local/share/jupyter/labextensions/mine"
(package / "static").mkdir(parents=True)
built = {"load": "static/remoteEntry.js", "extension": "./extension"}
described = {"name": "mine", "version": "1.0.0", "jupyterlab": {"extension": True, "_build": built}}
(package / "package.json").write_text(json.dumps(described))
(package / "static/remoteEntry.js").write_text(\'\'\'
const plugin = { id: "mine:plugin", autoStart: true, activate: () => void (window.mine = 42) };
(window._JUPYTERLAB ??= {}).mine = { init: () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
\'\'\')
"""


async def test_an_extension_that_a_visitor_installs_comes_from_their_own_notebook(lab: Service) -> None:
    async with browser() as context, lab.http() as client:
        spawned = await lab.spawn(client)
        await Notebook.of(client, spawned).run(INSTALL)
        seen = Visit(await context.new_page())
        await seen.watch()
        await seen.page.goto(lab.url + spawned["open_url"].removeprefix("/"))
        await seen.page.wait_for_function("window.mine === 42")
        await seen.page.locator(".jp-Launcher .jp-LauncherCard").first.wait_for()
        assert any("/lab/extensions/mine/" in url for url in seen.own(".js"))
        assert len(seen.shared()) > 30  # JupyterLab's own are the image's as before
        assert seen.complaints == []


PLOT = {"data": [{"type": "scatter", "x": [1, 2], "y": [3, 5]}], "layout": {"title": {"text": "Growth"}}}


async def test_plotly_comes_with_the_first_plot(lab: Service) -> None:
    """Its 1.4 MB, more than all the rest: not for who draws nothing with it (see the first test)."""
    output = {"output_type": "display_data", "metadata": {}, "data": {"application/vnd.plotly.v1+json": PLOT}}
    cell = {"cell_type": "code", "id": "a", "metadata": {}, "source": "", "execution_count": 1, "outputs": [output]}
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    document = {"cells": [cell, {**cell, "id": "b"}], "metadata": python, "nbformat": 4, "nbformat_minor": 5}
    async with browser() as context, lab.http() as client:
        spawned = await lab.spawn(client)
        notebook = Notebook.of(client, spawned)
        body = {"type": "notebook", "format": "json", "content": document}
        await notebook.call("PUT", "api/contents/plots.ipynb", body, status=201)
        body = {"type": "file", "format": "text", "content": json.dumps(PLOT)}
        await notebook.call("PUT", "api/contents/one.plotly.json", body, status=201)
        seen = Visit(await context.new_page())
        await seen.watch()
        await seen.page.goto(f"{lab.url.rstrip('/')}{notebook.url('lab/tree/plots.ipynb')}?token={notebook.token}")
        for plot in (0, 1):
            drawn = seen.page.locator(".jp-Notebook .jp-OutputArea-output").nth(plot)
            await expect(drawn.locator(".gtitle")).to_have_text("Growth")
            await expect(drawn.locator(".main-svg").first).to_be_visible()
        await picture(seen.page, "plotly")
        assert len([one for one in seen.shared() if "/jupyterlab-plotly/static/1." in one.url]) == 1

        # A plot's file opens as a plot.
        await seen.page.get_by_text("one.plotly.json").dblclick()
        alone = seen.page.locator(".jp-MimeDocument")
        await expect(alone.locator(".gtitle")).to_have_text("Growth")
        await picture(seen.page, "plotly-alone")
        assert [one for one in seen.complaints if "WebSocket" not in one] == []


LINK = re.compile(r'<link rel="(preload|prefetch)" as="script" href="([^"]+)">')
NOTEBOOKS = {
    "python": "introduction-to-python/Introduction to Python.ipynb",
    "r": "introduction-to-r/Introduction to R.ipynb",
    "octave": "introduction-to-octave/Introduction to Octave.ipynb",
    "bash": "the-shell-for-data-work/The shell for data work.ipynb",
}


def used(seen: Visit) -> dict[str, float]:
    """The shared scripts of a visit, with the bytes of each."""
    return {SHARED.split(one.url)[1]: one.size for one in seen.shared() if ".js" in one.url}


@pytest.mark.parametrize(
    "document", ["", NOTEBOOKS["python"], *(pytest.param(one, marks=pytest.mark.long) for one in NOTEBOOKS.values())]
)
async def test_the_page_names_the_scripts_that_it_needs(lab: Service, document: str) -> None:
    """When this fails, JupyterLab has changed: put what it names into workshop_image/preload's lists."""
    named: list[tuple[str, str]] = []

    async def without_names(route: Route) -> None:
        """The page as it would be without: then each script is asked for because another needs it."""
        page = await (await route.fetch()).text()
        named.extend(LINK.findall(page))
        await route.fulfill(body=LINK.sub("", page), content_type="text/html")

    async with browser() as context:
        await context.route(re.compile(r"/user/[a-z0-9]+/lab(/tree/.*)?\?token="), without_names)
        seen = await visit(lab, context, document=document)
        scripts, names = used(seen), [SHARED.split(one)[1] for _, one in named]
        assert {kind for kind, _ in named} == ({"preload", "prefetch"} if document else {"preload"})
        assert len(names) > 30
        assert [one for one in names if one not in scripts] == []
        # What highlights a language is that language's.
        assert [
            one for one, size in scripts.items() if size > (6000 if not document else 20000) and one not in names
        ] == []


# A claim that takes until the test lets it go. (Playwright's routes would do without the browser's cache.)
HELD = """
const fetched = window.fetch;
window.fetch = async (...given) => {
    if (String(given[0]).endsWith("/api/tickets") && !sessionStorage.went) {
        await new Promise((go) => { window.letGo = go; });
        sessionStorage.went = "1";
    }
    return fetched(...given);
};
"""


async def test_the_launch_page_fetches_what_the_notebooks_page_needs(lab: Service) -> None:
    await lab.stats_when(lambda stats: stats["available"] > 0)
    async with browser() as context:
        await context.add_init_script(HELD)
        seen = Visit(await context.new_page())
        await seen.watch()
        await seen.page.goto(f"{lab.url}spawn?workshop=introduction-to-python", wait_until="commit")
        _, *names = (await seen.page.locator("#visit").get_attribute("data-ahead") or "").split()
        assert len(names) > 60
        count = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/static/')).length"
        await seen.page.wait_for_function(f"wanted => {count} >= wanted", arg=len(names))
        assert set(used(seen)) == set(names)
        before = len(seen.shared())
        await seen.page.evaluate("letGo()")
        await seen.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        await seen.settled()
        after = [one for one in seen.shared()[before:] if SHARED.split(one.url)[1] in names]
        assert {SHARED.split(one.url)[1] for one in after} == set(names)  # nothing was fetched for nothing
        assert [one.url for one in after if one.size] == []  # and nothing twice
        assert seen.complaints == []

        # Who comes again has them already, and the launch page does not look at each.
        await context.clear_cookies()
        again = Visit(await context.new_page())
        await again.watch()
        await again.page.goto(f"{lab.url}spawn?workshop=introduction-to-python", wait_until="commit")
        await again.page.wait_for_function("Boolean(window.letGo)")
        await again.page.wait_for_function(f"{count} >= 1")
        assert len(again.shared()) < len(names)
        await again.page.evaluate("letGo()")
        await again.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        await again.settled()
        assert [one.url for one in again.shared() if one.size] == []


@pytest.mark.parametrize("told", ["header", "script"])
async def test_nothing_is_fetched_ahead_for_who_saves_data(lab: Service, told: str) -> None:
    """Chromium has both; a browser could have one only."""
    await lab.stats_when(lambda stats: stats["available"] > 0)
    async with browser() as context:
        if told == "header":
            await context.set_extra_http_headers({"Save-Data": "on"})
        else:
            await context.add_init_script(
                "Object.defineProperty(navigator, 'connection', {value: {saveData: true}});"
            )
        await context.add_init_script(HELD)
        seen = Visit(await context.new_page())
        await seen.watch()
        await seen.page.goto(f"{lab.url}spawn?workshop=introduction-to-python")
        # What the page fetches is asked for in the same turn of its loop as the notebook.
        await seen.page.wait_for_function("Boolean(window.letGo)")
        await seen.page.evaluate("() => new Promise((done) => setTimeout(done))")
        assert seen.shared() == []
        assert (await seen.page.locator("#visit").get_attribute("data-ahead") is None) == (told == "header")


async def test_the_classic_interface_takes_them_too(lab: Service) -> None:
    async with browser() as context, lab.http() as client:
        spawned = await lab.spawn(client, "tree")
        seen = Visit(await context.new_page())
        await seen.watch()
        await seen.page.goto(lab.url + spawned["open_url"].removeprefix("/"))
        await seen.page.get_by_text("introduction-to-r").first.wait_for()
        assert len(seen.shared()) > 20
        assert seen.own(".js") == []
        assert [one for one in seen.complaints if "load" in one and "404" not in one] == []
