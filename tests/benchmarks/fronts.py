"""A front end against the orchestrator's own proxy, before the same notebook in the same run; and what it holds.

    python -m tests.benchmarks.fronts [--only proxy|static|idle|table] [--json]

Both proxies run on processor 0, load and upstream on processor 1, and take turns. The front end reaches the
notebook's socket itself, as on one machine: what a relay costs is in `tests.benchmarks.swarm`. Needs Linux, root, a
Docker engine, wrk and openssl; `static` the workshop image as well.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.benchmarks import proxy, rig, service
from tests.benchmarks.rig import Row
from tests.ports import free_ports
from tests.swarm.relays import make_secret
from tmpnb_py.core.models import RelayedAddress, State
from tmpnb_py.fronts.hub import Hub
from tmpnb_py.fronts.ledger import Ledger
from tmpnb_py.fronts.pipes import Ways
from tmpnb_py.fronts.table import Table
from tmpnb_py.fronts.wire import Told
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container

_IDLE_SECONDS = 20.0
_READY_SECONDS = 180.0
_LISTENING_SECONDS = 30.0


@contextlib.asynccontextmanager
async def _fronted(*options: str) -> AsyncIterator[tuple[rig.Service, int, int]]:
    """A service, and the port and the process of a front end before it."""
    with tempfile.TemporaryDirectory(prefix="tmpnb-bench-") as directory:
        secret = make_secret(Path(directory) / "front.pem")
        front_port, port, admin = free_ports(3)
        ours = (f"--front-port={front_port}", "--front-ip=127.0.0.1", f"--front-secret={secret}")
        limits = ("--max-connections=20000", "--max-connections-per-address=0")
        prefix = rig.on_processor(0)
        command = [*prefix, sys.executable, "-m", "tmpnb_py", "front", "--ip=127.0.0.1", f"--port={port}", *limits]
        command += [f"--admin-port={admin}", f"--front-orchestrator=127.0.0.1:{front_port}"]
        command += [f"--front-secret={secret}", "--shutdown-timeout=1s"]
        more = ("--cpu-quota=0", "--max-containers=3")
        async with rig.serving(*ours, *options, *limits, *more, pool_size=1, prefix=prefix) as running:
            async with asyncio.timeout(_READY_SECONDS):
                await running.until_ready(1)
            process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            try:
                await _until(admin, "tmpnb_front_orchestrator_up 1.0")
                yield running, port, process.pid
            finally:
                await rig.end(process)


async def _until(admin: int, line: str) -> None:
    """Wait until a front end's metrics have a line."""
    async with asyncio.timeout(_LISTENING_SECONDS):
        while True:
            with contextlib.suppress(OSError):
                if line in (await rig.request(admin, "GET", "/metrics"))[1].decode():
                    return
            await asyncio.sleep(0.05)


async def _claimed(running: rig.Service) -> str:
    """The path of a notebook in use, without its first slash, once its replacement is ready."""
    status, body = await running.api("POST", "/api/spawn")
    if status != 200:
        raise RuntimeError(f"POST /api/spawn answered {status}")
    async with asyncio.timeout(_READY_SECONDS):
        await running.until_ready(1)
    await asyncio.sleep(1.0)  # the front end has heard of it
    return str(json.loads(body)["url"]).lstrip("/")


Pairs = tuple[list[float], list[float]]  # the front end's and the orchestrator's


def _compared(what: str, rates: Pairs, costs: Pairs) -> list[Row]:
    """Rates, and what one takes of a processor: that is true on a busy machine, too."""
    ratios = [ours / theirs for ours, theirs in zip(*costs, strict=True)]
    note = f"{min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs"
    rows = [
        Row(
            f"{what}: {whose}",
            f"{statistics.median(cost):.1f} us of CPU",
            "",
            None,
            f"{statistics.median(rate):,.0f} /s",
        )
        for whose, rate, cost in zip(("front end", "orchestrator's own proxy"), rates, costs, strict=True)
    ]
    return [*rows, Row(f"{what}: ratio of CPU", f"{statistics.median(ratios):.2f}", "", None, note)]


