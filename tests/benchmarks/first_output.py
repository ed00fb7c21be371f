"""From the click to the first output of the first cell, in a real Chromium at 20 Mbit/s and 40 ms.

    python -m tests.benchmarks.first_output [--image IMAGE] [--rounds N] [--only NAME …] [--serve=OPTION …]
        [--other=OPTION …] [--other-image IMAGE] [--film DIR] [--chp-dir DIR] [--json]

Visits, in turn in each round, each of a browser that has seen nothing (first) and then of the same one with a new
notebook (later):

- `stock`: JupyterLab from PyPI in a plain container that runs already, behind configurable-http-proxy (from npm, or
  of `--chp-dir`), by a link that leads straight to the document;
- `button`: *Open live* on our first page; `link`: a link to the launch page, as other sites have it;
- `wait`: the same link, of a service without a ready notebook: its visitor waits until one has started;
- `notes`: *Run* on a page of notes; `live`: *Run* on another site's page with `/live.js`; both pages are there;
- `floor`: our image's JupyterLab without a service between, everything in the browser's cache, up to the first cell.

In JupyterLab *Run* (Ctrl-Enter in the first cell with code) is pressed as soon as that cell is to be seen, and again
every quarter of a second while its prompt stays empty: stock JupyterLab drops a cell that comes before its kernel.
The parts of a visit follow one another; what went on meanwhile (the kernel was asked for, and answered) is told as
moments since the click. The browser's throttling leaves WebSockets as they are. `--serve=--warm-kernels=ir` is an
option of our service. With `--other=OPTION` or `--other-image` there is a second one, visited in turn with it.
`--film` records a further visit of each kind as a filmstrip, which is not measured. Run it
where no network device comes or goes (`unshare --net`, with devices as in tests/run). Needs a Docker engine with the
image, npm and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import functools
import html
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from playwright.async_api import BrowserContext, Page
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from tests import engine_support
from tests.benchmarks import film, rig, stock
from tests.benchmarks.chromium import compressed, direct, in_turn, linked, newcomer
from tests.benchmarks.timeline import Timeline
from tests.e2e.sites import Site, site

DOCUMENT = "introduction-to-python/Introduction%20to%20Python.ipynb"
SLUG = "introduction-to-python"
PRINTS = "Total: 12.8"  # what the document's first cell prints
OTHER = " (other)"  # what the visits of the other service are named
NAMES = ("stock", "floor", "button", "link", "wait", "notes", "live")
_LIMIT_SECONDS = 3600.0
_PRESSED_AGAIN = 250  # milliseconds
# The parts of a visit, each until its moment; what is not there is left out.
_PARTS = {
    "claim": "document asked",
    "document": "document there",
    "scripts": "scripts",
    "JupyterLab": "usable",
    "kernel (run to sent)": "run sent",
    "execution": "output heard",
    "drawing": "output",
}
_PARTS_OF_NOTES = {
    "claim": "claim answered",
    "before the kernel": "session asked",
    "kernel": "session answered",
    "connecting": "kernel connected",
    "run to sent": "run sent",
    "execution": "output heard",
    "drawing": "output",
}
_MOMENTS = ("contents there", "session asked", "session answered", "kernel connected")


@dataclasses.dataclass(frozen=True)
class Visit:
    """Moments in seconds since the click, and what came over the link until the output."""

    at: dict[str, float]
    size: float
    requests: int


@dataclasses.dataclass(frozen=True)
class Journey:
    """A way to a first output: the page that it begins on, the click, and what is done once the page is there."""

    name: str
    start: str
    click: Callable[[Page], Awaitable[None]]
    finish: Callable[[Page, Timeline], Awaitable[None]]


Visits = dict[str, list[Visit]]


def main() -> None:
    """Measure and print; status 1 where something was missing."""
    parser = argparse.ArgumentParser(description="Measure the time from a click to the first output.")
    parser.add_argument("--image", default=rig.IMAGE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=NAMES, help="only these visits")
    parser.add_argument(
        "--serve", action="append", default=[], metavar="OPTION", help="another option of tmpnb-py serve"
    )
    parser.add_argument(
        "--other", action="append", default=[], metavar="OPTION", help="an option of a second service"
    )
    parser.add_argument("--other-image", help="the second service's image")
    parser.add_argument("--film", type=Path, help="a directory for filmstrips")
    parser.add_argument("--chp-dir", type=Path, help="where `npm install configurable-http-proxy` was run before")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rig.need("chromium", images=[options.image])
    try:
        rows = asyncio.run(measure(options))
    except rig.MissingError as error:
        print(f"not measured: {error}", file=sys.stderr)
        sys.exit(1)
    print(rig.as_json(rows) if options.json else rig.as_table(rows))


async def measure(options: argparse.Namespace) -> list[rig.Row]:
    """All visits, in turn; at the end the filmed ones."""
    names = options.only or NAMES
    visits: Visits = collections.defaultdict(list)
    async with asyncio.timeout(_LIMIT_SECONDS), _places(options, names) as rounds:
        for _ in range(options.rounds):
            for one in rounds:
                for name, visit in await one(None):
                    visits[name].append(visit)
                    print(f"{name}: {visit.at.get('output', visit.at.get('usable')):.2f} s", file=sys.stderr)
        for one in rounds if options.film else ():
            await one(options.film)
    return [*_rows(visits, names), _machine(options.rounds)]


Round = Callable[[Path | None], Awaitable[list[tuple[str, Visit]]]]


@contextlib.asynccontextmanager
async def _places(options: argparse.Namespace, names: Sequence[str]) -> AsyncIterator[list[Round]]:
    """What visits, as often as it is called; all that is needed runs meanwhile."""
    rounds: list[Round] = []
    image = await rig.image_id(options.image)
    async with contextlib.AsyncExitStack() as stack:
        if "stock" in names:
            other = await asyncio.to_thread(engine_support.build_with_the_internet, "stock")
            served = await stack.enter_async_context(stock.serving(other, options.chp_dir))
            rounds.append(functools.partial(_stock, served))
        if "floor" in names:
            address, token = await stack.enter_async_context(direct(image))
            rounds.append(functools.partial(_floor, f"{address}/lab/tree/{DOCUMENT}?token={token}"))
        if ours := [name for name in names if name not in ("stock", "floor")]:
            place = stack.enter_context(site("localhost"))
            services = {"": [f"--image={image}", *options.serve]}
            if options.other or options.other_image:
                services[OTHER] = [f"--image={await rig.image_id(options.other_image or image)}", *options.other]
            journeys: dict[str, list[Round]] = collections.defaultdict(list)
            for which, serve in services.items():
                for ready in sorted({0 if name == "wait" else 2 for name in ours}):
                    more = ["--cpu-quota=0", "--max-containers=2", f"--allow-origin={place.origin}"]
                    service = await stack.enter_async_context(rig.serving(*more, *serve, pool_size=ready))
                    await compressed(service)
                    for one in _journeys(service, place, which, ready):
                        journeys[one.name.removesuffix(which)].append(functools.partial(_ours, service, ready, one))
            rounds += [one for name in ours for one in journeys[name]]
        yield rounds


def _journeys(service: rig.Service, place: Site, which: str, ready: int) -> list[Journey]:
    home = f"http://127.0.0.1:{service.port}/"
    place.content[f"/{service.port}.html"] = f"""<!doctype html><title>A page</title>
        <script src="{home}live.js" data-workshop="{SLUG}" defer></script>
        <pre data-executable data-language="python">{html.escape("print('Total:', 12.8)")}</pre>
        <a href="{home}spawn?workshop={SLUG}">Open it</a>"""
    page = f"{place.origin}/{service.port}.html"
    if not ready:
        return [Journey(f"wait{which}", page, _open_linked, _in_lab)]
    return [
        Journey(f"button{which}", home, _open_live, _in_lab),
        Journey(f"link{which}", page, _open_linked, _in_lab),
        Journey(f"notes{which}", f"{home}workshops/{SLUG}/", _run, _in_notes),
        Journey(f"live{which}", page, _run, _in_notes),
    ]


# --- what visits


async def _stock(served: stock.Stock, place: Path | None) -> list[tuple[str, Visit]]:
    found = []
    async with newcomer() as browser:
        for name in ("stock, first", "stock, later"):
            async with served.container(DOCUMENT) as address:
                journey = Journey(name, "about:blank", functools.partial(_go, address), _in_lab)
                found.append((name, await _visit(browser, journey, place and place / name)))
    return found


async def _floor(address: str, place: Path | None) -> list[tuple[str, Visit]]:
    journey = Journey("floor", "about:blank", functools.partial(_go, address), _until_a_cell)
    async with newcomer() as browser:
        await _visit(browser, journey, None)
        await asyncio.sleep(2)  # what is fetched after the first cell was there is in the cache then, too
        return [("floor", await _visit(browser, journey, place and place / "floor"))]


async def _ours(service: rig.Service, ready: int, journey: Journey, place: Path | None) -> list[tuple[str, Visit]]:
    async with newcomer() as browser:

        async def visit(name: str) -> tuple[str, Visit]:
            await browser.clear_cookies()  # whoever comes back is led to the notebook that he has
            return name, await _visit(browser, journey, place and place / name)

        names = [f"{journey.name}, first", f"{journey.name}, later"]
        return [await in_turn(service, ready, functools.partial(visit, name)) for name in names]


async def _visit(browser: BrowserContext, journey: Journey, place: Path | None) -> Visit:
    page = await browser.new_page()
    await page.goto(journey.start)
    await page.evaluate("() => new Promise((done) => setTimeout(done, 500))")  # the page is there, and read
    session = await linked(page, throttled=True)
    line = Timeline(session)
    async with film.recorded(session, place) as frames:
        began = time.time()
        try:
            await journey.click(page)
            await journey.finish(page, line)
        except PlaywrightTimeoutError as error:
            raise TimeoutError from error
        if place:
            await asyncio.sleep(0.5)
    await page.close()
    at = {name: moment - began for name, moment in line.marks.items()}
    if place:
        told = ", ".join(f"{name} {moment:.2f} s" for name, moment in sorted(at.items(), key=lambda one: one[1]))
        film.keep(frames, began, place, journey.name, told)
    return Visit(at, line.size, line.requests)


async def _go(address: str, page: Page) -> None:
    await page.goto(address, wait_until="commit")


async def _open_live(page: Page) -> None:
    card = page.get_by_role("listitem").filter(has=page.locator(f"#{SLUG}"))
    await card.get_by_role("button", name="Open live").click(no_wait_after=True)


async def _open_linked(page: Page) -> None:
    await page.get_by_role("link", name="Open it").click(no_wait_after=True)


async def _run(page: Page) -> None:
    await page.locator(".tn-run").first.click(no_wait_after=True)


async def _until_a_cell(page: Page, line: Timeline) -> None:
    # JupyterLab shows an empty cell until the document is there.
    await page.locator(".jp-Notebook .jp-CodeCell .cm-content", has_text="cups").first.wait_for()
    line.usable(time.time())


async def _in_lab(page: Page, line: Timeline) -> None:
    """Press Run as soon as there is a cell to run, and again while nothing comes of it."""
    await _until_a_cell(page, line)
    cell = page.locator(".jp-Notebook .jp-CodeCell").first
    pressed = page.locator(".jp-InputPrompt").filter(has_text="*").or_(cell.locator(".jp-OutputArea-output"))
    await cell.locator(".cm-content").click()
    while True:
        await page.keyboard.press("Control+Enter")
        with contextlib.suppress(PlaywrightTimeoutError):
            await pressed.first.wait_for(timeout=_PRESSED_AGAIN)
            break
    await cell.locator(".jp-OutputArea-output", has_text=PRINTS).wait_for()
    line.marks["output"] = time.time()


async def _in_notes(page: Page, line: Timeline) -> None:
    await page.locator(".tn-outputs", has_text=PRINTS).first.wait_for()
    line.marks["output"] = time.time()


# --- the table


def _rows(visits: Visits, names: Sequence[str]) -> list[rig.Row]:
    floor = statistics.median(one.at["usable"] for one in visits["floor"]) if visits["floor"] else 0.0
    rows = []
    for name in names:
        for which in (name, f"{name}, first", f"{name}{OTHER}, first", f"{name}, later", f"{name}{OTHER}, later"):
            if visits[which]:
                rows += _of(visits[which], which, floor)
    return rows


def _of(visits: list[Visit], name: str, floor: float) -> list[rig.Row]:
    ours = name.startswith(("button", "link"))
    rows, usable, output = [], _median(visits, "usable"), _median(visits, "output")
    if usable is not None:
        limit = 1.15 * floor if floor and ours and name.endswith("first") else 0.0
        note = f"{usable / floor:.2f} x the floor; " if floor and name != "floor" else ""
        rows.append(_seconds(f"{name}: usable", usable, limit, note + _spread(visits, "usable")))
    if output is not None:
        limit = 1.3 * usable if usable and ours else 0.0
        note = f"{output / usable:.2f} x usable; " if usable else ""
        rows.append(_seconds(f"{name}: first output", output, limit, note + _spread(visits, "output")))
    before = "click"
    for part, moment in (_PARTS if usable else _PARTS_OF_NOTES).items():
        taken = [one.at[moment] - one.at.get(before, 0.0) for one in visits if moment in one.at]
        if taken:
            rows.append(rig.Row(f"  {part}", f"{statistics.median(taken):.2f} s"))
            before = moment
    told = [f"{moment} {at:.2f} s" for moment in _MOMENTS if (at := _median(visits, moment)) is not None]
    size = statistics.median(one.size for one in visits) / 1e6
    requests = round(statistics.median(one.requests for one in visits))
    rows.append(rig.Row("  over the link", f"{size:.2f} MB", note=f"{requests} requests; {', '.join(told)}"))
    return rows


def _seconds(what: str, value: float, limit: float, note: str) -> rig.Row:
    met = value <= limit if limit else None
    return rig.Row(what, f"{value:.2f} s", f"<= {limit:.2f} s" if limit else "", met, note)


def _median(visits: list[Visit], moment: str) -> float | None:
    found = [one.at[moment] for one in visits if moment in one.at]
    return statistics.median(found) if found else None


def _spread(visits: list[Visit], moment: str) -> str:
    found = [one.at[moment] for one in visits]
    return f"{min(found):.2f} to {max(found):.2f} s"


def _machine(rounds: int) -> rig.Row:
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    return rig.Row("machine", f"{os.cpu_count()} CPUs", note=f"{rounds} rounds, medians; load {load} at the end")


if __name__ == "__main__":
    main()
