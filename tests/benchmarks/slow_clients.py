"""What thousands of slow clients cost the others: the latency of a normal client with and without them.

A real `tmpnb-py serve` in front of a container with a fast static server. A process of its own plays the slow clients
(slowloris): most send their head a byte at a time, some a body, some keep an idle connection; whoever is hung up on
comes again at once. Meanwhile one visitor asks for small answers, over a connection that stays and over fresh ones.
The rounds without them come before and after those with them, in the same run of the same service.

`python -m tests.benchmarks.slow_clients [--json]`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import heapq
import json
import random
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks import proxy, rig
from tests.benchmarks.rig import Row, Service

_HEAD = b"GET /user/slow/api HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
_BODY = b"POST /api/spawn HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
_IDLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_PAUSE_SECONDS = 0.002  # between two requests of the visitor: a person's browser, not a load generator
_FRESH_EVERY = 10
_AIM_MS = 5.0


@dataclasses.dataclass
class Latencies:
    """In milliseconds: over a connection that stays, and over fresh ones, the connecting included."""

    kept: list[float] = dataclasses.field(default_factory=list)
    fresh: list[float] = dataclasses.field(default_factory=list)


def visit(port: int, path: str, seconds: float) -> Latencies:
    """One visitor, one request at a time."""
    found = Latencies()
    end = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as kept:
        kept.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(sys.maxsize):
            if time.monotonic() > end:
                break
            began = time.perf_counter()
            if number % _FRESH_EVERY:
                _ask(kept, path)
                found.kept.append(1000 * (time.perf_counter() - began))
            else:
                with socket.create_connection(("127.0.0.1", port)) as fresh:
                    _ask(fresh, path)
                found.fresh.append(1000 * (time.perf_counter() - began))
            time.sleep(_PAUSE_SECONDS)
    return found


def _ask(connection: socket.socket, path: str) -> None:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
        if not (data := connection.recv(65536)):
            raise RuntimeError(f"the connection ended after {answer!r}")
        answer += data
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"an answer other than 200: {answer[:200]!r}")


# --- the slow clients, in a process of their own


class SlowClient:
    """One of many; `step` is called at its times."""

    def __init__(self, port: int, beginning: bytes, address: str) -> None:
        self._port = port
        self._beginning = beginning
        self._address = address
        self._socket: socket.socket | None = None
        self.hung_up_on = 0

    def step(self) -> None:
        """Connect, or send one byte more."""
        if self._socket is None:
            self._socket = one = socket.socket()
            one.setblocking(False)
            one.bind((self._address, 0))
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", self._port))
            return
        try:
            if self._beginning:
                self._beginning = self._beginning[self._socket.send(self._beginning) :]
            elif self._alive():
                self._socket.send(b"x")
        except BlockingIOError:
            pass
        except OSError:
            self._socket.close()
            self._socket = None
            self.hung_up_on += 1

    def _alive(self) -> bool:
        assert self._socket is not None
        try:
            if self._socket.recv(4096) == b"":
                raise ConnectionResetError
        except BlockingIOError:
            return True
        return False  # an answer: an idle one says no more


def attack(port: int, count: int, interval: float) -> None:
    """Play so many slow clients until standard input ends. Each takes a step per interval, the first two at once."""
    clients: list[SlowClient] = []
    for number in range(count):
        beginning = _BODY if number % 10 == 0 else _IDLE if number % 10 == 1 else _HEAD
        clients.append(SlowClient(port, beginning, f"127.0.0.{2 + number % 200}"))
    start = time.monotonic()
    times = [(start + index / 4000, index, 0) for index in range(count)]  # 4,000 newcomers per second
    while times[0][0] < start + 3600:
        at, index, steps = heapq.heappop(times)
        if (delay := at - time.monotonic()) > 0:
            time.sleep(delay)
        before = clients[index].hung_up_on
        clients[index].step()
        again = steps < 2 or clients[index].hung_up_on > before
        pause = 0.05 if again else random.uniform(0.5, 1.5) * interval
        heapq.heappush(times, (at + pause, index, steps + 1))


@contextlib.asynccontextmanager
async def attacked(service: Service, count: int, interval: float) -> AsyncIterator[None]:
    """Slow clients, from the moment when all are there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.slow_clients", f"--attack={service.port}", f"--clients={count}",
        f"--interval={interval}", cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while await _connections(service) < 0.97 * count:
                if process.returncode is not None:
                    raise RuntimeError(f"the slow clients ended with {process.returncode}")
                await asyncio.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _connections(service: Service) -> float:
    _, body = await service.api("GET", "/metrics")
    line = next(line for line in body.decode().splitlines() if line.startswith("tmpnb_proxy_connections "))
    return float(line.split()[1])


