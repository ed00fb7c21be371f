"""The trace of a visit in a real browser: what JupyterLab asks for by itself is in it, and is bounded."""

from __future__ import annotations

import asyncio
import re

import playwright.async_api as playwright
import pytest

from tests.collector import collecting
from tests.e2e.service import WARM, Deployment
from tests.e2e.test_browser import one_page
from tests.e2e.test_traces import CHANNELS, CLAIM, PAGE, REPLY, the

DOCUMENT = "lab/tree/introduction-to-python/First steps in Python.ipynb"

pytestmark = [pytest.mark.engine, pytest.mark.browser, pytest.mark.long]


async def test_click_lab_cell_output(deployment: Deployment, workshop_image: str) -> None:
    async with collecting() as collector:
        options = (f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0", WARM)
        service = deployment.start(*options, env=collector.environ)
        await service.ready(1)
        async with one_page() as page:
            await page.goto(f"{service.url}spawn/{DOCUMENT}")
            await page.wait_for_url(re.compile(r"/user/[a-z0-9]{26}/"))
            await playwright.expect(page.get_by_role("button", name="Python 3 | Idle")).to_be_visible()
            cell = page.locator(".jp-Notebook .jp-CodeCell").first
            # JupyterLab shows a cell a moment before it listens to the keys that run it.
            async with asyncio.timeout(60):
                while not re.search(r"\d|\*", await cell.locator(".jp-InputPrompt").inner_text()):
                    await cell.locator(".cm-content").click()
                    await page.keyboard.press("Shift+Enter")
                    await page.wait_for_timeout(500)
            await collector.having(REPLY)
        root = the(collector.spans, PAGE)
        spans = collector.of(root.trace)
        claim, reply = the(spans, CLAIM), the(spans, REPLY)
        assert claim.parent == root.id
        assert reply.parent in {one.id for one in spans if one.name == CHANNELS}
        assert reply.attributes["tmpnb.kernel.message"] in {"stream", "execute_result", "execute_reply"}
        assert 20 < len([one for one in spans if one.parent == claim.id]) <= 256
        assert 0 < reply.seconds < reply.ended - root.begun < 120
        service.stop()
