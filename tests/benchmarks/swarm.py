"""A swarm of three nodes against the Docker engine alone, in the same run, and what losing a node costs.

    python -m tests.benchmarks.swarm [--only claim|refill|proxy|idle|loss|rounds|managers] [--json]

The nodes are network namespaces of this machine (`tests/swarm/nodes.py`), so all of them together have its processors
and no more: what a notebook costs beside its container (Swarm's agreement, the relay, TLS) shows, and what further
machines would add does not. Both services start the same image of a small upstream server. Needs Linux, root, a
Docker engine, wrk, and what a swarm of one's own needs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.benchmarks import bare_swarm, many_services, proxy, rig, service
from tests.benchmarks.rig import Row, Service
from tests.swarm.nodes import Node
from tests.swarm.relays import RelaysOfNodes, swarm_with_relays

_SIZE = 12
_FILL_SECONDS = 300.0
_SETTLE_SECONDS = 3.0
_IDLE_SECONDS = 30.0

Measure = Callable[[argparse.Namespace], Awaitable[list[Row]]]


@contextlib.asynccontextmanager
async def _nodes() -> AsyncIterator[RelaysOfNodes]:
    """Three nodes with relays and the upstream's image."""
    with contextlib.ExitStack() as stack:
        yield await asyncio.to_thread(stack.enter_context, swarm_with_relays(proxy.IMAGE))


@contextlib.asynccontextmanager
async def _on_docker(command: str, size: int, *more: str) -> AsyncIterator[Service]:
    async with rig.serving(*_options(command, size), *more, pool_size=size) as running:
        yield running


@contextlib.asynccontextmanager
async def _on_one_node(relays: RelaysOfNodes, command: str, size: int) -> AsyncIterator[Service]:
    """A service that uses the first node's engine as one that is in no swarm: nobody else uses that one."""
    prefix = ("env", f"DOCKER_HOST={relays.swarm.manager.host}")
    async with rig.serving("--engine=docker", *_options(command, size), pool_size=size, prefix=prefix) as running:
        yield running


@contextlib.asynccontextmanager
async def _on_swarm(relays: RelaysOfNodes, command: str, size: int, *more: str) -> AsyncIterator[Service]:
    """A service beside the swarm, which it reaches over the network as a task of it would."""
    options = ("--engine=swarm", f"--swarm-relays={','.join(relays.names)}", f"--swarm-secret={relays.secret}")
    prefix = ("env", f"DOCKER_HOST={relays.swarm.manager.host}")
    async with rig.serving(*options, *_options(command, size), *more, pool_size=size, prefix=prefix) as running:
        yield running


def _options(command: str, size: int) -> tuple[str, ...]:
    return (
        f"--image={proxy.IMAGE}", f"--command={command}", f"--max-containers={size + 4}", "--mem-limit=64m",
        "--cpu-quota=0", "--max-connections=20000", "--max-connections-per-address=0",
    )  # fmt: skip


async def _full(running: Service, size: int) -> None:
    async with asyncio.timeout(_FILL_SECONDS):
        await running.until_full(size)


async def _spawn(running: Service) -> dict[str, Any]:
    status, body = await running.api("POST", "/api/spawn")
    if status != 200:
        raise RuntimeError(f"POST /api/spawn answered {status}: {running.last_words()}")
    session: dict[str, Any] = json.loads(body)
    return session


async def _end(running: Service, session: dict[str, Any]) -> None:
    url = f"http://127.0.0.1:{running.port}/api/sessions/{session['id']}"
    header = f"Authorization: token {session['token']}"
    await rig.run("curl", "--silent", "--fail", "--request", "DELETE", "--header", header, url)


def _compared(
    what: str, swarm: list[float], docker: list[float], unit: str, *, aim: float | None = None
) -> list[Row]:
    """Both medians, and the median of the pairs' ratios; `aim` is what the ratio is to reach."""
    ratios = [ours / theirs for ours, theirs in zip(swarm, docker, strict=True)]
    ratio = statistics.median(ratios)
    return [
        Row(f"{what}: swarm", f"{statistics.median(swarm):,.1f} {unit}"),
        Row(f"{what}: Docker alone", f"{statistics.median(docker):,.1f} {unit}"),
        Row(
            f"{what}: swarm / Docker", f"{ratio:.2f}", "" if aim is None else f">= {aim:g}",
            None if aim is None else ratio >= aim, f"{min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} pairs",
        ),
    ]  # fmt: skip


# --- each measurement


