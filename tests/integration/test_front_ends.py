"""Front ends and the orchestrator in one process, on the engine in memory: who is obeyed, and what goes on when."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import ssl
import time
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests import waiting
from tests.e2e.inprocess import Rig, running
from tests.pool_support import reaper_of, rewind
from tests.ports import free_ports
from tests.swarm.relays import make_secret
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import ImageFacts, State, TcpAddress
from tmpnb_py.engines.fake import FakeHost
from tmpnb_py.engines.swarm.link import lines, tls
from tmpnb_py.engines.swarm.link.tls import Contexts
from tmpnb_py.fronts import copies, reports, wire
from tmpnb_py.fronts import link as front_link
from tmpnb_py.fronts import proxy as front_proxy
from tmpnb_py.fronts.wire import Hello, Report, Stamp
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.settings import Settings
from tmpnb_py.service import front as front_service
from tmpnb_py.service.front import Front
from tmpnb_py.shared_files.shared import SharedFiles
from tmpnb_py.shared_files.tree import SharedFile

SOON = 20.0
HOUR = 3600.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here is worth waiting for."""
    monkeypatch.setattr(front_service, "_FIRST_SECONDS", 0.3)
    monkeypatch.setattr(front_proxy, "_SHORT_WAIT", 0.3)
    monkeypatch.setattr(front_link, "_REPORT_SECONDS", 0.2)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_secret(tmp_path_factory.mktemp("front") / "front.pem")


@dataclasses.dataclass
class Fronted:
    """A service with one front end, and a client that comes by that."""

    rig: Rig
    front: Front
    client: aiohttp.ClientSession
    port: int

    async def spawn(self) -> dict[str, Any]:
        async with self.client.post("/api/spawn?wait=20") as response:
            assert response.status == 200, await response.text()
            return dict(await response.json())

    async def knows(self, container_id: str) -> None:
        await until(lambda: self.front.table.session(container_id) is not None)


until = functools.partial(waiting.until, seconds=SOON)


@contextlib.asynccontextmanager
async def fronted(
    secret: Path, port: int = 0, host: FakeHost | None = None, **options: Any
) -> AsyncIterator[Fronted]:
    port = port or free_ports(1)[0]
    served = {"front_ip": "127.0.0.1", "front_port": port, "front_secret": secret, **options}
    async with running(host, **served) as rig, front_of(secret, port) as (front, client):
        await until(front.link.up.is_set)
        yield Fronted(rig, front, client, port)


@contextlib.asynccontextmanager
async def front_of(secret: Path, port: int, **more: Any) -> AsyncIterator[tuple[Front, aiohttp.ClientSession]]:
    settings = Settings(
        ip="127.0.0.1", port=0, admin_port=0, front_orchestrator=(f"127.0.0.1:{port}",), front_secret=secret,
        shutdown_timeout=1.0, **more,
    )  # fmt: skip
    front = Front(settings)
    async with (
        front.running(),
        aiohttp.ClientSession(
            f"http://127.0.0.1:{front.port}/", cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=60),
        ) as client,
    ):  # fmt: skip
        yield front, client


# --- visitors


async def test_pages_and_notebooks_come_by_a_front_end(secret: Path) -> None:
    async with fronted(secret) as found:
        async with found.client.get("/", headers={"Accept": "text/html"}) as response:
            assert response.status == 200
            assert "<html" in await response.text()
        spawned = await found.spawn()
        url = f"/user/{spawned['id']}/api"
        async with found.client.get(url, headers={"Authorization": f"token {spawned['token']}"}) as response:
            assert response.status == 200, "before its route is known: the orchestrator leads it on"
        await found.knows(spawned["id"])
        before = found.rig.service.proxy.upstreams.state
        async with found.client.get(url, headers={"Authorization": f"token {spawned['token']}"}) as response:
            assert response.status == 200
        assert found.rig.service.proxy.upstreams.state == before, "this one went to the notebook directly"
        async with found.client.delete(
            f"/api/sessions/{spawned['id']}", headers={"Authorization": f"token {spawned['token']}"}
        ) as response:
            assert response.status < 300
        await until(lambda: found.front.table.session(spawned["id"]) is None)
        async with found.client.get(url) as response:
            assert response.status == 410


