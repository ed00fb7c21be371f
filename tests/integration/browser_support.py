"""A Chromium of Debian's for tests of pages; skipped (in CI: failed) where there is none."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import BrowserContext, async_playwright, expect

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
MILLISECONDS = 60_000
expect.set_options(timeout=MILLISECONDS)  # its own 5 s are short for a kernel on a busy machine


@contextlib.asynccontextmanager
async def browser(**options: Any) -> AsyncIterator[BrowserContext]:
    """A fresh browser with nothing in it."""
    program = shutil.which("chromium")
    if program is None:
        skip_or_fail("Chromium is not installed")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        try:
            yield await started.new_context(**options)
        finally:
            await started.close()