async def claim(options: argparse.Namespace) -> list[Row]:
    """`POST /api/spawn` on a full pool, in turn."""
    times: dict[int, list[float]] = {0: [], 1: []}
    async with (
        _nodes() as relays,
        _on_swarm(relays, proxy.NGINX, 3) as swarm,
        _on_docker(proxy.NGINX, 3) as docker,
    ):
        for number in range(options.rounds * 5 + 1):
            for which, running in enumerate((swarm, docker)):
                await _full(running, 3)
                await asyncio.sleep(0.3)
                began = time.perf_counter()
                session = await _spawn(running)
                if number:  # the first pair warms up
                    times[which].append((time.perf_counter() - began) * 1000)
                await _end(running, session)
    median = statistics.median(times[0])
    rows = _compared("claim on a hit", times[0], times[1], "ms")
    return [*rows, Row("claim on a hit: swarm, median", f"{median:.1f} ms", "< 20 ms", median < 20)]


async def refill(options: argparse.Namespace) -> list[Row]:
    """Seconds to fill a pool from empty, as notebooks per second, and the CPU time for each.

    The swarm, its first node's engine alone, and Swarm without us: the same services, created all at once.
    """
    rows = []
    async with _nodes() as relays:
        for size in options.pools:
            filled: dict[str, list[tuple[float, float]]] = {"swarm": [], "Docker alone": [], "bare Swarm": []}
            for number in range(options.rounds):
                names = list(filled)
                for name in names[number % 3 :] + names[: number % 3]:
                    filled[name].append(await _filled(name, relays, size))
            rows += _refilled(size, filled)
    return rows


async def _filled(name: str, relays: RelaysOfNodes, size: int) -> tuple[float, float]:
    """Notebooks per second, and CPU seconds for each of everything that takes part."""
    if name == "bare Swarm":
        return await bare_swarm.fill(relays, size)
    on = _on_swarm(relays, proxy.NGINX, size) if name == "swarm" else _on_one_node(relays, proxy.NGINX, size)
    async with on as running, asyncio.timeout(_FILL_SECONDS):
        while not running.events("starting"):  # what it takes to get so far is not the notebooks'
            await asyncio.sleep(0.01)
        used = rig.cpu_seconds_of_trees([*relays.processes(), running.pid])
        rate = await _fill_rate(running, size)
        used = rig.cpu_seconds_of_trees([*relays.processes(), running.pid]) - used
    await bare_swarm.until_empty(relays)
    return rate, used / size


def _refilled(size: int, filled: Mapping[str, Sequence[tuple[float, float]]]) -> list[Row]:
    rates = {name: [rate for rate, _ in found] for name, found in filled.items()}
    rows = [
        Row(
            f"refill of {size}: {name}",
            f"{statistics.median(rates[name]):.1f} /s",
            note=f"{statistics.median(cpu for _, cpu in filled[name]) * 1000:.0f} ms CPU each",
        )
        for name in filled
    ]
    for other, aim in (("Docker alone", 0.7), ("bare Swarm", None)):
        ratios = [ours / theirs for ours, theirs in zip(rates["swarm"], rates[other], strict=True)]
        ratio = statistics.median(ratios)
        note = f"{min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds"
        met = None if aim is None else ratio >= aim
        rows.append(Row(f"  swarm / {other}", f"{ratio:.2f}", "" if aim is None else f">= {aim:g}", met, note))
    return rows


async def _fill_rate(running: Service, size: int) -> float:
    """From the first start to the last ready one, by the log's times."""
    while len(running.events("ready")) < size:
        await asyncio.sleep(0.1)
    began = datetime.datetime.fromisoformat(running.events("starting")[0]["timestamp"])
    ended = datetime.datetime.fromisoformat(running.events("ready")[size - 1]["timestamp"])
    return size / (ended - began).total_seconds()


async def proxied(options: argparse.Namespace) -> list[Row]:
    """Small GETs through the relay against the socket on this machine, and WebSocket round trips."""
    requests: dict[int, list[float]] = {0: [], 1: []}
    frames: dict[int, list[float]] = {0: [], 1: []}
    costs: dict[str, list[float]] = {}
    async with _nodes() as relays:
        async with _on_swarm(relays, proxy.NGINX, 1) as swarm, _on_docker(proxy.NGINX, 1) as docker:
            both = [(running, await _in_use(running)) for running in (swarm, docker)]
            for number in range(options.rounds + 1):
                for which, (running, session) in enumerate(both):
                    url = f"http://127.0.0.1:{running.port}{session['url']}api"
                    with _costing(f"requests {which}", running, relays, costs) as count:
                        rate, _, _ = await proxy.wrk(running.pid, options.seconds, url)
                        count.append(rate * options.seconds)
                    if number:
                        requests[which].append(rate)
        async with _on_swarm(relays, proxy.SERVER, 1) as swarm, _on_docker(proxy.SERVER, 1) as docker:
            both = [(running, await _in_use(running)) for running in (swarm, docker)]
            for _ in range(options.rounds):
                for which, (running, session) in enumerate(both):
                    target = f"{running.port}{session['url']}ws"
                    with _costing(f"frames {which}", running, relays, costs) as count:
                        result = await proxy.load("echo", target, connections=64, seconds=options.seconds)
                        count.append(result["per_second"] * options.seconds)
                    frames[which].append(result["per_second"])
    return [
        *_compared("proxied requests", requests[0], requests[1], "/s", aim=0.6),
        *_costs("  CPU of a request", "requests", costs),
        *_compared("WebSocket round trips", frames[0], frames[1], "/s", aim=0.6),
        *_costs("  CPU of a round trip", "frames", costs),
    ]


