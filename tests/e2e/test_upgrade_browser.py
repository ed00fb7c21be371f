"""Open pages live through an upgrade: JupyterLab and notes with running kernels, and a page that waits in line."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.async_api import Page, expect

from tests.attacks.web.firefox import Firefox, firefox
from tests.e2e.service import Deployment, Service
from tests.e2e.test_notes_run import run, watched
from tests.e2e.test_upgrade import finally_ended, gone, upgraded
from tests.integration.browser_support import browser, picture

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(300), pytest.mark.long]

NOTES = "workshops/first-steps-in-python/"
# The browser's, and JupyterLab's, words in the console: of a busy machine, and of a connection that is made again.
SLOW = "ms to activate"
INTERRUPTED = f"{SLOW}|WebSocket|Connection lost|reconnect"


async def lab(page: Page, url: str) -> None:
    """JupyterLab with a notebook of its own and a kernel."""
    await page.goto(url)
    await page.get_by_role("button", name="Blank notebook").click()
    await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/lab"))
    await expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()


async def cell(page: Page, number: int, code: str) -> None:
    """Run the notebook's last cell, its `number`-th, after which there is an empty one."""
    await page.locator(".jp-Notebook .jp-Cell .cm-content").nth(number).click()
    await page.keyboard.insert_text(code)
    await page.keyboard.press("Shift+Enter")


async def followed(service: Service, by: int, count: int) -> int:
    """One more upgrade, and all that is still open with the old process is cut."""
    new = await upgraded(service, count=count, by=by)
    os.kill(by, signal.SIGTERM)
    await gone(by)
    return new


@pytest.mark.parametrize("is_cut", [False, True], ids=["tunnelled", "cut"])
async def test_open_pages_live_through_an_upgrade(deployment: Deployment, workshop_image: str, is_cut: bool) -> None:
    """Variables are still there, nothing is shown as lost, and who waits keeps the place; also when all is cut."""
    service = deployment.start(
        f"--image={workshop_image}", "--pool-size=2", "--max-containers=2", "--cpu-quota=0", "--log-level=info"
    )
    async with finally_ended(service), browser(viewport={"width": 1280, "height": 900}) as context:
        await service.ready(2)
        open_lab = await watched(context, INTERRUPTED if is_cut else SLOW)
        await lab(open_lab, service.url)
        await cell(open_lab, 0, "x = 41\nprint('set')")
        await expect(open_lab.locator(".jp-OutputArea-output pre").first).to_have_text(re.compile("set"))
        async with browser() as somebody, browser() as two_more:
            notes = await watched(somebody, INTERRUPTED if is_cut else SLOW)
            await notes.goto(service.url + NOTES)
            block = notes.locator(".tn-cell").first
            await run(block, "y = 20\nprint('set')")
            second = await watched(two_more, "")
            async with browser() as another:
                first = await another.new_page()
                await first.goto(f"{service.url}spawn")
                await expect(first.locator("body")).to_contain_text("You are next in line.")
                await second.goto(f"{service.url}spawn")
                await expect(second.locator("body")).to_contain_text("One visitor is before you.")

                new = await (followed(service, service.pid, 1) if is_cut else upgraded(service))

                await cell(open_lab, 1, "print(x + 1)")
                await expect(open_lab.locator(".jp-OutputArea-output pre").nth(1)).to_have_text(re.compile("42"))
                await expect(open_lab.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
                assert await open_lab.locator(".jp-Dialog").count() == 0
                await picture(open_lab, f"lab-after-upgrade{'-cut' * is_cut}")
                await expect(await run(block, "print(y + 1)")).to_have_text("21")
                assert "lost" not in await notes.locator("body").inner_text()
                await picture(notes, f"notes-after-upgrade{'-cut' * is_cut}")
                assert (await service.stats())["waiting"] == 2
                await expect(first.locator("body")).to_contain_text("You are next in line.")
                await expect(second.locator("body")).to_contain_text("One visitor is before you.")
                # The first one leaves; the other one is next, by what the new process says.
                await first.goto("about:blank")
                await expect(second.locator("body")).to_contain_text("You are next in line.")
                await second.goto("about:blank")
            await notes.goto("about:blank")
        for page in (open_lab, notes, second):
            assert page.faults == []  # type: ignore[attr-defined]
        await open_lab.goto("about:blank")
        assert new != service.pid


async def typed(fox: Firefox, tab: str, code: str) -> None:
    """Type a cell where the cursor is, and run it."""
    shift, enter = "\ue008", "\ue007"  # WebDriver, 17.4.2
    keys = [{"type": kind, "value": key} for key in code for kind in ("keyDown", "keyUp")]
    keys += [{"type": "keyDown", "value": shift}, {"type": "keyDown", "value": enter}]
    keys += [{"type": "keyUp", "value": enter}, {"type": "keyUp", "value": shift}]
    await fox.call("input.performActions", context=tab, actions=[{"type": "key", "id": "keys", "actions": keys}])


async def test_firefox_too(deployment: Deployment, workshop_image: str) -> None:
    """JupyterLab in Firefox: its kernel's connection is cut at the upgrade, and it reconnects by itself."""
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", "--log-level=info")
    async with finally_ended(service), firefox() as fox:
        await service.ready(1)
        tab = await fox.tab()
        await fox.goto(tab, service.url)
        blank = "[...document.querySelectorAll('button')].find((one) => one.textContent.includes('Blank notebook'))"
        await fox.ask(tab, f"{blank}.click()")
        assert await fox.until(tab, "document.querySelector('[title=\"Switch kernel\"], .jp-Toolbar-kernelName')", 60)
        editor = "document.querySelector('.jp-Notebook .jp-Cell .cm-content')"
        assert await fox.until(tab, f"{editor} && !document.querySelector('#jupyterlab-splash')", 60)
        await fox.ask(tab, f"{editor}.focus()")
        await typed(fox, tab, "x = 41; print(6 * 7 + 100)")
        assert await fox.until(tab, "document.querySelector('.jp-Notebook').innerText.includes('142')", 60)
        await followed(service, service.pid, 1)
        await typed(fox, tab, "print(x + 1000)")
        assert await fox.until(tab, "document.querySelector('.jp-Notebook').innerText.includes('1041')", 60)
        assert not await fox.ask(tab, "document.querySelectorAll('.jp-Dialog').length")