async def _requests(options: argparse.Namespace, contestants: list[tuple[int, str]]) -> tuple[Pairs, Pairs]:
    """Rates and costs of a GET by both: pairs of a process and a URL."""
    rates: Pairs = ([], [])
    costs: Pairs = ([], [])
    for number in range(options.rounds + 1):
        for which, (process, url) in enumerate(contestants):
            rate, _, cost = await proxy.wrk(process, options.seconds, url)
            if number:  # the first pair warms up
                rates[which].append(rate)
                costs[which].append(cost)
    return rates, costs


async def proxied(options: argparse.Namespace) -> list[Row]:
    """Small GETs, and WebSocket round trips."""
    async with _fronted(f"--image={proxy.IMAGE}", f"--command={proxy.NGINX}") as (running, port, pid):
        path = await _claimed(running)
        urls = [
            (pid, f"http://127.0.0.1:{port}/{path}api"),
            (running.pid, f"http://127.0.0.1:{running.port}/{path}api"),
        ]
        requests = await _requests(options, urls)
    rates: Pairs = ([], [])
    costs: Pairs = ([], [])
    async with _fronted(f"--image={proxy.IMAGE}", f"--command={proxy.SERVER}") as (running, port, pid):
        path = await _claimed(running)
        for _ in range(options.rounds):
            for which, (process, where) in enumerate(((pid, port), (running.pid, running.port))):
                used = rig.cpu_seconds(process)
                found = await proxy.load("echo", f"{where}/{path}ws", connections=64, seconds=options.seconds)
                used = rig.cpu_seconds(process) - used
                rates[which].append(found["per_second"])
                costs[which].append(used / (found["per_second"] * options.seconds) * 1e6)
    return [*_compared("small request", *requests), *_compared("WebSocket round trip", rates, costs)]


async def static(options: argparse.Namespace) -> list[Row]:
    """A shared static file from the front end's copy and from the orchestrator's; and what the copy takes."""
    async with _fronted(f"--image={await rig.image_id()}") as (running, port, pid):
        before = rig.memory_mib(pid)[0]
        async with asyncio.timeout(120):
            while not (found := running.events("static_files_shared")):
                await asyncio.sleep(0.1)
        address = found[0]["url"]
        name = await _named(running, address)
        await asyncio.sleep(8.0)  # the front end has its copy
        after = rig.memory_mib(pid)[0]
        urls = [(pid, f"http://127.0.0.1:{port}{name}"), (running.pid, f"http://127.0.0.1:{running.port}{name}")]
        measured = await _requests(options, urls)
    return [
        *_compared("shared file", *measured),
        Row("copy of JupyterLab's files", f"{after - before:.1f} MiB", "", None, f"RSS {after:.0f} MiB with it"),
    ]


async def _named(running: rig.Service, address: str) -> str:
    """The address of a small file of the tree: the tree's own list is on the disk."""
    digest = address.rpartition("/")[2]
    tree = json.loads((running.runtime_dir / "static" / running.pool / "trees" / f"{digest}.json").read_text())
    sizes = {name: size for name, (_, size) in tree["files"].items() if name.endswith(".js") and size > 4000}
    return f"{address}/{min(sizes, key=lambda name: sizes[name])}"


async def idle(options: argparse.Namespace) -> list[Row]:
    """A front end's CPU, and the orchestrator's, with WebSockets on which nothing happens."""
    count = options.websockets
    async with _fronted(f"--image={proxy.IMAGE}", f"--command={proxy.SERVER}") as (running, port, pid):
        path = await _claimed(running)
        before = rig.memory_mib(pid)[0]
        command = [*rig.on_processor(1), sys.executable, "-m", "tests.benchmarks.load", "idle", f"{port}/{path}ws"]
        pipe = asyncio.subprocess.PIPE
        holder = await asyncio.create_subprocess_exec(*command, f"--connections={count}", stdin=pipe, stdout=pipe)
        assert holder.stdout is not None
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await holder.stdout.readline()
            await asyncio.sleep(2.0)
            pids = (pid, running.pid)
            used, began = [rig.cpu_seconds(one) for one in pids], time.monotonic()
            await asyncio.sleep(_IDLE_SECONDS)
            took = time.monotonic() - began
            percents = [(rig.cpu_seconds(one) - was) / took * 100 for one, was in zip(pids, used, strict=True)]
            memory = (rig.memory_mib(pid)[0] - before) / count * 1024
        finally:
            await rig.end(holder)
    note = f"{count:,} idle WebSockets, of one CPU over {_IDLE_SECONDS:.0f} s"
    return [
        Row("front end, idle", f"{percents[0]:.2f} %", "", None, note),
        Row("  orchestrator meanwhile", f"{percents[1]:.2f} %"),
        Row("  memory per WebSocket", f"{memory:.1f} KiB"),
    ]


