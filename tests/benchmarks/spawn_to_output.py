"""How long a program waits from `POST /api/spawn` to the first output of a cell, and what ready kernels cost.

    python -m tests.benchmarks.spawn_to_output [--only cells|crowd|refill|memory] [--times 7] [--people 100]

Everything goes over the real proxy with the options' defaults: a notebook of its own, a session with a kernel, a
WebSocket, a cell, its first output. Each row is for kernels that nobody has started before (`none`), for what the
service does by itself (`default`), and for all kernels configured as warm (`all`), in turn within each round. `crowd`
is so many at the same moment on a pool of as many; `refill` how fast a class's notebooks get ready, with and without
warm kernels, in pairs; `memory` what a ready notebook takes. Needs a Docker engine with the workshop image.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import functools
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import aiohttp

from tests.benchmarks import refill, rig, service
from tests.benchmarks.rig import Row, Service
from tests.e2e.jupyter import Notebook

_FILL_SECONDS = 400.0
_ANSWER_SECONDS = 120.0
_SETTLE_SECONDS = 3.0
_MIB = 1 << 20
_SPARE = 3 << 30  # bytes of memory that the others on this machine keep


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is run, in which kernel; the aim for it in seconds, with warm kernels. All of them print 42."""

    kernel: str
    code: str
    aim: float


CELLS: Mapping[str, Cell] = {
    "python3": Cell("python3", "print(6 * 7)", 0.10),
    "ir": Cell("ir", "cat(6 * 7)", 0.10),
    "octave": Cell("octave", "disp(6 * 7)", 0.10),
    "bash": Cell("bash", "echo $((6 * 7))", 0.10),
    "library(tidyverse)": Cell("ir", "library(tidyverse)\ncat(6 * 7)", 0.15),
}
# How the service is started; what it warms by itself goes by the workshops' manifest.
WARM: Mapping[str, Sequence[str]] = {
    "none": ["--warm-kernels=none"],
    "default": [],
    "all": ["--warm-kernels=python3,ir,octave,bash"],
}
# R's workshops have the tidyverse loaded (`preload` in their manifest).
_ONE = {"Python": ["--warm-kernels=python3"], "R and tidyverse": ["--warm-kernels=ir"]}


@dataclasses.dataclass(frozen=True)
class Waits:
    """Seconds of each step, one after the other."""

    claim: float
    session: float
    websocket: float
    execution: float

    @property
    def total(self) -> float:
        return self.claim + self.session + self.websocket + self.execution


async def visit(client: aiohttp.ClientSession, cell: Cell) -> tuple[Notebook, Waits]:
    """From a claim to a cell's first 42, each step as soon as the one before it is answered."""
    moments = [time.perf_counter()]
    async with asyncio.timeout(_ANSWER_SECONDS):
        async with client.post("/api/spawn") as response:
            spawned = await response.json()
            if response.status != 200:
                raise RuntimeError(f"POST /api/spawn answered {response.status}: {spawned}")
        moments.append(time.perf_counter())
        notebook = Notebook.of(client, spawned)
        wish = {"path": "trial.ipynb", "name": "trial", "type": "notebook", "kernel": {"name": cell.kernel}}
        session = await notebook.call("POST", "api/sessions", wish, status=201)
        moments.append(time.perf_counter())
        async with notebook.kernel(session["kernel"]["id"]) as kernel:
            moments.append(time.perf_counter())
            async for message in kernel.messages(await kernel.send(cell.code)):
                if "42" in str(message["content"].get("text", "")):
                    moments.append(time.perf_counter())
                    break
    return notebook, Waits(*(after - before for before, after in itertools.pairwise(moments)))


async def _end(notebook: Notebook) -> None:
    async with notebook.client.delete(f"/api/sessions/{notebook.id}", headers=notebook.headers) as response:
        response.raise_for_status()


@contextlib.asynccontextmanager
async def _client(running: Service) -> AsyncIterator[aiohttp.ClientSession]:
    # As many connections as visitors, and none of a visitor's cookies for the next one.
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{running.port}",
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS),
    ) as client:
        yield client


async def _full(running: Service, size: int) -> None:
    """Wait until the pool is full and nothing is under way, and a moment more."""
    async with asyncio.timeout(_FILL_SECONDS):
        await running.until_full(size)
    await asyncio.sleep(0.5)


# --- one visitor at a time


async def cells(options: argparse.Namespace) -> list[Row]:
    """Each cell with each kind of service, alone on the machine; all of them in each round."""
    image = await rig.image_id(options.image)
    found: dict[tuple[str, str], list[Waits]] = {}
    async with contextlib.AsyncExitStack() as stack:
        running = {}
        for name in options.warm or WARM:
            # Nothing is started while visitors are measured.
            room = [f"--image={image}", f"--max-containers={len(CELLS)}", *options.options]
            serving = rig.serving(*room, *WARM[name], pool_size=len(CELLS))
            running[name] = await stack.enter_async_context(serving)
        for _ in range(options.times):
            for name, one in running.items():
                await _full(one, len(CELLS))
                for what, waits in (await _one_after_the_other(one)).items():
                    found.setdefault((what, name), []).append(waits)
    return [_cell_row(what, name, waits) for (what, name), waits in sorted(found.items())]


async def _one_after_the_other(running: Service) -> dict[str, Waits]:
    """A visitor for each cell, alone on the machine. All notebooks end afterwards."""
    found: dict[str, Waits] = {}
    notebooks = []
    async with _client(running) as client:
        for what, cell in CELLS.items():
            # A client that is there already has a connection; what it costs to make one is not the service's.
            async with client.get("/healthz") as response:
                await response.read()
            notebook, found[what] = await visit(client, cell)
            notebooks.append(notebook)
        for notebook in notebooks:
            await _end(notebook)
    return found


