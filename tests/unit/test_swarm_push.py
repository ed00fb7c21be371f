"""An image on its way to a node: what the relay takes, and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pydantic
import pytest

from tests.swarm.relays import make_secret
from tests.unit.test_swarm_layers import CONTENTS, archive, config_of
from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.core.models import NodeTransfer
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.images.push import Push, spooled
from tmpnb_py.engines.swarm.link import lines, wire
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.tls import Contexts
from tmpnb_py.engines.swarm.link.wire import Question
from tmpnb_py.engines.swarm.parcels import layers
from tmpnb_py.engines.swarm.parcels.archive import Archive
from tmpnb_py.engines.swarm.parcels.parcel import parcel_of
from tmpnb_py.engines.swarm.relay.images import NodeImages
from tmpnb_py.engines.swarm.relay.node import NodeEngine
from tmpnb_py.engines.swarm.relay.server import Relay
from tmpnb_py.engines.swarm.relays import Link, Relays

CONFIG = config_of()
IMAGE = layers.id_of(CONFIG)


class Response:
    def __init__(self, content: bytes) -> None:
        self.content = self
        self._content = content

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._content


class Engine:
    """A node's engine, which keeps images by their layers."""

    def __init__(self) -> None:
        self.images: dict[str, list[str]] = {}
        self.tags: dict[str, str] = {}
        self.loaded: list[list[str]] = []
        self.refuses = ""
        self.driver: list[list[str]] = []

    async def call(self, method: str, path: str, *, params: Mapping[str, str] | None = None) -> Any:
        if path == "info":
            return {"DriverStatus": [["Backing Filesystem", "extfs"], *self.driver]}
        if path == "images/json":
            return [{"Id": one} for one in self.images]
        image = path.split("/")[1]
        if image not in self.images:
            raise ImageMissingError("no such image")
        if method == "DELETE":
            del self.images[image]
        elif method == "POST":
            assert params is not None
            self.tags[f"{params['repo']}:{params['tag']}"] = image
        return {"RootFS": {"Layers": self.images[image]}} if method == "GET" else None

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, path: str, *, data: AsyncIterator[bytes], **_: Any
    ) -> AsyncIterator[Response]:
        assert (method, path) == ("POST", "images/load")
        if self.refuses:
            yield Response(json.dumps({"error": self.refuses}).encode())
            return
        content = b"".join([chunk async for chunk in data])
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            (listed,) = json.load(cast(Any, tar.extractfile("manifest.json")))
            config = cast(Any, tar.extractfile(listed["Config"])).read()
            self.loaded.append([name for name in tar.getnames() if name in listed["Layers"]])
        self.images[layers.id_of(config)] = list(layers.diff_ids_of(config))
        yield Response(b'{"stream": "Loaded image"}')


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def link(engine: Engine, tmp_path: Path) -> AsyncIterator[Link]:
    """To a relay on the node."""
    contexts = Contexts(make_secret(tmp_path / "relay.pem"))
    relay = Relay(NodeEngine(cast(EngineApi, engine)), contexts)
    relay._follow = asyncio.Event().wait  # type: ignore[assignment, method-assign]
    async with relay.serving("127.0.0.1", 0) as port:
        found = Link(("127.0.0.1", port), contexts, "pool")
        found.node = "n1"
        yield found
        found.lose()


class OneLink:
    def __init__(self, link: Link) -> None:
        self._link = link

    def of(self, node: str) -> Link:
        if node != "n1":
            raise RelayAwayError("it does not answer")
        return self._link


async def pushed(link: Link, node: str = "n1") -> list[NodeTransfer]:
    """What is reported; the last is how it ended."""
    reported: list[NodeTransfer] = []
    with archive(CONFIG, {str(one): content for one, content in enumerate(CONTENTS)}, ["0", "1", "2"]) as file:
        ended = await Push(cast(Relays, OneLink(link)), Archive(file, IMAGE), reported.append).to(node, "node1")
    assert reported[-1] == ended
    return reported


async def test_layer_by_layer(engine: Engine, link: Link) -> None:
    reported = await pushed(link)
    assert [(one.layers, one.done) for one in reported] == [(0, False), (1, False), (2, False), (3, True)]
    assert reported[-1].sent == reported[-1].size == sum(map(len, CONTENTS))
    assert engine.loaded == [["0.tar"], ["1.tar"], ["2.tar"]]
    assert list(engine.images) == [IMAGE], "the partial ones are gone"
    assert engine.tags == {f"tmpnb-pushed:{IMAGE[7:19]}": IMAGE}
    (again,) = await pushed(link)
    assert (again.done, again.sent) == (True, 0)


async def test_going_on(engine: Engine, link: Link) -> None:
    partial = layers.partial_config(CONFIG, 2)
    engine.images = {layers.id_of(partial): list(layers.diff_ids_of(partial)), "sha256:other": ["sha256:x"]}
    reported = await pushed(link)
    assert [one.layers for one in reported] == [2, 3]
    assert engine.loaded == [["2.tar"]]
    assert set(engine.images) == {IMAGE, "sha256:other"}


