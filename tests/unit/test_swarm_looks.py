"""Which nodes may be given notebooks, by what a probe on each tells."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from tests.unit.test_swarm_services import CONFIG
from tests.waiting import until
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerConfig, Protection
from tmpnb_py.engines import isolation
from tmpnb_py.engines.docker.probe_inside import ANSWER
from tmpnb_py.engines.isolation import EngineLimits
from tmpnb_py.engines.swarm import looks as looks_module
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.link.wire import Notebook, Question
from tmpnb_py.engines.swarm.looks import Looks
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node

GOOD: dict[str, Any] = {
    "directory": "sealed",
    **dict.fromkeys(("CapEff", "CapPrm", "CapBnd"), "0000000000000000"),
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "limits": {"memory": CONFIG.mem_limit, "swap": 0, "processes": CONFIG.pids_limit},
    "gateway": "",
    "attempts": {"192.0.2.1": "ENETUNREACH"},
}


def node(name: str) -> Node:
    return Node(name, name, usable=True, down=False, memory=1, cpus=1)


class Probe:
    """A node's relay with a probe behind it. It answers `told`, once it may."""

    def __init__(self) -> None:
        self.told: Any = GOOD
        self.raw: bytes | None = None
        self.ended: dict[str, Any] = {"running": True}
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.asked: list[str] = []
        self.limits = EngineLimits()

    async def ask(self, question: Question) -> dict[str, Any]:
        self.asked.append(question.do)
        return self.ended if question.do == "ended" else {}

    async def dial(self, _: Notebook, factory: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        await self.may_answer.wait()
        if not self.ended["running"]:
            raise ConnectionRefusedError("the notebook has ended")
        answer = factory()
        answer.data_received(self.raw if self.raw is not None else (ANSWER + json.dumps(self.told)).encode())
        answer.connection_lost(None)
        return answer


class Bench:
    """Looks with stand-ins for managers and relays."""

    def __init__(self) -> None:
        self.probes: dict[str, Probe] = {}
        self.services: list[Any] = []
        self.ended = 0
        self.looks = Looks(cast(EngineApi, self), cast(Relays, self), "pool", self._placed, self._one_has_ended)

    def _one_has_ended(self) -> None:
        self.ended += 1

    async def _placed(self, _: str) -> str:
        return "a node"

    def of(self, name: str) -> Probe:
        return self.probes[name]

    async def call(self, method: str, path: str, *, body: Any = None) -> None:
        self.services.append(body if method == "POST" else path)

    async def gaps(self, *names: str, config: ContainerConfig = CONFIG) -> list[Protection | None]:
        for name in names:
            self.probes.setdefault(name, Probe())
        return [gap.protection for gap in await self.looks.gaps(config, [node(name) for name in names])]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.looks.close()


async def test_each_node_is_looked_at_once(bench: Bench) -> None:
    assert await bench.gaps("one", "two") == []
    assert bench.looks.good() == {"one", "two"}
    assert bench.probes["one"].asked == ["take", "ready", "remove"]
    made = [one for one in bench.services if isinstance(one, dict)]
    assert sorted(one["TaskTemplate"]["Placement"]["Constraints"][0] for one in made) == [
        "node.id==one",
        "node.id==two",
    ]
    assert made[0]["TaskTemplate"]["Resources"]["Reservations"] == {}, "also on a node that is full"
    assert made[0]["Labels"]["org.tmpnb.pool"] == "pool.probe", "nobody lists it as a notebook"
    assert len(bench.services) == 4, "and is removed"
    assert await bench.gaps("one", "two") == []
    assert len(bench.services) == 4
    assert not bench.looks.probes


async def test_a_node_that_lacks_something_is_left_out_while_another_does_not(bench: Bench) -> None:
    bench.probes["bad"] = Probe()
    bench.probes["bad"].told = {**GOOD, "Seccomp": "0"}
    assert await bench.gaps("bad", "good") == []
    assert bench.looks.good() == {"good"}
    assert bench.looks.lacks("bad") == {Protection.SECCOMP}
    assert await bench.gaps("bad") == [Protection.SECCOMP], "its operator is asked where there is no other"
    assert bench.looks.good() == {"bad"}


@pytest.mark.parametrize(
    ("facts", "lacks"),
    [
        ({"directory": "open"}, Protection.DISK),
        ({"NoNewPrivs": "0"}, Protection.PRIVILEGES),
        ({"CapBnd": "00000000a80425fb"}, Protection.PRIVILEGES),
        ({"attempts": {"192.0.2.1": "connected"}}, Protection.NETWORK),
        ({"limits": {**GOOD["limits"], "memory": None}}, Protection.MEMORY),
        ({"limits": {**GOOD["limits"], "processes": None}}, Protection.PROCESSES),
    ],
)
async def test_what_is_seen(bench: Bench, facts: dict[str, Any], lacks: Protection) -> None:
    bench.probes["one"] = Probe()
    bench.probes["one"].told = {**GOOD, **facts}
    assert await bench.gaps("one") == [lacks]


async def test_what_the_engine_cannot_limit_counts_where_nothing_is_seen(bench: Bench) -> None:
    bench.probes["one"] = Probe()
    bench.probes["one"].told = {**GOOD, "limits": {}}
    assert await bench.gaps("one") == []
    bench.looks.forget("one")
    bench.probes["one"].limits = EngineLimits(memory=False)
    assert await bench.gaps("one") == [Protection.MEMORY]


async def test_an_image_without_python(bench: Bench) -> None:
    bench.probes["one"] = Probe()
    bench.probes["one"].ended = {"running": False, "status": 127}
    assert await bench.looks.gaps(CONFIG, [node("one")]) == (isolation.NO_PYTHON,)


@pytest.mark.parametrize("raw", [b"", b"tmpnb {", b"tmpnb []", b"\xff\xfe", b"tmpnb {}", b"x" * 100_000])
async def test_what_is_not_an_answer_is_refused(bench: Bench, raw: bytes) -> None:
    bench.probes["one"] = Probe()
    bench.probes["one"].raw = raw
    with pytest.raises(EngineError, match="a probe's answer is none"):
        await bench.gaps("one")
    assert bench.looks.good() == set()
    found = bench.looks.verdict("one")
    assert found is not None
    assert found.text == "a probe's answer is none"


async def test_a_node_that_joins_holds_nobody_up(bench: Bench) -> None:
    assert await bench.gaps("one") == []
    bench.probes["new"] = Probe()
    bench.probes["new"].may_answer.clear()
    assert await bench.gaps("one", "new") == []
    assert bench.looks.good() == {"one"}
    before = bench.ended
    bench.probes["new"].may_answer.set()
    await until(lambda: bench.ended > before, 5)
    assert bench.looks.good() == {"one", "new"}


async def test_nodes_that_are_looked_at_first_are_waited_for_together(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks_module, "_TOGETHER_SECONDS", 0.2)
    bench.probes["slow"] = Probe()
    bench.probes["slow"].may_answer.clear()
    began = time.monotonic()
    assert await bench.gaps("one", "slow") == []
    assert time.monotonic() - began >= 0.2
    assert bench.looks.good() == {"one"}


async def test_a_node_whose_relay_was_away_is_looked_at_again(bench: Bench) -> None:
    assert await bench.gaps("one", "two") == []
    bench.looks.forget("one")
    assert bench.looks.good() == {"two"}
    bench.probes["one"].told = {**GOOD, "NoNewPrivs": "0"}
    await bench.gaps("one", "two")
    await until(lambda: bench.looks.lacks("one") == {Protection.PRIVILEGES}, 5)
    assert bench.looks.good() == {"two"}


async def test_what_was_seen_before_a_relay_was_lost_is_not_believed(bench: Bench) -> None:
    assert await bench.gaps("two") == []
    bench.probes["one"] = Probe()
    bench.probes["one"].may_answer.clear()
    await bench.gaps("one", "two")
    await asyncio.sleep(0)
    bench.looks.forget("one")
    bench.probes["one"].may_answer.set()
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.looks.verdict("one") is None
