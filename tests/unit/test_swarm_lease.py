"""Who manages a pool in a swarm, and when another one may."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest

from tmpnb_py.core.errors import EngineError, NoSuchContainerError, PoolLockedError
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm import lease as module
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.lease import Lease

_UNIT = 0.02  # seconds


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RENEW_SECONDS", _UNIT)
    monkeypatch.setattr(module, "_LOOK_SECONDS", _UNIT / 2)
    monkeypatch.setattr(module, "_NODE_LOST_SECONDS", 4 * _UNIT)
    monkeypatch.setattr(module, "_KEPT_SECONDS", 20 * _UNIT)
    monkeypatch.setattr(module, "LEASE_SECONDS", 50 * _UNIT)


class Managers:
    """The swarm's managers, with their one config."""

    def __init__(self) -> None:
        self.config: dict[str, Any] | None = None
        self.index = 0
        self.have_majority = True
        self.nodes = {"n1": "ready", "n2": "ready"}
        self.containers: dict[tuple[str, str], bool] = {}  # whether it runs, by node and id

    def call(self, node: str, method: str, path: str, index: str, body: Any) -> Any:
        kind, *rest = path.split("/")
        if kind == "info":
            return {"Swarm": {"NodeID": node}}
        if kind == "containers":
            if (running := self.containers.get((node, rest[0]))) is None:
                raise NoSuchContainerError("no such container")
            return {"Id": rest[0], "State": {"Running": running}}
        if not self.have_majority:
            raise RefusedError("The swarm does not have a leader.", 503)
        if kind == "nodes":
            return [{"ID": name, "Status": {"State": state}} for name, state in self.nodes.items()]
        return self._config(method, rest, index, body)

    def _config(self, method: str, rest: list[str], index: str, body: Any) -> Any:
        if rest == ["create"]:
            if self.config is not None:
                raise RefusedError("already exists", 409)
            self._put(body)
        elif self.config is None:
            raise RefusedError("config not found", 404)
        elif method == "GET":
            return copy.deepcopy(self.config)
        elif method == "DELETE":
            self.config = None
        elif index != str(self.index):
            raise RefusedError("rpc error: update out of sequence", 500)
        else:
            self._put(body)
        return None

    def _put(self, body: Any) -> None:
        self.index += 1
        self.config = {"ID": "c", "Version": {"Index": self.index}, "Spec": copy.deepcopy(body)}


