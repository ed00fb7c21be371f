"""Waiting for the warm kernels of a container: a pool of two on a fake engine, whose servers say how far they are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from tests.waiting import until
from tmpnb_py.core.models import ContainerSpec, Exit, ImageFacts, State
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.engines.fake import FakeEngine, FakeHost, Handler
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.configuration import ImageWork, PoolConfiguration
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.health import Health
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.reconciler import Reconciler
from tmpnb_py.pools.records import Records
from tmpnb_py.pools.sizing import Sizing
from tmpnb_py.pools.start_rate import StartRate


class Chosen:
    """What a test wants warm."""

    because = "the test wants it"

    def __init__(self, *names: str) -> None:
        self.wanted = tuple(map(WarmKernel, names))

    async def kernels(self, image: ImageFacts) -> tuple[WarmKernel, ...]:
        return self.wanted


class World:
    """A pool of one, whose notebook servers answer `answer` when they are asked what is warm."""

    def __init__(self, host: FakeHost, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self.answer: object = {"kernels": [{"name": "ir", "state": "starting"}]}
        self.status = 200
        self.asked = 0
        self.tokens: set[str] = set()
        self.wanted = 0
        self.chosen = Chosen("ir")
        host.answering = self._serve
        self.begin()

    def begin(self, **options: Any) -> None:
        """A process begins, with nothing but what the engine tells."""
        self.engine = FakeEngine(self.host, pool="test")
        chosen = {"image": "fake", "pool_size": 1, "runtime_dir": self.directory, **options}
        self.options = LiveOptions(Settings(**chosen))
        self.records = Records("test")
        self.metrics = PoolMetrics()
        self.health = Health("test", self.metrics)
        rate = StartRate()
        self.reconciler = Reconciler(
            self.engine,
            self.records,
            self.health,
            self.options,
            configuration=PoolConfiguration(self.engine, self.options, images=ImageWork(warm=self.chosen)),
            rate=rate,
            sizing=Sizing(self.records, self.options, rate),
            wanted=lambda: self.wanted,
        )

    def _serve(self, spec: ContainerSpec) -> Handler:
        async def serve(request: web.Request) -> web.StreamResponse:
            if request.path != f"{spec.base_path}api/tmpnb/warm":
                return web.json_response({})
            self.asked += 1
            self.tokens.add(request.headers.get("Authorization", "").removeprefix("token "))
            text = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
            return web.Response(status=self.status, text=text)

        return serve

    def tell(self, state: str, **more: object) -> None:
        """Have servers say this of R."""
        self.answer = {"kernels": [{"name": "ir", "state": state, **more}]}

    async def ready(self) -> Container:
        """The container that is ready now, or soon."""
        await self.reconciler.reconcile_once()
        async with asyncio.timeout(20):
            while not (found := self.records.in_state(State.READY)):
                await asyncio.sleep(0.005)
        return found[0]

    def failures(self) -> float:
        samples = (sample for family in self.metrics.collect() for sample in family.samples)
        return sum(one.value for one in samples if one.name == "tmpnb_warm_kernel_failures_total")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHost() as host:
        made = World(host, tmp_path)
        yield made
        await made.reconciler.close(remove_everything=True)
        await made.engine.close()


async def test_a_container_is_ready_once_its_kernels_are(world: World) -> None:
    await world.reconciler.reconcile_once()
    await until(lambda: world.asked > 2)
    assert (world.records.count(State.STARTING), world.records.count(State.READY)) == (1, 0)
    world.tell("ready")
    container = await world.ready()
    assert container.warm == {"ir"}
    assert world.tokens == {container.token}
    (started,) = world.host.containers.values()
    assert started.spec.config.warm == (WarmKernel("ir"),)
    assert started.state is State.READY
    asked = world.asked
    await asyncio.sleep(0.1)
    assert world.asked == asked, "nobody asks a container of which all is known"


async def test_nothing_is_asked_where_nothing_is_to_be_warm(world: World) -> None:
    world.chosen.wanted = ()
    assert (await world.ready()).warm == frozenset()
    assert world.asked == 0


async def test_one_that_fails_is_told_and_the_container_is_ready(world: World) -> None:
    world.tell("failed", problem="Error in library(x):\n\x1b[31mthere is no package \u2018x\u2019\x1b[0m")
    with capture_logs() as logs:
        container = await world.ready()
    assert container.warm == frozenset()
    (line,) = [one for one in logs if one["event"] == "warm_kernel_failed"]
    assert (line["kernel"], line["id"]) == ("ir", container.id)
    assert line["error"] == "Error in library(x): there is no package \u2018x\u2019"
    assert world.failures() == 1
    assert world.health.warm_problems["ir"].message == line["error"]
    assert world.health.failure is None, "it keeps nothing from becoming ready"


async def test_one_that_works_again_is_no_problem_any_more(world: World) -> None:
    world.tell("failed")
    await world.ready()
    assert "does not say why" in world.health.warm_problems["ir"].message
    world.tell("ready")
    world.records.claim(0)
    await world.ready()
    assert world.health.warm_problems == {}


async def test_each_kernel_is_judged_by_itself(world: World) -> None:
    world.chosen.wanted = tuple(map(WarmKernel, ("ir", "python3", "octave")))
    answer = [
        {"name": "python3", "state": "ready"},
        {"name": "ir", "state": "ended"},
        {"name": "evil", "state": "ready"},
    ]
    world.answer = {"kernels": answer}
    container = await world.ready()
    assert container.warm == {"python3"}, "what it was not told to start does not count"
    assert world.health.warm_problems["octave"].message == "the server does not know of it"
    assert set(world.health.warm_problems) == {"ir", "octave"}


async def test_what_is_not_ready_in_time_has_failed(world: World) -> None:
    world.begin(start_timeout=0.4)
    container = await world.ready()
    assert container.warm == frozenset()
    assert world.health.warm_problems["ir"].message == "it was not ready in time (start_timeout)"


async def test_what_never_becomes_ready_holds_up_the_first_starts_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmpnb_py.pools.warmth._IMPATIENT", 0.05)
    world.begin(start_timeout=1.0)
    times = []
    for _ in range(2):
        began = time.monotonic()
        await world.ready()
        times.append(time.monotonic() - began)
        world.records.claim(0)
    assert times[0] >= 1 > times[1]
    world.tell("ready")
    assert (await world.ready()).warm == {"ir"}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "null",
        "[]",
        '{"kernels": {}}',
        '{"kernels": [{"name": "ir", "state": "READY"}]}',
        '{"kernels": [{"name": "ir"}]}',
        '{"kernels": [{"name": 1, "state": "ready"}]}',
        json.dumps({"kernels": [{"name": "ir", "state": "ready"}] * 65}),
        json.dumps({"kernels": [{"name": "ir", "state": "failed", "problem": "x" * 5000}]}),
        json.dumps({"kernels": [], "more": "x" * 70_000}),
        "[" * 60_000,
    ],
)
async def test_an_answer_that_is_none_keeps_nothing_from_becoming_ready(world: World, answer: str) -> None:
    world.begin(start_timeout=0.3)
    world.answer = answer
    container = await world.ready()
    assert container.warm == frozenset()
    assert world.failures() == 1


@pytest.mark.parametrize(("status", "told"), [(404, "the image starts no kernels ahead"), (500, "not ready in time")])
async def test_an_image_that_says_that_it_can_and_cannot(world: World, status: int, told: str) -> None:
    world.begin(start_timeout=0.5)
    world.status = status
    await world.ready()
    assert told in world.health.warm_problems["ir"].message


async def test_a_long_problem_is_cut(world: World) -> None:
    world.tell("failed", problem="\n".join(["y" * 400] * 9) + "token=abc")
    await world.ready()
    assert len(world.health.warm_problems["ir"].message) == 500


async def test_visitors_do_not_wait_for_a_kernel(world: World) -> None:
    """What becomes ready later is noted later, unless the container is somebody's by then."""
    await world.reconciler.reconcile_once()
    await until(lambda: world.asked > 1)
    world.wanted = 1
    container = await world.ready()
    assert container.warm == frozenset()
    assert world.failures() == 0
    world.tell("ready")
    await until(lambda: container.warm == {"ir"})


