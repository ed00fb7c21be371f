"""How long a reader of our notes waits for the first output, and what the page weighs.

    python -m tests.benchmarks.notes [--times 5]

In Chromium, on a pool hit each time, with the workshop image: from the click on "Run" to the output of a first line
of code, which claims a notebook and starts its kernel, and then to that of a second one. Needs a Docker engine and
Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import secrets
import statistics

from playwright.async_api import Page

from tests.benchmarks import rig
from tests.e2e.service import Service, run_service
from tests.e2e.test_clients import end_all
from tests.integration.browser_support import browser

CODE = {
    "introduction-to-python": "print(6 * 7)",
    "introduction-to-r": "cat(6 * 7)",
    "introduction-to-octave": "disp(6 * 7)",
    "the-shell-for-data-work": "echo $((6 * 7))",
}


async def output(page: Page, cell: int, code: str) -> float:
    """Seconds from the click to the output, on the page's own clock."""
    place = page.locator(".tn-cell").nth(cell)
    await place.get_by_role("textbox").fill(code)
    milliseconds = await place.evaluate(
        """(cell) => new Promise((resolve) => {
            const began = performance.now();
            new MutationObserver(() => {
                if (cell.querySelector(".tn-outputs").textContent.includes("42")) resolve(performance.now() - began);
            }).observe(cell, {childList: true, subtree: true, characterData: true});
            cell.querySelector(".tn-run").click();
        })"""
    )
    return float(milliseconds) / 1000


async def reader(service: Service, slug: str) -> tuple[float, float]:
    """A newcomer's first and second output."""
    async with browser() as context:
        page = await context.new_page()
        await page.goto(f"{service.url}workshops/{slug}/")
        return await output(page, 0, CODE[slug]), await output(page, 1, CODE[slug])


async def weigh(service: Service, slug: str) -> list[tuple[str, int, int]]:
    """The page and what it loads: compressed and plain bytes of each."""
    weights = []
    async with service.http() as client:
        async with client.get(f"/workshops/{slug}/") as response:
            page = await response.text()
        assets = re.findall(r'"(/assets/[^"]+)"', page)
        for path in (f"/workshops/{slug}/", *assets, "/live.js"):
            sizes = []
            for encoding in ("gzip", "identity"):
                async with client.get(path, headers={"Accept-Encoding": encoding}) as response:
                    sizes.append(int(response.headers["Content-Length"]))
            weights.append((path, *sizes))
    return weights


async def measure(times: int) -> None:
    """Print medians and extremes, and weights."""
    with run_service(f"notes{secrets.token_hex(4)}", "--pool-size=2", "--cpu-quota=0") as service:
        service.wait_for("static_files_shared")
        for path, compressed, plain in await weigh(service, "introduction-to-r"):
            print(f"{re.sub('-[0-9a-f]{12}', '', path)}: {compressed} bytes (gzip), {plain} plain")
        for slug in CODE:
            figures = []
            for _ in range(times):
                await service.ready(2)
                figures.append(await reader(service, slug))
                await end_all(service)
            for name, seconds in zip(("first", "second"), zip(*figures, strict=True), strict=True):
                median, least, most = (
                    round(value * 1000) for value in (statistics.median(seconds), min(seconds), max(seconds))
                )
                print(f"{slug}, {name} output: median {median} ms, {least} to {most} ms ({times} times)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    rig.need("chromium")
    asyncio.run(measure(times))
