"""How long a reader of another site's page waits: BinderHub's stream to `ready`, and thebe's first output.

    python -m tests.benchmarks.thebe [--times 10]

On a pool hit each time, with the workshop image, in Chromium. Needs a Docker engine, npm and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import secrets
import statistics
import time

import aiohttp

from tests.benchmarks import rig
from tests.e2e.npm import package
from tests.e2e.service import Service, run_service
from tests.e2e.sites import Site, site
from tests.e2e.test_clients import end_all
from tests.integration.browser_support import browser

CODE = 'cat("R says", sum(1:4))'


async def stream(service: Service, origin: str) -> float:
    """Seconds to the `ready` event."""
    began = time.perf_counter()
    headers = {"Accept": "text/event-stream", "Origin": origin}
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{service.url}build/gh/x/introduction-to-r/HEAD", headers=headers) as response,
    ):
        assert b'"ready"' in await response.read()
    return time.perf_counter() - began


async def reader(where: Site) -> float:
    """Seconds from thebe's "Activate" to the output of the first cell, the page having loaded."""
    async with browser() as context:
        page = await context.new_page()
        await page.goto(f"{where.origin}/book.html")
        await page.wait_for_function("window.thebe")
        began = time.perf_counter()
        await page.evaluate("() => void window.thebe.bootstrap({requestKernel: true})")
        await page.wait_for_function("window.thebe.session")
        await page.get_by_role("button", name="run", exact=True).click()
        await page.locator(".thebe-output", has_text="R says 10").first.wait_for()
        return time.perf_counter() - began


async def measure(times: int) -> None:
    """Print medians and extremes."""
    with site("localhost") as book:
        options = ["--pool-size=2", "--cpu-quota=0", f"--allow-origin={book.origin}"]
        with run_service(f"thebe{secrets.token_hex(4)}", *options) as service:
            book.content |= {
                "/thebe/": package("thebe@0.9.3") / "lib",
                "/book.html": f"""<!doctype html><title>A book</title>
                    <script type="text/x-thebe-config">
                    {{requestKernel: true, kernelOptions: {{kernelName: "ir"}}, binderOptions: {{
                        binderUrl: "{service.url}", repo: "x/introduction-to-r"}}}}
                    </script>
                    <script src="/thebe/index.js"></script>
                    <pre data-executable="true" data-language="r">{html.escape(CODE)}</pre>""",
            }
            streams, readers = [], []
            for _ in range(times):
                await service.ready(2)
                streams.append(await stream(service, book.origin))
                await end_all(service)
                await service.ready(2)
                readers.append(await reader(book))
                await end_all(service)
    for name, seconds in (("GET /build to ready", streams), ("thebe's Activate to output", readers)):
        median, least, most = statistics.median(seconds), min(seconds), max(seconds)
        print(f"{name}: median {median * 1000:.0f} ms, {least * 1000:.0f} to {most * 1000:.0f} ms ({times} times)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    times = parser.parse_args().times
    rig.need("chromium", "npm")
    asyncio.run(measure(times))