async def test_a_claimed_container_is_not_asked(world: World) -> None:
    world.wanted = 1
    container = await world.ready()
    assert world.records.claim(0) is container
    await asyncio.sleep(0.1)
    asked = world.asked
    await asyncio.sleep(0.3)
    assert world.asked == asked
    assert world.failures() == 0


async def test_after_a_restart_ready_ones_are_asked(world: World) -> None:
    world.tell("ready")
    before = await world.ready()
    await world.engine.close()
    world.begin()
    container = await world.ready()
    assert (container.id, container is before) == (before.id, False)
    await until(lambda: container.warm == {"ir"})


async def test_one_that_exits_meanwhile_has_failed_to_start(world: World) -> None:
    await world.reconciler.reconcile_once()
    await until(lambda: world.asked > 1)
    (started,) = world.host.containers.values()
    await world.engine.kill(started.spec.id, Exit(137, out_of_memory=True))
    world.reconciler.observe_soon()
    await world.reconciler.reconcile_once()
    await until(lambda: world.health.failure is not None)
    assert world.health.failure is not None
    assert "while its kernels were started (warm_kernels)" in world.health.failure.message


async def test_starts_take_as_long_as_the_kernels(world: World) -> None:
    await world.reconciler.reconcile_once()
    await asyncio.sleep(0.3)
    world.tell("ready")
    await world.ready()
    ((_, seconds),) = world.reconciler._starts._rate.measured
    assert seconds >= 0.3
