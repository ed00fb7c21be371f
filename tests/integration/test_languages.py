"""Pages and live cells in the language of their reader, in Chromium: what templates and scripts show together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from playwright.async_api import expect

from tests.integration.browser_support import browser
from tests.web_support import World, serving

pytestmark = pytest.mark.browser


@contextlib.asynccontextmanager
async def blog(world: World) -> AsyncIterator[BaseTestServer]:
    """Another site, whose page has a block of code that comes alive. Its path is its language."""

    async def page(request: web.Request) -> web.Response:
        block = '<pre data-executable data-language="r">1</pre>'
        script = f'<script src="{world.origin}/live.js"></script>'
        html = f'<!doctype html><html lang="{request.match_info["lang"]}">{block}{script}'
        return web.Response(text=html, content_type="text/html")

    site = web.Application()
    site.router.add_get("/{lang}", page)
    async with TestServer(site) as server:
        yield server


async def test_a_german_browser_gets_german_pages_and_scripts(tmp_path: Path) -> None:
    async with serving(tmp_path) as world, browser(locale="de-CH") as context:
        page = await context.new_page()
        await page.goto(f"{world.origin}/")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Workshops direkt in Ihrem Browser")
        await expect(page.get_by_role("button", name="Link kopieren")).to_be_visible()  # a link until the script ran
        await page.goto(f"{world.origin}/spawn")  # there is no notebook, so one waits
        await expect(page.locator("#message")).to_contain_text("Sie sind als Nächstes an der Reihe.")
        await expect(page).to_have_title("Platz 1 in der Warteschlange")
        assert await page.evaluate("document.documentElement.lang") == "de"


async def test_a_live_cell_speaks_the_language_of_its_page_else_of_the_browser(tmp_path: Path) -> None:
    async with serving(tmp_path) as world, blog(world) as site, browser(locale="de-DE") as context:
        for lang, words, tongue in (("de-AT", "Ausführen", "de"), ("fr", "Ausführen", "de"), ("en-GB", "Run", "en")):
            page = await context.new_page()
            await page.goto(str(site.make_url(f"/{lang}")))
            button = page.get_by_role("button", name=words)
            await expect(button).to_be_visible()
            assert await page.get_by_role("group").get_attribute("lang") == tongue
    async with serving(tmp_path) as world, blog(world) as site, browser(locale="en-US") as context:
        page = await context.new_page()
        await page.goto(str(site.make_url("/de")))
        async with page.expect_request(lambda asked: "/api/tickets" in asked.url) as asked:
            await page.get_by_role("button", name="Beispiel 1 ausführen").click()
        assert (await asked.value).url.endswith("?lang=de"), "the service cannot know what the page is in"


async def test_without_its_texts_a_live_cell_is_english(tmp_path: Path) -> None:
    async with serving(tmp_path) as world, blog(world) as site, browser(locale="de-DE") as context:
        await context.route("**/assets/words-*.json", lambda route: route.abort())
        page = await context.new_page()
        await page.goto(str(site.make_url("/de")))
        await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
