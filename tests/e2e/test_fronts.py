"""What load balancers and other people's proxies send: the whole service reads it as the RFCs demand."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from structlog.testing import capture_logs

from tests.e2e.inprocess import Rig, running
from tests.integration.proxy_support import Message, Wire
from tests.ports import needs_ipv6


async def ask(rig: Rig, line: str, *fields: str) -> Message:
    """Send one request as it stands, on a connection of its own."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", rig.service.port))
    await wire.send("\r\n".join([line, *fields, "", ""]).encode())
    answer = await wire.response(line.partition(" ")[0])
    wire.close()
    return answer


async def test_health_checks_of_load_balancers() -> None:
    """HAProxy's plain `option httpchk` sends the last of these, others the first (RFC 9110 §9.3.7)."""
    async with running(pool_size=0) as rig:
        answer = await ask(rig, "OPTIONS * HTTP/1.1", "Host: t", "Content-Length: 0")
        assert answer.status == 204
        assert b"PUT" in (answer.get(b"Allow") or b"")
        assert (await ask(rig, "OPTIONS * HTTP/1.0")).status == 204
        answer = await ask(rig, "OPTIONS / HTTP/1.0")
        assert (answer.status, answer.get(b"Allow")) == (204, b"GET, HEAD, OPTIONS")
        assert (await ask(rig, "OPTIONS /nowhere HTTP/1.1", "Host: t")).status == 404
    async with running(pool_size=0, api_auth_token="secret") as rig:
        assert (await ask(rig, "OPTIONS * HTTP/1.1", "Host: t")).status == 204


@pytest.mark.parametrize("target", ["http://t:80/healthz", "HTTPS://other.example/healthz"])
async def test_a_whole_url_is_a_target(target: str) -> None:
    """RFC 9112 §3.2.2."""
    async with running(pool_size=0) as rig:
        assert (await ask(rig, f"GET {target} HTTP/1.1", "Host: t")).status == 200
        assert (await ask(rig, "GET http://t HTTP/1.1", "Host: t", "Accept: text/html")).status == 200


async def test_the_host_of_a_whole_url_is_the_one_that_counts() -> None:
    async with running(pool_size=0) as rig:
        for host, status in (("ours.example", 429), ("other.example", 403)):
            answer = await ask(
                rig,
                f"POST http://{host}/api/spawn HTTP/1.1",
                "Host: other.example",
                "Origin: http://ours.example",
                "Content-Length: 0",
            )
            assert answer.status == status


async def test_an_empty_port_is_none() -> None:
    async with running(pool_size=0) as rig:
        assert (await ask(rig, "GET /healthz HTTP/1.1", "Host: localhost:")).status == 200
        fields = ("Host: localhost:", "Origin: http://localhost", "Content-Length: 0")
        assert (await ask(rig, "POST /api/spawn HTTP/1.1", *fields)).status == 429


async def test_methods_that_nobody_knows() -> None:
    """RFC 9110 §9.1: not implemented, which is no mistake of the request's."""
    async with running(pool_size=0) as rig:
        for line in ("BREW / HTTP/1.1", "get / HTTP/1.1", "BREW /user/gone/lab HTTP/1.1", "TRACE / HTTP/1.1"):
            answer = await ask(rig, line, "Host: t", "Accept: text/html")
            assert answer.status == 501, line


async def test_a_session_in_several_lines_of_cookies_is_found_again() -> None:
    """RFC 9113 §8.2.3: a front that speaks HTTP/2 may have taken them apart."""
    async with running() as rig:
        await rig.ready(1)
        page = ("Host: t", "Origin: http://t", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 0")
        got = await ask(rig, "POST /spawn HTTP/1.1", *page)
        assert got.status == 303
        ours = (got.get(b"Set-Cookie") or b"").partition(b";")[0].decode()
        fields = ("Host: t", "Accept: text/html", "Cookie: theme=dark", f"Cookie: {ours}", "Cookie: x=y")
        answer = await ask(rig, "GET / HTTP/1.1", *fields)
        assert b"still running" in answer.body


async def test_a_running_notebook_is_found_however_its_address_is_encoded() -> None:
    """RFC 3986 §6.2.2.2. It used to be "not ready yet", for ever."""
    async with running() as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        plain = await ask(rig, f"GET {spawned['url']}api?a=%41 HTTP/1.1", "Host: t")
        encoded = f"/%75ser/%{ord(spawned['id'][0]):x}{spawned['id'][1:]}/"
        answer = await ask(rig, f"GET {encoded}api?a=%41 HTTP/1.1", "Host: t")
        assert (answer.status, answer.body) == (plain.status, plain.body)
        assert answer.status == 200
        answer = await ask(rig, f"GET {encoded.rstrip('/')}?x HTTP/1.1", "Host: t")
        assert (answer.status, answer.get(b"Location")) == (302, f"{spawned['url']}?x".encode())


@needs_ipv6
async def test_one_service_for_both_kinds_of_addresses() -> None:
    """`--ip ::` used to be IPv6 only; with a port of the kernel's choice, too, there is one for all."""
    async with running(ip="::", admin_ip="::", admin_auth_token="x", audit_client_address=True) as rig:
        await rig.ready(1)
        async with aiohttp.ClientSession() as http:
            for address in ("127.0.0.1", "[::1]"):
                for port, path in ((rig.service.port, "healthz"), (rig.service.admin_port, "api/status")):
                    token = {"Authorization": "token x"}
                    async with http.get(f"http://{address}:{port}/{path}", headers=token) as answer:
                        assert answer.status == 200
        with capture_logs() as logs:
            await rig.spawn()
        assert [one["client"] for one in logs if one["event"] == "session_started"] == ["127.0.0.1"]
