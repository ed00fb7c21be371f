"""What a notes page keeps: a place in line, changes, and what its visitor wrote in the notebook.

Real Chromium, no real kernel; the service is in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Error, Page, Route, expect

from tests.e2e.inprocess import Rig, running
from tests.e2e.sites import site
from tests.e2e.test_notes import PAGE, host
from tests.e2e.test_notes_hostile import Kernel, done, message, opened, run
from tests.integration.browser_support import browser
from tmpnb_py.core.models import State

pytestmark = pytest.mark.browser

KEY = re.compile("[0-9a-f]{32}")


def claimed(rig: Rig) -> int:
    return rig.pool.count(State.CLAIMED)


async def end_of(rig: Rig, session_id: str) -> None:
    async with rig.admin.delete(f"/api/sessions/{session_id}") as response:
        assert response.status == 200


async def test_a_place_in_line_outlives_a_reload_and_whoever_waited_is_known_again() -> None:
    async with opened(max_containers=1) as (rig, page, _kernel):
        occupant = await rig.spawn()
        status = page.locator(".tn-status")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        async with rig.client.post("/api/tickets") as response:
            assert (await response.json())["position"] == 2
        await page.evaluate("location.hash = 'main'")
        await page.reload()
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        assert rig.claims.waiting == 2
        await end_of(rig, occupant["id"])
        await expect(status).to_contain_text("Done")

        await page.reload()
        await run(page)
        await expect(status).to_contain_text("Done")
        (session,) = rig.pool.in_state(State.CLAIMED)
        assert session.id != occupant["id"]


async def test_a_page_that_is_loaded_again_waits_on_by_itself_and_runs_nothing() -> None:
    async with opened(max_containers=1) as (rig, page, kernel):
        occupant = await rig.spawn()
        bar = page.get_by_role("region", name="Kernel")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("You are next in line")
        ticket = rig.claims.find(await page.evaluate("history.state.ticket"))
        assert ticket is not None
        await page.reload()
        await expect(bar).to_contain_text("You are next in line")
        await expect(page.get_by_role("status")).to_contain_text("You are next in line")
        await rig.until(lambda: ticket.watchers == 1)  # so it does not lapse
        await end_of(rig, occupant["id"])
        await expect(bar).to_contain_text("Your notebook is ready: run the code again")
        await expect(page.locator("body")).to_be_focused()
        await expect(page.locator(".tn-status")).to_be_empty()
        assert kernel.heard == []
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        await expect(bar).to_contain_text("R is ready")
        (session,) = rig.pool.in_state(State.CLAIMED)
        assert session is ticket.container


async def test_a_link_that_waits_in_another_tab_opens_in_the_notebook_of_these_notes() -> None:
    async with opened(max_containers=1) as (rig, page, _kernel):
        occupant = await rig.spawn()
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("You are next in line")
        other = await page.context.new_page()
        await other.goto(f"http://127.0.0.1:{rig.service.port}/spawn/lab/tree/b.ipynb")
        await expect(other.locator("#position")).to_have_text("2")
        await end_of(rig, occupant["id"])
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        await other.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab/tree/b\.ipynb"))
        (session,) = rig.pool.in_state(State.CLAIMED)
        assert session.id in other.url
        assert rig.claims.waiting == 0


async def test_jupyterlab_takes_over_a_wait_that_was_taken_up_again_in_the_readers_eyes() -> None:
    async with opened(max_containers=1) as (rig, page, _kernel):
        await rig.spawn()
        bar = page.get_by_role("region", name="Kernel")
        await page.locator(".tn-cell").first.get_by_role("textbox").fill("changed <- 1")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("You are next in line")
        await page.reload()
        await expect(bar).to_contain_text("You are next in line")
        await page.locator(".tn-cell").first.get_by_role("textbox").fill("changed <- 2")
        await page.get_by_role("link", name="Open in JupyterLab").first.click()
        await expect(bar).to_contain_text("You are next in line")
        await expect(bar.get_by_role("button", name="Stop")).to_be_visible()
        assert rig.claims.waiting == 1
        await bar.get_by_role("button", name="Stop").click()
        await rig.until(lambda: rig.claims.waiting == 0)


async def test_a_wait_that_was_taken_up_again_can_be_given_up_and_belongs_to_who_runs_something() -> None:
    async with opened(max_containers=1) as (rig, page, _kernel):
        await rig.spawn()
        bar, status = page.get_by_role("region", name="Kernel"), page.locator(".tn-status")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        await page.reload()
        await bar.get_by_role("button", name="Stop").click()
        await expect(bar).to_contain_text("Stopped: you are no longer waiting for a notebook")
        await expect(bar.get_by_role("button", name="Stop")).to_be_hidden()
        await rig.until(lambda: rig.claims.waiting == 0)

        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        await page.reload()
        await expect(bar).to_contain_text("You are next in line")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        await expect(bar).to_be_hidden()
        assert rig.claims.waiting == 1
        await page.get_by_role("button", name="Stop example 1").click()
        await expect(status).to_have_text("Stopped: you are no longer waiting for a notebook")
        await rig.until(lambda: rig.claims.waiting == 0)


@pytest.mark.parametrize("kept", ["0" * 32, "x", 7, {"a": 1}])
async def test_a_kept_ticket_that_is_good_for_nothing_vanishes_silently(kept: Any) -> None:
    async with opened() as (rig, page, _kernel):
        async with page.expect_event("load"):  # by the page itself: in the order in which it asks for both
            load = "it => { history.replaceState({ticket: it, once: it}, ''); location.reload(); }"
            await page.evaluate(load, kept)
        await page.wait_for_function("history.state.ticket === ''")
        await expect(page.get_by_role("region", name="Kernel")).to_be_hidden()
        await expect(page.get_by_role("status")).to_be_empty()
        assert claimed(rig) == 0
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert await page.evaluate("history.state.once") == ""


async def lose_an_answer(page: Page, rig: Rig, *, origin: str = "", reload: bool = False) -> None:
    """Run, where the service's answer to the wish never comes: the network is bad, or the page is reloaded."""
    arrived, over = asyncio.Event(), asyncio.Event()

    async def lost(route: Route) -> None:
        headers = {"Origin": origin} if origin else {}
        async with rig.client.post("/api/tickets", data=route.request.post_data, headers=headers) as response:
            assert response.status == 201, await response.text()
        arrived.set()
        if reload:
            await over.wait()
        with contextlib.suppress(Error):  # of a page that is no more
            await route.abort()

    await page.route("**/api/tickets", lost, times=1)
    await page.get_by_role("button", name="Run example 1").click()
    await arrived.wait()
    if reload:
        await page.reload()
        over.set()
    else:
        await expect(page.locator(".tn-status")).to_contain_text("The service cannot be reached.")


