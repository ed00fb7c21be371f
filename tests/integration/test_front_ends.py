"""Front ends and the orchestrator in one process, on the engine in memory: who is obeyed, and what goes on when."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.inprocess import Rig, running
from tests.ports import free_ports
from tests.swarm.relays import make_secret
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeHost
from tmpnb_py.fronts import reports, wire
from tmpnb_py.fronts.wire import Contexts, Hello, Report, Stamp
from tmpnb_py.options.settings import Settings
from tmpnb_py.service.front import Front

SOON = 20.0


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


async def until(condition: Any) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.01)


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
    hello = wire.line_of(Hello(do="routes", front="a" * 32))
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
    monkeypatch.setattr(wire, "HANDSHAKE_SECONDS", 1.0)
    context = Contexts(secret, wire.PROTOCOL).client
    hello = wire.line_of(Hello(do="routes", front="a" * 32))
    async with fronted(secret) as found:
        spawned = await found.spawn()
        for lines in (
            (b"GET / HTTP/1.1\r\n\r\n",),
            (b"{}\n",),
            (b"x" * (wire.LIMIT + 10),),
            (),
            (hello, b'{"stamps":[{"id":"../x"}]}\n'),
            (hello, b"x" * (wire.LIMIT + 10)),
        ):
            with contextlib.suppress(OSError):
                await said(found.port, context, *lines)
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
        writer.write(wire.line_of(Hello(do="routes", front="b" * 32)))
        writer.write(wire.line_of(Report(stamps=(Stamp(id=container.id, presence=0.0, open=7), Stamp(id="0" * 32)))))
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