@contextlib.contextmanager
def _costing(
    what: str, running: Service, relays: RelaysOfNodes, costs: dict[str, list[float]]
) -> Iterator[list[float]]:
    """Keep the CPU that service and relays use meanwhile, in microseconds for each of as many as are appended."""
    used = [rig.cpu_seconds(running.pid), sum(map(rig.cpu_seconds, relays.pids))]
    count: list[float] = []
    yield count
    now = [rig.cpu_seconds(running.pid), sum(map(rig.cpu_seconds, relays.pids))]
    for name, before, after in zip(("service", "relay"), used, now, strict=True):
        costs.setdefault(f"{what} {name}", []).append((after - before) / count[0] * 1e6)


def _costs(what: str, key: str, costs: dict[str, list[float]]) -> list[Row]:
    median = {name: f"{statistics.median(values):.1f} us" for name, values in costs.items()}
    swarm = f"service {median[f'{key} 0 service']}, relay {median[f'{key} 0 relay']}"
    return [Row(what, swarm, note=f"Docker alone: service {median[f'{key} 1 service']}")]


async def _in_use(running: Service) -> dict[str, Any]:
    await _full(running, 1)
    session = await _spawn(running)
    await _full(running, 1)
    return session


async def idle(options: argparse.Namespace) -> list[Row]:
    """The orchestrator's CPU with many services, none of which changes."""
    size = options.services
    async with _nodes() as relays, _on_swarm(relays, proxy.SERVER, size) as running:
        await _full(running, size)
        await asyncio.sleep(_SETTLE_SECONDS)
        used, began = rig.cpu_seconds(running.pid), time.monotonic()
        await asyncio.sleep(_IDLE_SECONDS)
        percent = (rig.cpu_seconds(running.pid) - used) / (time.monotonic() - began) * 100
    note = f"{size} services, of one CPU over {_IDLE_SECONDS:.0f} s"
    return [Row("orchestrator, idle", f"{percent:.2f} %", "< 2 %", percent < 2, note)]


async def loss(_options: argparse.Namespace) -> list[Row]:
    """From a node's power cut until the pool is full again on the others."""
    async with _nodes() as relays, _on_swarm(relays, proxy.SERVER, _SIZE) as running:
        await _full(running, _SIZE)
        lost: Node = relays.swarm.nodes[2]
        there = len((await asyncio.to_thread(lost.docker, "ps", "-q", "--filter", "label=org.tmpnb.id")).split())
        await asyncio.to_thread(lost.power_off)
        began = time.monotonic()
        async with asyncio.timeout(_FILL_SECONDS):
            while (await running.stats())["available"] >= _SIZE:
                await asyncio.sleep(0.05)
        noticed = time.monotonic() - began
        await _full(running, _SIZE)
        refilled = time.monotonic() - began
    note = f"{there} of {_SIZE} ready ones were there"
    return [
        Row("a node is lost: noticed after", f"{noticed:.1f} s", "< 15 s", noticed < 15, note),
        Row("  pool full again after", f"{refilled:.1f} s"),
    ]


def main() -> None:
    """Measure what was asked for; status 1 if something could not be measured."""
    measurements: dict[str, Measure] = {
        "claim": claim, "refill": refill, "proxy": proxied, "idle": idle, "loss": loss,
        "rounds": lambda options: many_services.rounds(options.sizes),
        "managers": lambda options: many_services.managers(options.sizes),
    }  # fmt: skip
    parser = argparse.ArgumentParser(description="Measure a swarm of three nodes against the Docker engine alone.")
    parser.add_argument("--only", action="append", choices=list(measurements), help="measure only this")
    parser.add_argument("--rounds", type=int, default=5, help="pairs; claims are five times as many")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long one measurement of the proxy takes")
    parser.add_argument("--services", type=int, default=100, help="services for the measurement of idle")
    parser.add_argument(
        "--pools", type=int, nargs="+", default=[12, 30, 60], help="sizes of the pools that are filled"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000], help="sessions or services, rising")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rig.need("wrk", "curl", "dockerd", "openssl", "setpriv", "unshare")

    def measure(name: str) -> Callable[[], Awaitable[list[Row]]]:
        return lambda: measurements[name](options)

    names = options.only or list(measurements)
    service.run([(name, measure(name)) for name in names], as_json=options.json, prepare=proxy.build)


if __name__ == "__main__":
    main()
