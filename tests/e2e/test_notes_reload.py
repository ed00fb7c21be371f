"""What a notes page that is loaded again still shows: outputs of the notebook that goes on, and all changes at once.

Real Chromium, no real kernel; the service is in this process. What is kept may have been written by anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e import test_notes_hostile as hostile
from tests.e2e.inprocess import Rig
from tests.e2e.test_notes import PAGE, notebook
from tests.e2e.test_notes import host as host_of
from tests.e2e.test_notes_hostile import Kernel, done, message
from tests.integration.browser_support import picture
from tmpnb_py.core.models import EndReason, State

pytestmark = pytest.mark.browser

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SOURCES = ("x <- 1", "y <- 2", "z <- 3")
CODE = [{"cell_type": "code", "source": source, "outputs": []} for source in SOURCES]
TEXT = notebook({"cell_type": "markdown", "source": "# Three"}, *CODE)
STORED = "history.state?.work"


@contextlib.asynccontextmanager
async def opened(monkeypatch: pytest.MonkeyPatch, **options: Any) -> AsyncIterator[tuple[Rig, Page, Kernel]]:
    monkeypatch.setattr(hostile, "host", lambda: host_of(TEXT))
    async with hostile.opened(**options) as (rig, page, kernel):
        yield rig, page, kernel


async def run(page: Page, number: int) -> None:
    cell = page.locator(".tn-cell").nth(number - 1)
    await page.get_by_role("button", name=f"Run example {number}", exact=True).click()
    await expect(cell).to_have_attribute("data-state", re.compile("done|failed"))


async def kept(page: Page, holds: str) -> None:
    """Wait until the history's entry holds something."""
    await page.wait_for_function(f"it => JSON.stringify({STORED} ?? '').includes(it)", arg=holds)


def ends(rig: Rig) -> None:
    (session,) = rig.pool.in_state(State.CLAIMED)
    rig.pool.end(session, EndReason.IDLE, rig.claims._clock())


async def test_outputs_outlive_a_reload_while_their_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (rig, page, kernel):
        outputs, bar = page.locator(".tn-cell .tn-outputs"), page.get_by_role("region", name="Kernel")
        kernel.says(
            ("stream", {"name": "stdout", "text": "one\n"}),
            ("stream", {"name": "stdout", "text": "two"}),
            ("display_data", {"data": {"image/png": PNG, "text/plain": "a plot"}, "transient": {"display_id": "d"}}),
            ("update_display_data", {"data": {"text/plain": "later"}, "transient": {"display_id": "d"}}),
            ("display_data", {"data": {"image/png": PNG}}),
            ("display_data", {"data": {"text/html": "<p style='color: red'>framed</p>"}}),
        )
        await run(page, 1)
        kernel.says(("error", {"ename": "E", "evalue": "wrong", "traceback": []}))
        await run(page, 2)
        kernel.says(("stream", {"name": "stdout", "text": "old"}), ("clear_output", {"wait": False}))
        await run(page, 3)
        await kept(page, "wrong")
        heard = len(kernel.heard)

        for _ in range(2):
            await page.reload()
            await expect(bar).to_contain_text("Your notebook is still running: continue where you were")
            await expect(outputs.first).to_contain_text("one\ntwo")
            await expect(outputs.first).to_contain_text("later")
            assert await outputs.first.locator("img").count() == 1
            assert await outputs.first.locator("iframe").count() == 1
            await expect(outputs.nth(1)).to_contain_text("E: wrong")
            await expect(outputs.nth(2)).to_be_empty()
            status = page.locator(".tn-status")
            await expect(status.first).to_have_text(re.compile("^Done.*, before this page was reloaded$"))
            assert (await status.first.inner_text()).count("before") == 1
            await asyncio.sleep(0.7)
        assert len(kernel.heard) == heard, "nothing runs by itself"
        await picture(page, "notes-reloaded", full_page=True)

        kernel.says(("stream", {"name": "stdout", "text": "anew"}))
        await run(page, 1)
        await expect(outputs.first).to_have_text("anew")
        assert rig.pool.count(State.CLAIMED) == 1
        # It is nowhere that a notebook's script in this tab could read.
        storage = await page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])")
        assert "anew" not in storage
        assert await page.evaluate("indexedDB.databases()") == []


async def test_what_an_ended_notebook_put_out_is_gone_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch, max_containers=3) as (rig, page, kernel):
        bar = page.get_by_role("region", name="Kernel")
        kernel.says(("stream", {"name": "stdout", "text": "secret"}))
        await run(page, 1)
        await kept(page, "secret")
        ends(rig)
        await page.reload()
        await expect(bar).to_contain_text("The earlier output of these examples is no longer shown")
        await expect(page.locator(".tn-cell .tn-outputs").first).to_be_empty()
        await expect(page.locator(".tn-status").first).to_be_empty()
        # With another notebook it stays so, and what that puts out is kept.
        await rig.ready(1)
        kernel.says(("stream", {"name": "stdout", "text": "fresh"}))
        await run(page, 2)
        await kept(page, "fresh")
        assert "secret" not in json.dumps(await page.evaluate(STORED))
        await page.reload()
        await expect(page.locator(".tn-cell .tn-outputs").nth(1)).to_have_text("fresh")


async def test_the_end_is_told_though_no_kernel_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (rig, page, _):
        await run(page, 1)
        await kept(page, "done")
        async with page.expect_response(re.compile("/api/sessions/[a-z0-9]+$")):
            await page.reload()
        ends(rig)
        await asyncio.sleep(1)
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await expect(page.get_by_role("region", name="Kernel")).to_contain_text("Run again for a new one.")


