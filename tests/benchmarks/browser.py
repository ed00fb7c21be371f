"""From the click to a JupyterLab that can be used, and the bytes that this takes, in a real Chromium.

    python -m tests.benchmarks.browser [--image IMAGE] [--rounds N] [--json] [--hosts]

Compared: the image's JupyterLab reached directly (a container with a published port) and through `tmpnb-py serve`,
with a throttled link (20 Mbit/s, 40 ms) and without. The floor is the direct one with everything in the browser's
cache, at the same address; through tmpnb-py the second visit is a new session with a new address, in the same
browser. All four are measured in turn in each round. Usable means that the launcher's cards are there. Bytes are
what came over the link, heads included, until two seconds later. No notebook is started meanwhile: that would take
CPU time from the browser, which visitors have elsewhere.
With `--hosts` each notebook has a host of its own, below one domain (`--session-host`), and all else is the same.
Needs a Docker engine with the image, and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import os
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from playwright.async_api import BrowserContext, Page, async_playwright
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tests.benchmarks.rig import (
    IMAGE,
    LABEL_POOL,
    MissingError,
    Row,
    Service,
    as_json,
    as_table,
    docker,
    image_id,
    need,
    serving,
)
from tests.integration.browser_support import FLAGS

_LIMIT_SECONDS = 900.0
_SETTLED_SECONDS = 2.0
_MILLISECONDS = 30_000
_ATTEMPTS = 3
_THROTTLED = {"offline": False, "latency": 40, "downloadThroughput": 20e6 / 8, "uploadThroughput": 20e6 / 8}
_MAIN = "notebooks.example.org"
_RESOLVES = "--host-resolver-rules=MAP *.example.org 127.0.0.1, MAP *.example.net 127.0.0.1"
_MB = 1e6
_LINKS = ("throttled", "as it is")


@dataclasses.dataclass(frozen=True)
class Visit:
    """One visit: seconds until JupyterLab could be used, bytes over the link, requests that used it."""

    seconds: float
    size: float
    requests: int


Begin = Callable[[Page], Awaitable[None]]
Visits = dict[tuple[str, str], list[Visit]]


def main() -> None:
    """Measure and print; status 1 where something was missing."""
    parser = argparse.ArgumentParser(description="Measure how long a browser takes to load JupyterLab.")
    parser.add_argument("--image", default=IMAGE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hosts", action="store_true", help="give each notebook a host of its own")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    need("chromium", images=[options.image])
    try:
        rows = asyncio.run(_bounded(options.image, options.rounds, hosts=options.hosts))
    except MissingError as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(1)
    print(as_json(rows) if options.json else as_table(rows))


async def _bounded(image: str, rounds: int, *, hosts: bool = False) -> list[Row]:
    async with asyncio.timeout(_LIMIT_SECONDS):
        return await measure(image, rounds, hosts=hosts)


async def measure(image: str, rounds: int, *, hosts: bool = False) -> list[Row]:
    """All visits, in turn."""
    found = await image_id(image)
    options = ["--session-host={name}.nb.example.net", f"--allowed-hosts={_MAIN}"] if hosts else []
    main = _MAIN if hosts else "localhost"
    visits: Visits = collections.defaultdict(list)
    async with (
        _direct(found) as direct,
        serving(f"--image={found}", "--cpu-quota=0", "--max-containers=2", *options, pool_size=2) as service,
    ):
        await _compressed(service)
        for _ in range(rounds):
            for link in _LINKS:
                await _one_round(visits, link, direct, service, main)
    return _rows(visits, rounds)


async def _one_round(visits: Visits, link: str, direct: str, service: Service, main: str) -> None:
    for names, begin, start in (
        (("direct, first", "floor"), lambda page: _open(page, direct), "about:blank"),
        (("tmpnb-py, first", "tmpnb-py, new session"), _click, f"http://{main}:{service.port}/"),
    ):
        for attempt in range(_ATTEMPTS):
            await service.until_ready(2)
            try:
                pair = await _two_visits(link, begin, start)
                break
            except TimeoutError:  # Chromium drops what is under way whenever any Docker network comes or goes
                if attempt == _ATTEMPTS - 1:
                    raise
            finally:
                await _end_sessions(service)
        for name, one in zip(names, pair, strict=True):
            visits[link, name].append(one)


async def _two_visits(link: str, begin: Begin, start: str) -> list[Visit]:
    """Both in one browser, which has seen nothing before."""
    pair = []
    async with _browser() as browser:
        for _ in range(2):
            await browser.clear_cookies()  # whoever comes back is led to the notebook that he has
            pair.append(await _visit(browser, link, begin, start))
    return pair


async def _end_sessions(service: Service) -> None:
    """Make room for the next round's notebooks."""
    if not (await service.stats())["claimed"]:
        return
    listed = await docker("ps", "--quiet", "--filter", f"label={LABEL_POOL}={service.pool}")
    await docker("rm", "--force", *listed.split())
    async with asyncio.timeout(_LIMIT_SECONDS):
        while (await service.stats())["claimed"]:
            await asyncio.sleep(0.1)


