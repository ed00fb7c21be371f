"""The time that is left to the notebook of a notes page, or of another site's page, and keeping it. Real Chromium."""

from __future__ import annotations

import asyncio
import datetime
import re

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Route, expect

from tests.e2e.inprocess import Rig
from tests.e2e.test_notes_hostile import done, message, opened, run
from tests.e2e.test_notes_kept import another_site
from tests.integration.browser_support import picture
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.pools.container import Container

pytestmark = pytest.mark.browser

SESSION = re.compile(r"/api/sessions/[a-z0-9]+(/keep)?$")
SENTENCES = """(place) => {
    window.said = [];
    const hear = () => place.textContent && window.said.push(place.textContent);
    new MutationObserver(hear).observe(place, {childList: true});
}"""


async def later(page: Page, *, minutes: float) -> list[str]:
    """From now on the page believes that it is later, until it keeps the notebook; returns how it asked."""
    asked: list[str] = []

    async def answer(route: Route) -> None:
        asked.append(route.request.method)
        real = await route.fetch()
        told = await real.json()
        kept = "POST" in asked
        shift = datetime.timedelta(minutes=0 if kept else minutes)
        if told.get("now"):
            told["now"] = (datetime.datetime.fromisoformat(told["now"]) + shift).isoformat()
        await route.fulfill(response=real, json=told)

    await page.context.route(SESSION, answer)
    await look_again(page)
    return asked


async def look_again(page: Page) -> None:
    """What a tab does that is shown again."""
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


async def began(page: Page, rig: Rig) -> Container:
    """A cell has run; the page has been told once how long its notebook lives."""
    async with page.expect_response(SESSION):
        await run(page)
    (session,) = rig.pool.in_state(State.CLAIMED)
    return session


async def test_who_reads_on_is_warned_once_and_can_keep_the_notebook() -> None:
    async with opened(cull_timeout="1h", cull_max="4h") as (rig, page, _):
        bar = page.get_by_role("region", name="Kernel")
        left = bar.get_by_role("group", name="Time left")
        session = await began(page, rig)
        await expect(left).to_be_hidden()
        await page.get_by_role("status").evaluate(SENTENCES)

        asked = await later(page, minutes=50)
        await expect(left).to_contain_text(re.compile("^(9|10) min left"))
        await expect(left.get_by_role("button", name="Keep this notebook")).to_be_visible()
        assert await page.evaluate("window.said") == []  # it is there to be seen, and interrupts nobody
        await page.context.unroute(SESSION)

        asked = await later(page, minutes=56)
        await expect(left).to_contain_text("Nobody has used your notebook for a while. It ends at")
        await look_again(page)
        await asyncio.sleep(1.5)
        await look_again(page)
        await expect(left).to_contain_text(re.compile("[34] min left"))
        (said,) = await page.evaluate("window.said")
        assert re.search(r"unless you keep it\. [34] min left\.", said)
        await picture(page, "notes-time-left")
        found = await Axe().run(page)
        assert [one["id"] for one in found.response["violations"]] == []

        # A page that is open and counts down is nobody who does something.
        assert set(asked) == {"GET"}
        before = session.evidence.last_activity
        await left.get_by_role("button", name="Keep").focus()
        assert session.evidence.last_activity == before
        await page.keyboard.press("Enter")
        await expect(left).to_be_hidden()
        await expect(bar).to_contain_text("Kept: your notebook ends in 60 min at the earliest")
        await expect(bar.get_by_role("link", name="JupyterLab")).to_be_focused()
        assert session.evidence.last_activity > before


async def test_a_notebook_that_is_as_old_as_it_may_be_cannot_be_kept() -> None:
    async with opened(cull_timeout="1h", cull_max="1h") as (rig, page, _):
        await began(page, rig)
        left = page.get_by_role("group", name="Time left")
        await later(page, minutes=56)
        await expect(left).to_contain_text("no notebook may run longer here. Your changes stay on this page")
        await expect(left.get_by_role("button")).to_be_hidden()
        await page.set_viewport_size({"width": 390, "height": 800})
        await picture(page, "notes-time-left-phone")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_what_only_a_person_does_keeps_it_at_most_once_a_minute() -> None:
    async with opened(cull_timeout="1h") as (rig, page, _):
        session = await began(page, rig)
        asked = await later(page, minutes=0)
        before = session.evidence.last_activity
        await page.evaluate("scrollTo(0, 10); dispatchEvent(new KeyboardEvent('keydown', {key: 'a'}))")
        await asyncio.sleep(0.3)
        assert "POST" not in asked
        await page.get_by_role("textbox").press("End")
        await rig.until(lambda: session.evidence.last_activity > before)
        for _ in range(5):
            await page.mouse.wheel(0, 50)
            await page.get_by_role("textbox").press("Home")
        await asyncio.sleep(0.5)
        assert asked.count("POST") == 1


async def test_a_kernel_at_work_is_no_idle_notebook() -> None:
    async with opened(cull_timeout="1h", cull_max="0") as (rig, page, kernel):
        await began(page, rig)
        parents: list[str] = []

        def script(request: dict[str, dict[str, str]]) -> list[str]:
            parents.append(request["header"]["msg_id"])
            return [message("status", {"execution_state": "busy"}, parents[0])]

        kernel.script = script
        # Not with the pointer: the report of it could be the answer that is waited for, and would keep the notebook.
        await page.get_by_role("button", name="Run example 1").evaluate("it => it.click()")
        await rig.until(lambda: bool(parents))
        async with page.expect_response(SESSION):
            asked = await later(page, minutes=58)
        await asyncio.sleep(0.2)
        await expect(page.get_by_role("group", name="Time left")).to_be_hidden()
        assert asked == ["GET"]
        for answer in done(parents[0]):
            kernel.sockets[-1].send(answer)


async def test_another_sites_page_shows_it_once_where_the_reader_is() -> None:
    async with another_site(cull_timeout="1h") as (rig, page, _, _origin):
        await page.evaluate(
            "document.body.insertAdjacentHTML('beforeend', \"<pre data-executable data-language='R'>y</pre>\")"
        )
        await page.get_by_role("button", name="Run example 2").click()
        await expect(page.locator(".tn-cell").nth(1)).to_have_attribute("data-state", "done")
        left = page.get_by_role("group", name="Time left")
        await later(page, minutes=56)
        await expect(left).to_have_count(1)
        await expect(left).to_contain_text(re.compile("unless you keep it.*[34] min left", re.DOTALL))
        assert await page.locator(".tn-cell").nth(1).locator(".tn-time").count() == 1
        await picture(page, "live-time-left")
        # Not with the pointer, which would keep it.
        await page.get_by_role("button", name="Run example 1").evaluate("it => it.click()")
        await expect(page.locator(".tn-cell").first).to_have_attribute("data-state", "done")
        await look_again(page)
        await expect(page.locator(".tn-cell").first.locator(".tn-time")).to_have_count(1)
        await expect(left).to_have_count(1)
        await left.get_by_role("button", name="Keep this notebook").click()
        await expect(left).to_be_hidden()
        await expect(page.locator(".tn-status").first).to_contain_text("Kept: your notebook ends in 60 min")

        # A page that is loaded again knows the notebook, and when that has gone.
        await page.reload()
        await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
        await asyncio.sleep(0.5)
        (session,) = rig.pool.in_state(State.CLAIMED)
        rig.pool.end(session, EndReason.IDLE, rig.claims._clock())
        await look_again(page)
        await expect(page.locator(".tn-status")).to_contain_text("Run again for a new one.")