async def table(options: argparse.Namespace) -> list[Row]:
    """What so many sessions take in a front end's table, and how long whatever looks at all of them takes."""
    count = options.sessions
    containers = [
        Container(f"session{number:019}", "", "t" * 43, 0.0, State.CLAIMED, claimed_at=0.0) for number in range(count)
    ]
    for one in containers:
        address = RelayedAddress("node1", one.id, cast(Any, None))
        one.endpoint = cast(Any, SimpleNamespace(address=address, close=lambda: None))
    hub = _hub(containers)
    first = await _taking(hub._write_all_down)
    again = statistics.median([await _taking(hub._write_all_down) for _ in range(20)])
    ledger: Ledger = hub._ledger
    lines = ledger.since("", 0)
    gc.collect()
    before = rig.memory_mib(os.getpid())[0]
    ways = Ways(lambda: cast(Any, None))
    front = Table(ways, came=lambda _: None, ended=lambda _: None)
    began = time.process_time()
    for line in lines:
        front.hear(Told.model_validate_json(line), 1.0)
    heard = time.process_time() - began
    front.hear(Told(event="alive", epoch=ledger.epoch, seq=ledger.seq), 1.0)
    gc.collect()
    memory = (rig.memory_mib(os.getpid())[0] - before) / count * 1024
    _look_for_news(front)
    news = statistics.median(_look_for_news(front) for _ in range(20))
    await ways.close()
    size = sum(map(len, lines))
    note = f"{count:,} sessions"
    return [
        Row("memory of a session in a front end", f"{memory:.2f} KiB", "", None, note),
        Row("all routes, as they are told", f"{size / 2**20:.1f} MiB", "", None, note),
        Row("  read and put in force by the front end", f"{heard * 1000:.0f} ms", "", None, "50 at a time"),
        Row("looking for news to report, each second", f"{news * 1000:.2f} ms", "", None, "500 at a time"),
        Row("orchestrator: all written down", f"{first * 1000:.0f} ms", "", None, "once, 200 at a time"),
        Row("orchestrator: looking for changes", f"{again * 1000:.2f} ms", "", None, "each second"),
    ]


def _hub(containers: list[Container]) -> Hub:
    pool = SimpleNamespace(name="pool", in_state=lambda state: [one for one in containers if one.state is state])
    site = SimpleNamespace(pools={"pool": pool}, subscribe=lambda _: None, find=lambda _: None, listed=True)
    return Hub(cast(Any, site), cast(Any, None), LiveOptions(Settings()))


async def _taking(work: Callable[[], Awaitable[object]]) -> float:
    began = time.process_time()
    await work()
    return time.process_time() - began


def _look_for_news(table: Table) -> float:
    began = time.process_time()
    for part in table.parts():
        list(table.news(part, 2.0))
    return time.process_time() - began


def main() -> None:
    """Measure what was asked for; status 1 if something could not be measured."""
    measurements: dict[str, Callable[[argparse.Namespace], Awaitable[list[Row]]]] = {
        "proxy": proxied, "static": static, "idle": idle, "table": table,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description="Measure a front end against the orchestrator's own proxy.")
    parser.add_argument("--only", action="append", choices=list(measurements), help="measure only this")
    parser.add_argument("--rounds", type=int, default=5, help="pairs")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long one measurement of the proxy takes")
    parser.add_argument("--websockets", type=int, default=1000, help="for the measurement of idle")
    parser.add_argument("--sessions", type=int, default=10_000, help="for the measurement of table")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    names = options.only or list(measurements)
    if names != ["table"]:
        rig.need("wrk", "openssl")

    def measure(name: str) -> Callable[[], Awaitable[list[Row]]]:
        return lambda: measurements[name](options)

    service.run([(name, measure(name)) for name in names], as_json=options.json, prepare=proxy.build)


if __name__ == "__main__":
    main()
