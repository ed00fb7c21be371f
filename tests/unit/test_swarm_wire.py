"""Orchestrator and relay: who obeys whom, what is refused, and what visitors see while a relay is away."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio import StreamReaderProtocol
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from tests.swarm.relays import make_secret
from tmpnb_py.cli.commands.relay import relay as relay_command
from tmpnb_py.core.errors import AwayError, EngineError, NoSuchContainerError, SettingsError
from tmpnb_py.core.models import Protection, RelayedAddress
from tmpnb_py.engines.docker import options as docker
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm import relays as relays_module
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.engine import Swarm, SwarmEngine
from tmpnb_py.engines.swarm.link import lines, wire
from tmpnb_py.engines.swarm.link.lines import RelayAwayError
from tmpnb_py.engines.swarm.link.tls import Contexts
from tmpnb_py.engines.swarm.link.wire import Event, Hello, Question
from tmpnb_py.engines.swarm.relay.node import NodeEngine
from tmpnb_py.engines.swarm.relay.server import Relay
from tmpnb_py.engines.swarm.relays import Link, Relays
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.http import http_session
from tmpnb_py.jupyter.questions import accepts

P = TypeVar("P", bound=asyncio.BaseProtocol)


class FakeNode(NodeEngine):
    """A node whose notebooks say what they are sent."""

    def __init__(self) -> None:
        self.happens: asyncio.Queue[tuple[str, Event]] = asyncio.Queue()
        self.asked: list[str] = []
        self.path = ""

    async def close(self) -> None:
        pass

    async def hello(self) -> Hello:
        return Hello(node="n1", name="node1")

    async def take(self, pool: str, container_id: str) -> None:
        self.asked.append(f"take {pool} {container_id}")
        if container_id == "gone":
            raise NoSuchContainerError("there is none")
        if container_id == "odd":
            raise EngineError("cannot", remedy="do that")

    async def connect(self, pool: str, container_id: str, factory: Callable[[], P]) -> P:
        if container_id != "abc":
            raise EngineError("there is none")
        return (await asyncio.get_running_loop().create_unix_connection(factory, self.path))[1]

    async def ready(
        self, pool: str, container_id: str, cpu_quota: int, tolerated: Collection[Protection] = ()
    ) -> None:
        self.asked.append(f"ready {pool} {container_id} {cpu_quota}")

    async def events(self) -> Any:
        while True:
            yield await self.happens.get()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secret(tmp_path_factory.mktemp("secret") / "relay.pem")


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def port(node: FakeNode, secret: Path) -> AsyncIterator[int]:
    """Where a relay serves."""
    async with Relay(node, Contexts(secret)).serving("127.0.0.1", 0) as port:
        yield port


def link(port: int, secret: Path) -> Link:
    found = Link(("127.0.0.1", port), Contexts(secret), "pool")
    found.node = "n1"
    return found


async def test_who_has_the_secret_is_answered(port: int, secret: Path, node: FakeNode) -> None:
    one = link(port, secret)
    assert Hello.model_validate(await one.ask(Question(do="hello"))) == Hello(node="n1", name="node1")
    assert await one.ask(Question(do="take", pool="pool", id="abc")) == {}
    with pytest.raises(NoSuchContainerError):
        await one.ask(Question(do="take", pool="pool", id="gone"))
    with pytest.raises(EngineError, match="cannot") as caught:
        await one.ask(Question(do="take", pool="pool", id="odd"))
    assert caught.value.remedy == "do that"
    assert node.asked == ["take pool abc", "take pool gone", "take pool odd"]
    one.lose()


async def test_another_secret_is_none(port: int, tmp_path: Path, node: FakeNode) -> None:
    other = make_secret(tmp_path / "other.pem")
    with pytest.raises(RelayAwayError):
        await link(port, other).ask(Question(do="take", pool="pool", id="abc"))
    assert node.asked == []


async def test_a_certificate_that_the_secret_has_signed_is_none(
    port: int, secret: Path, tmp_path: Path, node: FakeNode
) -> None:
    """Only the very certificate counts: whoever has been given another one by its key has not been given this."""
    other = make_secret(tmp_path / "other.pem")
    contexts = Contexts(secret)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(secret)
    client.load_cert_chain(other)
    client.set_alpn_protocols(["tmpnb-relay/2"])
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await _hello_over(port, client)
    assert contexts.server.minimum_version is ssl.TLSVersion.TLSv1_3
    assert node.asked == []


async def _hello_over(port: int, context: ssl.SSLContext) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        writer.write(lines.line_of(Question(do="hello")))
        return await reader.readuntil(b"\n")
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("change", ["no certificate", "another protocol", "old TLS"])
async def test_whatever_is_less_is_refused(port: int, secret: Path, change: str) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(secret)
    if change != "no certificate":
        client.load_cert_chain(secret)
    client.set_alpn_protocols(["http/1.1" if change == "another protocol" else "tmpnb-relay/2"])
    if change == "old TLS":
        client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await _hello_over(port, client)


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"[]\n", b"nonsense\n", b'{"do":"exec"}\n', b'{"do":"hello","more":1}\n',
        b'{"do":"take","pool":"pool","id":"../etc"}\n', b'{"do":"take","pool":"a b","id":"x"}\n',
        b'{"do":"ready","pool":"pool","id":"abc","cpu_quota":-1}\n', b'{"do":"has_image","image":"evil"}\n',
        b"x" * (lines.LIMIT + 10),
    ],
    ids=range(11),
)  # fmt: skip
async def test_what_is_no_question_ends_the_connection(port: int, secret: Path, node: FakeNode, line: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=Contexts(secret).client)
    writer.write(line)
    async with asyncio.timeout(10):
        with contextlib.suppress(OSError):
            assert await reader.read(100) == b""
    writer.transport.abort()
    assert node.asked == []


@pytest.mark.parametrize("line", [b"", b"x\n", b"[]\n", b"{}\n", b'{"ok":1}\n', b'{"error":1}\n', b"\xff\n"])
def test_an_answer_that_is_none(line: bytes) -> None:
    with pytest.raises(RelayAwayError):
        wire.answer_of(line)


@pytest.mark.parametrize("text", ["", "x", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"])
def test_a_secret_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        Contexts(path)
    assert "swarm.md" in caught.value.remedy


async def test_what_happens_is_told_at_once(port: int, secret: Path, node: FakeNode) -> None:
    heard: asyncio.Queue[tuple[str, Event]] = asyncio.Queue()
    relays = Relays([f"127.0.0.1:{port}"], Contexts(secret), "pool", lambda *told: heard.put_nowait(told))
    relays.open()
    await relays.wait_for(frozenset({"n1"}), 10)
    assert relays.nodes == {"n1"}
    assert await heard.get() == ("n1", Event(event="again"))
    died = Event(event="died", id="abc", status=137, out_of_memory=True)
    node.happens.put_nowait(("other", died))
    node.happens.put_nowait(("pool", died))
    async with asyncio.timeout(5):
        assert await heard.get() == ("n1", died)
    assert heard.empty()
    await relays.close()
    with pytest.raises(RelayAwayError):
        relays.of("n1")


async def test_a_resolver_that_fails_for_one_name_cuts_no_relay_off(
    port: int, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"one:1": {("127.0.0.1", port)}, "two:1": {("127.0.0.2", 9)}}
    looked = asyncio.Event()

    async def addresses(name: str) -> set[tuple[str, int]]:
        looked.set()
        return known.get(name, set())

    monkeypatch.setattr(relays_module, "addresses_of", addresses)
    monkeypatch.setattr(relays_module, "_LOOK_UP_SECONDS", 0.01)
    told: list[str] = []
    relays = Relays(("one:1", "two:1"), Contexts(secret), "pool", lambda node, event: told.append(event.event))
    relays.open()
    await relays.wait_for(frozenset({"n1"}), 10)
    del known["one:1"]
    for _ in range(5):
        looked.clear()
        await looked.wait()
    assert relays.nodes == {"n1"}
    assert told == ["again"]
    await relays.close()


@contextlib.asynccontextmanager
async def to_notebooks(port: int, secret: Path) -> AsyncIterator[Relays]:
    """The relays, found."""
    relays = Relays([f"127.0.0.1:{port}"], Contexts(secret), "pool", lambda *_: None)
    relays.open()
    await relays.wait_for(frozenset({"n1"}), 10)
    yield relays
    await relays.close()
    await asyncio.sleep(0.05)  # the relay notices


def transport_of(protocol: StreamReaderProtocol) -> asyncio.Transport:
    return cast(asyncio.Transport, protocol._transport)  # type: ignore[attr-defined]


def notebook_of(relays: Relays, container_id: str = "abc") -> Endpoint:
    return Endpoint(RelayedAddress("n1", container_id, partial(relays.dial, "n1", "pool", container_id)))


async def test_a_notebook_is_reached_as_by_its_socket(
    port: int, secret: Path, node: FakeNode, tmp_path: Path
) -> None:
    async def notebook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(head), head))
        await writer.drain()
        writer.close()

    node.path = str(tmp_path / "notebook.sock")
    async with to_notebooks(port, secret) as relays:
        with pytest.raises(FileNotFoundError):
            await notebook_of(relays).connect(asyncio.Protocol)
        with pytest.raises(ConnectionRefusedError):
            await notebook_of(relays, "other").connect(asyncio.Protocol)
        async with await asyncio.start_unix_server(notebook, node.path):
            endpoint = notebook_of(relays)
            assert await accepts(endpoint)
            async with http_session(endpoint, "", seconds=5) as client, client.get("/lab?x=1") as response:
                assert (response.status, (await response.text()).splitlines()[0]) == (200, "GET /lab?x=1 HTTP/1.1")
    with pytest.raises(AwayError):
        await endpoint.connect(asyncio.Protocol)


@pytest.mark.parametrize(
    "wanted", [b"", b"{}", b"[]", b'{"pool":"pool","id":"../etc"}', b'{"pool":"a b","id":"abc"}', b"\xff"], ids=str
)
async def test_whoever_wants_no_notebook_is_cut_off(port: int, secret: Path, node: FakeNode, wanted: bytes) -> None:
    async with to_notebooks(port, secret) as relays:
        streams = relays.of("n1")._streams
        assert streams is not None
        with pytest.raises(AwayError):
            await streams.open(wanted, asyncio.Protocol)


NOTEBOOK = "n" * 32


class OneNotebook(EngineApi):
    """A node's engine with one notebook, whose socket's directory is `place`."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.place = place

    async def call(self, method: str, path: str, **_: Any) -> Any:
        assert method == "GET"
        if path == "containers/json":
            labels = {**naming.labels_of("pool"), docker.LABEL_ID: "abc", "com.docker.swarm.task.id": "t"}
            return [{"Id": "c", "Names": [f"/{naming.name_of('pool', 'abc')}.1.t"], "Labels": labels}]
        mount = {"Destination": docker.SOCKET_DIRECTORY, "Source": str(self.place)}
        return {"Id": "c", "State": {"Running": True}, "Mounts": [mount]}


