"""`/live.js` in pages: what runs first, what comes alive later, several tags; real Chromium, no real kernel."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Page, Route, expect

from tests.e2e.inprocess import running
from tests.e2e.test_notes import host
from tests.e2e.test_notes_hostile import Kernel
from tests.integration.browser_support import browser

pytestmark = pytest.mark.browser


def answering(status: int, value: object) -> Callable[[Route], Awaitable[None]]:
    async def answer(route: Route) -> None:
        await route.fulfill(status=status, json=value)

    return answer


@contextlib.asynccontextmanager
async def embedded(
    body: str, tags: str = "<script src='/live.js' defer></script>"
) -> AsyncIterator[tuple[Page, Kernel]]:
    """A page with this body, at a path of the service's own origin, where the browser asks nobody for permission."""
    async with host() as machine, running(machine) as rig, browser() as context:
        await rig.ready(1)
        page, kernel = await context.new_page(), Kernel()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        specs = {name: {"spec": {"language": name, "display_name": name}} for name in ("python", "R", "bash")}
        answers = {
            "/api/sessions$": (201, {"id": "s", "kernel": {"id": "k"}}),
            "/api/kernelspecs$": (200, {"default": "python", "kernelspecs": specs}),
        }
        for pattern, (status, value) in answers.items():
            await context.route(re.compile(f"/user/.*{pattern}"), answering(status, value))
        await context.route_web_socket(re.compile("/api/kernels/k/channels"), kernel.connected)
        html = f"<!doctype html><html lang=en><head><title>t</title>{tags}</head><body>{body}</body></html>"

        async def document(route: Route) -> None:
            await route.fulfill(content_type="text/html", body=html)

        await context.route("**/embedded", document)
        await page.goto(f"http://127.0.0.1:{rig.service.port}/embedded")
        yield page, kernel
        assert faults == []


def executed(kernel: Kernel) -> list[str]:
    return [one["content"]["code"] for one in kernel.heard if one["header"]["msg_type"] == "execute_request"]


PYTHON = "<pre data-executable data-language=python>{}</pre>"


async def test_setup_runs_first_and_once_and_all_can_be_run() -> None:
    blocks = (
        "<pre data-executable data-language=py data-setup hidden>s = 1</pre>"
        + PYTHON.format("a")
        + PYTHON.format("b")
    )
    async with embedded(blocks) as (page, kernel):
        cells = page.locator(".tn-cell")
        await expect(cells).to_have_count(3)
        await expect(cells.nth(0)).to_be_hidden()
        await page.get_by_role("button", name="Run example 3").click()
        await expect(cells.nth(2)).to_have_attribute("data-state", "done")
        assert executed(kernel) == ["s = 1", "b"]
        await page.get_by_role("button", name="Run example 2").click()
        await expect(cells.nth(1)).to_have_attribute("data-state", "done")
        assert executed(kernel) == ["s = 1", "b", "a"]

    async with embedded(PYTHON.format("a") + PYTHON.format("b")) as (page, kernel):
        await page.get_by_role("button", name="Run all examples in python").click()
        await expect(page.locator(".tn-cell").nth(1)).to_have_attribute("data-state", "done")
        assert executed(kernel) == ["a", "b"]


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("<pre data-executable>1</pre>", "The page does not say in which language this is"),
        ("<pre data-executable class=language-julia>1</pre>", "There is no kernel for julia here."),
    ],
)
async def test_what_no_kernel_speaks_is_said_and_not_run(block: str, words: str) -> None:
    async with embedded(block) as (page, kernel):
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-status")).to_contain_text(words)
        assert executed(kernel) == []


async def test_blocks_that_come_later_are_alive() -> None:
    async with embedded("<main></main>") as (page, kernel):
        await page.wait_for_load_state("load")
        await page.evaluate("html => document.querySelector('main').innerHTML = html", PYTHON.format("late"))
        await page.get_by_role("button", name="Run example 1").click()
        await expect(page.locator(".tn-cell")).to_have_attribute("data-state", "done")
        assert executed(kernel) == ["late"]


async def test_each_of_two_tags_takes_its_own_blocks() -> None:
    tags = (
        "<script src='/live.js' data-workshop=knots data-language=r defer></script>"
        "<script src='/live.js' data-language=python defer></script>"
    )
    blocks = "<pre data-executable class=language-r>r1</pre>" + PYTHON.format("p1") + "<pre data-executable>r2</pre>"
    async with embedded(blocks, tags) as (page, kernel):
        cells = page.locator(".tn-cell")
        await expect(cells).to_have_count(3)
        bodies: list[str] = []
        page.on("request", lambda request: bodies.append(request.post_data or "") if "/api/" in request.url else None)
        for number in range(3):
            await cells.nth(number).get_by_role("button", name=re.compile("^Run example")).click()
            await expect(cells.nth(number)).to_have_attribute("data-state", "done")
        assert executed(kernel) == ["r1", "p1", "r2"]
        kernels = [json.loads(body)["kernel"]["name"] for body in bodies if '"kernel"' in body]
        assert kernels == ["ir", "python3"]
        assert [body for body in bodies if "knots" in body]
