"""From the click to a JupyterLab that can be used, and the bytes that this takes, in a real Chromium.

    python -m tests.benchmarks.browser [--image IMAGE] [--rounds N] [--json] [--hosts]

Compared: the image's JupyterLab reached directly (a container's socket, behind a port) and through `tmpnb-py serve`,
with a throttled link (20 Mbit/s, 40 ms) and without. The floor is the direct one with everything in the browser's
cache, at the same address; through tmpnb-py the second visit is a new session with a new address, in the same
browser. All four are measured in turn in each round. Usable means that the launcher's cards are there. Bytes are
what came over the link, heads included, until two seconds later. No notebook is started meanwhile: that would take
CPU time from the browser, which visitors have elsewhere.
With `--hosts` two services are compared instead, by a first and a second session in one browser: one whose notebooks
have hosts of their own, below one domain (`--session-host`), and one whose notebooks have not.
No port of the engine's is needed: run this where no network device comes or goes, whereupon Chromium drops what is
under way: `unshare --net`, with devices as in tests/run.
Needs a Docker engine with the image, and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import functools
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from playwright.async_api import BrowserContext, Page
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tests.benchmarks.chromium import MAIN, compressed, direct, in_turn, linked, newcomer
from tests.benchmarks.rig import IMAGE, MissingError, Row, Service, as_json, as_table, image_id, need, serving

_LIMIT_SECONDS = 1800.0
_SETTLED_SECONDS = 2.0
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
    parser.add_argument("--hosts", action="store_true", help="compare with notebooks under hosts of their own")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    need("chromium", images=[options.image])
    try:
        rows = asyncio.run(_bounded((measure_hosts if options.hosts else measure)(options.image, options.rounds)))
    except MissingError as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(1)
    print(as_json(rows) if options.json else as_table(rows))


async def _bounded(work: Awaitable[list[Row]]) -> list[Row]:
    async with asyncio.timeout(_LIMIT_SECONDS):
        return await work


async def measure_hosts(image: str, rounds: int) -> list[Row]:
    """Sessions of both services, in turn."""
    found = await image_id(image)
    options = [f"--image={found}", "--cpu-quota=0", "--max-containers=2", f"--allowed-hosts={MAIN}"]
    visits: Visits = collections.defaultdict(list)
    async with (
        serving(*options, pool_size=2) as path,
        serving(*options, "--session-host={name}.nb.example.net", pool_size=2) as hosts,
    ):
        services = {"one host": path, "own hosts": hosts}
        for service in services.values():
            await compressed(service)
        for _ in range(rounds):
            for link in _LINKS:
                for name, service in services.items():
                    start = f"http://{MAIN}:{service.port}/"
                    pair = await in_turn(service, 2, functools.partial(_two_visits, link, _click, start))
                    for which, one in zip(("first", "second"), pair, strict=True):
                        visits[link, f"{name}, {which}"].append(one)
    rows = []
    for link in _LINKS:
        for which in ("first", "second"):
            compared = statistics.median(one.seconds for one in visits[link, f"one host, {which}"])
            for name in services:
                what = f"{name}, {which}"
                rows += _of(visits[link, what], f"{link}: {what}", compared, than="one host")
    return [*rows, _machine(rounds)]


async def measure(image: str, rounds: int) -> list[Row]:
    """All visits, in turn."""
    found = await image_id(image)
    visits: Visits = collections.defaultdict(list)
    async with (
        direct(found) as (address, token),
        serving(f"--image={found}", "--cpu-quota=0", "--max-containers=2", pool_size=2) as service,
    ):
        await compressed(service)
        for _ in range(rounds):
            for link in _LINKS:
                await _one_round(visits, link, f"{address}/lab?token={token}", service)
    return _rows(visits, rounds)


async def _one_round(visits: Visits, link: str, alone: str, service: Service) -> None:
    for names, begin, start in (
        (("direct, first", "floor"), lambda page: _open(page, alone), "about:blank"),
        (("tmpnb-py, first", "tmpnb-py, new session"), _click, f"http://localhost:{service.port}/"),
    ):
        visit = functools.partial(_two_visits, link, begin, start)
        pair = await in_turn(service, 2, visit)
        for name, one in zip(names, pair, strict=True):
            visits[link, name].append(one)


async def _two_visits(link: str, begin: Begin, start: str) -> list[Visit]:
    """Both in one browser, which has seen nothing before."""
    pair = []
    async with newcomer() as browser:
        for _ in range(2):
            await browser.clear_cookies()  # whoever comes back is led to the notebook that he has
            pair.append(await _visit(browser, link, begin, start))
    return pair


async def _open(page: Page, url: str) -> None:
    await page.goto(url, wait_until="commit")


async def _click(page: Page) -> None:
    await page.get_by_role("button", name="Blank notebook").first.click(no_wait_after=True)


async def _visit(browser: BrowserContext, link: str, begin: Begin, start: str) -> Visit:
    page = await browser.new_page()
    await page.goto(start)
    session = await linked(page, throttled=link == "throttled")
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
    return [*rows, _machine(rounds)]


def _machine(rounds: int) -> Row:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return Row("machine", f"{os.cpu_count()} CPUs", note=f"{rounds} rounds, medians; load {load} at the end")


def _of(
    visits: list[Visit], what: str, floor: float, times: float = 0.0, size: float = 0.0, *, than: str = "the floor"
) -> list[Row]:
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
            f"{seconds / floor:.2f} x {than}; {spread}",
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