# --- the measurement


async def measure(count: int, seconds: float, interval: float) -> list[Row]:
    """Before, during and after."""
    await proxy.build()
    image, command = f"--image={proxy.IMAGE}", f"--command={proxy.NGINX}"
    options = (image, command, "--cpu-quota=0", "--max-containers=2", "--head-timeout=5s")
    async with rig.serving(*options, pool_size=1, prefix=rig.on_processor(0)) as service:
        async with asyncio.timeout(60):
            await service.until_ready(1)
        status, body = await service.api("POST", "/api/spawn")
        if status != 200:
            raise RuntimeError(f"POST /api/spawn answered {status}")
        path = f"/user/{json.loads(body)['id']}/api"
        async with asyncio.timeout(60):
            await service.until_ready(1)
        await asyncio.to_thread(visit, service.port, path, 1.0)  # warm
        without = await asyncio.to_thread(visit, service.port, path, seconds)
        async with attacked(service, count, interval):
            cpu, began = rig.cpu_seconds(service.pid), time.monotonic()
            with_them = await asyncio.to_thread(visit, service.port, path, 3 * seconds)
            share = 100 * (rig.cpu_seconds(service.pid) - cpu) / (time.monotonic() - began)
            there = await _connections(service)
        async with asyncio.timeout(60):
            while await _connections(service) > 10:
                await asyncio.sleep(0.2)
        after = await asyncio.to_thread(visit, service.port, path, seconds)
    return [
        *_rows("kept connection", [*without.kept, *after.kept], with_them.kept, count),
        *_rows("fresh connection", [*without.fresh, *after.fresh], with_them.fresh, count),
        Row("CPU of the service meanwhile", f"{share:.0f} % of a core", note=f"{there:.0f} connections at the end"),
    ]


def _rows(what: str, without: list[float], with_them: list[float], count: int) -> list[Row]:
    added = _rank(with_them, 99) - _rank(without, 99)
    return [
        Row(f"{what}, without", _spread(without), note=f"{len(without)} requests, before and after"),
        Row(f"{what}, with {count} slow clients", _spread(with_them), note=f"{len(with_them)} requests"),
        Row(f"{what}, p99 added", f"{added:.2f} ms", f"{_AIM_MS:.0f} ms", added <= _AIM_MS),
    ]


def _rank(values: list[float], percent: int) -> float:
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _spread(values: list[float]) -> str:
    parts = [f"p{percent} {_rank(values, percent):.2f}" for percent in (50, 90, 99)]
    return ", ".join(parts) + f", max {max(values):.1f} ms"


def main() -> None:
    """Measure, or play the slow clients."""
    parser = argparse.ArgumentParser(description="The latency of a visitor with and without slow clients.")
    parser.add_argument("--clients", type=int, default=5000, help="number of slow clients")
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="length of a round without them; with: three times"
    )
    parser.add_argument("--interval", type=float, default=3.0, help="seconds between two bytes of a slow client")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--attack", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.attack:
        attack(options.attack, options.clients, options.interval)
        return
    rig.need()
    try:
        rows = asyncio.run(measure(options.clients, options.seconds, options.interval))
    except rig.MissingError as error:
        sys.exit(f"not measured: {error}")
    print(rig.as_json(rows) if options.json else rig.as_table(rows))
    sys.exit(0 if all(row.met is not False for row in rows) else 1)


if __name__ == "__main__":
    main()
