"""A web page that points a name of its own at this service (DNS rebinding) gets nothing."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import aiohttp
import pytest
import structlog

from tests.e2e.inprocess import Rig, running

EVIL = "evil.example:8000"
FORGED = {"Host": EVIL, "Origin": f"http://{EVIL}"}
OPEN = ("/healthz", "/readyz", "/metrics")


async def _ask(rig: Rig, method: str, path: str, **headers: str) -> tuple[int, str]:
    async with rig.client.request(method, path, headers=headers, allow_redirects=False) as response:
        return response.status, await response.text()


async def test_a_rebound_name_gets_no_notebook() -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        status, text = await _ask(rig, "POST", "/api/spawn", **FORGED)
        assert status == 421
        assert "--allowed-hosts evil.example," in text
        assert "TMPNB_ALLOWED_HOSTS=evil.example" in text
        for method, path in (("POST", "/spawn"), ("GET", "/"), ("POST", "/api/tickets"), ("GET", "/build/gh/a/b/c")):
            assert (await _ask(rig, method, path, **FORGED))[0] == 421, path
        for path in OPEN:
            assert (await _ask(rig, "GET", path, **FORGED))[0] == 200, path
        await rig.ready(1)


async def test_nor_does_it_reach_a_running_one() -> None:
    async with running(pool_size=1) as rig:
        await rig.ready(1)
        session = await rig.spawn()
        path = f"/user/{session['id']}/api"
        assert (await _ask(rig, "GET", path))[0] == 200
        status, text = await _ask(rig, "GET", path, **FORGED)
        assert (status, "allowed-hosts evil.example" in text) == (421, True)
        with pytest.raises(aiohttp.WSServerHandshakeError, match="421"):
            async with rig.client.ws_connect(f"{path}/kernels/1/channels", headers=FORGED):
                pass


async def test_the_page_has_the_line_to_add_and_the_log_the_whole_one() -> None:
    async with running(allowed_hosts=("notebooks.example.org",)) as rig:
        with structlog.testing.capture_logs() as events:
            status, text = await _ask(rig, "GET", "/", Host="LAB.example.org:81", Accept="text/html")
        assert status == 421
        assert "<pre>--allowed-hosts lab.example.org</pre>" in text
        assert "<pre>TMPNB_ALLOWED_HOSTS=lab.example.org</pre>" in text
        assert "notebooks.example.org" not in text  # a stranger learns no other name
        (event,) = [one for one in events if one["event"] == "host_refused"]
        assert event["host"] == "lab.example.org"
        assert "--allowed-hosts notebooks.example.org,lab.example.org," in event["hint"]


async def test_names_that_strangers_make_up_do_not_fill_the_log() -> None:
    async with running() as rig:
        with structlog.testing.capture_logs() as events:
            for number in range(50):
                await _ask(rig, "GET", "/", Host=f"n{number % 30}.example")
        assert 0 < len([one for one in events if one["event"] == "host_refused"]) <= 20


@pytest.mark.parametrize(
    "host", ["localhost:1", "127.0.0.1", "[::1]:8", "10.9.8.7", socket.gethostname(), "x.example.net."]
)
async def test_its_own_names(host: str) -> None:
    async with running(allowed_hosts=("*.example.net",)) as rig:
        assert (await _ask(rig, "GET", "/", Host=host))[0] == 200
        assert (await _ask(rig, "GET", "/", Host="example.net"))[0] == 421


async def test_http_1_0_without_a_host_is_no_browser() -> None:
    async with running() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.port)
        writer.write(b"GET /api/stats HTTP/1.0\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()


async def test_the_host_of_a_whole_url_counts() -> None:
    """RFC 9112 §3.2.2: not the one in `Host`."""
    async with running() as rig:
        for target, status in (("http://evil.example/api/stats", b"421"), ("http://localhost/api/stats", b"200")):
            reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert (await reader.readline()).split()[1] == status
            writer.close()


async def test_load_balancers_ask_by_any_name() -> None:
    async with running() as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.port)
        writer.write(b"OPTIONS * HTTP/1.1\r\nHost: tmpnb.example\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"204"
        writer.close()


async def test_behind_a_trusted_proxy_every_name_on_the_way_counts() -> None:
    trusted = (ipaddress.ip_network("127.0.0.1"),)
    good, forwarded = "notebooks.example.org", "X-Forwarded-Host"
    async with running(trusted_proxies=trusted, allowed_hosts=(good,)) as rig:
        assert (await _ask(rig, "GET", "/", **{forwarded: good}))[0] == 200
        assert (await _ask(rig, "GET", "/", **{forwarded: "evil.example"}))[0] == 421
        assert (await _ask(rig, "GET", "/", **{forwarded: good, "Host": "evil.example"}))[0] == 421
    async with running(allowed_hosts=(good,)) as rig:  # what a direct client says of itself counts for nothing
        assert (await _ask(rig, "GET", "/", **{forwarded: "evil.example"}))[0] == 200
        assert (await _ask(rig, "GET", "/", **{forwarded: good, "Host": "evil.example"}))[0] == 421


async def test_a_reload_takes_on_another_name() -> None:
    async with running() as rig:
        await rig.ready(1)
        session = await rig.spawn()
        paths = ("/", f"/user/{session['id']}/api")
        assert [(await _ask(rig, "GET", path, Host="new.example"))[0] for path in paths] == [421, 421]
        rig.service.reload(rig.service.options.current.model_copy(update={"allowed_hosts": ("new.example",)}))
        assert [(await _ask(rig, "GET", path, Host="new.example"))[0] for path in paths] == [200, 200]