async def test_changes_come_back_all_at_once_and_are_discarded_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (_, page, _kernel):
        fields, changes = page.get_by_role("textbox"), page.get_by_role("region", name="Your changes")
        await fields.nth(0).fill("x <- 10")
        await fields.nth(2).fill("z <- 30")
        await kept(page, "z <- 30")
        await page.reload()
        await expect(changes).to_contain_text("Your changes to 2 examples are back.")
        await expect(page.get_by_role("status")).to_have_text("Your changes to 2 examples are back.")
        assert [await one.input_value() for one in await fields.all()] == ["x <- 10", "y <- 2", "z <- 30"]
        await picture(page, "notes-changes-back")
        found = await Axe().run(page)
        assert [one["id"] for one in found.response["violations"]] == []
        await changes.get_by_role("button", name="Discard my changes").click()
        assert [await one.input_value() for one in await fields.all()] == list(SOURCES)
        await expect(
            changes.get_by_role("button", name="Bring my changes back: example 1, example 3")
        ).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(fields.nth(2)).to_have_value("z <- 30")
        await changes.get_by_role("button", name="Discard my changes").click()
        await page.wait_for_function(f"() => Object.keys({STORED}.drafts).length === 0")
        await page.reload()
        await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
        await expect(changes).to_have_count(0)
        assert [await one.input_value() for one in await fields.all()] == list(SOURCES)


FORGED: list[Any] = [
    5,
    "text",
    {"cells": 7, "drafts": "x"},
    {"cells": {"1": 5, "2": None, "3": {"items": "abc"}}, "drafts": {"1": 5}},
    {
        "cells": {
            "1": {"words": {"a": 1}, "state": "running", "items": [None, 5, {"kind": "status"}, {"kind": "stream"}]}
        }
    },
    {
        "cells": {
            "1": {"words": "w" * 9999, "state": "<b>", "items": [{"kind": "error", "content": {"traceback": 5}}]}
        }
    },
]


async def test_what_else_is_found_there_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (_, page, _kernel):
        for forged in FORGED:
            await run(page, 1)
            await kept(page, "done")
            own = await page.evaluate(f"({{key: {STORED}.key, session: {STORED}.session}})")
            work = {**own, **forged} if isinstance(forged, dict) else forged
            await page.evaluate("it => history.replaceState({work: it}, '')", work)
            await page.reload()
            await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
        await run(page, 1)
        await expect(page.locator(".tn-status").first).to_contain_text("Done")


async def test_a_notebooks_script_that_makes_such_an_entry_neither_shows_nor_runs_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(monkeypatch) as (rig, page, kernel):
        kernel.says(("display_data", {"data": {"text/html": "<p>mine</p>"}}))
        await run(page, 1)
        await kept(page, "mine")
        real = await page.evaluate(STORED)
        # Somebody else's page of this origin, in the same tab, knows all but the key.
        output = {"kind": "display_data", "content": {"data": {"text/html": "<p>forged</p>"}}}
        cells = {"1": {"words": "Done", "state": "done", "items": [output]}}
        drafts = {"1": {"original": "x <- 1", "code": "system('evil')"}}
        for key in ("", "0" * 32):
            forged = {"key": key, "session": real["session"], "cells": cells, "drafts": drafts}
            await page.goto(f"http://127.0.0.1:{rig.service.port}/info")
            await page.evaluate("([work, to]) => history.replaceState({work}, '', to)", [forged, PAGE])
            await page.reload()
            shown = page.get_by_role("region", name="Your changes")
            await expect(shown).to_contain_text("You had changed one example on this page to this:")
            await expect(shown.locator("pre")).to_have_text("system('evil')")
            await expect(page.get_by_role("textbox").first).to_have_value("x <- 1")
            assert "forged" not in await page.locator("main").inner_html()
        assert [one["content"]["code"] for one in kernel.heard] == ["x <- 1"]


async def test_too_much_is_not_kept_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(monkeypatch) as (_, page, kernel):
        kernel.says(("stream", {"name": "stdout", "text": "x" * 400_000}))
        await run(page, 1)

        def script(request: dict[str, Any]) -> list[str]:
            parent = request["header"]["msg_id"]
            plots = [
                message("display_data", {"data": {"text/plain": str(n) + "y" * 9_000}}, parent) for n in range(30)
            ]
            return [*plots, *done(parent)]

        kernel.script = script
        await run(page, 2)
        await kept(page, "29yyy")
        assert len(json.dumps(await page.evaluate(STORED))) < 1_600_000
        await page.reload()
        await expect(page.locator(".tn-status").first).to_contain_text("its output was too long to keep")
        await expect(page.locator(".tn-cell .tn-outputs").nth(1)).to_contain_text("29yyy")


async def test_a_cell_that_runs_while_the_page_is_loaded_again_is_said_to_be_incomplete(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(monkeypatch) as (_, page, kernel):
        await run(page, 2)

        def script(request: dict[str, Any]) -> list[str]:
            return [message("stream", {"name": "stdout", "text": "half"}, request["header"]["msg_id"])]

        kernel.script = script
        await page.get_by_role("button", name="Run example 1", exact=True).click()
        await kept(page, "half")
        await page.reload()
        await expect(page.locator(".tn-cell .tn-outputs").first).to_have_text("half")
        await expect(page.locator(".tn-status").first).to_contain_text("run it again to see all of its output")
