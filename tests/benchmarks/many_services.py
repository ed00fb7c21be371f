"""What a thousand and more notebooks cost those that manage them: our own rounds, and Swarm's managers.

Used by `tests.benchmarks.swarm`. No machine here holds so many containers. Our rounds are the product's reconciler
and reaper on the engine in memory, whose sessions all lead to one socket. The managers are three real ones; the
services are notebooks that no node takes, so they have all that a notebook has in Swarm's store, but no container.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import resource
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from tests.benchmarks import rig
from tests.benchmarks.rig import Row
from tests.swarm.nodes import running_swarm
from tests.swarm.relays import make_secret
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Observed, SocketAddress, State
from tmpnb_py.engines.fake import FakeContainer, FakeEngine, FakeHost
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import PoolConfiguration
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.reaper import Reaper
from tmpnb_py.pools.reconciler import Reconciler
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.sizing import Sizing
from tmpnb_py.pools.start_rate import StartRate

_POOL = "bench"
_ROUNDS = 15
_AT_ONCE = 32
_CLAIMS = 50
_SETTLE_SECONDS = 3.0
_NOWHERE = ("node.labels.tmpnb-bench==none",)
_TIMEOUT = aiohttp.ClientTimeout(total=120)


async def rounds(sizes: list[int]) -> list[Row]:
    """A round of the reconciler, without and with a listing, and one of the reaper, with so many sessions."""
    _allow_many_files()
    rows = []
    for size in sizes:
        async with _sessions(size) as (reconciler, reaper):
            plain = await _median(reconciler.reconcile_once)

            async def listing(reconciler: Reconciler = reconciler) -> object:
                reconciler.observe_soon()
                return await reconciler.reconcile_once()

            listed = await _median(listing)
            reaped = await _median(reaper.reap_once)
        note = f"{size:,} sessions"
        rows += [
            Row("a round of the reconciler", f"{plain:.1f} ms CPU", note=note),
            Row("  with what a listing has found", f"{listed:.1f} ms CPU", note=note),
            Row("a round of the reaper", f"{reaped:.1f} ms CPU", note=note),
        ]
    return rows


def _allow_many_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _median(measured: Callable[[], Awaitable[object]]) -> float:
    """CPU milliseconds, which the machine's other work hardly changes."""
    seconds = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        await measured()
        seconds.append(time.process_time() - began)
    return statistics.median(seconds) * 1000


class _Listed(FakeEngine):
    """Lists what it is told to: what it takes to make a list in memory is not the product's."""

    listed: list[Observed] | None = None

    async def list(self) -> list[Observed]:
        return await super().list() if self.listed is None else self.listed


@contextlib.asynccontextmanager
async def _sessions(size: int) -> AsyncIterator[tuple[Reconciler, Reaper]]:
    """A pool with so many sessions, taken up from the engine as after a restart, and ten ready ones."""
    async with FakeHost() as host:
        directory = Path(tempfile.mkdtemp(prefix="fake-", dir=host.directory))
        address = SocketAddress(str(directory), "server.sock")
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(), directory / "server.sock")
        options = LiveOptions(Settings(image="fake", pool_size=10, max_containers=size + 10, runtime_dir=directory))
        engine = _Listed(host, pool=_POOL)
        config = await PoolConfiguration(engine, options).resolve()
        now = time.time()
        for number in range(size):
            spec = ContainerSpec(f"session{number:017}", "token", config)
            host.containers[_POOL, spec.id] = FakeContainer(
                _POOL, spec, now, directory, State.CLAIMED, claimed_unix=now, address=address
            )
        records = Records(_POOL)
        reconciler = Reconciler(
            engine, records, Health(_POOL, PoolMetrics()), options,
            configuration=PoolConfiguration(engine, options), rate=StartRate(),
            sizing=Sizing(records, options, StartRate()), wanted=lambda: 0,
        )  # fmt: skip
        while records.count(State.READY) < 10:
            await reconciler.reconcile_once()
            await asyncio.sleep(0.05)
        engine.listed = await engine.list()
        yield reconciler, Reaper(records, options, extension=lambda _: 0.0)
        await reconciler.close(remove_everything=False)
        server.close()


# --- Swarm's managers


