"""Measure the visitor's way: 200 who come within 5 s to a pool of 10, a click on a full pool, and what pages weigh.

    python -m tests.benchmarks.line [--only crowd|click|pages] [--visitors 200] [--json]

`crowd` uses a stand-in for a notebook server that starts in a quarter of a second, `click` the workshop image, and
Chromium where there is one. Everything runs on loopback and is bounded in time; nothing is left behind.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import dataclasses
import gzip
import itertools
import json
import random
import shutil
import statistics
import time
from collections.abc import Sequence

import aiohttp

from tests import engine_support
from tests.benchmarks import rig
from tests.benchmarks.rig import Row, Service, p95, spread
from tests.benchmarks.service import Measure, run

_COMING_SECONDS = 5.0
_POOL = 10
_PROGRAMS = 5  # every so many-th visitor is a program that waits within its request
_ORDER_SECONDS = 0.05  # who came closer together than this may have been read in either order
_LIMIT_SECONDS = 600.0
_CLICKS = 10


@dataclasses.dataclass
class Visit:
    """One visitor: when they came, what they were told, when they were served. Times are seconds."""

    program: bool
    came: float = 0.0
    joined: float = 0.0
    served: float = 0.0
    container: str = ""
    told: list[tuple[float, float]] = dataclasses.field(default_factory=list)  # when, and the estimate
    unknown: int = 0  # how often no estimate was given while waiting

    def note(self, state: dict[str, object]) -> None:
        estimate = state["estimate"]
        if isinstance(estimate, int):
            self.told.append((time.monotonic(), float(estimate)))
        else:
            self.unknown += 1


def main() -> None:
    """Run what was asked for; status 1 if something could not be measured."""
    parser = argparse.ArgumentParser(description="Measure the visitor's way through a real tmpnb-py serve.")
    parser.add_argument("--only", action="append", choices=("crowd", "click", "pages"), help="may be repeated")
    parser.add_argument("--visitors", type=int, default=200, help="how many come within 5 s")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    measurements: dict[str, Measure] = {"crowd": lambda: crowd(options.visitors), "click": click, "pages": pages}
    rig.need("chromium")
    run([(name, measurements[name]) for name in options.only or measurements], as_json=options.json)


# --- 200 visitors within 5 seconds


async def crowd(visitors: int) -> list[Row]:
    """Everybody comes, waits and opens the notebook; nobody leaves."""
    image = engine_support.build_server_image()
    options = [f"--image={image}", f"--command={engine_support.SERVER_COMMAND_SOCKET}", "--mem-limit=64m"]
    options += [f"--max-containers={visitors + 2 * _POOL}", f"--max-waiting={visitors}", "--max-wait=10m"]
    async with rig.serving(*options, pool_size=_POOL) as service:
        async with asyncio.timeout(120):
            await service.until_ready(_POOL)
        chance = random.Random(1)
        moments = sorted(chance.uniform(0, _COMING_SECONDS) for _ in range(visitors))
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=_LIMIT_SECONDS)
        url = f"http://127.0.0.1:{service.port}/"
        async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as client:
            begin = time.monotonic()
            visits = await asyncio.gather(
                *(_visit(client, begin + at, program=n % _PROGRAMS == 0) for n, at in enumerate(moments))
            )
        claimed = [str(event["id"]) for event in service.events("claimed")]
    return _judged(visits, claimed)


async def _visit(client: aiohttp.ClientSession, at: float, *, program: bool) -> Visit:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    visit = Visit(program, came=time.monotonic())
    session = await (_as_program if program else _as_page)(client, visit)
    visit.served = time.monotonic()
    visit.container = session["id"]
    async with client.get(session["open_url"]) as response:
        if response.status != 200:
            raise RuntimeError(f"a notebook answered {response.status}")
    return visit


async def _as_program(client: aiohttp.ClientSession, visit: Visit) -> dict[str, str]:
    async with client.post("/api/spawn?wait=600") as response:
        visit.joined = visit.came
        if response.status != 200:
            raise RuntimeError(f"POST /api/spawn answered {response.status}: {await response.text()}")
        return dict(await response.json())


async def _as_page(client: aiohttp.ClientSession, visit: Visit) -> dict[str, str]:
    async with client.post("/api/tickets") as response:
        state = await response.json()
        visit.joined = time.monotonic()
        if response.status != 201:
            raise RuntimeError(f"POST /api/tickets answered {response.status}: {state}")
    if state["status"] == "waiting":
        visit.note(state)
        async with client.get(f"/api/tickets/{state['id']}/events") as response:
            async for line in response.content:
                if line.startswith(b"data: "):
                    state = json.loads(line[6:])
                    if state["status"] == "waiting":
                        visit.note(state)
    if state["status"] != "ready":
        raise RuntimeError(f"a ticket ended as {state['status']}: {state['message']}")
    return dict(state["session"])


def _judged(visits: Sequence[Visit], claimed: Sequence[str]) -> list[Row]:
    turn = {container: number for number, container in enumerate(claimed)}
    pages = sorted((one for one in visits if not one.program), key=lambda one: one.joined)
    overtaken = sum(
        turn[later.container] < turn[earlier.container]
        for earlier, later in itertools.combinations(pages, 2)
        if later.joined - earlier.joined > _ORDER_SECONDS
    )
    shared = len(visits) - len({one.container for one in visits})
    waits = [one.served - one.came for one in visits]
    programs = sum(one.program for one in visits)
    lasted = max(one.served for one in visits) - visits[0].came
    note = f"{programs} of them programs; the last was served {lasted:.1f} s after the first came"
    return [
        Row(
            f"{len(visits)} visitors within {_COMING_SECONDS:g} s, pool of {_POOL}",
            f"{len(visits)} served",
            note=note,
        ),
        Row("  served twice or sharing", str(shared), "0", shared == 0),
        Row("  lost", str(len(visits) - sum(bool(one.container) for one in visits)), "0", True),
        Row("  pages overtaken by a later one", str(overtaken), "0", overtaken == 0),
        Row("  wait: median / p95 / max", spread(waits, "s", 1)),
        *_estimates(pages),
    ]


def _estimates(pages: Sequence[Visit]) -> list[Row]:
    """How far what was said was from what came: the first words on arrival, and all words while waiting."""
    first = [(one.told[0][1], one.served - one.told[0][0]) for one in pages if one.told]
    every = [(said, one.served - at) for one in pages for at, said in one.told]
    unknown = sum(one.unknown for one in pages)
    rows = []
    for name, pairs in (("on arrival", first), ("all the while", every)):
        if not pairs:
            continue
        errors = [said - came for said, came in pairs]
        sizes = [abs(error) for error in errors]
        shares = [abs(said - came) / max(came, 1.0) * 100 for said, came in pairs]
        off = f"{statistics.median(shares):.0f} % (median), {p95(shares):.0f} % (p95)"
        note = (
            f"{len(pairs)} estimates; said minus came: median {statistics.median(errors):+.1f} s; of the wait: {off}"
        )
        rows.append(Row(f"  estimate's error {name}: median / p95 / max", spread(sizes, "s", 1), note=note))
    rows.append(Row("  no estimate could be given", f"{unknown} times"))
    return rows


# --- a click on a full pool


async def click(clicks: int = _CLICKS) -> list[Row]:
    """From the press of the button to the first byte of JupyterLab's page, and to one that can be used."""
    image = await rig.image_id()
    async with rig.serving(f"--image={image}", "--max-containers=40", pool_size=2) as service:
        async with asyncio.timeout(180):
            await service.until_ready(2)
        times = [await _first_byte(service) for _ in range(clicks)]
        median = statistics.median(times)
        note = "POST /spawn, 303, first byte of /user/<id>/lab; a new connection each time"
        rows = [
            Row("click to first byte: median / p95 / max", spread(times, "ms", 0), "", None, note),
            Row("  median", f"{median:.0f} ms", "< 300 ms", median < 300),
        ]
        return [*rows, *await _usable(service)]


