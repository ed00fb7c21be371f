"""The swarm's nodes as the operator sees them, and how one is paused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from tmpnb_py.core.errors import EngineDownError, EngineError
from tmpnb_py.core.models import Gap, NodeState, Protection
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.fleet import Fleet, found_in, see_that_it_manages, told_of
from tmpnb_py.engines.swarm.looks import Verdict
from tmpnb_py.engines.swarm.relays import Relays
from tmpnb_py.engines.swarm.services import Node, Placed

IMAGE = f"sha256:{'1' * 64}"
A, B = "a" * 24, "b" * 24
LACKS = {"n1": Verdict((Gap(Protection.SECCOMP, "no filter", "mend it"), Gap(Protection.PRIVILEGES, "some")))}


def node(node_id: str, name: str, availability: str = "active") -> dict[str, Any]:
    return {
        "ID": node_id,
        "Version": {"Index": 7},
        "Description": {"Hostname": name, "Resources": {"MemoryBytes": 100, "NanoCPUs": 2 * 10**9}},
        "Status": {"State": "ready"},
        "Spec": {"Role": "worker", "Availability": availability},
    }


class Api:
    """A manager."""

    def __init__(self, *nodes: dict[str, Any]) -> None:
        self.nodes = list(nodes)
        self.conflicts = 0
        self.down = False
        self.updates: list[tuple[str, str, Any]] = []

    async def call(self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Any = None) -> Any:
        if self.down:
            raise EngineDownError("no quorum")
        if method == "GET":
            return self.nodes if path == "nodes" else []
        self.updates.append((path, (params or {})["version"], body))
        if self.conflicts:
            self.conflicts -= 1
            raise RefusedError("update out of sequence", status=500)
        next(one for one in self.nodes if one["ID"] == path.split("/")[1])["Spec"] = body
        return None


class Link:
    def __init__(self, *, there: bool | None) -> None:
        self.there = there

    async def ask(self, _: object) -> dict[str, Any]:
        if self.there is None:
            raise EngineError("its engine hangs")
        return {"there": self.there}


class Links:
    trouble = "what answers at 192.0.2.7 does not have the relays' secret"

    def __init__(self, **there: bool | None) -> None:
        self.links = {name: Link(there=one) for name, one in there.items()}
        self.nodes = frozenset(self.links)

    def of(self, name: str) -> Link:
        return self.links[name]


def fleet(api: Api, **there: bool | None) -> Fleet:
    return Fleet(cast(EngineApi, api), cast(Relays, Links(**there)), "tmpnb")


def test_each_node_with_its_own() -> None:
    nodes = [
        Node("n2", "zwei", usable=True, down=False, memory=100, cpus=2, state=NodeState.ACTIVE),
        Node("n1", "eins", usable=False, down=True, memory=50, cpus=1, state=NodeState.DOWN),
    ]
    placed = [Placed("n2", A, 10), Placed("n2", B, 20), Placed("gone", B, 9)]
    first, second = told_of(nodes, placed, {"n2": {"there": False}}, LACKS.get)
    assert (first.lacks, second.lacks) == ((Protection.PRIVILEGES, Protection.SECCOMP), None)
    assert (first.name, first.state, first.has_relay, first.has_image) == ("eins", NodeState.DOWN, False, None)
    assert (second.has_relay, second.has_image) == (True, False)
    assert (second.reserved, second.memory, second.notebooks) == (30, 100, frozenset((A, B)))


async def test_images_are_asked_of_relays() -> None:
    here = fleet(Api(node("n1", "one"), node("n2", "two"), node("n3", "three")), n1=True, n2=None)
    found = {one.name: (one.has_relay, one.has_image) for one in await here.nodes(IMAGE, LACKS.get)}
    assert found == {"one": (True, True), "two": (True, None), "three": (False, None)}
    assert [one.has_image for one in await here.nodes("", LACKS.get)] == [None] * 3


async def test_managers_that_do_not_answer() -> None:
    api = Api(node("n1", "one"))
    here = fleet(api, n1=True)
    api.down = True
    assert await here.nodes(IMAGE, LACKS.get) == ()
    api.down = False
    await here.nodes(IMAGE, LACKS.get)
    api.down = True
    assert [(one.name, one.state) for one in await here.nodes(IMAGE, LACKS.get)] == [("one", NodeState.UNKNOWN)]


@pytest.mark.parametrize("named", ["one", "n1"])
async def test_pausing_and_undoing_it(named: str) -> None:
    api = Api(node("n1", "one"), node("n2", "two"))
    api.conflicts = 1
    here = fleet(api)
    assert await here.pause(named, paused=True) == "n1"
    update = ("nodes/n1/update", "7", {"Role": "worker", "Availability": "pause"})
    assert api.updates == [update, update], "once more after somebody else's change"
    assert await here.pause(named, paused=True) == "n1"
    assert len(api.updates) == 2, "it is so already"
    await here.pause(named, paused=False)
    assert api.nodes[0]["Spec"]["Availability"] == "active"


async def test_what_swarm_drains_stays_drained() -> None:
    api = Api(node("n1", "one", "drain"))
    await fleet(api).pause("one", paused=True)
    assert not api.updates


async def test_others_who_keep_changing_it() -> None:
    api = Api(node("n1", "one"))
    api.conflicts = 100
    with pytest.raises(EngineError, match="kept changing"):
        await fleet(api).pause("one", paused=True)


def test_nodes_that_there_are_not_or_twice() -> None:
    listed = [node("n1", "same"), node("n2", "same"), node("n3", "three")]
    with pytest.raises(EngineError, match="no node four") as missing:
        found_in(listed, "four")
    assert "three" in missing.value.remedy
    with pytest.raises(EngineError, match="2 nodes") as twice:
        found_in(listed, "same")
    assert "n1, n2" in twice.value.remedy
    assert found_in(listed, "n2")["ID"] == "n2"


@pytest.mark.parametrize(
    ("swarm", "words"),
    [
        ({}, "in no swarm"),
        ({"LocalNodeState": "inactive"}, "in no swarm"),
        ({"LocalNodeState": "locked"}, "locked"),
        (
            {"LocalNodeState": "active", "NodeAddr": "192.0.2.2", "RemoteManagers": [{"Addr": "192.0.2.1:2377"}]},
            r"worker.*192\.0\.2\.1",
        ),
        (
            {"LocalNodeState": "active", "NodeAddr": "192.0.2.1", "RemoteManagers": [{"Addr": "192.0.2.1:2377"}]},
            "no leader",
        ),
    ],
)
def test_why_an_engine_does_not_manage_a_swarm(swarm: dict[str, Any], words: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        see_that_it_manages(swarm)
    assert caught.value.remedy


def test_one_that_does() -> None:
    see_that_it_manages({"LocalNodeState": "active", "ControlAvailable": True})
