"""The data plane against its peers, on loopback: one table of ratios.

    python -m tests.benchmarks.proxy [--only small|varied|websocket|bulk|latency|sessions|idle|memory] [--json]

Ours is the product's real path: `tmpnb-py serve` with real containers, all its checks, limits, stamps and metrics.
Every peer reaches the very same Unix socket. Each proxy runs on processor 0, load and upstream on processor 1, and
they take turns, so that a noisy machine is as noisy for all. Only `sessions` has the pool without an engine, because
ten thousand containers do not fit here. Needs Linux, root, a Docker engine, nginx, haproxy, wrk, node and npm; what
is missing is said in the table.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from tests import engine_support
from tests.benchmarks import peers, rig, service
from tests.benchmarks.peers import Peer
from tests.benchmarks.rig import Row
from tests.ports import free_ports

IMAGE = "tmpnb-py-bench/upstream"
CONTEXT = Path(__file__).parent / "upstream"
NGINX = 'sed "s#LISTEN#unix:{socket}#" /nginx.conf > /tmp/nginx.conf && exec nginx -c /tmp/nginx.conf'
SERVER = "exec python3 /server.py {socket}"
OURS = "tmpnb-py"
_CONNECTIONS = 32
_GB = 1 << 30


class Bench:
    """Our service and its peers in front of one container."""

    def __init__(self, service: rig.Service, container: str, others: list[Peer], missing: dict[str, str]) -> None:
        self.service = service
        self.container = container
        self.missing = missing
        self.contestants = [Peer(OURS, service.port, service.pid), *others]

    @property
    def socket(self) -> Path:
        """Where the container listens."""
        return self.service.runtime_dir / "sockets" / self.service.pool / self.container / "server.sock"

    def path(self, rest: str) -> str:
        """A path of the container, without its first slash."""
        return f"user/{self.container}/{rest}"


@contextlib.asynccontextmanager
async def bench(command: str, installed: Path | None, *, alone: bool = False) -> AsyncIterator[Bench]:
    """`tmpnb-py serve` with one claimed container, and the peers unless it is to be `alone`."""
    options = (f"--image={IMAGE}", f"--command={command}", "--cpu-quota=0", "--max-containers=3")
    limits = ("--max-connections=20000", "--max-connections-per-address=0")
    async with rig.serving(*options, *limits, pool_size=1, prefix=rig.on_processor(0)) as running:
        async with asyncio.timeout(60):
            await running.until_ready(1)
        status, body = await running.api("POST", "/api/spawn")
        if status != 200:
            raise RuntimeError(f"POST /api/spawn answered {status}")
        container = json.loads(body)["id"]
        async with asyncio.timeout(60):
            await running.until_ready(1)  # its replacement must not start in the midst of the measurement
        await _pin_upstream(running, container)
        if alone:
            yield Bench(running, container, [], {})
            return
        async with peers.started(Bench(running, container, [], {}).socket, installed) as (others, missing):
            yield Bench(running, container, others, missing)


async def _pin_upstream(running: rig.Service, container: str) -> None:
    """Keep the container off the proxies' processor."""
    if not rig.on_processor(1):
        return
    filters = ("--filter", f"label={rig.LABEL_POOL}={running.pool}", "--filter", f"label=org.tmpnb.id={container}")
    name = await rig.docker("ps", "--quiet", *filters)
    for line in (await rig.docker("top", name, "-o", "pid")).splitlines()[1:]:
        os.sched_setaffinity(int(line), {1})


async def build() -> None:
    """The image of the upstream servers."""
    await asyncio.to_thread(engine_support.build_image, IMAGE, CONTEXT)


async def load(kind: str, *targets: str, **options: float) -> dict[str, float]:
    """Run the load generator on processor 1."""
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [*rig.on_processor(1), sys.executable, "-m", "tests.benchmarks.load", kind, *targets, *flags]
    return dict(json.loads(await rig.run(*command, seconds=180)))


# --- small requests


async def small(options: argparse.Namespace) -> list[Row]:
    """Small GETs on kept-alive connections, all alike."""
    async with bench(NGINX, options.chp_dir) as one:
        return await _race(one, "small GETs", options.rounds, options.seconds, strict=True)