async def _says(path: Path, word: bytes) -> asyncio.Server:
    def accepted(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(word)
        writer.close()

    return await asyncio.start_unix_server(accepted, path)


async def test_a_relay_dials_what_it_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook that may write to its directory puts a link in its socket's place between the look and the dialling.

    The relay is root, and the engine's own socket is there to be linked to.
    """
    place = tmp_path / "place"
    place.mkdir()
    own, engines = await _says(place / docker.SOCKET_NAME, b"notebook"), await _says(tmp_path / "engine", b"engine")
    loop = asyncio.get_running_loop()
    dial = loop.create_unix_connection

    async def swapped(factory: Any, path: str) -> Any:
        (place / docker.SOCKET_NAME).rename(place / "aside")
        (place / docker.SOCKET_NAME).symlink_to(tmp_path / "engine")
        return await dial(factory, path)

    monkeypatch.setattr(loop, "create_unix_connection", swapped)
    node = NodeEngine(OneNotebook(place))
    async with own, engines:
        reader = asyncio.StreamReader()
        protocol = await node.connect("pool", NOTEBOOK, lambda: StreamReaderProtocol(reader))
        assert await reader.read() == b"notebook"
        transport_of(protocol).close()
        with pytest.raises(EngineError):  # the link itself
            await node.connect("pool", NOTEBOOK, asyncio.Protocol)


class Manager(EngineApi):
    """A manager of a swarm that has one service."""

    def __init__(self, state: str) -> None:
        super().__init__()
        labels = {services.LABEL_STATE: state}
        self.service = {"ID": "s", "Version": {"Index": 1}, "Spec": {"Name": "n", "Labels": labels}}

    @property
    def state(self) -> str:
        return str(cast(Any, self.service["Spec"])["Labels"][services.LABEL_STATE])

    async def call(self, method: str, path: str, **more: Any) -> Any:
        if path == "tasks":
            return [{"ServiceID": "s", "NodeID": "n1", "Status": {"State": "running"}}]
        if method == "POST":
            self.service["Spec"] = more["body"]
        return self.service


@pytest.mark.parametrize(("before", "after"), [("starting", "ready"), ("claimed-1-abc", "claimed-1-abc")])
async def test_what_another_manager_has_given_away_does_not_become_ready(
    port: int, secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, before: str, after: str
) -> None:
    """One that was stopped, say, while it made the notebook ready, and whose pool was taken over meanwhile."""
    manager = Manager(before)
    monkeypatch.setattr("tmpnb_py.engines.swarm.engine.EngineApi", lambda *_, **__: manager)
    swarm = Swarm((f"127.0.0.1:{port}",), secret)
    engine = SwarmEngine(pool="pool", runtime_dir=tmp_path, swarm=swarm)
    relay = link(port, secret)
    monkeypatch.setattr(Relays, "of", lambda *_: relay)
    with contextlib.nullcontext() if before == "starting" else pytest.raises(EngineError, match="claimed"):
        await engine.mark_ready(NOTEBOOK)
    relay.lose()
    await asyncio.sleep(0.01)  # the transport tells that it is closed
    assert manager.state == after


async def test_one_notebook_cannot_have_any_number_of_connections(
    port: int, secret: Path, node: FakeNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmpnb_py.engines.swarm.relay.server._MOST_CONNECTIONS", 2)
    node.path = str(tmp_path / "notebook.sock")
    left = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        left.set()

    def factory() -> StreamReaderProtocol:
        return StreamReaderProtocol(asyncio.StreamReader())

    async with await asyncio.start_unix_server(silent, node.path), to_notebooks(port, secret) as relays:
        endpoint = notebook_of(relays)
        first, _ = await endpoint.connect(factory), await endpoint.connect(factory)
        with pytest.raises(BlockingIOError):  # as with a full backlog: whoever asks waits, as long as they like
            await endpoint.connect(factory)
        transport_of(first).abort()
        async with asyncio.timeout(10):
            await left.wait()  # the visitor's early end is seen
            while True:
                with contextlib.suppress(OSError):
                    await endpoint.connect(factory)
                    break


def test_a_relay_may_have_as_many_connections_as_the_system_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker gives containers 1024 open files by default, from some version on: 500 connections, of all visitors."""
    raised: list[bool] = []
    monkeypatch.setattr("tmpnb_py.core.logs.configure", lambda *_: None)
    monkeypatch.setattr("tmpnb_py.service.open_files.raise_open_files_limit", lambda: raised.append(True))
    with pytest.raises(SettingsError):
        relay_command.main(["--secret", str(tmp_path / "none.pem")], standalone_mode=False)
    assert raised == [True]