def _cell_row(what: str, warm: str, waits: Sequence[Waits]) -> Row:
    median = statistics.median(one.total for one in waits)
    aim = CELLS[what].aim
    note = f"{len(waits)} times; {min(one.total for one in waits):.2f} to {max(one.total for one in waits):.2f} s"
    row = Row(f"{what}, warm: {warm}", f"{median:.3f} s ({_parts(waits)})", note=note)
    return dataclasses.replace(row, aim=f"<= {aim:.2f} s", met=median <= aim) if warm == "all" else row


def _parts(waits: Sequence[Waits]) -> str:
    medians = [statistics.median(one) * 1000 for one in zip(*map(dataclasses.astuple, waits), strict=True)]
    names = (field.name for field in dataclasses.fields(Waits))
    return ", ".join(f"{name} {value:.0f}" for name, value in zip(names, medians, strict=True)) + " ms"


# --- all at the same moment


async def crowd(options: argparse.Namespace) -> list[Row]:
    """So many claims at once on a pool of as many, each with a cell in Python."""
    rows = []
    for name in options.warm or WARM:
        people = _that_fit(options.people, 130 * _MIB)
        room = f"--max-containers={people * 2}"
        image = f"--image={await rig.image_id(options.image)}"
        async with rig.serving(image, room, *options.options, *WARM[name], pool_size=people) as running:
            await _full(running, people)
            async with _client(running) as client:
                visits = await asyncio.gather(*(visit(client, CELLS["python3"]) for _ in range(people)))
        waits = [one for _, one in visits]
        totals = [one.total for one in waits]
        median = statistics.median(totals)
        note = f"{people} at once; p95 {rig.p95(totals):.2f}, most {max(totals):.2f} s"
        row = Row(f"python3, {people} at once, warm: {name}", f"{median:.2f} s ({_parts(waits)})", note=note)
        rows.append(dataclasses.replace(row, aim="<= 0.7 s", met=median <= 0.7) if name == "all" else row)
    return rows


def _that_fit(wanted: int, each: int) -> int:
    """How many notebooks of `each` bytes fit the machine's memory, at most `wanted`."""
    return max(2, min(wanted, (rig.available_memory() - _SPARE) // each))


# --- what it costs to have kernels ready


async def fills(options: argparse.Namespace) -> list[Row]:
    """A pool from its first start to the last that is ready: with and without warm kernels, in turn."""
    image = await rig.image_id(options.image)
    kinds = {"no kernel": WARM["none"], "default": WARM["default"], **_ONE}
    size = _that_fit(options.size, 130 * _MIB)
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    spent: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(options.rounds):
        names = list(kinds)
        for name in names if number % 2 else reversed(names):
            filled = await refill.fill(image, size, *kinds[name], *options.options)
            seconds[name].append(filled.seconds)
            spent[name].append(filled.cpu_each)
    rows = []
    for name in kinds:
        rate = size / statistics.median(seconds[name])
        cpu = statistics.median(spent[name])
        note = f"{cpu:.2f} CPU-s in each container, median of {options.rounds}"
        rows.append(Row(f"refill of {size}, warm: {name}", f"{rate:.2f} per second", note=note))
        if name != "no kernel":
            pairs = [cold / warm for cold, warm in zip(seconds["no kernel"], seconds[name], strict=True)]
            ratio = statistics.median(pairs)
            note = f"pairs: {', '.join(f'{one:.2f}' for one in pairs)}"
            row = Row("  its rate by that without", f"{ratio:.2f} x", note=note)
            rows.append(dataclasses.replace(row, aim=">= 0.8 x", met=ratio >= 0.8) if name == "Python" else row)
    return rows


async def memory(options: argparse.Namespace) -> list[Row]:
    """What ten ready notebooks take, each."""
    image = await rig.image_id(options.image)
    kinds = {"none": WARM["none"], "default": WARM["default"], **_ONE, "all": WARM["all"]}
    aims = {"Python": 80, "R and tidyverse": 180}
    rows = []
    for name, arguments in kinds.items():
        async with rig.serving(f"--image={image}", *options.options, *arguments, pool_size=10) as running:
            await _full(running, 10)
            await asyncio.sleep(_SETTLE_SECONDS)
            ids = await rig.containers(running.pool)
            charged = statistics.median(await rig.container_memory(ids))
            pss = statistics.median([await rig.container_pss(one) for one in ids]) / _MIB
        row = Row(f"a ready notebook, warm: {name}", f"{charged:.0f} MiB", note=f"PSS of its processes {pss:.0f} MiB")
        aim = aims.get(name, 0)
        rows.append(dataclasses.replace(row, aim=f"<= {aim} MiB", met=charged <= aim) if aim else row)
    return rows


def main() -> None:
    """Measure what was asked for; status 1 if something could not be measured."""
    measurements = {"cells": cells, "crowd": crowd, "refill": fills, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=list(measurements), help="measure only this")
    parser.add_argument("--warm", action="append", choices=list(WARM), help="of cells and crowd only these")
    parser.add_argument("--image", default=rig.IMAGE)
    parser.add_argument("--times", type=int, default=7, help="rounds of single visitors")
    parser.add_argument("--people", type=int, default=100, help="how many come at once, if memory allows")
    parser.add_argument("--size", type=int, default=60, help="how many notebooks are filled, if memory allows")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of refill")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("options", nargs="*", help="more options of serve, after --, such as -- --cpu-quota=0")
    options = parser.parse_args()
    rig.need(images=[options.image])
    names = options.only or list(measurements)
    service.run([(name, functools.partial(measurements[name], options)) for name in names], as_json=options.json)


if __name__ == "__main__":
    main()