async def varied(options: argparse.Namespace) -> list[Row]:
    """The same with a browser's headers, of which one differs each time: nothing can be remembered."""
    async with bench(NGINX, options.chp_dir) as one:
        return await _race(one, "varied GETs", options.rounds, options.seconds, strict=False)


VARIED = """\
local n = 0
local headers = {{
  ["Accept"] = "*/*", ["Accept-Encoding"] = "gzip, deflate, br, zstd", ["Accept-Language"] = "en-GB,en;q=0.9",
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0",
  ["Cookie"] = "_xsrf=2|d3b07384|113edec49eaa6238ad5ff00|1732480000; username=2|1:0|10:1732480000|8:username|44:Y2Jh",
  ["Referer"] = "http://localhost/{path}", ["Sec-Fetch-Site"] = "same-origin", ["Sec-Fetch-Mode"] = "cors",
}}
request = function()
  n = n + 1
  headers["X-Number"] = tostring(n)
  return wrk.format("GET", "/{path}?" .. n, headers)
end
"""


async def _race(one: Bench, what: str, rounds: int, seconds: float, *, strict: bool) -> list[Row]:
    rates: dict[str, list[float]] = {peer.name: [] for peer in one.contestants}
    tails: dict[str, list[float]] = {peer.name: [] for peer in one.contestants}
    costs: dict[str, list[float]] = {peer.name: [] for peer in one.contestants}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(VARIED.format(path=one.path("api")))
        script.flush()
        for number in range(rounds + 1):
            for peer in one.contestants:
                url = f"http://127.0.0.1:{peer.port}/{one.path('api')}"
                arguments = (url,) if strict else ("--script", script.name, url)
                rate, tail, cost = await wrk(peer.pid, seconds if number else 1.0, *arguments)
                if number:  # the first round only warms up
                    rates[peer.name].append(rate)
                    tails[peer.name].append(tail)
                    costs[peer.name].append(cost)
    rows = []
    for name, values in rates.items():
        value = f"{statistics.median(values):,.0f} /s"
        note = f"p99 {statistics.median(tails[name]):.2f} ms, {statistics.median(costs[name]):.1f} us of CPU each"
        rows.append(Row(f"{what}: {name}", value, note=note))
    rows += _missing_rows(what, one)
    floors = {"nginx": (0.5, 0.8), "configurable-http-proxy": (6.0, 10.0)} if strict else {}
    for name in ("nginx", "haproxy", "configurable-http-proxy", "aiohttp"):
        if name in rates:
            rows.append(_ratio(f"{what}: requests/s against {name}", rates[OURS], rates[name], floors.get(name)))
    if strict and "nginx" in tails:
        rows.append(_ratio(f"{what}: p99 against nginx", tails[OURS], tails["nginx"], (2.0, 1.2), less=True))
    return rows