async def managers(sizes: list[int]) -> list[Row]:
    """Creating, listing and claiming where there are so many services, on three managers."""
    with contextlib.ExitStack() as stack:
        nodes = await asyncio.to_thread(stack.enter_context, running_swarm(managers=3))
        secret, host = make_secret(nodes.directory / "relay.pem"), nodes.manager.host
        engine = SwarmEngine(pool=_POOL, runtime_dir=nodes.directory, swarm=Swarm((), secret), docker_host=host)
        api = EngineApi(host)
        await api.open()
        await engine.open()
        try:
            rows: list[Row] = []
            ids: list[str] = []
            for size in sizes:
                used = rig.cpu_seconds_of_trees(nodes.processes())
                rate, new = await _created(api, size - len(ids))
                await asyncio.sleep(_SETTLE_SECONDS)
                used = (rig.cpu_seconds_of_trees(nodes.processes()) - used) / len(new) * 1000
                ids += new
                note = f"{len(new):,} more, {size:,} in all; {used:.1f} ms CPU of three managers each"
                rows += [Row("services created", f"{rate:.0f} /s", note=note), *await _listings(api, engine, size)]
                used = rig.cpu_seconds_of_trees(nodes.processes())
                rows += await _claims(engine, ids)
                used = (rig.cpu_seconds_of_trees(nodes.processes()) - used) / (3 * _CLAIMS) * 1000
                rows.append(Row("  of three managers, each", f"{used:.1f} ms CPU"))
            return rows
        finally:
            await engine.close()
            await api.close()


async def _created(api: EngineApi, count: int) -> tuple[float, list[str]]:
    """So many more: how many per second, and their ids."""
    config, slots = await _config(), asyncio.Semaphore(_AT_ONCE)
    began = time.perf_counter()
    ids = await asyncio.gather(*(_create(api, config, slots) for _ in range(count)))
    return count / (time.perf_counter() - began), ids


async def _listings(api: EngineApi, engine: SwarmEngine, size: int) -> list[Row]:
    rows = []
    for what in ("services", "tasks"):
        began = time.perf_counter()
        content = await _listed(api, what)
        seconds = time.perf_counter() - began
        rows.append(Row(f"  {what} listed", f"{seconds * 1000:.0f} ms", note=f"{len(content) / 1e6:.1f} MB"))
    used, began = time.process_time(), time.perf_counter()
    if len(await engine.list()) != size:
        raise RuntimeError("the managers have lost services")
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    return [*rows, Row("  listed by our engine", f"{seconds * 1000:.0f} ms", note=f"{cpu * 1000:.0f} ms CPU of ours")]


async def _claims(engine: SwarmEngine, ids: Sequence[str]) -> list[Row]:
    one_by_one, at_once = ids[-_CLAIMS:], ids[-3 * _CLAIMS : -_CLAIMS]
    seconds = statistics.median([await _claim(engine, one) for one in one_by_one])
    began = time.perf_counter()
    await asyncio.gather(*(_claim(engine, one) for one in at_once))
    rate = len(at_once) / (time.perf_counter() - began)
    return [
        Row("  claim, one by one", f"{seconds * 1000:.1f} ms", note=f"median of {_CLAIMS}"),
        Row("  claims, all at once", f"{rate:.0f} /s", note=f"{len(at_once)} of them"),
    ]


async def _create(api: EngineApi, config: ContainerConfig, slots: asyncio.Semaphore) -> str:
    spec = ContainerSpec(secrets.token_hex(12), secrets.token_hex(24), config)
    body = services.service_body(_POOL, spec, init=True, constraints=_NOWHERE, avoid=())
    body["Labels"][services.LABEL_STATE] = State.READY.value
    async with slots:
        await api.call("POST", "services/create", body=body, seconds=60)
    return spec.id


async def _config() -> ContainerConfig:
    """As the workshop image's notebooks have it."""
    async with FakeHost() as host:
        host.images["fake"] = dataclasses.replace(
            host.images["fake"], image_id=f"sha256:{'0' * 64}", home="/home/jovyan", supports_read_only=True
        )
        options = LiveOptions(Settings(image="fake"))
        return await PoolConfiguration(FakeEngine(host, pool=_POOL), options).resolve()


async def _listed(api: EngineApi, what: str) -> bytes:
    params = naming.filters(naming.labels_of(_POOL))
    async with api.stream("GET", what, params=params, timeout=_TIMEOUT) as response:
        return await response.read()


async def _claim(engine: SwarmEngine, container_id: str) -> float:
    began = time.perf_counter()
    if not await engine.claim(container_id, time.time()):
        raise RuntimeError("somebody else has claimed it")
    return time.perf_counter() - began