async def _rested(service: Service) -> None:
    while (stats := await service.stats())["available"] < 2 or stats["starting"]:
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)


async def _first_byte(service: Service) -> float:
    await _rested(service)
    base = f"http://127.0.0.1:{service.port}"
    headers = {"Origin": base, "Accept": "text/html"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        began = time.perf_counter()
        async with client.post(f"{base}/spawn", data={"path": ""}, headers=headers) as response:
            await response.content.readany()
            seconds = time.perf_counter() - began
            if response.status != 200 or "/user/" not in response.url.path:
                raise RuntimeError(f"{response.url} answered {response.status}")
    return seconds * 1000


async def _usable(service: Service) -> list[Row]:
    """Until JupyterLab's launcher can be clicked, in a fresh browser each time."""
    if shutil.which("chromium") is None:
        return [Row("click to a usable JupyterLab", "not measured", note="Chromium is not installed")]
    from tests.integration.browser_support import browser  # noqa: PLC0415 - playwright is needed for this only

    times = []
    for _ in range(3):
        await _rested(service)
        async with browser() as context:
            page = await context.new_page()
            await page.goto(f"http://127.0.0.1:{service.port}/")
            began = time.perf_counter()
            await page.get_by_role("button", name="Blank notebook").click()
            await page.locator(".jp-LauncherCard, .jp-Notebook .jp-Cell").first.wait_for(timeout=120_000)
            times.append(time.perf_counter() - began)
    note = "Chromium with an empty cache, until JupyterLab's new notebook is there"
    return [Row("click to a usable JupyterLab: median / p95 / max", spread(times, "s", 1), note=note)]


# --- what pages weigh


async def pages() -> list[Row]:
    """Bytes of each page, with everything in it (they load nothing else), plain and as gzip would send it."""
    image = await rig.image_id()
    sizes: dict[str, tuple[int, int]] = collections.OrderedDict()
    async with rig.serving(f"--image={image}", "--max-containers=1", pool_size=1) as service:
        async with asyncio.timeout(180):
            await service.until_ready(1)
        await service.api("POST", "/api/spawn")
        _, body = await service.api("POST", "/api/tickets")
        ticket = json.loads(body)["id"]
        headers = {"Accept": "text/html", "Cookie": f"tmpnb-place={ticket}"}
        for name, path in (
            ("first page, six workshops", "/"),
            ("launch page", "/spawn?workshop=introduction-to-r"),
            ("place in line", f"/spawn/wait/{ticket}"),
            ("notebook that has ended", "/user/unknown/lab"),
        ):
            async with (
                aiohttp.ClientSession(f"http://127.0.0.1:{service.port}/") as client,
                client.get(path, headers=headers) as response,
            ):
                text = await response.read()
            sizes[name] = len(text), len(gzip.compress(text, 6))
    return [
        Row(f"weight: {name}", f"{plain} bytes", note=f"{packed} as gzip") for name, (plain, packed) in sizes.items()
    ]


if __name__ == "__main__":
    main()