async def wrk(pid: int, seconds: float, *arguments: str) -> tuple[float, float, float]:
    """Requests/s, the 99th percentile in milliseconds, and microseconds of the process's CPU per request."""
    duration = max(1, round(seconds))
    used = rig.cpu_seconds(pid)
    output = await rig.run(
        *rig.on_processor(1), "wrk", "--threads=1", f"--connections={_CONNECTIONS}", "--latency",
        f"--duration={duration}s", *arguments, seconds=duration + 30,
    )  # fmt: skip
    used = rig.cpu_seconds(pid) - used
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk saw errors: {output}")
    counted = re.search(r"(\d+) requests in .*Requests/sec:\s*([\d.]+)", output, re.DOTALL)
    tail = re.search(r"99%\s+([\d.]+)(us|ms|s)", output)
    if counted is None or tail is None:
        raise RuntimeError(f"wrk said: {output}")
    milliseconds = float(tail[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[tail[2]]
    return float(counted[2]), milliseconds, used / int(counted[1]) * 1e6


def _ratio(
    what: str, ours: list[float], theirs: list[float], goals: tuple[float, float] | None, *, less: bool = False
) -> Row:
    """The median of the ratios round by round; `goals` are what must be and what is aimed at."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    value = statistics.median(ratios)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    if goals is None:
        return Row(what, f"{value:.2f} x", note=spread)
    must, aim = goals
    met = value <= must if less else value >= must
    sign = "<=" if less else ">="
    return Row(what, f"{value:.2f} x", f"{sign} {must:g} x, aim {aim:g} x", met, spread)


def _missing_rows(what: str, one: Bench) -> list[Row]:
    return [Row(f"{what}: {name}", "not measured", note=why) for name, why in one.missing.items()]


# --- WebSockets, bulk, latency


async def websocket(options: argparse.Namespace) -> list[Row]:
    """Round trips of 200-byte messages on 64 connections, one message under way on each."""
    rates: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    async with bench(SERVER, options.chp_dir) as one:
        frames = [peer for peer in one.contestants if peer.name != "aiohttp"]  # it masks anew: no echo byte by byte
        for _ in range(options.rounds):
            for peer in frames:
                used = rig.cpu_seconds(peer.pid)
                target = f"{peer.port}/{one.path('ws')}"
                result = await load("echo", target, connections=64, seconds=options.seconds)
                rates.setdefault(peer.name, []).append(result["per_second"])
                used = rig.cpu_seconds(peer.pid) - used
                costs.setdefault(peer.name, []).append(used / options.seconds / result["per_second"] * 1e6)
        rows = [
            Row(
                f"WebSocket echo: {name}",
                f"{statistics.median(values):,.0f} /s",
                note=f"{statistics.median(costs[name]):.1f} us of CPU each",
            )
            for name, values in rates.items()
        ]
        rows += _missing_rows("WebSocket echo", one)
    if "nginx" in rates:
        rows.append(_ratio("WebSocket echo: round trips/s against nginx", rates[OURS], rates["nginx"], (0.7, 1.0)))
    return rows


async def bulk(options: argparse.Namespace) -> list[Row]:
    """100 MB down and up, four at a time."""
    rows: list[Row] = []
    for kind, command, path in (("download", NGINX, "100MB"), ("upload", SERVER, "sink")):
        rates: dict[str, list[float]] = {}
        async with bench(command, options.chp_dir) as one:
            for _ in range(options.rounds):
                for peer in one.contestants:
                    result = await load(kind, f"{peer.port}/{one.path(path)}")
                    rates.setdefault(peer.name, []).append(result["mb_per_second"])
            rows += [Row(f"{kind}: {name}", f"{statistics.median(v):,.0f} MB/s") for name, v in rates.items()]
            rows += _missing_rows(kind, one)
        if "nginx" in rates:
            rows.append(_ratio(f"{kind}: MB/s against nginx", rates[OURS], rates["nginx"], (0.7, 1.0)))
    return rows


async def latency(options: argparse.Namespace) -> list[Row]:
    """What a proxy adds to one request at a time, against the bare socket in the same process."""
    rows: list[Row] = []
    async with bench(NGINX, options.chp_dir) as one:
        path = one.path("api")
        bare = f"unix:{one.socket}:/{path}"
        targets = {peer.name: f"{peer.port}/{path}" for peer in one.contestants}
        medians = await load("latency", bare, *targets.values(), seconds=options.seconds * 2)
        rows.append(Row("latency: bare upstream", f"{medians[bare]:.0f} us"))
        for name, target in targets.items():
            added = medians[target] - medians[bare]
            aim = "<= 150 us, aim 60 us" if name == OURS else ""
            met = added <= 150 if name == OURS else None
            rows.append(Row(f"latency: added by {name}", f"{added:.0f} us", aim, met))
        rows += _missing_rows("latency", one)
    return rows


# --- many


_CYCLE = """\
local ids, n = {{{ids}}}, 0
request = function()
  n = n % #ids + 1
  return wrk.format("GET", "/user/" .. ids[n] .. "/api")
end
"""


async def sessions(options: argparse.Namespace) -> list[Row]:
    """10,000 routes against ten: with ten of them in use, and with 1,000.

    The first is what look-ups cost. The second is also what 1,000 connections cost the caches of any processor, on
    the upstream's side as well: nginx with as many upstreams says how much of it is anybody's.
    """
    kinds = {
        "few": (_many, 10, 10), "routes": (_many, 10_000, 10), "sessions": (_many, 10_000, 1_000),
        "nginx few": (_many_of_nginx, 10, 10), "nginx": (_many_of_nginx, 1_000, 1_000),
    }  # fmt: skip
    if shutil.which("nginx") is None:
        kinds = {name: kind for name, kind in kinds.items() if not name.startswith("nginx")}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    async with bench(NGINX, None, alone=True) as one:
        for number in range(options.rounds + 1):
            for name, (start, count, used) in kinds.items():
                async with start(one.socket, count, used) as (peer, script):
                    url = f"http://127.0.0.1:{peer.port}/"
                    await wrk(peer.pid, 2.0, "--script", script, url)
                    rate, _, cost = await wrk(peer.pid, options.seconds, "--script", script, url)
                    if number:
                        rates[name].append(rate)
                        costs[name].append(cost)
    rows = []
    for name, fewer, what in (
        ("routes", "few", "10,000 routes against 10, ten in use"),
        ("sessions", "few", "1,000 in use against ten"),
        ("nginx", "nginx few", "1,000 in use against ten, nginx"),
    ):
        if name not in rates:
            rows.append(Row(f"{what}: loss", "not measured", note="nginx is not installed"))
            continue
        losses = [1 - more / less for less, more in zip(rates[fewer], rates[name], strict=True)]
        loss = statistics.median(losses) * 100
        few, many = (f"{statistics.median(rates[one]):,.0f}" for one in (fewer, name))
        cheap, dear = (f"{statistics.median(costs[one]):.1f}" for one in (fewer, name))
        note = f"{few} and {many} /s, {cheap} and {dear} us of CPU each"
        if name == "nginx":
            rows.append(Row(f"{what}: loss", f"{loss:.1f} %", note=note))
        else:
            rows.append(
                Row(f"{what}: loss", f"{loss:.1f} %", "< 3 %, aim none", loss < 3, f"{note}; without an engine")
            )
    return rows


@contextlib.asynccontextmanager
async def _many_of_nginx(socket: Path, count: int, used: int) -> AsyncIterator[tuple[Peer, str]]:
    ids = [f"session{number:019}" for number in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmpnb-bench-"))) / "socket"
        short.symlink_to(socket)
        peer = await peers.nginx(short, stack, ids)
        yield peer, stack.enter_context(_cycling(ids[:used]))


@contextlib.contextmanager
def _cycling(ids: list[str]) -> Iterator[str]:
    """A script of wrk's that asks one session after the other."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_CYCLE.format(ids=", ".join(f'"{one}"' for one in ids)))
        script.flush()
        yield script.name


@contextlib.asynccontextmanager
async def _many(socket: Path, count: int, used: int) -> AsyncIterator[tuple[Peer, str]]:
    port = free_ports(1)[0]
    command = [*rig.on_processor(0), sys.executable, "-m", "tests.benchmarks.many_sessions"]
    process = await asyncio.create_subprocess_exec(
        *command, str(port), str(socket), str(count), stdout=asyncio.subprocess.PIPE, limit=1 << 20
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            ids = json.loads(await process.stdout.readline())[:used]
        with _cycling(ids) as script:
            yield Peer("many", port, process.pid), script
    finally:
        await rig.end(process)


async def idle(options: argparse.Namespace) -> list[Row]:
    """5,000 WebSockets on which nothing happens."""
    count = options.idle_connections
    async with bench(SERVER, None, alone=True) as one:
        pid, port = one.service.pid, one.service.port
        _, body = await one.service.api("POST", "/api/spawn")  # one container may open 4096 files
        targets = [f"{port}/{one.path('ws')}", f"{port}/user/{json.loads(body)['id']}/ws"]
        await load("echo", targets[0], connections=64, seconds=1.0)
        before = rig.memory_mib(pid)[0]
        command = [sys.executable, "-m", "tests.benchmarks.load", "idle", *targets]
        process = await asyncio.create_subprocess_exec(
            *rig.on_processor(1), *command, f"--connections={count}",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            async with asyncio.timeout(120):
                line = await process.stdout.readline()
            if not line:
                raise RuntimeError("the WebSockets could not be opened")
            await asyncio.sleep(2)
            each = (rig.memory_mib(pid)[0] - before) * 1024 / count
            used = rig.cpu_seconds(pid)
            await asyncio.sleep(10)
            share = (rig.cpu_seconds(pid) - used) * 10
        finally:
            await rig.end(process)
    return [
        Row(f"{count:,} idle WebSockets: memory each", f"{each:.1f} KiB", "<= 25 KiB, aim 10 KiB", each <= 25),
        Row(f"{count:,} idle WebSockets: CPU", f"{share:.1f} %", "< 1 %", share < 1),
    ]


# --- memory


async def memory(options: argparse.Namespace) -> list[Row]:
    """1 GiB through while one of the four ends is slow: how much the process grows."""
    rows: list[Row] = []
    async with bench(SERVER, None, alone=True) as one:
        port, pid = one.service.port, one.service.pid
        cases: dict[str, Callable[[], Awaitable[None]]] = {
            "slow reader of a download": lambda: _download(port, one.path(f"bytes/{_GB}"), slowly=True),
            "slow writer of a download": lambda: _download(port, one.path(f"slowly/{_GB}"), slowly=False),
            "slow writer of an upload": lambda: _upload(port, one.path("sink"), slowly=True),
            "slow reader of an upload": lambda: _upload(port, one.path("slowly"), slowly=False),
        }
        await _download(port, one.path(f"bytes/{_GB // 8}"), slowly=False)  # what is allocated once
        await _upload(port, one.path("sink"), slowly=False, size=_GB // 8)
        for name, transfer in cases.items():
            growth = await _growth(pid, transfer())
            rows.append(Row(f"1 GiB, {name}: growth", f"{growth:.1f} MiB", "< 8 MiB, aim 2 MiB", growth < 8))
    return rows


async def _growth(pid: int, transfer: Awaitable[None]) -> float:
    before = highest = rig.memory_mib(pid)[0]
    task = asyncio.ensure_future(transfer)
    while not task.done():
        await asyncio.wait((task,), timeout=0.05)
        highest = max(highest, rig.memory_mib(pid)[0])
    await task
    return highest - before


async def _download(port: int, path: str, *, slowly: bool) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 18)
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    total = 0
    while block := await reader.read(1 << 18):
        total += len(block)
        if slowly:
            await asyncio.sleep(0.0005)
    writer.close()
    if total < int(path.rpartition("/")[2]):
        raise RuntimeError("the download broke off")


async def _upload(port: int, path: str, *, slowly: bool, size: int = _GB) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode())
    block = bytes(1 << 20)
    for _ in range(size // len(block)):
        writer.write(block)
        await writer.drain()
        if slowly:
            await asyncio.sleep(0.002)
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    if b" 200 " not in head:
        raise RuntimeError(f"the upload was answered by {head!r}")


MEASUREMENTS: dict[str, Callable[[argparse.Namespace], Awaitable[list[Row]]]] = {
    "small": small,
    "varied": varied,
    "websocket": websocket,
    "bulk": bulk,
    "latency": latency,
    "sessions": sessions,
    "idle": idle,
    "memory": memory,
}


def main() -> None:
    """Run what was asked for; status 1 if something could not be measured."""
    parser = argparse.ArgumentParser(description="Measure the data plane against its peers.")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="measure only this; may be repeated")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which all take their turns")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each turn")
    parser.add_argument("--idle-connections", type=int, default=5000)
    parser.add_argument("--chp-dir", type=Path, help="where `npm install configurable-http-proxy` was run before")
    options = parser.parse_args()
    chosen = [(name, _bound(MEASUREMENTS[name], options)) for name in options.only or MEASUREMENTS]
    rig.need()
    service.run(chosen, as_json=options.json, prepare=build)


def _bound(measure: Callable[[Any], Awaitable[list[Row]]], options: argparse.Namespace) -> service.Measure:
    return lambda: measure(options)


if __name__ == "__main__":
    main()
