"""Images of a registry in a swarm: which one a name means, what the relays pull, and what is removed again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, cast

import pytest
import structlog

from tests.waiting import until
from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.core.models import NodeTransfer
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.images import pins as pins_module
from tmpnb_py.engines.swarm.images import pulls
from tmpnb_py.engines.swarm.images.pins import Pins
from tmpnb_py.engines.swarm.images.pulls import Pulls, bring
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.relay import pulls as node_pulls
from tmpnb_py.engines.swarm.relay.images import NodeImages
from tmpnb_py.engines.swarm.relay.pulls import NodePulls
from tmpnb_py.engines.swarm.relays import Relays

NAME = "registry:5000/team/workshop:1"
OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
REFERENCE = f"registry:5000/team/workshop@{OLD}"


@pytest.fixture(autouse=True)
def nobody_has_logged_in(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


# --- pins


class Swarm:
    """The configs of a swarm, and a registry."""

    def __init__(self, digest: str = OLD) -> None:
        self.digest = digest
        self.configs: dict[str, dict[str, Any]] = {}
        self.asked = 0

    async def call(self, method: str, path: str, *, params: Any = None, body: Any = None) -> Any:
        if path == "configs/create":
            if body["Name"] in self.configs:
                raise RefusedError("already exists", 409)
            self.configs[body["Name"]] = {"ID": body["Name"], "Version": {"Index": 7}, "Spec": body}
            return None
        if path == "configs":
            wanted = [one.partition("=") for one in json.loads(params["filters"])["label"]]
            found = self.configs.values()
            return [one for one in found if all(one["Spec"]["Labels"].get(key) == value for key, _, value in wanted)]
        name = path.split("/")[1]
        if method == "DELETE":
            del self.configs[name]
            return None
        if name not in self.configs:
            raise RefusedError("config not found", 404)
        if method == "POST":
            assert params == {"version": "7"}
            self.configs[name]["Spec"] = body
        return self.configs[name]

    @contextlib.asynccontextmanager
    async def stream(self, method: str, path: str, **_: Any) -> AsyncIterator[Any]:
        assert (method, path) == ("GET", f"distribution/{NAME}/json")
        self.asked += 1
        if not self.digest:
            raise RefusedError("dial tcp: connection refused", 500)
        yield self

    async def json(self, **_: Any) -> Any:
        return {"Descriptor": {"digest": self.digest}}


def pins(swarm: Swarm, pool: str = "pool") -> Pins:
    return Pins(cast(EngineApi, swarm), pool)


async def test_the_registry_is_asked_once() -> None:
    swarm = Swarm()
    assert await pins(swarm).of(NAME) == REFERENCE
    swarm.digest = NEW
    assert await pins(swarm).of(NAME) == REFERENCE, "another orchestrator starts the same"
    swarm.digest = ""
    assert await pins(swarm).of(NAME) == REFERENCE, "with the registry away, too"
    assert swarm.asked == 1


async def test_a_pin_that_is_moved() -> None:
    swarm = Swarm()
    await pins(swarm).of(NAME)
    swarm.digest = NEW
    later = await pins(swarm).ask(NAME)
    assert await pins(swarm).of(NAME) == REFERENCE, "not by asking"
    await pins(swarm).move(NAME, later)
    assert await pins(swarm).of(NAME) == later == f"registry:5000/team/workshop@{NEW}"


async def test_names_with_a_digest_ask_nobody() -> None:
    swarm = Swarm("")
    assert await pins(swarm).of(REFERENCE) == await pins(swarm).ask(REFERENCE) == REFERENCE
    assert not swarm.configs


async def test_pools_have_pins_of_their_own() -> None:
    swarm = Swarm()
    await pins(swarm).of(NAME)
    swarm.digest = NEW
    await pins(swarm, "other").of(NAME)
    assert await pins(swarm).of_others() == {NEW}
    await pins(swarm).forget()
    assert len(swarm.configs) == 1
    assert await pins(swarm).of_others() == {NEW}


@pytest.mark.parametrize("digest", ["", "sha256:../..", "latest"])
async def test_a_registry_that_does_not_tell(digest: str) -> None:
    swarm = Swarm(digest)
    with pytest.raises(ImageMissingError, match="does not tell") as caught:
        await pins(swarm).of(NAME)
    assert "docker login" in caught.value.remedy
    assert not swarm.configs


async def test_a_registry_that_is_away_is_not_asked_at_each_look(monkeypatch: pytest.MonkeyPatch) -> None:
    swarm = Swarm("")
    here = pins(swarm)
    for _ in range(3):
        with pytest.raises(ImageMissingError):
            await here.of(NAME)
    assert swarm.asked == 1
    swarm.digest = OLD
    monkeypatch.setattr(pins_module, "_AGAIN_SECONDS", 0.0)
    assert await here.of(NAME) == REFERENCE


# --- a node


class Engine:
    """A node's engine, which pulls when it is told to go on."""

    def __init__(self, *lines: dict[str, Any]) -> None:
        self.lines = list(lines)
        self.images: list[dict[str, Any]] = []
        self.used: list[dict[str, str]] = []
        self.go_on = asyncio.Event()
        self.keeps_it = True
        self.pulled: list[tuple[Mapping[str, str], Mapping[str, str]]] = []
        self.deleted: list[str] = []
        self.inspected: dict[str, dict[str, Any]] = {}

    async def call(self, method: str, path: str, *, params: Any = None) -> Any:
        if path == "images/json":
            return self.images
        if path == "containers/json":
            return self.used
        name = path.removeprefix("images/")
        if method == "DELETE":
            self.deleted.append(name)
            return None
        if method == "POST":
            assert params is not None
            self.images.append({"Id": name, "RepoTags": [f"{params['repo']}:{params['tag']}"]})
            return None
        name = name.removesuffix("/json")
        if name not in self.inspected:
            raise ImageMissingError("no such image")
        return self.inspected[name]

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, path: str, *, params: Mapping[str, str], headers: Mapping[str, str], **_: Any
    ) -> AsyncIterator[Any]:
        assert (method, path) == ("POST", "images/create")
        self.pulled.append((params, headers))
        self.content = self._content()
        yield self

    async def _content(self) -> AsyncIterator[bytes]:
        for line in self.lines:
            yield json.dumps(line).encode()
        await self.go_on.wait()
        if self.keeps_it and not any("error" in line for line in self.lines):
            self.inspected[REFERENCE] = {"RootFS": {"Layers": ["sha256:x"]}}


