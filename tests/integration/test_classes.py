"""A class on its pages, in a real browser: the operator books it, a student comes, the teacher follows and tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.inprocess import Rig, running
from tests.integration.browser_support import PHONE, opened, picture

pytestmark = pytest.mark.browser

REFUSED = "status of 4"  # the browser's own words, not the page's
LOOKS = [
    {},
    pytest.param({"color_scheme": "dark"}, marks=pytest.mark.long),
    pytest.param({"viewport": PHONE}, marks=pytest.mark.long),
]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(pool_size=1, max_containers=8) as rig:
        await rig.ready(1)
        yield rig


def name_of(options: dict[str, Any]) -> str:
    """What a picture of a page with these options is called by."""
    return str(options.get("color_scheme", "phone" if options else "wide"))


@pytest.mark.parametrize("options", LOOKS)
async def test_the_operator_books_a_class(rig: Rig, options: dict[str, Any]) -> None:
    async with opened(f"http://127.0.0.1:{rig.service.admin_port}/", REFUSED, **options) as page:
        await page.locator("#booking-part summary").click()
        await page.locator("#when").fill("nonsense")
        await page.locator("#people").fill("3")
        await page.locator("#title").fill("Knots & <b>loops</b>")
        await page.locator("#zone").fill("UTC")
        await page.get_by_role("button", name="Book", exact=True).click()
        await expect(page.locator("#problem")).to_contain_text("is no time: write")
        await page.locator("#when").fill("today 00:00-24:00")
        await picture(page, f"admin-form-{name_of(options)}", full_page=True)
        await page.get_by_role("button", name="Book", exact=True).click()
        await expect(page.locator("#links-title")).to_have_text("Knots & <b>loops</b>")
        assert await page.locator("#qr").evaluate("image => image.decode().then(() => image.naturalWidth > 100)")
        await picture(page, f"admin-links-{name_of(options)}")
        before = await page.locator("#class-link").text_content()
        await page.get_by_role("button", name="New link for the class").click()
        await expect(page.locator("#class-link")).not_to_have_text(before or "")
        await page.locator("#links").get_by_role("button", name="Close").click()
        await expect(page.locator("#bookings tbody tr")).to_have_count(1)
        await page.locator("#announcement").fill("Maintenance <i>at</i> 18:00")
        await page.get_by_role("button", name="Announce").click()
        await expect(page.locator("#announcements li")).to_contain_text("Maintenance <i>at</i> 18:00")
        await page.get_by_role("button", name="Cancel Knots & <b>loops</b>").click()
        await page.locator("#ask-yes").click()
        await expect(page.locator("#no-bookings")).to_be_visible()


@pytest.mark.parametrize("options", LOOKS)
async def test_the_teacher_follows_the_class(rig: Rig, options: dict[str, Any]) -> None:
    wish = {"when": "today 00:00-24:00", "people": 3, "title": "Knots", "time_zone": "UTC", "for_class": True}
    async with rig.admin.post("/api/bookings", json=wish) as response:
        assert response.status == 201
        made = await response.json()
    await rig.ready(4)
    async with (
        opened(made["teacher_url"], REFUSED, **options) as teacher,
        opened(made["class_url"], REFUSED) as student,
    ):
        await student.wait_for_url("**/user/**", wait_until="commit")
        await expect(teacher.locator("#came")).to_have_text("1")
        await teacher.locator("#text").fill("Please open <b>two</b>")
        await teacher.get_by_role("button", name="Show it to everybody").click()
        await expect(teacher.locator("#messages li span")).to_have_text("Please open <b>two</b>")
        await expect(teacher.locator("#text")).to_have_value("")
        await teacher.get_by_role("button", name="20 minutes more").click()
        await expect(teacher.locator("#when")).to_contain_text("of the next day")
        await expect(teacher.locator("#said")).to_contain_text("twenty minutes longer")
        await teacher.get_by_text("Replace the link").click()
        await picture(teacher, f"teacher-{name_of(options)}", full_page=True)
        await teacher.get_by_role("button", name="Make a new link").click()
        await expect(teacher.locator("#link")).not_to_have_text(made["class_url"])
        await teacher.get_by_role("button", name="Take back: Please open <b>two</b>").click()
        await expect(teacher.locator("#messages li")).to_have_count(0)
