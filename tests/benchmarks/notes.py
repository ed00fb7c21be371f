"""How long a reader of our notes, or of another site's page with `/live.js`, waits for the first output.

    python -m tests.benchmarks.notes [--times 3] [--far 40] [--intent press] [--only notes|live] [--warm default|all]
        [-- OPTION …]

In Chromium, on a pool hit each time, with the workshop image: from the click on "Run" to the output of a first line
of code, which claims a notebook and gets a kernel, and then to that of a second one, with what each step of it took,
and what the page weighs. Each row is for what the service has warm by itself (`default`) and for all kernels
configured as warm (`all`), in turn within each round. `--far` puts so many milliseconds of round trip between browser
and service, for each connection that is made, too. Needs a Docker engine and Chromium; ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import functools
import itertools
import re
import secrets
import statistics
from collections.abc import AsyncIterator, Sequence

from playwright.async_api import Page

from tests.benchmarks import rig
from tests.benchmarks.service import run
from tests.e2e.cutting import Front
from tests.e2e.service import Service, run_service
from tests.e2e.sites import Site, site
from tests.e2e.test_clients import end_all
from tests.integration.browser_support import browser

_START_SECONDS = 300.0
_AIM = 250.0  # milliseconds from "Run" to the first output on notes, in each language, with its kernel warm
WARM = {"default": "--warm-kernels=auto", "all": "--warm-kernels=python3,ir,octave,bash"}

# By the notes' name: the language of a block in another site's page, and what prints 42.
CODE = {
    "introduction-to-python": ("python", "print(6 * 7)"),
    "introduction-to-r": ("r", "cat(6 * 7)"),
    "introduction-to-octave": ("octave", "disp(6 * 7)"),
    "the-shell-for-data-work": ("bash", "echo $((6 * 7))"),
}

# What the page waits for, on its own clock: each step's end is noted where the page sees it.
WATCH = """
window.steps = {};
const note = (name) => { window.steps[name] ??= performance.now(); };
const fetched = window.fetch;
window.fetch = async (...given) => {
    const answer = await fetched(...given);
    if (String(given[0]).includes("/api/tickets")) note("claim");
    if (String(given[0]).includes("/api/sessions")) note("session");
    return answer;
};
const Plain = window.WebSocket;
window.WebSocket = class extends Plain {
    constructor(...given) {
        super(...given);
        this.addEventListener("open", () => note("websocket"));
        this.addEventListener("message", ({data}) => {
            if (/"text": ?"42/.test(data)) note("execution");
        });
    }
};
"""
STEPS = ("claim", "session", "websocket", "execution", "drawn")


async def output(page: Page, cell: int, code: str, intent: str) -> dict[str, float]:
    """Milliseconds of each step from the click on, and of all, on the page's own clock.

    What was done before the click took none. `intent`: the code is there and "Run" is clicked by a program ("none"),
    by a mouse that comes to it and presses it for 80 ms ("press"), or the code is typed a second before ("type").
    """
    place = page.locator(".tn-cell").nth(cell)
    field, run = place.get_by_role("textbox"), place.locator(".tn-run")
    if intent == "type":
        await field.fill(code)
        await asyncio.sleep(1)
    else:
        await field.evaluate("(field, code) => { field.value = code; }", code)
    await place.evaluate(
        """(cell) => {
            window.steps = {};
            const clicked = new Promise((resolve) => {
                const began = () => resolve(performance.now());
                cell.querySelector(".tn-run").addEventListener("click", began, {capture: true, once: true});
            });
            window.measured = new Promise((resolve) => {
                new MutationObserver(async () => {
                    if (!cell.querySelector(".tn-outputs").textContent.includes("42")) return;
                    resolve({...window.steps, drawn: performance.now(), began: await clicked});
                }).observe(cell, {childList: true, subtree: true, characterData: true});
            });
        }"""
    )
    if intent == "press":
        await run.hover()
        await asyncio.sleep(0.3)
        await run.click(delay=80)
    else:
        await run.evaluate("(button) => button.click()")
    moments: dict[str, float] = await page.evaluate("() => window.measured")
    took, before = {"all": moments["drawn"] - moments["began"]}, moments["began"]
    for name in STEPS:
        took[name] = max(0.0, moments.get(name, 0.0) - before)
        before = max(before, moments.get(name, 0.0))
    return took


async def reader(address: str, code: str, intent: str) -> list[dict[str, float]]:
    """A newcomer's first and second output."""
    async with browser() as context:
        page = await context.new_page()
        await page.add_init_script(WATCH)
        await page.goto(address)
        return [await output(page, 0, code, intent), await output(page, 1, code, intent)]


class Far(Front):
    """A long line: what is sent arrives half a round trip later, and a connection is made in a whole one."""

    def __init__(self, port: int, round_trip: float) -> None:
        super().__init__(port)
        self._seconds = round_trip / 2

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await asyncio.sleep(2 * self._seconds)
        return await super()._connected()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop, sent = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

        async def deliver() -> None:
            with contextlib.suppress(OSError):
                while True:
                    due, data = await sent.get()
                    await asyncio.sleep(due - loop.time())
                    if not data:
                        return
                    writer.write(data)

        async with asyncio.TaskGroup() as group:
            group.create_task(deliver())
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    sent.put_nowait((loop.time() + self._seconds, data))
            sent.put_nowait((loop.time() + self._seconds, b""))
        writer.close()


@contextlib.asynccontextmanager
async def _reached(service: Service, round_trip: float) -> AsyncIterator[str]:
    """The service's address, at this distance."""
    if not round_trip:
        yield service.url
        return
    far = Far(int(service.url.rstrip("/").rpartition(":")[2]), round_trip)
    async with await asyncio.start_server(far.accepted, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


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


async def measure(options: argparse.Namespace) -> list[rig.Row]:
    """Readers of both services, in turn in each round; of each notebook a newcomer."""
    found: dict[tuple[str, str, str], list[list[dict[str, float]]]] = collections.defaultdict(list)
    with contextlib.ExitStack() as stack:
        blog = stack.enter_context(site("localhost"))
        # Nothing is started meanwhile: it would take the browser's CPU time, which visitors have elsewhere.
        wishes = ["--pool-size=1", "--max-containers=1", "--cpu-quota=0", f"--allow-origin={blog.origin}"]
        services = {}
        for warm in options.warm or WARM:
            serving = run_service(f"notes{secrets.token_hex(4)}", *wishes, *options.options, WARM[warm])
            services[warm] = stack.enter_context(serving)
        for service in services.values():
            service.wait_for("static_files_shared", seconds=_START_SECONDS)
        rows = await _weights(next(iter(services.values())))
        async with contextlib.AsyncExitStack() as lines:
            far = options.far / 1000
            addresses = {warm: await lines.enter_async_context(_reached(one, far)) for warm, one in services.items()}
            for _ in range(options.times):
                for (slug, (language, code)), (warm, service) in itertools.product(CODE.items(), services.items()):
                    for where, page in _pages(blog, addresses[warm], slug, language).items():
                        if where in (options.only or ("notes", "live")):
                            await service.stats_when(lambda stats: stats["available"] == 1, _START_SECONDS)
                            found[where, language, warm].append(await reader(page, code, options.intent))
                            await end_all(service)
    for key, visits in found.items():
        rows += _rows(*key, visits)
    return rows


def _pages(blog: Site, address: str, slug: str, language: str) -> dict[str, str]:
    """Our notes, and another site's page with two blocks."""
    block = f'<pre data-executable data-language="{language}">1</pre>'
    blog.content[f"/{slug}.html"] = f'<script src="{address}live.js" defer></script>{2 * block}'
    return {"notes": f"{address}workshops/{slug}/", "live": f"{blog.origin}/{slug}.html"}


async def _weights(service: Service) -> list[rig.Row]:
    return [
        rig.Row(re.sub("-[0-9a-f]{12}", "", path), f"{compressed} bytes", note=f"{plain} not compressed")
        for path, compressed, plain in await weigh(service, "introduction-to-r")
    ]


def _rows(where: str, language: str, warm: str, visits: Sequence[Sequence[dict[str, float]]]) -> list[rig.Row]:
    """Of the first output, for which the aim is, and of the second."""
    rows = []
    for which, took in zip(("first", "second"), zip(*visits, strict=True), strict=True):
        median = statistics.median(one["all"] for one in took)
        row = rig.Row(f"{where}, {language}, {which} output, warm: {warm}", f"{median:.0f} ms", note=summary(took))
        has_aim = (where, which, warm) == ("notes", "first", "all")
        rows.append(dataclasses.replace(row, aim=f"<= {_AIM:.0f} ms", met=median <= _AIM) if has_aim else row)
    return rows


def summary(took: Sequence[dict[str, float]]) -> str:
    """Extremes, and medians of each step."""
    alls = [one["all"] for one in took]
    steps = [
        f"{name} {statistics.median(one[name] for one in took):.0f}"
        for name in STEPS
        if any(one[name] for one in took)
    ]
    return f"{len(took)} times, {min(alls):.0f} to {max(alls):.0f} ms: {', '.join(steps)}"


def main() -> None:
    """Measure and print; status 1 where something was missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--far", type=float, default=0.0, help="milliseconds of a round trip to the service")
    parser.add_argument("--intent", choices=("none", "press", "type"), default="none")
    parser.add_argument("--only", action="append", choices=("notes", "live"))
    parser.add_argument("--warm", action="append", choices=list(WARM), help="only with these kernels")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("options", nargs="*", help="more options of serve, after --")
    options = parser.parse_args()
    rig.need("chromium", images=[rig.IMAGE])
    run([("notes", functools.partial(measure, options))], as_json=options.json)


if __name__ == "__main__":
    main()