def node_pulls_of(engine: Engine) -> NodePulls:
    api = cast(EngineApi, engine)
    return NodePulls(api, NodeImages(api))


async def settled(holds: Callable[[], bool]) -> None:
    await until(holds, 5)


async def test_a_pull_is_begun_once_and_told_of() -> None:
    engine = Engine(
        {"id": "1", "status": "Pulling fs layer"}, {"id": "2", "status": "Pulling fs layer"},
        {"id": "1", "status": "Downloading"}, {"id": "1", "status": "Pull complete"}, {"status": "Digest: …"},
    )  # fmt: skip
    node = node_pulls_of(engine)
    for _ in range(3):
        await node.want(REFERENCE, "secret")
    await settled(lambda: node.told(REFERENCE)["layers"] == 1)
    assert node.told(REFERENCE) == {"pulling": True, "layers": 1, "of": 2, "error": ""}
    assert engine.pulled == [
        ({"fromImage": "registry:5000/team/workshop", "tag": OLD}, {"X-Registry-Auth": "secret"})
    ]
    engine.go_on.set()
    await settled(lambda: not node.told(REFERENCE)["pulling"])
    assert engine.images[-1]["RepoTags"] == [f"tmpnb-pushed:{OLD[7:19]}"]
    await node.want(REFERENCE, "secret")
    assert len(engine.pulled) == 1, "it is there"
    await node.close()


async def test_a_pull_that_fails_is_told_of_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"error": "no route to host"})
    engine.go_on.set()
    node = node_pulls_of(engine)
    await node.want(REFERENCE, "")
    await settled(lambda: node.told(REFERENCE)["error"] != "")
    assert node.told(REFERENCE) == {"pulling": False, "layers": 0, "of": 0, "error": "no route to host"}
    await node.want(REFERENCE, "")
    assert len(engine.pulled) == 1, "not at once"
    monkeypatch.setattr(node_pulls, "_AGAIN_SECONDS", 0.0)
    await node.want(REFERENCE, "")
    await settled(lambda: len(engine.pulled) == 2)
    await node.close()


async def test_what_an_engine_only_says_that_it_has_pulled() -> None:
    engine = Engine({"status": "done"})
    engine.go_on.set()
    engine.keeps_it = False
    node = node_pulls_of(engine)
    await node.want(REFERENCE, "")
    await settled(lambda: "does not have it" in str(node.told(REFERENCE)["error"]))
    await node.close()


