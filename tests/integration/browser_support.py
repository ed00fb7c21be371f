"""A Chromium of Debian's for tests of pages; skipped (in CI: failed) where there is none.

Screenshots go to tests/artifacts/, for people to look at.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Error, Page, async_playwright, expect

from tests.engine_support import skip_or_fail

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = {"width": 1100, "height": 900}
PHONE = {"width": 360, "height": 740}
ARTIFACTS = Path(__file__).parents[1] / "artifacts"
MILLISECONDS = 60_000
expect.set_options(timeout=MILLISECONDS)  # its own 5 s are short for a kernel on a busy machine


@contextlib.asynccontextmanager
async def browser(*, flags: Sequence[str] = (), **options: Any) -> AsyncIterator[BrowserContext]:
    """A fresh browser with nothing in it, closed as a whole.

    A context or a page that is closed in the middle of a navigation may never be (Chromium forgets about it), so
    no test closes one whose page may be on its way.
    """
    program = shutil.which("chromium")
    if program is None:
        skip_or_fail("Chromium is not installed")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])
        context = await started.new_context(**options)
        context.set_default_timeout(MILLISECONDS)
        troubles: list[str] = []
        context.on("console", lambda one: troubles.append(f"{one.type}: {one.text}") if one.type == "error" else None)
        context.on("requestfailed", lambda one: troubles.append(f"failed: {one.url} ({one.failure})"))
        try:
            yield context
        finally:
            await _tell(context, troubles)
            await started.close()


@contextlib.asynccontextmanager
async def opened(url: str, *forgiven: str, **options: Any) -> AsyncIterator[Page]:
    """A page of a browser of its own, in which nothing else than what is forgiven goes wrong unnoticed."""
    async with browser(**{"viewport": WIDE, **options}) as context:
        page = await context.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        await page.goto(url)
        yield page
        assert [fault for fault in faults if not any(one in fault for one in forgiven)] == []


async def _tell(context: BrowserContext, troubles: list[str]) -> None:
    """What pytest shows of a test that failed: what its pages complained of and what was to be seen on them."""
    if "PYTEST_CURRENT_TEST" not in os.environ:  # a benchmark
        return
    print(*troubles[-40:], sep="\n")
    for page in context.pages:
        with contextlib.suppress(Error):
            print(page.url, await page.locator("body").inner_text(timeout=1000), sep="\n")


async def picture(page: Page, name: str, *, full_page: bool = False) -> bytes:
    """A screenshot as PNG, kept below `ARTIFACTS`. Chromium can't always take one while the machine is busy."""
    ARTIFACTS.mkdir(exist_ok=True)
    for tries_left in (2, 1, 0):
        try:
            return await page.screenshot(path=ARTIFACTS / f"{name}.png", full_page=full_page)
        except Error as error:
            if tries_left == 0 or "Unable to capture screenshot" not in error.message:
                raise
    raise AssertionError("unreachable")
