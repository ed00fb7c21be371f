"""The first page of two pools in a real browser: each workshop opens in a notebook of its own image's pool."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e.inprocess import Rig
from tests.e2e.test_pools import ready, spawn, two_pools
from tests.integration.browser_support import browser, picture

pytestmark = pytest.mark.browser


@contextlib.asynccontextmanager
async def first_page(rig: Rig, **options: Any) -> AsyncIterator[Page]:
    """A fresh browser with the service's first page."""
    async with browser(**options) as context:
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{rig.service.port}/")
        yield page


async def violations(page: Page) -> list[str]:
    """What axe finds."""
    return [one["id"] for one in (await Axe().run(page)).response["violations"]]


async def opened_in(rig: Rig, page: Page) -> str:
    """The pool of the notebook that the page has come to."""
    await page.wait_for_url(re.compile(r"/user/[a-z0-9]+/"))
    found = rig.service.site.pool_of(page.url.split("/user/")[1].split("/")[0])
    assert found is not None
    return found.name


async def test_each_workshop_opens_in_its_own_pool_and_a_running_notebook_serves_its_pool_only() -> None:
    async with two_pools() as rig, browser() as context:
        await ready(rig, python=1, r=1)
        page = await context.new_page()
        for title, pool in (("The hitches", "r"), ("The knots", "python")):
            await page.goto(f"http://127.0.0.1:{rig.service.port}/")
            card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=title))
            await card.get_by_role("button", name="Open live").click()
            assert await opened_in(rig, page) == pool
            await ready(rig, python=1, r=1)
        before = page.url.split("/lab")[0]
        await page.goto(f"http://127.0.0.1:{rig.service.port}/")
        await expect(page.get_by_role("heading", name="Your notebook is still running")).to_be_visible()
        card = page.get_by_role("listitem").filter(has=page.get_by_role("heading", name="The knots"))
        await card.get_by_role("button", name="Open live").click()
        await page.wait_for_url(f"{before}/**")
        assert await opened_in(rig, page) == "python"


@pytest.mark.parametrize("width", [360, 1280], ids=["phone", "laptop"])
async def test_the_wait_of_each_pool_is_beside_its_workshops(width: int) -> None:
    async with two_pools(r={"pool_size": 0}) as rig:
        await ready(rig, python=1)
        await spawn(rig, {"pool": "r"}, "?wait=20")  # so that how long a start takes is known
        async with first_page(rig, viewport={"width": width, "height": 900}, color_scheme="dark") as page:
            knots, hitches = (
                page.get_by_role("listitem").filter(has=page.get_by_role("heading", name=name))
                for name in ("The knots", "The hitches")
            )
            await expect(knots.locator(".state.good")).to_have_text("A notebook is ready for you at once.")
            await expect(hitches.locator(".state")).to_contain_text("ready for you in")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert await violations(page) == []
            await picture(page, f"pools-{width}", full_page=True)
            await page.goto(f"http://127.0.0.1:{rig.service.port}/spawn?pool=julia")
            await expect(page.get_by_role("link", name="The hitches")).to_be_visible()
            assert await violations(page) == []
            await picture(page, f"pools-unknown-{width}", full_page=True)


LOOKS = [
    pytest.param({"viewport": {"width": 1280, "height": 900}}, id="wide"),
    pytest.param({"color_scheme": "dark"}, id="dark", marks=pytest.mark.long),
    pytest.param({"viewport": {"width": 360, "height": 740}}, id="phone", marks=pytest.mark.long),
]


@pytest.mark.parametrize("options", LOOKS)
async def test_bookings_announcements_and_images_of_each_pool_are_on_the_operators_page(
    options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    async with two_pools(r={"mem_limit": 1 << 30, "cpu_quota": 0}) as rig, browser(**options) as context:
        await ready(rig, python=1, r=1)
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{rig.service.admin_port}/")
        for name, image, each in (("python", "one", "512 MiB, 0.5 CPUs"), ("r", "two", "1.0 GiB, all CPUs")):
            row = page.locator("#pools tbody tr").filter(has=page.get_by_role("rowheader", name=name, exact=True))
            await expect(row).to_contain_text(image)
            await expect(row).to_contain_text(f"{each}, ends after 1 h idle, network: none")
        await expect(page.locator("#about")).not_to_contain_text("image")
        await page.locator("#booking-part summary").click()
        await expect(page.locator("#booking-pool")).to_have_text(
            "It is for the pool of the workshop, or for the default one."
        )
        for pool, title in (("", "Knots"), ("r", "Hitches")):
            await page.get_by_label("What is below is about").select_option(pool)
            await expect(page.locator("#booking-pool")).to_contain_text("the pool r." if pool else "of the workshop")
            hours = "10:00-11:00" if pool else "9:00-11:00"
            for field, value in {"when": f"tomorrow {hours}", "people": "2", "title": title, "zone": "UTC"}.items():
                await page.locator(f"#{field}").fill(value)
            await page.get_by_role("button", name="Book", exact=True).click()
            await page.locator("#links").get_by_role("button", name="Close").click()
        rows = page.locator("#bookings tbody tr")
        await expect(rows).to_have_count(1)
        await expect(page.locator("#about")).to_contain_text("image two")
        await page.get_by_label("Tell everybody at a notebook of the pool r").fill("R is updated at six")
        await page.get_by_role("button", name="Announce").click()
        await expect(page.locator("#announcements li")).to_contain_text("to the pool r, until")
        await page.get_by_label("What is below is about").select_option("")
        await expect(rows).to_have_count(2)
        cells = page.locator("#bookings td[data-label=Pool]")
        await expect(cells).to_have_text(["python", "r"])
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert await violations(page) == []
        await picture(page, f"pools-operator-{request.node.callspec.id}", full_page=True)


async def test_the_operators_page_shows_pools_and_steers_the_one_that_is_chosen() -> None:
    async with two_pools() as rig, browser() as context:
        await ready(rig, python=1, r=1)
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{rig.service.admin_port}/")
        row = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="r", exact=True))
        await expect(row).to_contain_text("1 of 1")
        await expect(page.get_by_text("the workshop shared is in the images of the pools")).to_be_visible()
        await expect(page.get_by_role("button", name="Resize")).to_be_hidden()
        await page.get_by_label("What is below is about").select_option("r")
        await expect(page.locator("#name")).to_have_text("r")
        await page.get_by_label("Notebooks kept ready").fill("2")
        await page.get_by_role("button", name="Resize").click()
        await expect(row).to_contain_text("2 of 2")
        await page.get_by_role("button", name="Close to newcomers").click()
        await page.get_by_role("button", name="Close", exact=True).click()
        await expect(row).to_contain_text("turns newcomers away")
        assert [one.is_open for one in rig.service.site.pools.values()] == [True, False]
        assert await violations(page) == []
        await picture(page, "pools-operator", full_page=True)