async def test_an_image_whose_layers_another_one_has(engine: Engine, link: Link) -> None:
    engine.images = {"sha256:other": [*layers.diff_ids_of(CONFIG), f"sha256:{'0' * 64}"]}
    reported = await pushed(link)
    assert (reported[-1].done, reported[-1].sent) == (True, 0)
    assert engine.loaded == [[]]
    assert IMAGE in engine.images


async def test_an_engine_that_refuses_is_told_of_and_others_go_on(engine: Engine, link: Link) -> None:
    engine.refuses = "no space left on device"
    ended = (await pushed(link))[-1]
    assert "no space left" in ended.error
    assert not ended.done
    assert "does not answer" in (await pushed(link, "n2"))[-1].error


async def test_an_engine_with_the_other_store_is_told_of(engine: Engine, link: Link) -> None:
    engine.driver = [["driver-type", "io.containerd.snapshotter.v1"]]
    ended = (await pushed(link))[-1]
    assert "another id here" in ended.error
    assert not engine.loaded


async def test_two_at_once_bring_each_layer_once(engine: Engine, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tmpnb_py.engines.swarm.images.push._BUSY_SECONDS", 0.01)
    one, other = await asyncio.gather(pushed(link), pushed(link))
    assert one[-1].done
    assert other[-1].done
    assert engine.loaded == [["0.tar"], ["1.tar"], ["2.tar"]]
    assert list(engine.images) == [IMAGE]


async def add(engine: Engine, **changes: Any) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield CONTENTS[0]

    asked = {"image": IMAGE, "config": CONFIG.decode(), "count": 1, "size": len(CONTENTS[0]), **changes}
    parcel = parcel_of(asked.pop("image"), asked.pop("config"), ())
    await NodeImages(cast(EngineApi, engine)).add(parcel, content=content(), **asked)


@pytest.mark.parametrize(
    "changes",
    [{"image": f"sha256:{'1' * 64}"}, {"config": "{}", "image": layers.id_of(b"{}")}, {"count": 4}, {"count": 0}],
)  # fmt: skip
async def test_what_a_relay_does_not_load(engine: Engine, changes: dict[str, Any]) -> None:
    with pytest.raises(EngineError):
        await add(engine, **changes)
    assert not engine.loaded
    assert not engine.tags


async def test_a_layer_that_is_cut_off_is_none(engine: Engine, link: Link) -> None:
    question = Question(do="load", image=IMAGE, config=CONFIG.decode(), layer=1, size=1000)
    reader, writer = await link.begin(question)
    writer.write(b"x" * 10)
    writer.close()
    assert await reader.read() == b""
    await asyncio.sleep(0.05)
    assert not engine.images


@pytest.mark.parametrize(
    "fields",
    [
        {"size": -1},
        {"size": layers.LAYER_LIMIT + 1},
        {"layer": 128},
        {"keep": ("sha256:" + "A" * 64,)},
        {"keep": ("sha256:" + "a" * 64 + "\n",)},
        {"keep": ("sha256:" + "a" * 64,) * 1001},
        {"documents": ("{}",) * 4},
        {"documents": ("x" * (layers.CONFIG_LIMIT + 1),)},
        {"auth": "a\r\nX-Other: b"},
        {"auth": "a" * (wire.AUTH_LIMIT + 1)},
        {"config": "x" * (layers.CONFIG_LIMIT + 1)},
        {"image": "latest"},
        {"image": "registry:5000/team/workshop:tag"},
        {"image": f"registry:5000/../../info@sha256:{'a' * 64}"},
        {"image": f"registry:5000/w@sha256:{'a' * 64}?x=1"},
        {"image": f"{'r' * 250}.org/{'w' * 300}@sha256:{'a' * 64}"},
    ],
)
def test_questions_are_bounded(fields: dict[str, Any]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Question.model_validate({"do": "load", **fields})
    Question(do="pull", image=f"registry:5000/team/workshop@sha256:{'a' * 64}")


def test_the_longest_question_is_a_line() -> None:
    listed = [f"sha256:{one:064x}" for one in range(layers.MOST_LAYERS)]
    config = config_of(listed, history=[{"created_by": '"' * 60} for _ in range(1000)])
    assert layers.CONFIG_LIMIT // 2 < len(config) < layers.CONFIG_LIMIT
    question = Question(do="load", image=layers.id_of(config), config=config.decode(), layer=1, size=1)
    assert len(lines.line_of(question)) < lines.LIMIT


async def test_the_file_that_is_sent_is_gone_afterwards(tmp_path: Path) -> None:
    async def saved() -> Any:
        with archive(CONFIG, {"0": b"a", "1": b"b", "2": b"c"}, ["0", "1", "2"]) as file:
            file.seek(0)
            yield file.read()

    async with spooled(saved(), tmp_path / "run", IMAGE) as found:
        assert found.parcel.id == IMAGE
    assert list((tmp_path / "run").iterdir()) == []
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(EngineError, match="cannot be kept") as refused:
        async with spooled(saved(), blocked / "run", IMAGE):
            pass
    assert "runtime-dir" in refused.value.remedy
