"""The site of the documentation as its readers have it: built, then looked at in a real browser.

Sphinx fails the build for a link or a heading that is not there, and for a page that no list leads to. Screenshots go
to tests/artifacts/, for people to look at.
"""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from docs.site.build import BUILT, main
from docs.site.staging import pages
from tests.integration.browser_support import PHONE, WIDE, opened, picture

pytestmark = pytest.mark.browser  # one lane only, as all of them build in one place

HTML = BUILT / "html"
GENERATED = ("options", "api-reference")  # so long that axe needs many seconds
LOOKED_AT = ("start", "architecture", "options")
LONG = ("index", *LOOKED_AT, "compared", "extending", "api-reference")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """The built site's address."""
    assert main([]) == 0
    handler = functools.partial(_Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: Any) -> None:
        """Say nothing."""


class _Loaded(HTMLParser):
    """What a page makes the browser load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_every_page_is_built_and_loads_from_nowhere_else(site: str) -> None:
    assert site
    for name in pages().values():
        loaded = _Loaded()
        loaded.feed((HTML / name).with_suffix(".html").read_text())
        assert loaded.found
        assert [one for one in loaded.found if re.match(r"(\w+:)?//", one)] == [], name
    for sheet in HTML.rglob("*.css"):
        assert not re.search(r"@import ['\"]https?:|url\(['\"]?(https?:)?//", sheet.read_text()), sheet


def test_what_was_removed_from_the_pages_is_not_served(site: str) -> None:
    assert site
    names = {Path(name).stem for name in pages().values()} | {"search", "genindex"}
    assert {path.stem for path in HTML.glob("*.html")} == names


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("light", LOOKED_AT),
        pytest.param("light", LONG, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
        pytest.param("dark", LONG, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
async def test_pages_on_a_screen_and_on_a_phone(site: str, scheme: str, names: tuple[str, ...]) -> None:
    async with opened(site, "status of 404", viewport=WIDE, color_scheme=scheme) as page:
        elsewhere: list[str] = []
        page.on("request", lambda one: None if one.url.startswith((site, "data:")) else elsewhere.append(one.url))
        missing: list[str] = []
        page.on("response", lambda one: missing.append(one.url) if one.status >= 400 else None)
        for name in names:
            for size in (WIDE, PHONE):
                await page.set_viewport_size({"width": size["width"], "height": size["height"]})
                await page.goto(f"{site}{name}.html")
                await expect(page.locator("html")).to_have_attribute("data-theme", scheme)
                width = await page.evaluate("document.documentElement.scrollWidth")
                assert width <= size["width"], name
                assert await page.evaluate(_BROKEN) == [], name
                await picture(page, f"site-{name}-{scheme}-{size['width']}")
            if name not in GENERATED or names == LONG:
                assert await _keeps_people_out(page) == [], name
        assert elsewhere == []
        # Axe looks for what a style sheet imports below the page instead of below the sheet.
        assert set(missing) <= {f"{site}basic.css"}


_BROKEN = """[...document.images].filter(one => one.offsetParent && one.complete && !one.naturalWidth)
    .map(one => one.src)"""


async def _keeps_people_out(page: Page) -> list[tuple[str, list[str]]]:
    found = await Axe().run(page)
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"]])
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


async def test_the_search_finds_an_option_without_any_server(site: str) -> None:
    async with opened(f"{site}search.html?q=wait_target") as page:
        await expect(page.locator("#search-results li a").first).to_have_attribute(
            "href", re.compile("options|operating")
        )


async def test_the_first_key_leads_past_the_menus(site: str) -> None:
    async with opened(f"{site}operating.html") as page:
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_contain_text("Skip to main content")
        await page.keyboard.press("Enter")
        await expect(page).to_have_url(re.compile("#main-content"))
