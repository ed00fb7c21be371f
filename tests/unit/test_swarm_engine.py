"""The Swarm engine against managers in memory: what it makes of lists that are older than what it has done since."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tests.swarm.relays import make_secret
from tmpnb_py.core.models import Observed
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine

A, B = "a" * 12, "b" * 12
_MEMORY = 1000


class Managers:
    """They list what they are told to; `answer` holds back their list of services."""

    def __init__(self) -> None:
        self.notebooks: dict[str, str] = {}  # the node of each
        self.availability = {"n1": "active", "n2": "active"}
        self.asked, self.answer = asyncio.Event(), asyncio.Event()
        self.answer.set()

    async def close(self) -> None:
        pass

    async def call(self, method: str, path: str, *, params: Mapping[str, str] | None = None, **_: Any) -> Any:
        found = {"version": {"Version": "20.10"}, "nodes": self._nodes(), "tasks": self._tasks()}
        if method == "DELETE":
            self.notebooks = {one: at for one, at in self.notebooks.items() if self._name(one) not in path}
        elif path == "services":
            listed = [{"ID": one, "Spec": self._spec(one)} for one in self.notebooks]
            self.asked.set()
            await self.answer.wait()
            return listed
        elif path.startswith("services/"):
            return next({"ID": one, "Spec": self._spec(one)} for one in self.notebooks if self._name(one) in path)
        return found.get(path)

    @staticmethod
    def _name(container_id: str) -> str:
        return naming.name_of("pool", container_id)

    def _spec(self, one: str) -> dict[str, Any]:
        labels = {**naming.labels_of("pool"), docker.LABEL_ID: one, services.LABEL_STATE: "ready"}
        return {"Name": self._name(one), "Labels": labels}

    def _nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "ID": name,
                "Description": {"Resources": {"MemoryBytes": _MEMORY}},
                "Status": {"State": "ready"},
                "Spec": {"Availability": availability},
            }
            for name, availability in self.availability.items()
        ]

    def _tasks(self) -> list[dict[str, Any]]:
        resources = {"Reservations": {"MemoryBytes": 100}}
        return [
            {
                "ServiceID": one,
                "NodeID": node,
                "Status": {"State": "running", "ContainerStatus": {"ContainerID": "c"}},
                "Spec": {"ContainerSpec": {"Labels": {docker.LABEL_ID: one}}, "Resources": resources},
            }
            for one, node in self.notebooks.items()
        ]


@pytest.fixture
def managers() -> Managers:
    return Managers()


@pytest.fixture
async def engine(managers: Managers, tmp_path: Path) -> AsyncIterator[SwarmEngine]:
    secret = make_secret(tmp_path / "relay.pem")
    made = SwarmEngine(pool="pool", runtime_dir=tmp_path / "run", swarm=Swarm((), secret))
    for part in (made, made._fleet, made._records):
        part._api = cast(EngineApi, managers)
    yield made
    await made.close()


async def test_a_start_that_ends_during_a_listing_is_still_reached(managers: Managers, engine: SwarmEngine) -> None:
    managers.notebooks[A] = "n1"
    managers.answer.clear()
    listing = asyncio.create_task(engine.list())
    await managers.asked.wait()
    managers.notebooks[B] = "n2"  # started, and answering, before the managers' older list arrives
    engine._where[B] = "n2"
    managers.answer.set()
    assert [one.id for one in await listing] == [A]
    assert engine._where == {A: "n1", B: "n2"}

    del managers.notebooks[B]
    await engine.list()
    assert engine._where == {A: "n1"}, "what a later list lacks is gone"


async def test_capacity_follows_what_ends_on_a_paused_node(managers: Managers, engine: SwarmEngine) -> None:
    managers.notebooks = {A: "n1", B: "n2"}
    managers.availability["n2"] = "pause"
    listed: list[Observed] = await engine.list()
    assert {one.id for one in listed} == {A, B}
    assert (await engine.info()).memory == _MEMORY + 100

    events = engine.events()
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await engine.remove(A)
    await asyncio.sleep(0)
    assert not first.done()
    await engine.remove(B)
    async with asyncio.timeout(5):
        assert await first == "", "nodes count anew: what was on the paused one is not free for others"
    assert (await engine.info()).memory == _MEMORY
    await cast(Any, events).aclose()
