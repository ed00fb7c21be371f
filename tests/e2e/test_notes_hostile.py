"""The notes page against kernels and lines that say whatever they like: real Chromium, no real kernel.

The service is in this process, its notebooks are stand-ins, and what a container would answer is said by the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import pytest
from playwright.async_api import Page, Route, WebSocketRoute, expect

from tests.e2e.inprocess import Rig, running
from tests.e2e.test_notes import PAGE, host
from tests.integration.browser_support import browser
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeHost

pytestmark = pytest.mark.browser

Said = str | bytes
Script = Callable[[dict[str, Any]], Iterable[Said]]


def message(kind: str, content: Any, parent: str, *, channel: str = "iopub") -> str:
    return json.dumps(
        {"header": {"msg_type": kind}, "msg_type": kind, "parent_header": {"msg_id": parent}, "content": content}
        | {"channel": channel, "metadata": {}, "buffers": []}
    )


def done(parent: str, status: str = "ok") -> list[str]:
    return [
        message("execute_reply", {"status": status}, parent, channel="shell"),
        message("status", {"execution_state": "idle"}, parent),
    ]


class Kernel:
    """What the page takes for a kernel. `script` says what it answers to a message of the page."""

    def __init__(self) -> None:
        self.script: Script = lambda request: done(request["header"]["msg_id"])
        self.sockets: list[WebSocketRoute] = []
        self.heard: list[dict[str, Any]] = []

    def connected(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda data: self._hear(socket, data))

    def _hear(self, socket: WebSocketRoute, data: Said) -> None:
        request = json.loads(data)
        self.heard.append(request)
        for answer in self.script(request):
            socket.send(answer)

    def says(self, *parts: tuple[str, Any]) -> None:
        """From now on, each cell gets these outputs."""

        def script(request: dict[str, Any]) -> Iterable[Said]:
            parent = request["header"]["msg_id"]
            yield from (message(kind, content, parent) for kind, content in parts)
            yield from done(parent)

        self.script = script


@contextlib.asynccontextmanager
async def opened(machine: FakeHost | None = None, **options: Any) -> AsyncIterator[tuple[Rig, Page, Kernel]]:
    async with contextlib.AsyncExitStack() as stack:
        machine = machine or await stack.enter_async_context(host())
        rig = await stack.enter_async_context(running(machine, **options))
        context = await stack.enter_async_context(browser())
        await rig.ready(1)
        page, kernel = await context.new_page(), Kernel()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))

        async def session(route: Route) -> None:
            await route.fulfill(status=201, json={"id": "s", "kernel": {"id": "k"}})

        await context.route(re.compile("/user/.*/api/sessions(\\?|$)"), session)
        await context.route_web_socket(re.compile("/api/kernels/k/channels"), kernel.connected)
        await page.goto(f"http://127.0.0.1:{rig.service.port}{PAGE}")
        yield rig, page, kernel
        assert faults == []


async def run(page: Page) -> None:
    await page.get_by_role("button", name="Run example 1").click()
    await expect(page.locator(".tn-cell")).to_have_attribute("data-state", re.compile("done|failed"))


async def test_whatever_a_kernel_sends_becomes_text_and_has_an_end() -> None:
    async with opened() as (_, page, kernel):
        outputs = page.locator(".tn-outputs")
        await run(page)
        await expect(outputs).to_be_empty()

        # More than can be shown: in one piece, in many, and in pieces that a parser should not even see.
        kernel.says(("stream", {"name": "stdout", "text": "x" * 3_000_000}))
        await run(page)
        await expect(outputs).to_contain_text("the rest of this output is not shown")
        assert len(await outputs.inner_text()) < 1_001_000
        kernel.says(
            *[("stream", {"name": "stdout", "text": f"\r{number}\x1b[3{number % 8}m"}) for number in range(3_000)]
        )
        await run(page)
        await expect(outputs).to_have_text("2999")
        kernel.says(*[("display_data", {"data": {"text/plain": "y"}})] * 800)
        await run(page)
        await expect(outputs).to_contain_text("There is more output than is shown here.")
        assert await outputs.locator("> *").count() == 300
        kernel.says(("stream", {"name": "stdout", "text": "z" * 17_000_000}))
        await run(page)
        await expect(outputs).to_contain_text("some of it is not shown")
        kernel.says(*[("display_data", {"data": {"text/html": "<html><p style='color: red'>frame</p></html>"}})] * 40)
        await run(page)
        assert await outputs.locator("iframe").count() == 12
        await run(page)
        assert await outputs.locator("iframe").count() == 12, "those of the run before count no more"
        kernel.says(*[("display_data", {"data": {"text/html": "<p style='color: red'>frame</p>"}})] * 140)
        await run(page)
        assert await outputs.locator("iframe").count() == 2, "pieces of one document"

        # Broken messages are left out; those of other requests and of no request are nobody's.
        def broken(request: dict[str, Any]) -> Iterable[Said]:
            parent = request["header"]["msg_id"]
            yield from ("", "{", "null", "[]", '"x"', '{"content": null}', b"", b"\x00\x00\x00\xff", b"\xff" * 64)
            yield from ('{"msg_type": "stream", "content": {}, "parent_header": null}',)
            yield message("stream", {"name": "stdout", "text": "not mine"}, "another")
            for kind in ("stream", "display_data", "error", "clear_output", "update_display_data", "execute_result"):
                for content in ({}, {"data": None}, {"data": [1]}, {"text": {}, "data": {"text/html": [None]}}):
                    yield message(kind, content, parent)
            # What cannot be made text or an address holds nothing up.
            yield message("stream", {"name": "stdout", "text": {"toString": 1}}, parent)
            yield message("display_data", {"data": {"image/svg+xml": "<svg>\ud800</svg>"}}, parent)
            yield message("error", {"ename": {"toString": 1}}, parent)
            yield message("display_data", {"data": {"image/png": '"><script>', "text/plain": "plain"}}, parent)
            with_buffers = message("stream", {"name": "stdout", "text": "bytes"}, parent).encode()
            offsets = (2).to_bytes(4, "big") + (12).to_bytes(4, "big") + (12 + len(with_buffers)).to_bytes(4, "big")
            yield offsets + with_buffers + b"buffer"
            for payload in (7, [None], [{"source": "page"}], [{"source": "page", "data": {"text/plain": "help"}}]):
                yield message("execute_reply", {"status": "ok", "payload": payload}, parent, channel="shell")
            yield from done(parent)

        kernel.script = broken
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        await expect(outputs.get_by_role("img")).to_have_attribute(
            "src", re.compile("%3Csvg%3E%EF%BF%BD%3C%2Fsvg%3E$")
        )
        await expect(outputs).to_contain_text("plain")
        await expect(outputs).to_contain_text("bytes")
        await expect(outputs).to_contain_text("help")
        await expect(outputs).not_to_contain_text("not mine")


HELLO = "kernel_info_request"


def says_hello(request: dict[str, Any]) -> list[str]:
    """A kernel that answers whether it is there, and nothing else; "idle" is lost."""
    parent = request["header"]["msg_id"]
    is_hello = request["header"]["msg_type"] == HELLO
    return [message("kernel_info_reply", {"status": "ok"}, parent, channel="shell")] if is_hello else []


async def test_a_cell_ends_though_its_idle_is_lost_and_late_output_is_not() -> None:
    async with opened() as (_, page, kernel):
        asked: list[str] = []

        def floods(request: dict[str, Any]) -> Iterable[Said]:
            parent = request["header"]["msg_id"]
            asked.append(parent)
            yield message("stream", {"name": "stdout", "text": "early\n"}, parent)
            yield message("execute_reply", {"status": "ok"}, parent, channel="shell")

        kernel.script = floods
        await run(page)
        await expect(page.locator(".tn-cell")).to_have_attribute("data-state", "done")
        kernel.sockets[-1].send(message("stream", {"name": "stdout", "text": "late\n"}, asked[0]))
        await expect(page.locator(".tn-outputs")).to_have_text(
            re.compile("early\n.*some of it is not shown.*late\n", re.DOTALL)
        )

        # Run again, what the earlier run still says is no longer of interest.
        kernel.says(("stream", {"name": "stdout", "text": "anew\n"}))
        await run(page)
        kernel.sockets[-1].send(message("stream", {"name": "stdout", "text": "late\n"}, asked[0]))
        kernel.sockets[-1].send(
            message("stream", {"name": "stdout", "text": "!\n"}, kernel.heard[-1]["header"]["msg_id"])
        )
        await expect(page.locator(".tn-outputs")).to_have_text("anew\n!\n")


async def test_a_cell_ends_though_the_kernel_gives_no_answer() -> None:
    async with opened() as (_, page, kernel):

        def fails(request: dict[str, Any]) -> Iterable[Said]:
            yield from says_hello(request)
            if request["header"]["msg_type"] != HELLO:
                yield message("status", {"execution_state": "idle"}, request["header"]["msg_id"])

        kernel.script = fails
        await run(page)
        await expect(page.locator(".tn-cell")).to_have_attribute("data-state", "failed")
        await expect(page.locator(".tn-outputs")).to_contain_text("The kernel did not answer.")


@pytest.mark.parametrize("answers", [True, False])
async def test_stop_ends_a_cell_of_which_nothing_more_comes(*, answers: bool) -> None:
    async with opened() as (_, page, kernel):
        calls: list[str] = []

        async def called(route: Route) -> None:
            calls.append(route.request.url.rpartition("/")[2])
            await route.fulfill(status=204)

        await page.context.route(re.compile("/api/kernels/k/(interrupt|restart)$"), called)
        kernel.script = says_hello if answers else lambda _: []
        cell = page.locator(".tn-cell")
        await page.get_by_role("button", name="Run example 1").click()
        await expect(cell.locator(".tn-status")).to_have_text("Running …")
        await page.get_by_role("button", name="Stop example 1").click()
        if answers:
            await expect(cell).to_have_attribute("data-state", "failed")
            await expect(cell.locator(".tn-status")).to_have_text("Stopped")
            assert calls == ["interrupt"]
            return
        await expect(cell.locator(".tn-status")).to_have_text(
            "It does not stop. Restart ends it, and everything that ran is lost", timeout=15_000
        )
        kernel.script = lambda request: [*says_hello(request), *done(request["header"]["msg_id"])]
        await cell.get_by_role("button", name="Restart").click()
        await expect(cell).to_have_attribute("data-state", "failed")
        assert calls == ["interrupt", "restart"]
        await run(page)
        await expect(cell).to_have_attribute("data-state", "done")


async def test_what_is_shown_and_changed_stays_what_it_is() -> None:
    def html(percent: int) -> dict[str, Any]:
        shown = {"text/html": f"<div style='width: {percent}%'>{percent} %</div>", "text/plain": "<HTML object>"}
        return {"data": shown, "transient": {"display_id": "progress"}}

    picture = {"data": {"image/png": "iVBORw0K"}, "transient": {"display_id": "progress"}}
    async with opened() as (_, page, kernel):
        outputs = page.locator(".tn-outputs")
        kernel.says(("display_data", html(0)), *[("update_display_data", html(percent)) for percent in range(1, 41)])
        await run(page)
        await expect(outputs.frame_locator("iframe").frame_locator("iframe").locator("body")).to_have_text("40 %")
        # By another cell, or by a thread that goes on when its cell is done.
        kernel.sockets[0].send(message("update_display_data", picture, "another"))
        await expect(outputs.get_by_role("img")).to_have_attribute("alt", "Picture drawn by example 1")


HTML = [
    "<table><tr><td onclick='x()'>a</td></tr></table>",
    "<p>a<script>window.owned = 1</script></p>",
    "<table><tr><td><img src=x onerror='window.owned = 1'></td></tr></table>",
    "<svg onload='window.owned = 1'></svg>",
    "<style>body { display: none }</style><p>a</p>",
    "<style scoped>body { display: none }</style ><p>a</p>",
    "<p style='position: fixed; inset: 0'>a</p>",
    "<a href='javascript:window.owned = 1'>a</a>",
    "<base href='https://evil.example/'><p>a</p>",
    "<meta http-equiv='refresh' content='0;url=https://evil.example/'><p>a</p>",
    "<form action='https://evil.example/'><input name=a></form>",
    "<div id='tn-notes'>a</div>",
]


async def test_html_that_is_more_than_a_table_goes_into_a_frame() -> None:
    async with opened() as (_, page, kernel):
        for html in HTML:
            kernel.says(("display_data", {"data": {"text/html": html}}))
            await run(page)
            await expect(page.locator(".tn-outputs iframe"), html).to_have_count(1)
            others = ".tn-framed > :not(iframe, .tn-note), .tn-output > :not(.tn-framed)"
            assert await page.locator(others).count() == 0
            assert await page.evaluate("window.owned") is None
        await expect(page.get_by_role("heading", name="First knot")).to_be_visible()


async def test_scripts_in_the_frame_see_their_document_become_ready() -> None:
    html = """<!DOCTYPE html><html><head><script>
        addEventListener("DOMContentLoaded", () => (document.body.textContent += document.compatMode));
        </script></head><body><script>document.write("written, ")</script></body></html>"""
    async with opened() as (_, page, kernel):
        kernel.says(("display_data", {"data": {"text/html": html}}))
        await run(page)
        frame = page.locator(".tn-outputs").frame_locator("iframe").frame_locator("iframe")
        await expect(frame.locator("body")).to_contain_text("written, CSS1Compat")


async def test_waiting_in_line_is_told_and_the_notebook_comes_by_itself() -> None:
    async with opened() as (rig, page, kernel):
        del kernel
        state = {"id": "0" * 32, "status": "waiting", "position": 2, "estimate": 9, "session": None}
        spawned = await rig.spawn()
        seen = asyncio.Event()
        told = [
            {**state, "message": "You are number 1 in line."},
            {**state, "status": "ready", "position": None, "message": "Ready.", "session": spawned},
        ]

        async def drawn(route: Route) -> None:
            await route.fulfill(status=201, json={**state, "message": "You are number 2 in line."})

        async def events(route: Route) -> None:
            # As an old proxy does it: all of it late, and the connection closed in between.
            body = f"retry: 10\n\ndata: {json.dumps(told.pop(0))}\n\n"
            await seen.wait()
            await route.fulfill(status=200, content_type="text/event-stream", body=body)

        await page.route("**/api/tickets", drawn)
        await page.route("**/api/tickets/*/events", events)
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("You are number 2 in line …")
        seen.set()
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert told == []


async def test_a_place_in_line_outlives_a_service_that_is_away_for_a_while() -> None:
    async with opened() as (rig, page, kernel):
        del kernel
        state = {"id": "0" * 32, "status": "waiting", "position": 2, "estimate": 9, "session": None}
        ready = {**state, "status": "ready", "position": None, "message": "Ready.", "session": await rig.spawn()}
        answers: list[dict[str, Any] | int | None] = [None, 502, {**state, "message": "You are next."}, 503, ready]

        async def looked(route: Route) -> None:
            answer = answers.pop(0)
            if answer is None:
                await route.abort("connectionrefused")
            elif isinstance(answer, int):
                await route.fulfill(status=answer, body="<html>")
            else:
                await route.fulfill(json=answer)

        drawn = {**state, "message": "You are number 2 in line."}
        await page.route("**/api/tickets", lambda route: route.fulfill(status=201, json=drawn))
        await page.route("**/api/tickets/*/events", lambda route: route.fulfill(status=502, body="<html>"))
        await page.route(re.compile("/api/tickets/0{32}$"), looked)
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("Your place in line is kept")
        await expect(page.locator(".tn-status")).to_contain_text("You are next …")
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert answers == []


REFUSALS: list[tuple[int, Any, str]] = [
    (201, {"id": "0" * 32, "status": "closed", "message": "Newcomers are not let in."}, "Newcomers are not let in."),
    (503, {"status": "closed", "message": "Closed for today."}, "Closed for today."),
    (429, {"status": "full", "message": "x"}, "All notebooks are in use, and the line is full."),
    (429, {"status": "full", "cause": "address", "message": "x"}, "Your network has as many notebooks open as"),
    (403, {"status": "error", "message": "x"}, "not allowed to start notebooks"),
    (502, None, "No notebook can be had now"),
]


async def test_what_keeps_a_visitor_from_a_notebook_is_said() -> None:
    async with opened() as (_, page, _kernel):
        refusals = list(REFUSALS)

        async def drawn(route: Route) -> None:
            status, answer, _ = refusals[0]
            await route.fulfill(status=status, body=json.dumps(answer) if answer else "<html>")

        await page.route("**/api/tickets", drawn)
        while refusals:
            await run(page)
            await expect(page.locator(".tn-status")).to_contain_text(refusals[0][2])
            await expect(page.get_by_role("status")).to_contain_text(refusals[0][2])
            refusals.pop(0)
        # A service that starts again is asked again.
        refusals.append((503, {"status": "error", "message": "x"}, ""))
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("The service is restarting")
        await page.unroute("**/api/tickets")
        await expect(page.locator(".tn-status")).to_contain_text("Done")


async def test_a_lost_connection_is_mended_and_an_ended_session_said() -> None:
    async with opened() as (rig, page, kernel):
        status, outputs = page.locator(".tn-status"), page.locator(".tn-outputs")
        await run(page)
        await kernel.sockets[0].close()
        await expect(status).to_contain_text("Done")
        await rig.until(lambda: len(kernel.sockets) == 2)
        await run(page)
        first, second = kernel.heard
        assert first["header"]["session"] == second["header"]["session"]

        # Its end was told to a connection that was no more: the page asks whether the kernel is through with it.
        kernel.script = lambda _request: ()
        await page.get_by_role("button", name="Run example 1").click()
        await expect(status).to_have_text("Running …")
        await kernel.sockets[1].close()
        await rig.until(lambda: len(kernel.heard) == 4)
        asked = kernel.heard[3]["header"]
        assert asked["msg_type"] == "kernel_info_request"
        kernel.sockets[2].send(message("kernel_info_reply", {"status": "ok"}, asked["msg_id"], channel="shell"))
        kernel.sockets[2].send(
            message("stream", {"name": "stdout", "text": "late"}, kernel.heard[2]["header"]["msg_id"])
        )
        await expect(outputs).to_have_text("late")
        await expect(status).to_have_text("Running …")
        kernel.sockets[2].send(message("status", {"execution_state": "idle"}, asked["msg_id"]))
        await expect(status).to_contain_text("some of the output may be missing")
        await expect(outputs).to_have_text("late")

        # An answer waits for the connection; of one that may not have arrived the page says so.
        kernel.script = lambda request: (
            [message("input_request", {"prompt": "Who?"}, request["header"]["msg_id"], channel="stdin")]
            if request["header"]["msg_type"] == "execute_request"
            else []
        )
        await page.get_by_role("button", name="Run example 1").click()
        await page.get_by_label("Who?").fill("Ann")
        await kernel.sockets[2].close()
        await page.keyboard.press("Enter")
        await rig.until(lambda: kernel.heard[-1]["header"]["msg_type"] == "input_reply")
        assert kernel.heard[-1]["content"] == {"value": "Ann"}
        await kernel.sockets[3].close()
        await expect(outputs).to_contain_text("your answer was lost")
        ran = [one for one in kernel.heard if one["header"]["msg_type"] == "execute_request"][-1]
        for answer in done(ran["header"]["msg_id"]):
            kernel.sockets[4].send(answer)
        await expect(status).to_contain_text("Done")

        (session,) = rig.pool.in_state(State.CLAIMED)
        async with rig.admin.delete(f"/api/sessions/{session.id}") as response:
            assert response.status == 200
        await kernel.sockets[4].close()
        await expect(page.get_by_role("region", name="Kernel")).to_contain_text("who run this service ended it.")
        await expect(page.get_by_role("status")).to_contain_text("who run this service ended it.")
        await expect(page.locator("#tn-open")).to_have_attribute(
            "href", re.compile("/spawn/lab/tree/knots/First%20knot")
        )


async def test_changes_go_along_to_jupyterlab_or_are_kept() -> None:
    kept: list[dict[str, Any]] = []
    statuses = [404, 200, 500, 200, 200]

    async def contents(route: Route) -> None:
        cells = [{"cell_type": kind, "source": "x <- 1"} for kind in ("markdown", "code")]
        if (status := statuses.pop(0)) == 200 and route.request.method == "PUT":
            kept.append(dict(route.request.post_data_json or {}))
        await route.fulfill(status=status, json={"content": {"cells": cells}} if status == 200 else {"message": "x"})

    async with opened() as (rig, page, _kernel):
        await page.route("**/api/contents/**", contents)
        link, bar = page.locator("#tn-open"), page.get_by_role("region", name="Kernel")
        await page.get_by_role("textbox").fill("x <- 2")
        for left in (4, 2):  # nothing has run yet; it cannot be read, and then not be written
            await link.click()
            await expect(bar).to_contain_text("Your changes are still on this page.")
            await rig.until(lambda left=left: len(statuses) == left)  # type: ignore[misc]
            await expect(page).to_have_url(re.compile(PAGE))
        assert kept == []
        await link.click()
        await page.wait_for_url(re.compile("/user/[a-z0-9]{26}/lab/tree/knots/First%20knot.ipynb"))
        assert [cell["source"] for cell in kept[0]["content"]["cells"]] == ["x <- 1", "x <- 2"]
        assert rig.pool.count(State.CLAIMED) == 1


async def test_a_kept_session_outlives_a_service_that_starts_again() -> None:
    blog = (
        "<script src='/live.js' data-workshop='knots' data-kernel='ir' defer></script>"
        "<pre data-executable data-language='R'>x</pre>"
    )
    answers = [503, 500, 503, 503]

    async def blog_page(route: Route) -> None:
        await route.fulfill(content_type="text/html", body=blog)

    async def asked(route: Route) -> None:
        if answers:
            await route.fulfill(status=answers.pop(0), json={"status": "error", "message": "It does not know yet."})
        else:
            await route.fallback()

    async with opened() as (rig, page, kernel):
        await page.route("**/blog", blog_page)
        await page.goto(f"http://127.0.0.1:{rig.service.port}/blog")
        await run(page)
        await page.context.clear_cookies()  # to other sites there is none
        await page.reload()
        await page.route(re.compile("/api/sessions/[a-z0-9]{26}$"), asked)
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text("The service is restarting")
        await expect(page.locator(".tn-status")).to_contain_text(
            "cannot tell at the moment whether your notebook is still running"
        )
        await run(page)
        await expect(page.locator(".tn-status")).to_contain_text("Done")
        assert answers == []
        assert len(kernel.sockets) == 2
        assert rig.pool.count(State.CLAIMED) == 1
