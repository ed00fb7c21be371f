"""A service with two visitors: a hostile one, who lets a bomb loose, and their neighbour, whose cells are timed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from pathlib import Path

import aiohttp

from tests.attacks.bombs import bombs, probe
from tests.e2e.jupyter import Kernel, Notebook
from tests.e2e.service import Deployment, Service

MIB = 1 << 20
# As an operator has them, but small: the machine has other things to do.
OPTIONS = ("--pool-size=1", "--max-containers=4", "--mem-limit=256m", "--pids-limit=128", "--home-size=32m")
_CELLS = 25  # timed before a bomb, and as many after it
_PAUSE = 0.02  # between two cells, so that the neighbour's own limit is not in the figures
_PREPARED = Path(probe.__file__).read_text() + "\nwork()"
_LEAST_MEMORY = 2048 * MIB  # that the machine must have left
_MOST = 2.0  # times as long as usual, that a neighbour's cell may take
_QUIET = 0.4  # of the processors must be idle, for its cells to tell anything
_ENGINE_SECONDS = 10  # that a listing may take
_START_SECONDS = 60  # that a newcomer may wait, and then the pool until it is full

Flood = Callable[[Notebook, float], Coroutine[None, None, None]]


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a bomb did. Times in seconds; `lacking` is what the neighbour could not have, and why.

    `calm` is the neighbour's median cell before and after the bomb. `engine` is a listing, `start` a newcomer's
    notebook and the next one's start; `memory` is what the machine has less of. `quiet` is the share of its
    processors that was idle before: where others leave it little, the cells tell of them.
    """

    name: str
    calm: float
    during: float
    worst: float
    cells: int
    lacking: dict[str, str]
    engine: float
    start: float
    memory: int
    quiet: float

    @property
    def ratio(self) -> float:
        """The neighbour's median cell, during / without."""
        return self.during / self.calm

    @property
    def is_slow(self) -> bool:
        """Whether the neighbour's cells take too long, for this bomb or for whatever else the machine does."""
        return self.ratio > _MOST

    def wrongs(self, known: Collection[str]) -> list[str]:
        """What is worse than it may be; `known` is what the neighbour may lack."""
        slow = f"cells take {self.ratio:.2f} times as long, with {self.quiet:.0%} of the processors idle before"
        wrongs = [slow] * (self.is_slow and self.quiet >= _QUIET)
        wrongs += [f"a listing takes {self.engine:.1f} s"] * (self.engine >= _ENGINE_SECONDS)
        wrongs += [f"a newcomer and the next start take {self.start:.1f} s"] * (self.start >= _START_SECONDS)
        wrongs += [f"no {what}: {why}" for what, why in self.lacking.items() if what not in known]
        return [f"{self.name}: {one}" for one in wrongs]

    def line(self) -> str:
        """A row of the table."""
        lacks = "; ".join(self.lacking) or "-"
        return (
            f"{self.name:30} {1000 * self.calm:7.1f} {1000 * self.during:7.1f} {self.ratio:6.2f} "
            f"{1000 * self.worst:8.1f} {self.cells:5} {self.engine:7.2f} {self.start:6.1f} "
            f"{self.memory / MIB:7.0f} {self.quiet:6.0%}  {lacks}"
        )


HEADER = (
    f"{'bomb':30} {'calm':>7} {'during':>7} {'ratio':>6} {'worst':>8} {'cells':>5} {'engine':>7} {'start':>6} "
    f"{'MiB':>7} {'idle':>6}  what the neighbour could not have"
)


class Scene:
    """The neighbour is there all the time; each bomb has a hostile notebook of its own."""

    def __init__(self, deployment: Deployment, service: Service, client: aiohttp.ClientSession, cell: Kernel) -> None:
        self._deployment = deployment
        self._service = service
        self._client = client
        self._cell = cell

    async def bombed(self, name: str, flood: Flood | None = None, seconds: float = bombs.SECONDS) -> Figures:
        """Let a bomb loose: one of `bombs`, or one that needs a visitor outside."""
        hostile = Notebook.of(self._client, await self._service.spawn(self._client))
        await self._service.ready(1)
        await self._until_quiet()
        idle = Idle()
        calm, free = await self._times(_CELLS), available()
        quiet = idle.share()
        async with self._let_loose(hostile, name, flood, seconds):
            during = await self._times(1000, until=time.monotonic() + 0.6 * seconds)
            lacking = json.loads(await self._cell.run("import json; print(json.dumps(lacking()))"))
            taken = free - available()
            engine = await timed(asyncio.to_thread(self._deployment.containers))
        start = await timed(self._new_one())
        await self._end(hostile.id)
        await self._service.ready(1)
        await self._until_quiet()
        calm += await self._times(_CELLS)
        return Figures(
            name,
            calm=statistics.median(calm),
            during=statistics.median(during),
            worst=max(during),
            cells=len(during),
            lacking=lacking,
            engine=engine,
            start=start,
            memory=taken,
            quiet=quiet,
        )

    @contextlib.asynccontextmanager
    async def _let_loose(
        self, hostile: Notebook, name: str, flood: Flood | None, seconds: float
    ) -> AsyncIterator[None]:
        if flood is not None:
            flooding = asyncio.create_task(flood(hostile, seconds))
            await asyncio.sleep(0.5)
            yield
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            return
        async with hostile.kernel(await hostile.new_kernel()) as kernel:
            source = Path(bombs.__file__).read_text()
            await kernel.run(f"{source}\nSECONDS = {seconds}")
            await kernel.until_busy(await kernel.send(f"main({name!r})"))
            await asyncio.sleep(0.3)
            yield

    async def _times(self, most: int, until: float = float("inf")) -> list[float]:
        found: list[float] = []
        while len(found) < most and (time.monotonic() < until or len(found) < 3):
            found.append(await timed(self._cell.run("work()")))
            await asyncio.sleep(_PAUSE)
            assert available() > _LEAST_MEMORY, "the machine itself runs out of memory"
        return found

    async def _until_quiet(self) -> None:
        """What the last bomb has left is still being cleared away."""
        for _ in range(4):
            times = await self._times(8)
            if max(times) < 2 * min(times):
                return
            await asyncio.sleep(0.3)

    async def _new_one(self) -> None:
        """A newcomer gets a notebook, and the pool is full again."""
        newcomer = await self._service.spawn(self._client)
        await self._end(newcomer["id"])
        await self._service.ready(1)

    async def _end(self, container_id: str) -> None:
        async with self._service.http(admin=True) as admin, admin.delete(f"/api/sessions/{container_id}") as response:
            assert response.status in (200, 404), await response.text()


class Idle:
    """How idle the machine's processors are from now on."""

    def __init__(self) -> None:
        self._began = self._ticks()

    def _ticks(self) -> tuple[int, int]:
        fields = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)  # proc(5): idle and iowait

    def share(self) -> float:
        """From 0 to 1."""
        (idle, everything), (before, then) = self._ticks(), self._began
        return (idle - before) / max(1, everything - then)


async def timed(work: Awaitable[object]) -> float:
    """How long it takes, in seconds."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def available() -> int:
    """Memory of the machine that is not in use, in bytes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


@contextlib.asynccontextmanager
async def scene(deployment: Deployment, service: Service) -> AsyncIterator[Scene]:
    """With a neighbour at work."""
    async with service.http() as client:
        neighbour = Notebook.of(client, await service.spawn(client))
        async with neighbour.kernel(await neighbour.new_kernel()) as cell:
            await cell.run(_PREPARED)
            yield Scene(deployment, service, client, cell)
