"""What notes pages and live cells begin before the click: for whoever presses Run or changes code, and nobody else.

Real Chromium, no real kernel; the service is in this process.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, Request, expect

from tests.e2e.test_notes_hostile import Kernel, opened, run
from tests.e2e.test_notes_kept import another_site, claimed

pytestmark = pytest.mark.browser


def executed(kernel: Kernel) -> list[str]:
    return [one["content"]["code"] for one in kernel.heard if one["header"]["msg_type"] == "execute_request"]


async def press(page: Page) -> None:
    """Press Run with the mouse, and do not let go."""
    await page.get_by_role("button", name="Run example 1").hover()
    await page.mouse.down()


async def test_who_reads_takes_nothing() -> None:
    """Whoever comes to a cell, by mouse or keyboard, finds a connection to the service, and no more."""
    async with opened() as (rig, page, kernel):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        links = page.locator("link[rel=preconnect]")
        await page.get_by_role("textbox").focus()
        await expect(links).to_have_count(1)
        await page.get_by_role("button", name="Run example 1").hover()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        assert await links.count() <= 1
        assert (asked, claimed(rig), kernel.sockets) == ([], 0, [])


async def test_a_pressed_button_starts_the_kernel_and_runs_nothing() -> None:
    async with opened() as (rig, page, kernel):
        await press(page)
        await rig.until(lambda: bool(kernel.sockets))
        assert (claimed(rig), executed(kernel)) == (1, [])
        await page.mouse.up()
        await expect(page.locator(".tn-cell")).to_have_attribute("data-state", "done")
        assert (claimed(rig), executed(kernel), len(kernel.sockets)) == (1, ["x <- 1"], 1)


async def test_a_finger_that_scrolls_presses_nothing() -> None:
    async with opened() as (rig, page, kernel):
        finger = {"pointerType": "touch", "button": 0}
        await page.get_by_role("button", name="Run example 1").dispatch_event("pointerdown", finger)
        await page.get_by_role("button", name="Run example 1").dispatch_event("pointerdown", {**finger, "button": 2})
        await page.wait_for_timeout(200)
        assert (claimed(rig), kernel.sockets) == (0, [])


async def test_who_changes_code_finds_a_kernel_when_they_run_it() -> None:
    async with opened() as (rig, page, kernel):
        await page.get_by_role("textbox").fill("y")
        await rig.until(lambda: bool(kernel.sockets))
        await page.get_by_role("textbox").fill("y <- 2")
        await expect(page.get_by_role("region", name="Kernel")).to_contain_text("R is ready")
        await expect(page.locator(".tn-status")).to_be_empty()
        assert (claimed(rig), executed(kernel)) == (1, [])
        await run(page)
        assert (claimed(rig), executed(kernel), len(kernel.sockets)) == (1, ["y <- 2"], 1)


async def test_nobody_is_put_in_a_line_who_did_not_run_anything() -> None:
    async with opened(max_containers=1) as (rig, page, kernel):
        occupant = await rig.spawn()
        bar, status = page.get_by_role("region", name="Kernel"), page.locator(".tn-status")
        left: list[str] = []
        page.on("request", lambda request: left.append(request.url) if request.method == "DELETE" else None)
        await page.get_by_role("textbox").fill("y")
        await rig.until(lambda: bool(left) and rig.claims.waiting == 0)
        await page.get_by_role("textbox").fill("y <- 2")  # it is not tried again and again
        await expect(bar).to_be_hidden()
        await expect(status).to_be_empty()
        # Who presses Run waits, and who then lets go elsewhere does not.
        await press(page)
        await rig.until(lambda: rig.claims.waiting == 1)
        await page.mouse.move(1, 1)
        await page.mouse.up()
        await rig.until(lambda: rig.claims.waiting == 0 and len(left) == 2)
        # The place of who lets go on the button is kept.
        await press(page)
        await rig.until(lambda: rig.claims.waiting == 1)
        await page.mouse.up()
        await expect(status).to_contain_text("You are next in line")
        await page.wait_for_timeout(2500)
        await expect(status).to_contain_text("You are next in line")
        assert (rig.claims.waiting, len(left)) == (1, 2)
        async with rig.admin.delete(f"/api/sessions/{occupant['id']}") as response:
            assert response.status == 200
        await expect(status).to_contain_text("Done")
        assert (claimed(rig), executed(kernel)) == (1, ["y <- 2"])


async def test_a_kernel_that_does_not_start_ahead_is_tried_again_and_said() -> None:
    async with opened() as (rig, page, kernel):
        asked: list[str] = []
        page.on(
            "request", lambda one: asked.append(one.url) if re.search("/api/(sessions|kernels)", one.url) else None
        )
        pattern = re.compile(r"/user/.*/api/(sessions|kernelspecs)")
        await page.route(pattern, lambda route: route.fulfill(status=500, json={}))
        await page.get_by_role("textbox").fill("y")
        await rig.until(lambda: len(asked) >= 2)
        await expect(page.locator(".tn-status")).to_be_empty()
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("There is no kernel for R here.")
        await page.unroute(pattern)
        await run(page)
        assert (claimed(rig), executed(kernel)) == (1, ["y"])


async def test_another_sites_page_asks_without_being_asked_first() -> None:
    """A simple request needs no preflight: a round trip less for a notebook, and for its kernel."""
    async with another_site() as (rig, page, kernel, _origin):
        asked: list[dict[str, Any]] = []

        async def heard(request: Request) -> None:
            if request.method == "POST":
                asked.append({"url": request.url, **await request.all_headers()})

        page.on("request", heard)
        await run(page)
        assert executed(kernel) != []
        tickets, sessions = (
            next(one for one in asked if f"/api/{name}" in one["url"]) for name in ("tickets", "sessions")
        )
        for one in (tickets, sessions):
            assert one["content-type"].startswith("text/plain")
            assert "authorization" not in one
        token = re.search("[?]token=([0-9a-f]+)$", sessions["url"])
        assert token
        assert token[1] in kernel.sockets[0].url, "it is where the WebSocket's address has it, too"
        assert claimed(rig) == 1
