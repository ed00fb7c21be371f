"""Real JupyterLabs under hosts of their own, in a real Chromium: what a page loads, runs and saves, and its end."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest
from playwright.async_api import BrowserContext, Page, Request, expect
from yarl import URL

from tests.attacks.web.world import ALL_NAMES_ARE_HERE, MAIN
from tests.e2e.service import Service, run_service
from tests.e2e.test_static_files import Visit
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.engine, pytest.mark.browser]

HOST = re.compile(r"http://[a-z][a-z0-9]{19}\.nb\.example\.net:\d+")
REFUSED = (401, 403, 421)
FILES = "tmpnb-static.nb.example.net:{port}"
DOCUMENT = "lab/tree/introduction-to-python/First%20steps%20in%20Python.ipynb"


@pytest.fixture(scope="module")
def service(workshop_image: str) -> Iterator[Service]:
    options = ("--session-host={name}.nb.example.net", f"--allowed-hosts={MAIN}", "--pool-size=1", "--cpu-quota=0")
    with run_service(f"hosts{secrets.token_hex(4)}", f"--image={workshop_image}", *options) as service:
        yield service


def first_page(service: Service) -> str:
    return f"http://{MAIN}:{URL(service.url).port}/"


async def watched(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and what went wrong in it."""
    page = await context.new_page()
    faults: list[str] = []

    def failed(request: Request) -> None:
        if request.failure not in ("net::ERR_ABORTED", "net::ERR_NETWORK_CHANGED"):
            faults.append(f"{request.url}: {request.failure}")

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("requestfailed", failed)
    page.on("response", lambda one: faults.append(f"{one.status} {one.url}") if one.status in REFUSED else None)
    return page, faults


async def test_a_document_runs_and_is_exported_under_the_notebooks_own_host(service: Service) -> None:
    await service.ready(1)
    async with browser(flags=(ALL_NAMES_ARE_HERE,), accept_downloads=True) as context:
        page, faults = await watched(context)
        await page.goto(f"{first_page(service)}spawn/{DOCUMENT}")
        await page.wait_for_url(re.compile(HOST.pattern + r"/user/[a-z0-9]{26}/" + DOCUMENT[:12]))
        await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
        assert "token=" not in page.url
        assert await page.evaluate("performance.getEntriesByType('navigation')[0].name.includes('code=')") is False

        # Cells over the WebSocket; scripts, extensions and fonts come from the host that notebooks share.
        editor = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
        await editor.click()
        await page.keyboard.press("Control+a")
        await page.keyboard.insert_text("print('the answer is', 6 * 7)")
        await page.keyboard.press("Shift+Enter")
        output = page.locator(".jp-CodeCell .jp-OutputArea-output pre").first
        await expect(output).to_have_text(re.compile("the answer is 42"))
        await page.keyboard.press("Control+s")
        loaded = await page.evaluate("performance.getEntriesByType('resource').map((one) => new URL(one.name).host)")
        assert set(loaded) == {URL(page.url).authority, FILES.format(port=URL(page.url).port)}
        assert await page.evaluate("document.fonts.ready.then(() => document.fonts.size)") >= 0

        # What JupyterLab opens in another window: an export, and a file to save.
        base = page.url.partition("/lab/")[0]
        exported = await context.new_page()
        await exported.goto(f"{base}/nbconvert/html/{DOCUMENT.removeprefix('lab/tree/')}")
        await expect(exported.locator("body")).to_contain_text("the answer is 42")
        status = await page.evaluate(
            f"fetch('{base}/files/{DOCUMENT.removeprefix('lab/tree/')}').then((one) => one.status)"
        )
        assert status == 200

        # The top bar's question for the time that is left, under the notebook's own host.
        session = base.rpartition("/")[2]
        assert await page.evaluate(f"fetch('/api/sessions/{session}').then((one) => one.status)") == 200
        assert faults == []

        # Its end, as the same tab sees it: a page that leads back to the main host, and to the same document.
        async with service.http(admin=True) as admin, admin.delete(f"/api/sessions/{session}") as response:
            assert response.status == 200
        await page.reload()
        await expect(page.locator("h1")).to_have_text("This notebook has ended")
        link = page.get_by_role("link", name="Open a fresh notebook")
        assert str(await link.get_attribute("href")).startswith(first_page(service) + "spawn?urlpath=lab%2Ftree")
        await service.ready(1)
        await link.click()
        await page.wait_for_url(re.compile(HOST.pattern + r"/user/(?!" + session + ")"))


MADE = """([kind, url]) => new Promise((done) => {
  const made = new window[kind](url, { type: "module" });
  made.onerror = (event) => done(`error ${event.message}`);
  setTimeout(() => done(made instanceof window[kind]), 1000);
})"""


async def test_a_second_notebook_in_the_same_browser_has_the_files_already(service: Service) -> None:
    async with browser(flags=(ALL_NAMES_ARE_HERE,)) as context:
        seen = []
        for _ in range(2):
            await service.ready(1)
            await context.clear_cookies()  # or the first one would be returned to
            visit = Visit(await context.new_page())
            await visit.watch()
            await visit.page.goto(first_page(service))
            await visit.page.get_by_role("button", name="Blank notebook").first.click(no_wait_after=True)
            await visit.page.locator(".jp-Notebook").first.wait_for()
            await visit.settled()
            seen.append(visit)
        first, second = seen
        host = FILES.format(port=URL(service.url).port)
        assert len([one for one in first.shared() if URL(one.url).authority == host]) > 40
        assert first.own(".js", ".css") == second.own(".js", ".css") == []
        # Of a theme JupyterLab puts the address behind the notebook's own.
        assert [one.url for one in second.shared() if not one.cached and "/theme-" not in one.url] == []
        assert second.size < 0.25e6
        assert first.complaints == second.complaints == []
        # Workers have to be of the page's own origin, and are.
        script = next(one.url for one in first.shared() if one.url.endswith("/limits.js"))
        for kind in ("Worker", "SharedWorker"):
            # It runs, as far as a script for pages can where there is no window.
            assert await second.page.evaluate(MADE, [kind, script]) in (
                True,
                "error Uncaught ReferenceError: window is not defined",
            )


@pytest.mark.long
async def test_notes_on_the_main_host_run_code(service: Service) -> None:
    """They are clients as any other: by the path, with the token."""
    async with browser(flags=(ALL_NAMES_ARE_HERE,)) as context:
        page, faults = await watched(context)
        await page.goto(f"{first_page(service)}workshops/first-steps-in-python/")
        cell = page.locator(".tn-cell").first
        await cell.get_by_role("textbox").fill("print('six times seven', 6 * 7)")
        await cell.get_by_role("button", name=re.compile("^Run example")).click()
        await expect(cell.locator(".tn-outputs")).to_have_text("six times seven 42")
        assert faults == []
        assert URL(page.url).host == MAIN