async def test_images_that_nobody_uses_are_removed() -> None:
    engine = Engine()
    engine.images = [
        {"Id": "sha256:1", "RepoTags": [f"tmpnb-pushed:{OLD[7:19]}"]},
        {"Id": "sha256:2", "RepoTags": ["tmpnb-pushed:used"]},
        {"Id": "sha256:3", "RepoTags": ["tmpnb-pushed:old", "mine:1"], "RepoDigests": ["mine@sha256:3"]},
        {"Id": "sha256:4", "RepoTags": ["tmpnb-pushed:pulled"], "RepoDigests": ["registry:5000/w@sha256:4"]},
        {"Id": "sha256:5", "RepoTags": None, "Created": 0},
        {"Id": "sha256:6", "RepoTags": ["<none>:<none>"], "Created": 0},
        {"Id": "sha256:7", "RepoTags": ["mine:2"], "Created": 0},
        {"Id": "sha256:8", "RepoTags": [], "Created": 5},
    ]
    engine.used = [{"ImageID": "sha256:2", "Image": "x"}]
    partial = {"Created": "1970-01-01T00:00:00Z", "RootFS": {"Layers": ["sha256:x"]}, "Config": {}}
    engine.inspected = {"sha256:5": partial, "sha256:6": {**partial, "Config": {"Cmd": ["sh"]}}}
    images = NodeImages(cast(EngineApi, engine))
    found = await images.prune({OLD})
    assert found == {
        "removed": ["tmpnb-pushed:old", "tmpnb-pushed:pulled", "sha256:5"], "kept": ["tmpnb-pushed:used"],
    }  # fmt: skip
    assert engine.deleted == ["tmpnb-pushed:old", "tmpnb-pushed:pulled", "registry:5000/w@sha256:4", "sha256:5"]


# --- all nodes


class Link:
    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.name = "node"
        self.answers = list(answers)
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> dict[str, Any]:
        self.asked.append(question)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Links:
    def __init__(self, **links: Link) -> None:
        self.links = links
        self.nodes = frozenset(links)

    def of(self, name: str) -> Link:
        return self.links[name]


def told(layers: int = 0, *, there: bool = False, pulling: bool = False, error: str = "") -> dict[str, Any]:
    return {"there": there, "pulling": pulling, "layers": layers, "of": 3, "error": error}


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "_LOOK_SECONDS", 0.005)


async def test_nodes_pull_until_all_have_it() -> None:
    arrived: list[str] = []
    links = Links(
        n1=Link(told(pulling=True), told(there=True)),
        n2=Link(told(pulling=True), told(error="no route to host"), RelayAwayError("x"), told(there=True)),
    )
    here = Pulls(cast(Relays, links), lambda: arrived.append("one"))
    with structlog.testing.capture_logs() as logged:
        here.want(REFERENCE)
        await settled(lambda: "no route" in here.nowhere().message)
        await settled(lambda: len(arrived) == 2)
    assert [one["error"] for one in logged if one["event"] == "image_not_pulled"] == ["no route to host"]
    asked = len(links.of("n1").asked)
    here.forget("n1")
    await settled(lambda: len(links.of("n1").asked) > asked)
    await here.close()


async def brought(link: Link) -> list[NodeTransfer]:
    reported: list[NodeTransfer] = []
    ended = await bring(cast(Relays, Links(n1=link)), ("n1", "node1"), REFERENCE, reported.append)
    assert reported[-1] == ended
    return reported


async def test_bringing_reports_on_the_way() -> None:
    reported = await brought(Link(told(0, pulling=True), told(2, pulling=True), told(3, there=True)))
    assert [(one.layers, one.done, one.is_pulled) for one in reported] == [
        (0, False, True), (2, False, True), (3, True, True),
    ]  # fmt: skip
    (there,) = await brought(Link(told(there=True)))
    assert (there.done, there.is_pulled) == (True, False), "it had it"


@pytest.mark.parametrize(
    ("link", "error"),
    [
        (Link(told(pulling=True), told(error="manifest unknown")), "manifest unknown"),
        (Link(told(error="of an earlier try"), told(pulling=True), told()), "it was not pulled"),
        (Link(EngineError("away")), "away"),
        (Link({"there": "yes"}), "the relay's answer is none"),
    ],
)
async def test_a_node_that_cannot_is_told_of(link: Link, error: str) -> None:
    assert (await brought(link))[-1].error == error