async def test_what_a_visitor_says_of_itself_is_not_believed(secret: Path) -> None:
    """The quota counts the address that the front end saw, and no header of the visitor's."""
    async with fronted(secret, max_notebooks_per_address=1, pool_size=2) as found:
        await found.spawn()
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
            async with found.client.post("/api/spawn?wait=5", headers={name: "203.0.113.9"}) as response:
                assert response.status == 429, name
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{found.front.port}/", connector=connector) as other,
            other.post("/api/spawn?wait=20") as response,
        ):
            assert response.status == 200, "another address is another visitor"
        async with found.client.get("/", headers={"Host": "evil.example"}) as response:
            assert response.status == 421


async def test_options_are_the_orchestrators(secret: Path) -> None:
    async with fronted(secret, allow_origin=("https://a.example",), allowed_hosts=("lab.example",)) as found:
        await until(lambda: found.front.options.current.allow_origin == ("https://a.example",))
        spawned = await found.spawn()
        await found.knows(spawned["id"])
        headers = {"Origin": "https://a.example", "Host": "lab.example", "Authorization": f"token {spawned['token']}"}
        async with found.client.get(f"/user/{spawned['id']}/api", headers=headers) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
        service = found.rig.service
        service.reload(service.options.current.model_copy(update={"allow_origin": ()}))
        await until(lambda: found.front.options.current.allow_origin == ())


# --- presence


async def test_the_reaper_sees_what_comes_by_a_front_end(secret: Path) -> None:
    async with fronted(secret) as found:
        spawned = await found.spawn()
        await found.knows(spawned["id"])
        container = found.rig.pool.get(spawned["id"])
        assert container is not None
        container.last_presence = container.last_activity = 1.0
        headers = {"Authorization": f"token {spawned['token']}"}
        async with found.client.get(f"/user/{spawned['id']}/api", headers=headers) as response:
            assert response.status == 200
        await until(lambda: container.last_presence > 1.0)
        assert container.last_activity == 1.0, "a page's own polling is no activity"
        here = found.front.table.session(spawned["id"])
        assert here is not None
        here.connection_opened(here.last_presence + 1)
        here.stamp_activity(here.last_presence)
        await until(lambda: container.open_connections == 1 and container.last_activity > 1.0)
        here.connection_closed(here.last_presence + 1)
        await until(lambda: container.open_connections == 0)
        assert container.left_at is not None