async def _open(page: Page, url: str) -> None:
    await page.goto(url, wait_until="commit")


async def _click(page: Page) -> None:
    await page.get_by_role("button", name="Blank notebook").first.click(no_wait_after=True)


async def _visit(browser: BrowserContext, link: str, begin: Begin, start: str) -> Visit:
    page = await browser.new_page()
    page.set_default_timeout(_MILLISECONDS)
    await page.goto(start)
    session = await browser.new_cdp_session(page)
    await session.send("Network.enable")
    if link == "throttled":
        await session.send("Network.emulateNetworkConditions", _THROTTLED)
    sizes: list[float] = []
    session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    began = time.perf_counter()
    await begin(page)
    try:
        await page.locator(".jp-Launcher .jp-LauncherCard, .jp-Notebook .jp-Cell").first.wait_for()
    except PlaywrightTimeoutError as error:
        raise TimeoutError from error
    seconds = time.perf_counter() - began
    await asyncio.sleep(_SETTLED_SECONDS)
    await page.close()
    return Visit(seconds, sum(sizes), sum(size > 0 for size in sizes))


@contextlib.asynccontextmanager
async def _browser() -> AsyncIterator[BrowserContext]:
    """A browser that has seen nothing, with a cache on disk."""
    with tempfile.TemporaryDirectory(prefix="tmpnb-bench-", ignore_cleanup_errors=True) as profile:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch_persistent_context(
                profile, executable_path=shutil.which("chromium"), args=[*FLAGS, _RESOLVES]
            )
            try:
                yield browser
            finally:
                await browser.close()


@contextlib.asynccontextmanager
async def _direct(image: str) -> AsyncIterator[str]:
    """The URL of the image's JupyterLab in a container of its own with a published port."""
    name, token = f"tmpnb-bench-{secrets.token_hex(4)}", secrets.token_hex(8)
    command = f"exec start-notebook.sh --ServerApp.ip=0.0.0.0 --ServerApp.port=8888 --IdentityProvider.token={token}"
    await docker("run", "--detach", "--name", name, "--publish", "127.0.0.1::8888", image, "/bin/sh", "-c", command)
    try:
        port = (await docker("port", name, "8888/tcp")).splitlines()[0].rpartition(":")[2]
        await _answering(int(port))
        yield f"http://localhost:{port}/lab?token={token}"
    finally:
        await asyncio.shield(docker("rm", "--force", "--volumes", name))


async def _answering(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET /api HTTP/1.0\r\n\r\n")
                answer = await reader.read(12)
                writer.close()
                if answer.endswith(b"200"):
                    return
            await asyncio.sleep(0.1)


async def _compressed(service: Service) -> None:
    """Wait for the good compression: it is done once per image, and not what is measured."""
    while not (service.events("static_files_compressed") or service.events("static_files_not_compressed")):
        if service.events("ready") and not service.events("static_files_shared"):
            return  # this image shares none
        await asyncio.sleep(0.5)


def _rows(visits: Visits, rounds: int) -> list[Row]:
    rows = []
    for link in _LINKS:
        floor = statistics.median(one.seconds for one in visits[link, "floor"])
        for name, times, size in (
            ("direct, first", 0.0, 0.0),
            ("floor", 0.0, 0.0),
            ("tmpnb-py, first", 1.25, 1.6),
            ("tmpnb-py, new session", 1.10, 0.25),
        ):
            rows += _of(visits[link, name], f"{link}: {name}", floor, times if link == "throttled" else 0.0, size)
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    rows.append(Row("machine", f"{os.cpu_count()} CPUs", note=f"{rounds} rounds, medians; load {load} at the end"))
    return rows


def _of(visits: list[Visit], what: str, floor: float, times: float, size: float) -> list[Row]:
    seconds = statistics.median(one.seconds for one in visits)
    megabytes = statistics.median(one.size for one in visits) / _MB
    requests = round(statistics.median(one.requests for one in visits))
    spread = f"{min(one.seconds for one in visits):.2f} to {max(one.seconds for one in visits):.2f} s"
    return [
        Row(
            what,
            f"{seconds:.2f} s",
            f"<= {times * floor:.2f} s" if times else "",
            seconds <= times * floor if times else None,
            f"{seconds / floor:.2f} x the floor; {spread}",
        ),
        Row(
            "  over the link",
            f"{megabytes:.2f} MB",
            f"<= {size} MB" if size else "",
            megabytes <= size if size else None,
            f"{requests} requests",
        ),
    ]


if __name__ == "__main__":
    main()