@pytest.mark.parametrize("reload", [False, True])
async def test_a_wish_whose_answer_was_lost_is_made_again_and_not_another(reload: bool) -> None:
    async with opened(max_containers=2) as (rig, page, _kernel):
        await lose_an_answer(page, rig, reload=reload)
        await rig.ready(1)
        assert claimed(rig) == 1
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert claimed(rig) == 1
        assert await page.evaluate("history.state.once") == ""


@pytest.mark.parametrize("reload", [False, True])
async def test_so_is_one_for_a_place_in_line(reload: bool) -> None:
    async with opened(max_containers=1) as (rig, page, _kernel):
        occupant = await rig.spawn()
        await lose_an_answer(page, rig, reload=reload)
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("You are next in line")
        assert rig.claims.waiting == 1
        await end_of(rig, occupant["id"])
        await expect(page.locator(".tn-status")).to_contain_text("Done")


async def test_a_wish_whose_notebook_has_ended_meanwhile_leads_to_a_fresh_one() -> None:
    async with opened(max_containers=2) as (rig, page, _kernel):
        await lose_an_answer(page, rig)
        (session,) = rig.pool.in_state(State.CLAIMED)
        await end_of(rig, session.id)
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert claimed(rig) == 1


async def test_a_place_in_line_can_be_given_up() -> None:
    async with opened(max_containers=1) as (rig, page, _kernel):
        await rig.spawn()
        for _ in range(2):  # and asked for again
            await page.get_by_role("button", name="Run example 1").click()
            await expect(page.locator(".tn-status")).to_contain_text("You are next in line")
            await page.get_by_role("button", name="Stop example 1").click()
            await expect(page.locator(".tn-status")).to_have_text("Stopped: you are no longer waiting for a notebook")
            await rig.until(lambda: rig.claims.waiting == 0)

        # Also by a second click, before there is a place at all; and while it is JupyterLab that is waited for.
        await page.get_by_role("button", name="Run example 1").dblclick()
        await expect(page.locator(".tn-status")).to_have_text("Stopped: you are no longer waiting for a notebook")
        await page.get_by_role("textbox").fill("x <- 2")
        await page.locator("#tn-open").click()
        bar = page.get_by_role("region", name="Kernel")
        await expect(bar).to_contain_text("You are next in line")
        await bar.get_by_role("button", name="Stop").click()
        await expect(bar).to_contain_text("Your changes are still on this page.")
        await rig.until(lambda: rig.claims.waiting == 0)
        assert claimed(rig) == 1