async def test_a_front_end_that_is_gone_leaves_nothing_open_after_its_grace(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fronted(secret) as found:
        spawned = await found.spawn()
        container = found.rig.pool.get(spawned["id"])
        assert container is not None
        async with front_of(secret, found.port) as (other, _):
            await until(lambda: other.table.session(spawned["id"]) is not None)
            there = other.table.session(spawned["id"])
            assert there is not None
            there.connection_opened(1.0)
            await until(lambda: container.open_connections == 1)
        await asyncio.sleep(1.2)
        assert container.open_connections == 1, "it may only be cut off"
        monkeypatch.setattr(reports, "GRACE_SECONDS", 0.0)
        await until(lambda: container.open_connections == 0)
        assert container.left_at is not None


async def test_activity_while_the_orchestrator_was_away_keeps_a_session(secret: Path) -> None:
    """Two sessions are as old; in one somebody works while nobody could report it."""
    async with fronted(secret, cull_timeout=HOUR, cull_disconnected=0, cull_max=0, pool_size=2) as found:
        pool, link = found.rig.pool, found.front.link
        used, unused = await found.spawn(), await found.spawn()
        for one in (used, unused):
            await found.knows(one["id"])
            headers = {"Authorization": f"token {one['token']}"}
            async with found.client.get(f"/user/{one['id']}/api", headers=headers) as response:
                assert response.status == 200
        here, container, other = found.front.table.session(used["id"]), pool.get(used["id"]), pool.get(unused["id"])
        assert here is not None
        assert container is not None
        assert other is not None
        await until(lambda: container.visited and other.visited)
        with pytest.MonkeyPatch.context() as cut:
            cut.setattr(link, "_dial", refused)
            assert link._writer is not None
            link._writer.close()
            await until(lambda: not link.up.is_set())
            for known in (here, container, other):
                rewind(known, HOUR / 2)
            before = container.last_activity
            here.stamp_activity(time.monotonic())
        await until(link.up.is_set)
        await until(lambda: container.last_activity > before)
        for known in (here, container, other):  # half an hour later the other's time is over
            rewind(known, HOUR / 2)
        reaper_of(pool).judge_anew()
        await until(lambda: pool.session(unused["id"]) is None)
        assert pool.session(used["id"]) is container
        for known in (here, container):
            rewind(known, HOUR / 2)
        reaper_of(pool).judge_anew()
        await until(lambda: pool.session(used["id"]) is None)


async def refused(_address: object) -> Any:
    raise ConnectionRefusedError("cut")


# --- the orchestrator is away


async def test_notebooks_go_on_and_claims_wait_while_it_is_away(secret: Path) -> None:
    port = free_ports(1)[0]
    served: dict[str, Any] = {"front_ip": "127.0.0.1", "front_port": port, "front_secret": secret}
    async with FakeHost() as host, front_of(secret, port) as (front, client):
        async with running(host, cleanup_on_exit=False, **served) as rig:
            await until(front.link.up.is_set)
            found = Fronted(rig, front, client, port)
            spawned = await found.spawn()
            await found.knows(spawned["id"])
        await until(lambda: not front.link.up.is_set())
        headers = {"Authorization": f"token {spawned['token']}"}
        url = f"/user/{spawned['id']}/api"
        async with client.get(url, headers=headers) as response:
            assert response.status == 200
        here = front.table.session(spawned["id"])
        assert here is not None
        here.stamp_activity(here.last_presence)
        for path in (f"/user/{'0' * 32}/lab", "/", "/spawn"):
            async with client.get(path, headers={"Accept": "text/html"}) as response:
                assert response.status == 503
                assert response.headers["Retry-After"]
                assert "Not ready yet" in await response.text()
        claim = asyncio.create_task(found.spawn())
        await asyncio.sleep(0.5)
        assert not claim.done()
        epoch = front.table.epoch
        async with running(host, **served) as rig:
            second = await claim
            assert second["id"] != spawned["id"]
            await until(lambda: front.table.epoch not in ("", epoch))
            assert front.table.session(spawned["id"]) is here, "its connections go on"
            container = rig.pool.get(spawned["id"])
            assert container is not None
            assert rig.pool.count(State.CLAIMED) == 2, "nobody was given two"
            async with client.get(url, headers=headers) as response:
                assert response.status == 200
            here.stamp_activity(here.last_presence + 1)
            await until(lambda: container.last_activity > here.last_activity - 1)


async def test_a_front_end_is_patient_with_an_orchestrator_that_does_not_know_its_notebooks(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SILENCE_SECONDS", 1.5)
    monkeypatch.setattr(wire, "HEARTBEAT_SECONDS", 0.2)
    async with FakeHost() as host:
        host.down = True
        async with fronted(secret, host=host, cleanup_on_exit=False) as found:
            await asyncio.sleep(2.5)
            assert found.front.link.up.is_set()
            assert found.front.link.losses == 0
            assert found.front.table.epoch == ""
            host.down = False
            await until(lambda: found.front.table.epoch != "")


async def test_a_claim_that_was_on_its_way_is_not_sent_again(secret: Path) -> None:
    async with fronted(secret, pool_size=0, max_containers=1) as found:
        found.rig.engine.delays["start"] = 60.0  # else it may be served before anybody has looked
        waiting = asyncio.create_task(found.client.post("/api/spawn?wait=50"))
        await until(lambda: found.rig.claims.waiting == 1)
        for client in found.rig.service.proxy.clients:
            client.abort()
        async with await waiting as response:
            assert response.status == 503
            assert response.headers["Retry-After"]


async def test_a_front_end_waits_for_no_orchestrator_for_ever(secret: Path) -> None:
    async with front_of(secret, free_ports(1)[0], front_wait=0.5) as (front, client):
        async with client.post("/api/spawn") as response:
            assert response.status == 503
        async with client.get(f"http://127.0.0.1:{front.admin_port}/metrics") as response:
            text = await response.text()
        assert "tmpnb_front_orchestrator_up 0.0" in text
        assert "tmpnb_front_sessions 0.0" in text
        async with client.get(f"http://127.0.0.1:{front.admin_port}/healthz") as response:
            assert response.status == 200


# --- static files


STATIC = {
    "/opt/lab/main.js": b"export const answer = 42;\n" * 400,
    "/opt/lab/icon.png": b"\x89PNG" + bytes(range(256)),
}


@contextlib.asynccontextmanager
async def host_with_files() -> AsyncIterator[FakeHost]:
    async with FakeHost() as host:
        static = (("static/lab", "/opt/lab"),)
        host.images["fake"] = ImageFacts("fake", "sha256:one", supports_socket=True, static=static)
        host.files["fake"] = dict(STATIC)
        yield host


async def test_static_files_are_there_while_the_orchestrator_is_away(
    secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_LOOK_SECONDS", 0.1)
    async with host_with_files() as host, contextlib.AsyncExitStack() as service:
        port = free_ports(1)[0]
        options: dict[str, Any] = {"front_ip": "127.0.0.1", "front_port": port, "front_secret": secret}
        rig = await service.enter_async_context(running(host, **options, cleanup_on_exit=False))
        async with front_of(secret, port) as (front, client):
            await rig.ready(1)
            url = next(iter(host.containers.values())).spec.config.static_url
            digest = url.rpartition("/")[2]
            static = rig.service.pools.static_files
            await until(
                lambda: all("br" in static.forms(one) or one.size < 300 for one in static.trees[0].files.values())
            )
            await until(lambda: front.mirror.has(digest) and len(front.mirror.forms(entry(static, "main.js"))) == 2)
            await service.aclose()
            await until(lambda: not front.link.up.is_set())
            for coding in ("br", "gzip", "identity"):
                async with client.get(f"{url}/static/lab/main.js", headers={"Accept-Encoding": coding}) as response:
                    assert response.status == 200
                    assert response.headers.get("Content-Encoding", "identity") == coding
                    assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
                    assert await response.read() == STATIC["/opt/lab/main.js"]
                    tag = response.headers["ETag"]
            async with client.get(f"{url}/static/lab/icon.png") as response:
                assert await response.read() == STATIC["/opt/lab/icon.png"]
            headers = {"Accept-Encoding": "identity", "If-None-Match": tag}
            async with client.get(f"{url}/static/lab/main.js", headers=headers) as response:
                assert response.status == 304
            async with client.get(f"{url}/static/lab/none.js") as response:
                assert response.status == 404
            async with client.get(f"/static/{'0' * 32}/static/lab/main.js") as response:
                assert response.status == 503, "the orchestrator may know it"
            async with client.get(f"{url}/static/lab/main.js", headers={"Host": "evil.example"}) as response:
                assert response.status == 503, "it is for the orchestrator to refuse"


def entry(static: SharedFiles, name: str) -> SharedFile:
    return static.trees[0].files[f"static/lab/{name}"]


async def test_a_file_with_another_checksum_is_not_kept(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_LOOK_SECONDS", 0.05)
    async with host_with_files() as host, fronted(secret, host=host) as found:
        static = found.rig.service.pools.static_files
        asked: list[str] = []
        right = static.copied

        async def copied(sha256: str, form: str) -> bytes:
            asked.append(sha256)
            return b"alert(1)" if len(asked) < 4 else await right(sha256, form)

        monkeypatch.setattr(static, "copied", copied)
        await until(lambda: len(asked) >= 3)
        assert len(found.front.mirror) == 0
        assert found.front.link.up.is_set()
        await until(lambda: len(found.front.mirror) == 1)


async def test_what_asks_for_files_and_is_no_front_end_is_hung_up_on(secret: Path) -> None:
    context = Contexts(secret, wire.PROTOCOL).client
    hello = lines.line_of(Hello(do="files"))
    async with fronted(secret) as found:
        for line in (b'{"do":"tree","tree":"../etc"}\n', b'{"do":"content","sha256":"x"}\n', b"{}\n", b"x" * 600_000):
            with contextlib.suppress(OSError):
                assert await said(found.port, context, hello, line) == b""
        unknown = b'{"do":"content","sha256":"%b"}\n' % (b"0" * 64)
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port, ssl=context)
        writer.write(hello + unknown + b'{"do":"tree","tree":"%b"}\n{"do":"trees"}\n' % (b"0" * 32))
        assert [await reader.readline() for _ in range(3)] == [b'{"is_there":false}\n', b"{}\n", b"{}\n"]
        writer.close()


# --- health, reloading


async def test_its_health_is_its_own(secret: Path) -> None:
    """A balancer must not take front ends out while the orchestrator is away, but one that never had any."""
    port = free_ports(1)[0]
    asked = (("GET", "/healthz", 200), ("HEAD", "/healthz?x", 200), ("OPTIONS", "/", 204), ("OPTIONS", "*", 204))

    async def statuses(front: Front) -> set[bool]:
        found = set()
        for method, path, expected in asked:
            reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: any.example\r\nConnection: close\r\n\r\n".encode())
            status = int((await reader.read()).split()[1])
            assert status in (expected, 503), (method, path)
            found.add(status == expected)
            writer.close()
        return found

    async with front_of(secret, port) as (front, client):
        assert await statuses(front) == {False}
        served: dict[str, Any] = {"front_ip": "127.0.0.1", "front_port": port, "front_secret": secret}
        async with running(**served):
            await until(lambda: front.table.epoch != "")
            assert await statuses(front) == {True}
            async with client.get("/readyz") as response:
                assert response.status in (200, 503), "the orchestrator's"
        await until(lambda: not front.link.up.is_set())
        assert await statuses(front) == {True}
        async with client.get("/healthz") as response:
            assert await response.json() == {"status": "ok", "orchestrator": "away", "sessions": 0}
        async with client.get("/readyz") as response:
            assert response.status == 503


async def test_reloading_keeps_what_the_orchestrator_told(secret: Path, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.pem", make_secret(tmp_path / "other.pem")
    mine.write_bytes(secret.read_bytes())
    async with fronted(mine, allowed_hosts=("lab.example",)) as found:
        await until(lambda: found.front.options.current.allowed_hosts == ("lab.example",))
        front = found.front
        again = front.options.current.model_copy(
            update={"allowed_hosts": (), "max_connections": 7, "trusted_proxies": (ip_network("10.0.0.0/8"),)}
        )
        front.reload(again.model_copy(update={"port": 9}))
        assert front.options.current.allowed_hosts == ("lab.example",), "what is shared is the orchestrator's"
        assert front.options.current.max_connections == 7
        assert front.options.current.port == 0
        assert front.proxy.facts(("10.1.2.3", 1)).trusted
        # Another secret, on both sides: the connection that there is stays, and new ones need the new one.
        mine.write_bytes(other.read_bytes())
        service = found.rig.service
        front.reload(again)
        service.reload(service.options.current)
        async with found.client.get("/api/stats", headers={"Host": "lab.example"}) as response:
            assert response.status == 200
        assert front.link.losses == 0
        hello = lines.line_of(Hello(do="files")) + b'{"do":"trees"}\n'
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            assert await said(found.port, Contexts(secret, wire.PROTOCOL).client, hello) == b""
        mine.write_text("none")
        front.reload(again)
        _, writer = await front.link.forward()  # with the one that it had
        writer.close()
        await writer.wait_closed()


# --- its end


async def test_a_front_end_that_is_stopped_answers_what_was_asked(secret: Path) -> None:
    """Nobody new is let in; a request under way gets its answer, and a WebSocket what was on its way to it."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def notebook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"pgrade: websocket" in head:
            writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            writer.write(b"\x82\x7e\xff\xff" + b"x" * 65535)
        else:
            asked.set()
            await answer.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(notebook, "127.0.0.1", 0) as server, fronted(secret) as found:
        spawned = await found.spawn()
        await found.knows(spawned["id"])
        here = found.front.table.session(spawned["id"])
        assert here is not None
        here.dial(Endpoint(TcpAddress(*server.sockets[0].getsockname())))
        port = found.front.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        upgrade = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: aaaa\r\n"
        )
        writer.write(f"GET /user/{spawned['id']}/ws HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        asking = asyncio.create_task(found.client.get(f"/user/{spawned['id']}/slow"))
        await asked.wait()
        stopping = asyncio.create_task(found.front.stop(asyncio.Event()))
        assert len(await reader.read(70_000)) > 0
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert not stopping.done()
        answer.set()
        async with await asking as response:
            assert await response.read() == b"done"
        await stopping
        writer.close()


# --- hostile peers


async def said(port: int, context: ssl.SSLContext | None, *lines: bytes) -> bytes:
    """What the port answers to somebody before it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        async with asyncio.timeout(SOON):
            for line in lines:
                writer.write(line)
                await writer.drain()
            return await reader.read()
    finally:
        writer.close()


async def test_who_does_not_have_the_secret_is_told_nothing(secret: Path, tmp_path: Path) -> None:
    other = make_secret(tmp_path / "other.pem")
    hello = lines.line_of(Hello(do="routes", front="a" * 32))
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.check_hostname, nobody.verify_mode = False, ssl.CERT_NONE
    nobody.set_alpn_protocols([wire.PROTOCOL])
    async with fronted(secret) as found:
        for context in (None, nobody, Contexts(other, wire.PROTOCOL).client, Contexts(secret).client):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                answer = await said(found.port, context, hello)
                assert b"event" not in answer
        assert sum(family.samples[0].value for family in found.rig.service.fronts.collect()) == 1


async def test_what_is_no_front_end_is_hung_up_on(secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 1.0)
    context = Contexts(secret, wire.PROTOCOL).client
    hello = lines.line_of(Hello(do="routes", front="a" * 32))
    async with fronted(secret) as found:
        spawned = await found.spawn()
        for sent in (
            (b"GET / HTTP/1.1\r\n\r\n",),
            (b"{}\n",),
            (b"x" * (lines.LIMIT + 10),),
            (),
            (hello, b'{"stamps":[{"id":"../x"}]}\n'),
            (hello, b"x" * (lines.LIMIT + 10)),
        ):
            with contextlib.suppress(OSError):
                await said(found.port, context, *sent)
        assert found.front.link.up.is_set()
        container = found.rig.pool.get(spawned["id"])
        assert container is not None
        assert container.state is State.CLAIMED


async def test_a_report_about_what_is_not_in_use_changes_nothing(secret: Path) -> None:
    context = Contexts(secret, wire.PROTOCOL).client
    async with fronted(secret) as found:
        await found.rig.ready(1)
        [container] = found.rig.pool
        reader, writer = await asyncio.open_connection("127.0.0.1", found.port, ssl=context)
        writer.write(lines.line_of(Hello(do="routes", front="b" * 32)))
        writer.write(lines.line_of(Report(stamps=(Stamp(id=container.id, presence=0.0, open=7), Stamp(id="0" * 32)))))
        assert b"event" in await reader.readline()
        await asyncio.sleep(0.2)
        assert (container.open_connections, container.visited) == (0, False)
        writer.close()


async def test_a_front_end_obeys_only_an_orchestrator_with_the_secret(secret: Path, tmp_path: Path) -> None:
    other = make_secret(tmp_path / "other.pem")
    async with fronted(secret) as found, front_of(other, found.port) as (stranger, client):
        await asyncio.sleep(0.5)
        assert not stranger.link.up.is_set()
        async with client.get("/") as response:
            assert response.status == 503


async def test_nothing_is_served_by_a_secret_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    with pytest.raises(SettingsError, match="secret"):
        Front(Settings(front_secret=tmp_path / "empty"))
    with pytest.raises(SettingsError, match="secret"):
        async with running(front_port=free_ports(1)[0], front_secret=tmp_path / "missing"):
            pass


async def test_notebooks_with_hosts_of_their_own_are_reached_by_a_front_end(secret: Path) -> None:
    """It knows their names by the routes, and what they look like from the orchestrator."""
    hosts: dict[str, Any] = {"session_host": "{name}.nb.example.net", "allowed_hosts": "main.example.org"}
    navigates = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with fronted(secret, **hosts) as found:
        async with found.client.post("/api/spawn?wait=20", headers={"Host": "main.example.org"}) as response:
            spawned = await response.json()
        await found.knows(spawned["id"])
        name = spawned["session_url"].partition("://")[2].partition("/")[0]
        place = spawned["url"] + "api/echo"
        token = {"Authorization": f"token {spawned['token']}"}
        for host, headers, status in (
            (name, token, 200),
            (name, {}, 403),
            (f"{'a' * 20}.nb.example.net", token, 410),
            ("main.example.org", token, 200),
            ("main.example.org", navigates, 403),
        ):
            async with found.client.get(place, headers={"Host": host, **headers}) as response:
                assert (host, response.status) == (host, status)
        for path in ("/", place, "/static/" + "0" * 32 + "/lab.js"):
            async with found.client.get(path, headers={"Host": "tmpnb-static.nb.example.net"}) as response:
                assert (path, response.status, await response.read()) == (path, 404, b"")
        opened = spawned["open_url"]
        headers = {"Host": "main.example.org", **navigates}
        async with found.client.get(opened, headers=headers, allow_redirects=False) as response:
            code = response.headers["Location"].partition("/enter")[2]
        async with found.client.get(
            f"/enter{code}", headers={"Host": name, **navigates}, allow_redirects=False
        ) as response:
            cookie = response.headers["Set-Cookie"].partition(";")[0]
        async with found.client.get(place, headers={"Host": name, "Cookie": cookie}) as response:
            assert response.status == 200