class Api:
    """One node's engine. `hears_of_managers` False: its calls for them fail."""

    def __init__(self, managers: Managers, node: str) -> None:
        self.managers, self.node = managers, node
        self.is_cut_off = False

    async def call(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Any:
        await asyncio.sleep(0)
        if self.is_cut_off:
            raise RefusedError("The swarm does not have a leader.", 503)
        return self.managers.call(self.node, method, path, (params or {}).get("version", ""), body)


class Manager:
    """A process that wants the pool."""

    def __init__(self, managers: Managers, node: str) -> None:
        self.api = Api(managers, node)
        self.lease = Lease(cast(EngineApi, self.api), "pool")
        self.lost = asyncio.Event()

    async def take(self) -> None:
        await self.lease.take(self.lost.set)

    async def die(self) -> None:
        """End without giving it back."""
        self.api.is_cut_off = True
        await self.lease.release()


async def took(manager: Manager) -> float:
    """In how many units of time it got it."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(10):
        await manager.take()
    return (asyncio.get_running_loop().time() - began) / _UNIT


async def test_there_is_one_manager_until_it_gives_the_pool_back() -> None:
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n2")
    await first.take()
    with pytest.raises(PoolLockedError):
        await second.take()
    await first.lease.release()
    second.lease.see_that_it_is_kept()  # a command that holds nothing may remove what is left
    await second.take()
    second.lease.see_that_it_is_kept()
    assert second.lease.is_held
    await second.lease.release()
    assert managers.config is None


async def test_a_dead_managers_pool_is_taken_over_the_sooner_the_more_is_known() -> None:
    managers = Managers()
    first, second, third = Manager(managers, "n1"), Manager(managers, "n2"), Manager(managers, "n2")
    await first.take()
    await first.die()
    managers.nodes["n1"] = "down"
    assert 3 < await took(second) < 40, "Swarm has lost its node"
    await second.die()
    assert await took(third) > 49, "nobody knows anything of it"
    await third.lease.release()


async def test_a_later_managers_term_is_higher_than_any_that_an_earlier_one_has() -> None:
    """Front ends take the one with the higher term for the manager."""
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n2")
    await first.take()
    began = first.lease.term
    assert began > 0
    async with asyncio.timeout(10):
        while first.lease.term == began:
            await asyncio.sleep(_UNIT)
    first.api.is_cut_off = True  # and lives on
    managers.nodes["n1"] = "down"
    await second.take()
    assert second.lease.term > first.lease.term
    first.api.is_cut_off = False
    async with asyncio.timeout(10):
        await first.lost.wait()
    assert second.lease.term > first.lease.term
    await second.lease.release()


async def test_a_manager_whose_container_has_ended_on_this_node_is_followed_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n1")
    monkeypatch.setattr("socket.gethostname", lambda: "one")
    managers.containers["n1", "one"] = True
    await first.take()
    await first.die()
    managers.containers["n1", "one"] = False
    assert await took(second) < 3
    await second.die()


async def test_a_lost_node_whose_manager_still_renews_is_left_alone() -> None:
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n2")
    await first.take()
    managers.nodes["n1"] = "down"
    with pytest.raises(PoolLockedError):
        await second.take()
    await first.lease.release()


async def test_who_cannot_renew_stays_manager_while_nobody_else_can_write() -> None:
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n2")
    await first.take()
    managers.have_majority = False
    await asyncio.sleep(60 * _UNIT)  # longer than a lease: an election, or a majority that is away
    with pytest.raises(EngineError, match="leader"):
        await second.take()
    assert first.lease.is_held
    with pytest.raises(EngineError, match="still ours"):
        first.lease.see_that_it_is_kept()
    managers.have_majority = True
    before = managers.index
    async with asyncio.timeout(10):
        while managers.index == before:
            await asyncio.sleep(_UNIT)
    await asyncio.sleep(2 * _UNIT)
    first.lease.see_that_it_is_kept()
    assert first.lease.is_held
    assert not first.lost.is_set()
    await first.lease.release()


async def test_who_comes_back_from_a_partition_finds_that_another_has_it() -> None:
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n2")
    await first.take()
    first.api.is_cut_off = True
    managers.nodes["n1"] = "down"
    await second.take()
    assert not first.lost.is_set()
    first.api.is_cut_off = False
    async with asyncio.timeout(10):
        await first.lost.wait()
    with pytest.raises(EngineError, match="still ours"):
        first.lease.see_that_it_is_kept()
    assert not first.lease.is_held
    with pytest.raises(PoolLockedError):
        await first.take()
    await second.lease.release()


async def test_who_ends_before_it_has_seen_that_another_took_over_leaves_that_one_its_pool() -> None:
    """As Swarm does with the orchestrator of a side that had no majority, once the network is whole again."""
    managers = Managers()
    first, second = Manager(managers, "n1"), Manager(managers, "n2")
    await first.take()
    first.api.is_cut_off = True
    managers.nodes["n1"] = "down"
    await second.take()
    first.api.is_cut_off = False
    assert first.lease.is_held, "it has not looked since"
    await first.lease.release()
    await asyncio.sleep(10 * _UNIT)
    assert second.lease.is_held
    assert not second.lost.is_set()
    await second.lease.release()
    assert managers.config is None


async def test_a_lease_that_somebody_removes_is_made_again() -> None:
    managers = Managers()
    first = Manager(managers, "n1")
    await first.take()
    managers.config = None
    index = managers.index
    async with asyncio.timeout(10):
        while managers.index == index:
            await asyncio.sleep(_UNIT)
    assert not first.lost.is_set()
    first.lease.see_that_it_is_kept()
    with pytest.raises(PoolLockedError):
        await Manager(managers, "n2").take()
    await first.lease.release()