async def test_a_stopped_cell_does_not_run_when_its_kernel_comes() -> None:
    started = asyncio.Event()

    async def late(route: Route) -> None:
        await started.wait()
        await route.fallback()

    async with opened() as (_, page, kernel):
        await page.route(re.compile("/user/.*/api/sessions$"), late)
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("Starting R")
        await page.get_by_role("button", name="Stop example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("Stopped")
        started.set()
        await page.get_by_role("textbox").fill("x <- 2")
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert [one["content"]["code"] for one in kernel.heard] == ["x <- 2"]


async def test_changes_outlive_a_reload_until_they_are_undone() -> None:
    async with opened() as (_, page, _kernel):
        code, undo = page.get_by_role("textbox"), page.get_by_role("button", name="Undo my changes")
        await code.fill("x <- 2")
        await page.reload()
        await expect(code).to_have_value("x <- 2")
        # In the tab other pages of this origin could write it: it is shown in full, and comes when it is wanted.
        await page.goto(page.url + "?anew")
        await expect(code).to_have_value("x <- 1")
        back = page.get_by_role("button", name="Bring my changes back: example 1")
        await expect(page.locator(".tn-changes pre")).to_have_text("x <- 2")
        await back.click()
        await expect(page.get_by_role("button", name="Discard my changes")).to_be_focused()
        await expect(code).to_have_value("x <- 2")
        await expect(page.locator(".tn-source")).to_have_text("x <- 2")
        await expect(back).to_be_hidden()
        await undo.click()
        await page.reload()
        await expect(code).to_have_value("x <- 1")
        await expect(undo).to_be_hidden()
        await expect(back).to_be_hidden()
        for nonsense in ("5", "{", '{"1": 7}', '{"1": {"original": "x <- 1", "code": {}}}'):
            await page.evaluate(f"sessionStorage.setItem('tmpnb-drafts:{PAGE}', {json.dumps(nonsense)})")
            await page.reload()
            await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
            await expect(back).to_be_hidden()


async def test_jupyterlab_too_is_asked_for_once_more_by_a_page_from_before_the_notebook() -> None:
    async with opened() as (rig, page, _kernel):
        other = await page.context.new_page()
        await other.goto(page.url)
        await run(page)
        await other.get_by_role("textbox").fill("x <- 2")
        await other.locator("#tn-open").click()
        bar = other.get_by_role("region", name="Kernel")
        await expect(bar).to_contain_text("Your notebook was found: open it in JupyterLab again")
        await expect(other.locator("#tn-open")).to_be_focused()
        await expect(other).to_have_url(re.compile(PAGE))
        assert claimed(rig) == 1


async def test_a_page_from_before_the_notebook_uses_it_none_the_less() -> None:
    async with opened() as (rig, page, kernel):
        other = await page.context.new_page()
        await other.goto(page.url)
        await run(page)
        await other.get_by_role("textbox").fill("x <- 2")
        button = other.get_by_role("button", name="Run example 1")
        await button.click()
        await expect(other.locator(".tn-status")).to_contain_text("Your notebook was found: run this again")
        await expect(button).to_be_focused()
        assert len(kernel.heard) == 1, "nothing runs by itself"
        await other.get_by_role("button", name="Bring my changes back: example 1").click()
        await run(other)
        assert kernel.heard[-1]["content"]["code"] == "x <- 2"
        assert claimed(rig) == 1
        await other.reload()
        await expect(other.locator(".tn-status")).to_have_text("Done, before this page was reloaded")


async def test_back_leads_to_a_page_that_knows_the_notebook() -> None:
    # Without routes of the test's: they switch the browser's cache off, which is what this is about.
    async with host() as machine, running(machine) as rig, browser() as context:
        await rig.ready(1)
        page = await context.new_page()
        await page.goto(f"http://127.0.0.1:{rig.service.port}{PAGE}")
        await expect(page.locator("main")).not_to_have_attribute("data-key", KEY)
        open_ticket = "fetch('/api/tickets', {method: 'POST', body: '{}'}).then((answer) => answer.status)"
        assert await page.evaluate(open_ticket) == 201
        await page.goto(page.url.replace(PAGE, "/"))
        await page.go_back()
        await expect(page.locator("main")).to_have_attribute("data-key", KEY)


def cells(*sources: str) -> list[dict[str, Any]]:
    """Code cells; those whose source begins with "#" are Markdown."""
    return [{"cell_type": "markdown" if text.startswith("#") else "code", "source": text} for text in sources]


@pytest.mark.parametrize(
    ("there", "then"),
    [
        (["# First", "x <- 1"], ["# First", "x <- 2"]),
        (["mine", "# First", "x <- 1"], ["mine", "# First", "x <- 2"]),
        (["# First", "x <- 1; mine"], ["# First", "x <- 1; mine", "x <- 2"]),
        (["# First", "# Second", "mine"], ["# First", "# Second", "x <- 2", "mine"]),
        (["x <- 1", "mine", "x <- 1"], ["x <- 1", "mine", "x <- 2", "x <- 1"]),
        (["# First"], ["# First", "x <- 2"]),
        (["mine", "x <- 2"], ["mine", "x <- 2"]),
        (["# First", "mine", "x <-\r\n1"], ["# First", "mine", "x <- 2", "x <-\r\n1"]),
        ([], ["x <- 2"]),
    ],
)
async def test_what_the_visitor_wrote_in_the_notebook_stays(there: list[str], then: list[str]) -> None:
    content = {"nbformat_minor": 5, "cells": cells(*there)}

    async def contents(route: Route) -> None:
        if route.request.method == "PUT":
            content.update(dict(route.request.post_data_json or {})["content"])
        await route.fulfill(json={"content": content})

    async with opened() as (_, page, _kernel):
        await page.context.route("**/api/contents/**", contents)
        await page.get_by_role("textbox").fill("x <- 2")
        await page.locator("#tn-open").click()
        await page.wait_for_url(re.compile("/user/[a-z0-9]{26}/lab/"))
        kept: Any = content["cells"]
        assert [cell["source"] for cell in kept] == then
        assert all("id" in cell for cell in kept if cell["source"] == "x <- 2" and cell not in cells(*then))


@pytest.mark.parametrize("way", ["middle", "ctrl"])
async def test_changes_go_along_into_another_tab(way: str) -> None:
    content = {"cells": cells("# First", "x <- 1")}

    async def contents(route: Route) -> None:
        if route.request.method == "PUT":
            content.update(dict(route.request.post_data_json or {})["content"])
        await route.fulfill(json={"content": content})

    async with opened() as (_, page, _kernel):
        await page.route("**/api/contents/**", contents)
        await page.get_by_role("textbox").fill("x <- 2")
        async with page.expect_popup() as popup:
            if way == "middle":
                await page.locator("#tn-open").click(button="middle")
            else:
                await page.locator("#tn-open").click(modifiers=["Control"])
        tab = await popup.value
        await tab.wait_for_url(re.compile("/user/[a-z0-9]{26}/lab/"))
        assert content["cells"][1]["source"] == "x <- 2"
        assert await tab.evaluate("window.opener") is None
        await expect(page).to_have_url(re.compile(PAGE))

        # What was taken there is replaced by what is taken next.
        await page.get_by_role("textbox").fill("x <- 3")
        await page.locator("#tn-open").click()
        await page.wait_for_url(re.compile("/user/[a-z0-9]{26}/lab/"))
        assert [cell["source"] for cell in content["cells"]] == ["# First", "x <- 3"]


NAMED = (
    "<style>\n.dl-inline {width: auto; margin:0; padding: 0}\n.dl-inline>dt, .dl-inline>dd {float: none}\n</style>"
    "<dl class=dl-inline><dt>Jan</dt><dd>11.6</dd><dt>Feb</dt><dd>12.7</dd></dl>"
)


async def test_names_stand_with_their_values_and_markdown_is_readable() -> None:
    async with opened() as (_, page, kernel):
        outputs = page.locator(".tn-outputs")
        kernel.says(("display_data", {"data": {"text/html": NAMED, "text/plain": "Jan 11.6"}}))
        await run(page)
        pairs = outputs.locator("dl > div")
        assert [(await one.inner_text()).split() for one in await pairs.all()] == [["Jan", "11.6"], ["Feb", "12.7"]]
        shown = {"text/markdown": "| a | b |", "text/plain": "<IPython.core.display.Markdown object>"}
        kernel.says(("display_data", {"data": shown}))
        await run(page)
        await expect(outputs).to_have_text("| a | b |")


async def test_an_answer_leaves_the_keyboard_where_it_was() -> None:
    async with opened() as (_, page, kernel):
        kernel.script = lambda request: (
            [message("input_request", {"prompt": "Who?"}, request["header"]["msg_id"], channel="stdin")]
            if request["header"]["msg_type"] == "execute_request"
            else []
        )
        await page.get_by_role("button", name="Run example 1").click()
        await page.get_by_label("Who?").fill("Ann")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Stop example 1")).to_be_focused()


async def test_what_a_dead_kernel_knew_counts_no_more() -> None:
    async with opened() as (_, page, kernel):
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        kernel.sockets[0].send(message("status", {"execution_state": "restarting"}, ""))
        await expect(page.get_by_role("region", name="Kernel")).to_contain_text("The kernel died")
        await expect(page.locator(".tn-status")).to_be_empty()


async def test_stop_and_restart_say_that_the_service_is_away() -> None:
    async with opened() as (_, page, kernel):
        kernel.script = lambda _request: ()
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_have_text("Running …")
        bar = page.get_by_role("region", name="Kernel")
        await page.route(re.compile("/api/kernels/k/(interrupt|restart)"), lambda route: route.abort())
        for name in ("Stop", "Restart"):
            await bar.get_by_role("button", name=name, exact=True).click()
            await expect(bar).to_contain_text("The service cannot be reached.")
            await expect(page.locator(".tn-status")).to_have_text("Running …")
        (ran,) = kernel.heard
        for answer in done(ran["header"]["msg_id"]):
            kernel.sockets[0].send(answer)
        await expect(page.locator(".tn-status")).to_contain_text("Done")


async def blog(page: Page, rig: Rig) -> None:
    text = (
        "<script src='/live.js' data-workshop='knots' data-kernel='ir' defer></script>"
        "<pre data-executable data-language='R'>x</pre>"
    )
    await page.route("**/blog", lambda route: route.fulfill(content_type="text/html", body=text))
    await page.goto(f"http://127.0.0.1:{rig.service.port}/blog")


async def test_blocks_of_other_pages_keep_changes_and_a_place_and_say_what_ended() -> None:
    async with opened(max_containers=1) as (rig, page, kernel):
        await blog(page, rig)
        occupant = await rig.spawn()
        status = page.locator(".tn-status")
        await page.get_by_role("textbox").fill("x + 1")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        async with rig.client.post("/api/tickets") as response:
            other = await response.json()
        await page.reload()
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        await end_of(rig, occupant["id"])
        await expect(status).to_contain_text("Done")
        assert kernel.heard[-1]["content"]["code"] == "x + 1"
        async with rig.client.delete(f"/api/tickets/{other['id']}") as response:
            assert response.status == 200

        (session,) = rig.pool.in_state(State.CLAIMED)
        await end_of(rig, session.id)
        await kernel.sockets[-1].close()
        await expect(status).to_contain_text("This notebook has ended. The people who run this service ended it.")
        await expect(page.get_by_role("link", name="Open in JupyterLab")).to_be_hidden()
        assert json.loads(await page.evaluate("JSON.stringify(Object.keys(sessionStorage))")) == [
            next(key for key in await page.evaluate("Object.keys(sessionStorage)") if ":drafts:" in key)
        ]


@contextlib.asynccontextmanager
async def another_site(**options: Any) -> AsyncIterator[tuple[Rig, Page, Kernel, str]]:
    """A page of another site, an allowed one, whose block uses this service; and that site's origin."""
    with site("localhost") as other:
        async with opened(**{"allow_origin": other.origin, **options}) as (rig, page, kernel):
            script = f"<script src='http://127.0.0.1:{rig.service.port}/live.js' data-kernel='ir' defer></script>"
            other.content["/"] = f"<!doctype html>{script}<pre data-executable data-language='R'>x</pre>"
            await page.goto(other.origin + "/")
            yield rig, page, kernel, other.origin


@pytest.mark.parametrize("reload", [False, True])
async def test_another_sites_wish_whose_answer_was_lost_is_made_again_and_not_another(reload: bool) -> None:
    async with another_site(max_containers=2) as (rig, page, _kernel, origin):
        await lose_an_answer(page, rig, origin=origin, reload=reload)
        await rig.ready(1)
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert claimed(rig) == 1
        assert not [key for key in await page.evaluate("Object.keys(sessionStorage)") if key.endswith(":once")]


async def test_a_page_that_may_keep_nothing_makes_its_wish_again_too() -> None:
    async with another_site(max_containers=2) as (rig, page, _kernel, origin):
        denied = "{get() { throw new DOMException('', 'SecurityError'); }}"
        await page.add_init_script(f"Object.defineProperty(window, 'sessionStorage', {denied})")
        await page.reload()
        await lose_an_answer(page, rig, origin=origin)
        await rig.ready(1)
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert claimed(rig) == 1


async def test_another_site_that_is_not_allowed_is_told_so() -> None:
    async with another_site(allow_origin="https://a.example") as (rig, page, _kernel, _origin):
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("This site is not allowed to start notebooks")
        assert claimed(rig) == 0


async def test_another_sites_page_waits_on_by_itself_too() -> None:
    async with another_site(max_containers=1) as (rig, page, kernel, _origin):
        occupant = await rig.spawn()
        status, note = page.locator(".tn-status"), page.locator(".tn-note")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        await page.reload()
        await expect(note).to_contain_text("You are next in line")
        await expect(page.get_by_role("status")).to_contain_text("You are next in line")
        await page.get_by_role("button", name="Stop waiting for a notebook").click()
        await expect(note).to_have_text("Stopped: you are no longer waiting for a notebook")
        await rig.until(lambda: rig.claims.waiting == 0)
        await page.reload()
        await expect(page.get_by_role("button", name="Run example 1")).to_be_visible()
        await expect(note).to_have_count(0)

        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_contain_text("You are next in line")
        await page.reload()
        await expect(note).to_contain_text("You are next in line")
        await end_of(rig, occupant["id"])
        await expect(note).to_have_text("Your notebook is ready: run the code again")
        assert kernel.heard == []
        await run(page)
        await expect(status).to_contain_text("Done")
        await expect(note).to_have_count(0)
        assert claimed(rig) == 1


async def test_two_languages_share_a_session_and_each_stops_for_itself() -> None:
    text = (
        "<script src='/live.js' data-workshop='knots' data-kernel='ir' defer></script>"
        "<pre data-executable data-language='R'>x</pre><pre data-executable data-language='S'>y</pre>"
    )
    async with opened(max_containers=2, pool_size=1) as (rig, page, kernel):
        await page.route("**/blog", lambda route: route.fulfill(content_type="text/html", body=text))
        await page.goto(f"http://127.0.0.1:{rig.service.port}/blog")
        occupants = [await rig.spawn(), await rig.spawn("?wait=10")]
        one, second = page.locator(".tn-status").nth(0), page.locator(".tn-status").nth(1)
        await page.get_by_role("button", name="Run example 1").click()
        await expect(one).to_contain_text("You are next in line")
        await page.get_by_role("button", name="Run example 2").click()
        await expect(second).to_contain_text("You are next in line")
        await page.get_by_role("button", name="Stop example 2").click()
        await expect(second).to_contain_text("Stopped")
        await expect(one).to_contain_text("You are next in line")
        assert rig.claims.waiting == 1
        await end_of(rig, occupants[0]["id"])
        await expect(one).to_contain_text("Done")
        await page.get_by_role("button", name="Run example 2").click()
        await expect(second).to_contain_text("Done")
        (session,) = (its for its in rig.pool.in_state(State.CLAIMED) if its.id != occupants[1]["id"])

        # It ends. One language notices and begins anew; the other, which is late, must not forget the new one.
        await end_of(rig, session.id)
        await kernel.sockets[0].close()
        await expect(one).to_contain_text("This notebook has ended.")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(one).to_contain_text("Done")
        await kernel.sockets[1].close()
        await expect(second).to_contain_text("This notebook has ended.")
        await page.get_by_role("button", name="Run example 2").click()
        await expect(second).to_contain_text("Done")
        assert claimed(rig) == 2
