"""Which sessions end: of JupyterLabs that nobody touches all, of those that somebody uses none.

With the real image in a real browser: visible and hidden, connected and reconnecting, and on a closed laptop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import BrowserContext

from tests.e2e.idle_support import (
    CUT_EVERY,
    LIMITS,
    TOO_OLD,
    Rounds,
    freeze,
    hide,
    new_terminal,
    rounds,
    terminal,
    until_idle_kernel,
    without_reports,
)
from tests.e2e.service import Deployment
from tests.integration.browser_support import browser

pytestmark = [pytest.mark.waits, pytest.mark.engine, pytest.mark.browser, pytest.mark.timeout(TOO_OLD + 480)]

DOCUMENT = "lab/tree/introduction-to-python/First steps in Python.ipynb"


@pytest.fixture
async def context() -> AsyncIterator[BrowserContext]:
    async with browser(viewport={"width": 1000, "height": 700}) as context:
        yield context


@pytest.fixture
async def some(deployment: Deployment, workshop_image: str, context: BrowserContext) -> AsyncIterator[Rounds]:
    service = deployment.start(
        f"--image={workshop_image}",
        "--pool-size=1",
        "--cpu-quota=0",
        "--max-containers=8",
        *LIMITS,
        f"--cull-max={TOO_OLD}s",
    )
    await service.ready(1)
    async with rounds(service, context) as made:
        yield made


async def test_what_nobody_touches_ends(some: Rounds) -> None:
    """JupyterLab saves its layout every 10 s, polls, and connects anew whenever it is cut off."""
    some.untouched["visible"], url = await some.notebook(DOCUMENT)
    await until_idle_kernel(await some.page(url))

    some.untouched["hidden"], url = await some.notebook(DOCUMENT)
    page = await some.page(url)
    await until_idle_kernel(page)
    await hide(page)

    some.untouched["reconnecting"], url = await some.notebook(DOCUMENT)
    front, base = await some.front()
    page = await some.page(url, base)
    await until_idle_kernel(page)
    await new_terminal(page)
    some.meanwhile(front.cut(CUT_EVERY))

    some.untouched["frozen"], url = await some.notebook(DOCUMENT)
    page = await some.page(url)
    await until_idle_kernel(page)
    await freeze(page)

    some.untouched["closed laptop"], url = await some.notebook(DOCUMENT)
    silent, base = await some.front()
    page = await some.page(url, base)
    await until_idle_kernel(page)
    silent.fall_silent()

    await some.end_as_idle(some.untouched)
    assert front.cuts > 5


async def test_what_somebody_uses_goes_on(some: Rounds) -> None:
    """Each in one way only, and most of them without the extension's reports or with nothing else."""
    front, base = await some.front()

    some.touched["reading"], url = await some.notebook(DOCUMENT)
    reading = await some.page(url)
    await until_idle_kernel(reading)
    await reading.mouse.move(600, 400)
    some.touch(lambda: reading.mouse.wheel(0, 20))

    some.touched["writing"], url = await some.notebook(DOCUMENT)
    writing = await some.page(url)
    await until_idle_kernel(writing)
    await writing.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
    some.touch(lambda: writing.keyboard.press("a"))

    some.touched["typing into a terminal"], url = await some.notebook("lab")
    typing = await some.page(url, base)
    await without_reports(typing)
    await new_terminal(typing)
    some.touch(lambda: terminal(typing).press("l"))

    some.touched["a terminal that prints"], url = await some.notebook("lab")
    printing = await some.page(url, base)
    await without_reports(printing)
    await new_terminal(printing)
    await terminal(printing).press_sequentially("while sleep 1; do date; done\n")

    some.touched["a busy kernel"], _ = await some.notebook()
    busy = some.touched["a busy kernel"]
    kernel = await busy.new_kernel()
    async with busy.kernel(kernel) as channels:
        await channels.until_busy(await channels.send("import time; time.sleep(900)"))

    some.touched["a program"], _ = await some.notebook()
    program = some.touched["a program"]
    worker = await program.new_kernel()

    async def connect_and_run() -> None:
        async with program.kernel(worker) as channels:
            await channels.send("6 * 7")

    some.touch(connect_and_run)

    some.meanwhile(front.cut(CUT_EVERY))
    await some.outlive_an_untouched_one()
    assert front.cuts > 5

    # And once they are left alone, they end, too; but for what still runs.
    await some.let_go()
    runs = ("a terminal that prints", "a busy kernel")
    await some.end_as_idle({name: one for name, one in some.touched.items() if name not in runs})
    for name in runs:
        assert not some.service.found("removing", id=some.touched[name].id, reason="idle"), name
