"""This checkout's service against another's: has a change made it slower?

    python -m tests.benchmarks.pairs CHECKOUT [--rounds 25] [--only small|varied|websocket|page|claim] [--json]

CHECKOUT is a directory with another version of the project and the environment that it runs in (`.venv`). Both serve
the same upstream at the same time from processor 0, with the load on processor 1. They take turns within a pair, and
the first of a pair is the second of the next, so that a noisy machine is as noisy for both. The table has the median
of the pairs' ratios with its 95 % interval (bootstrap): time per request here by time per request there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from tests.benchmarks import proxy, rig, service
from tests.benchmarks.rig import Row, Service

_SLOWER = 1.03  # an interval wholly above this is a loss
_RESAMPLED = 2000
_POOL = 2

Contest = Callable[["Side"], Awaitable[float]]


class Side:
    """One of the two services, with a container that is in use. `seconds` is how long one measurement takes."""

    def __init__(self, running: Service, container: str, seconds: float) -> None:
        self.running = running
        self.container = container
        self.seconds = seconds

    def url(self, rest: str) -> str:
        """A URL of the container."""
        return f"http://127.0.0.1:{self.running.port}/user/{self.container}/{rest}"


@contextlib.asynccontextmanager
async def _side(checkout: Path | None, command: str, seconds: float) -> AsyncIterator[Side]:
    options = (f"--image={proxy.IMAGE}", f"--command={command}", "--cpu-quota=0", f"--max-containers={_POOL + 2}")
    limits = ("--max-connections=20000", "--max-connections-per-address=0")
    prefix = rig.on_processor(0)
    async with rig.serving(*options, *limits, pool_size=_POOL, prefix=prefix, checkout=checkout) as running:
        async with asyncio.timeout(120):
            await running.until_ready(_POOL)
            status, body = await running.api("POST", "/api/spawn")
            if status != 200:
                raise RuntimeError(f"POST /api/spawn answered {status}: {running.last_words()}")
            await running.until_ready(_POOL)
        yield Side(running, json.loads(body)["id"], seconds)


async def _compare(what: str, options: argparse.Namespace, command: str, contest: Contest) -> list[Row]:
    async with (
        _side(None, command, options.seconds) as here,
        _side(options.checkout, command, options.seconds) as there,
    ):
        ratios = []
        for number in range(options.rounds + 1):
            sides = (here, there) if number % 2 else (there, here)
            times = {id(side): await contest(side) for side in sides}
            if number:  # the first pair only warms up
                ratios.append(times[id(here)] / times[id(there)])
    return [_row(what, ratios)]


def _row(what: str, ratios: Sequence[float]) -> Row:
    low, high = _interval(ratios)
    note = f"95 % interval {low:.3f} to {high:.3f}, {len(ratios)} pairs"
    aim = f"not wholly above {_SLOWER:g}"
    return Row(f"{what}: time here / there", f"{statistics.median(ratios):.3f}", aim, low <= _SLOWER, note)


def _interval(ratios: Sequence[float]) -> tuple[float, float]:
    """The median's 95 % interval."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(_RESAMPLED))
    return medians[int(_RESAMPLED * 0.025)], medians[int(_RESAMPLED * 0.975)]


async def small(options: argparse.Namespace) -> list[Row]:
    """Small GETs on kept-alive connections, all alike."""
    return await _compare("small GETs", options, proxy.NGINX, _small)


async def _small(side: Side) -> float:
    rate, _, _ = await proxy.wrk(side.running.pid, side.seconds, side.url("api"))
    return 1 / rate


async def varied(options: argparse.Namespace) -> list[Row]:
    """The same with a browser's headers, of which one differs each time."""
    return await _compare("varied GETs", options, proxy.NGINX, _varied)


async def _varied(side: Side) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(proxy.VARIED.format(path=f"user/{side.container}/api"))
        script.flush()
        rate, _, _ = await proxy.wrk(side.running.pid, side.seconds, "--script", script.name, side.url("api"))
    return 1 / rate


async def websocket(options: argparse.Namespace) -> list[Row]:
    """Round trips of 200-byte messages on 64 connections."""
    return await _compare("WebSocket echo", options, proxy.SERVER, _websocket)


async def _websocket(side: Side) -> float:
    target = f"{side.running.port}/user/{side.container}/ws"
    return 1 / (await proxy.load("echo", target, connections=64, seconds=side.seconds))["per_second"]


async def page(options: argparse.Namespace) -> list[Row]:
    """The first page, as a newcomer gets it."""
    return await _compare("first page", options, proxy.NGINX, _page)


async def _page(side: Side) -> float:
    rate, _, _ = await proxy.wrk(side.running.pid, side.seconds, f"http://127.0.0.1:{side.running.port}/")
    return 1 / rate


async def claim(options: argparse.Namespace) -> list[Row]:
    """`POST /api/spawn` on a full pool, on a new connection; the notebook ends at once."""
    return await _compare("claims", options, proxy.NGINX, _claim)


async def _claim(side: Side) -> float:
    async with asyncio.timeout(120):
        while (stats := await side.running.stats())["available"] < _POOL or stats["removing"] or stats["starting"]:
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.2)
    began = time.perf_counter()
    status, body = await side.running.api("POST", "/api/spawn")
    seconds = time.perf_counter() - began
    if status != 200:
        raise RuntimeError(f"POST /api/spawn answered {status}: {side.running.last_words()}")
    session = json.loads(body)
    headers = f"Authorization: token {session['token']}"
    await rig.run(
        "curl", "--silent", "--fail", "--request", "DELETE", "--header", headers,
        f"http://127.0.0.1:{side.running.port}/api/sessions/{session['id']}",
    )  # fmt: skip
    return seconds


def main() -> None:
    """Compare what was asked for; status 1 if something could not be measured."""
    measurements: dict[str, Callable[[argparse.Namespace], Awaitable[list[Row]]]] = {
        "small": small, "varied": varied, "websocket": websocket, "page": page, "claim": claim,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description="Measure this checkout's service against another's.")
    parser.add_argument("checkout", type=Path, nargs="?", help="the other checkout, with its environment at .venv")
    parser.add_argument("--only", action="append", choices=list(measurements), help="measure only this")
    parser.add_argument("--rounds", type=int, default=25, help="pairs")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long one measurement of a pair takes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rig.need("wrk", "curl")
    if options.checkout is None or not (options.checkout / ".venv" / "bin" / "python").exists():
        parser.error("name another checkout that has .venv/bin/python")
    options.checkout = options.checkout.resolve()

    def measure(name: str) -> Callable[[], Awaitable[list[Row]]]:
        return lambda: measurements[name](options)

    names = options.only or list(measurements)
    service.run([(name, measure(name)) for name in names], as_json=options.json, prepare=proxy.build)


if __name__ == "__main__":
    main()
