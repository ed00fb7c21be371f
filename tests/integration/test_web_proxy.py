"""The web proxy against real clients and servers, and against notebooks that try to get round it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.front_support import program
from tests.ports import free_ports
from tests.waiting import SECONDS, until
from tests.web_world import PUBLIC, Handler, Web, certificate, server, web
from tmpnb_py.egress import exchange, notebook, resolving, wire
from tmpnb_py.engines.docker import forward_inside
from tmpnb_py.engines.web_socket import WEB_SOCKET

NAME = "site.example"


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Web]:
    async with web(tmp_path) as made:
        made.names.answers[NAME] = [[PUBLIC]]
        yield made


async def echo_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own bytes."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        body = b""
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                body = await reader.readexactly(int(line.partition(b":")[2]))
            if line == b"transfer-encoding: chunked":
                body = await reader.readuntil(b"0\r\n\r\n")
        told = head + body
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-Hop: 1\r\nConnection: x-hop\r\nContent-Length: %d\r\n\r\n" % len(told) + told
        )
        await writer.drain()
    writer.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back whatever comes, to the end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


# --- what works


async def test_plain_requests_one_after_another(place: Web) -> None:
    async with server(echo_head) as port:
        place.reload(egress_ports=(port,))
        reader, writer = await place.connect()
        for body in (b"", b"hello"):
            writer.write(
                f"POST http://{NAME}:{port}/a%20b?c#d HTTP/1.1\r\nHost: {NAME}:{port}\r\nProxy-Connection: x\r\n"
                f"Connection: X-Mine\r\nX-Mine: 1\r\nX-Kept: 2\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"X-Hop" not in head
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            told = await reader.readexactly(size)
            assert told.startswith(b"POST /a%20b?c HTTP/1.1\r\nHost: ")
            assert told.endswith(b"Connection: close\r\n\r\n" + body)
            assert b"X-Kept: 2" in told
            assert b"X-Mine" not in told
            assert b"Proxy" not in told
        writer.close()


async def test_a_tunnel_and_its_half_close(place: Web) -> None:
    async with server(echo) as port:
        place.reload(egress_ports=(port,))
        head, reader, writer = await place.tunnel(f"{NAME}:{port}")
        assert head == b"HTTP/1.1 200 Connection established\r\n\r\n"
        data = os.urandom(1 << 20)
        sending = asyncio.ensure_future(_send(writer, data))
        assert await reader.readexactly(len(data)) == data
        await sending
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    counted = place.counted()
    assert (counted["connections_total"], counted["bytes_totalin"]) == (1, len(data))


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_answers_without_a_length_and_bodies_in_pieces(place: Web) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"0\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
        writer.close()

    async with server(old) as port:
        place.reload(egress_ports=(port,))
        answer = await place.say(
            f"PUT http://{NAME}:{port} HTTP/1.1\r\nHost: {NAME}:{port}\r\nTransfer-Encoding: chunked\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\n\r\n".encode()
        )
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"until the end" in answer


# --- addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "private.example", "mapped.example", "both.example", "0.0.0.0", "[::]", "[64:ff9b::7f00:1]", "203.0.113.9",
        "[64:ff9b::cb00:7109]",  # the machine's, as the engine tells, and the same by NAT64
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["CONNECT", "GET"])
async def test_what_is_not_the_web(place: Web, host: str, way: str) -> None:
    reached: list[bytes] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(1))
        writer.close()

    answers = {"private": "127.0.0.1", "mapped": "::ffff:127.0.0.1", "both": "fe80::1"}
    place.names.answers |= {f"{name}.example": [[address]] for name, address in answers.items()}
    place.names.answers["localhost"] = [["127.0.0.1"]]
    async with server(noted, "127.0.0.1") as port:
        place.reload(egress_ports=(port,))
        target = f"{host}:{port}" if way == "CONNECT" else f"http://{host}:{port}/"
        answer = await place.say(f"{way} {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert not reached
    assert place.counted()["refused_totaladdress"] == 1


@pytest.mark.parametrize(
    "host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0x7f000001", "127.0.0.1.", "127.0.0.01"]
)
async def test_numbers_that_are_no_address(place: Web, host: str) -> None:
    answer = await place.say(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))


@contextlib.asynccontextmanager
async def at_one_port(public: Handler, private: Handler) -> AsyncIterator[int]:
    """Two servers, at an address that is allowed and at one that is not."""
    async with contextlib.AsyncExitStack() as stack:
        while True:
            port = await stack.enter_async_context(server(public))
            with contextlib.suppress(OSError):  # there somebody else has it
                await stack.enter_async_context(server(private, "127.0.0.1", port=port))
                break
        yield port


async def test_a_name_that_resolves_differently_the_next_time(place: Web) -> None:
    """What was checked is what is dialled: the name is asked for once for each connection."""
    hits: list[str] = []

    async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hits.append("private")
        writer.close()

    async with at_one_port(echo, inner) as port:
        place.reload(egress_ports=(port,))
        place.names.answers["rebind.example"] = [[PUBLIC], ["127.0.0.1"], [PUBLIC], ["127.0.0.1"]]
        heads = []
        for _ in range(4):
            head, _, writer = await place.tunnel(f"rebind.example:{port}")
            heads.append(head[:12])
            writer.close()
    assert heads == [b"HTTP/1.1 200", b"HTTP/1.1 403"] * 2
    assert place.names.asked == ["rebind.example"] * 4
    assert not hits


async def test_of_several_addresses_only_the_public_ones_are_tried(place: Web) -> None:
    place.names.answers["several.example"] = [["127.0.0.1", PUBLIC, "10.0.0.1"]]
    async with server(echo) as port:
        place.reload(egress_ports=(port,))
        head, _, writer = await place.tunnel(f"several.example:{port}")
        writer.close()
    assert head.startswith(b"HTTP/1.1 200 ")


async def test_names_that_do_not_resolve_hold_up_nobody(place: Web) -> None:
    place.names.silent.add("silent.example")
    async with server(echo) as port:
        place.reload(egress_ports=(port,))
        slow = [asyncio.ensure_future(place.tunnel(f"silent.example:{port}")) for _ in range(30)]
        await until(lambda: len(place.names.asked) == len(slow))
        head, _, writer = await place.tunnel(f"{NAME}:{port}")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert not any(one.done() for one in slow)
        writer.close()
        place.names.speak()
        answers = await asyncio.gather(*slow)
    assert {head[:12] for head, _, _ in answers} == {b"HTTP/1.1 502"}
    for _, _, writer in answers:
        writer.close()


async def test_a_name_server_that_says_nothing_is_not_waited_for(place: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_RESOLVE_SECONDS", 0.1)
    place.names.silent.add("silent.example")
    head, _, writer = await place.tunnel("silent.example:443")
    assert head.startswith(b"HTTP/1.1 502 ")
    writer.close()


# --- the list of hosts


async def test_who_closes_the_web_closes_it_to_notebooks_in_use(place: Web) -> None:
    """Their sockets stay; without this, what they may reach would be all, as a closed web has no list of hosts."""
    async with server(echo) as port:
        place.reload(egress_ports=(port,), egress_hosts=(NAME,))
        head, _, writer = await place.tunnel(f"elsewhere.example:{port}")
        writer.close()
        assert head.startswith(b"HTTP/1.1 403 ")
        place.reload(egress="none", egress_allow=(), egress_hosts=())
        for host in (NAME, "elsewhere.example"):
            head, _, writer = await place.tunnel(f"{host}:{port}")
            writer.close()
            assert head.startswith(b"HTTP/1.1 403 ")
    assert not place.names.asked


async def test_a_tunnel_is_for_its_own_name(place: Web, tmp_path: Path) -> None:
    tls, authority = certificate(tmp_path, NAME, "other.example")
    place.names.answers["other.example"] = [[PUBLIC]]
    async with server(echo, tls=tls) as port:
        place.reload(egress_ports=(port,), egress_hosts=(NAME,))
        assert await _over_tls(place, f"{NAME}:{port}", NAME, authority) == b"hello"
        for name in ("other.example", None):
            with pytest.raises((ssl.SSLError, OSError)):
                await _over_tls(place, f"{NAME}:{port}", name, authority)
        head, _, writer = await place.tunnel(f"other.example:{port}")
        writer.close()
        assert head.startswith(b"HTTP/1.1 403 ")
        _, reader, writer = await place.tunnel(f"{NAME}:{port}")
        writer.write(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        assert await reader.read() == b""  # no TLS
        writer.close()
    counted = place.counted()
    assert (counted["refused_totaltls"], counted["refused_totalhost"]) == (3, 1)


async def _over_tls(place: Web, target: str, name: str | None, authority: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = name is not None
    head, reader, writer = await place.tunnel(target)
    assert head.startswith(b"HTTP/1.1 200 ")
    try:
        await writer.start_tls(context, server_hostname=name)
        writer.write(b"hello")
        return await reader.readexactly(5)
    finally:
        writer.close()


# --- what a hostile client sends


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("GET https://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("GET http://{name}/ HTTP/1.1\r\nHost: other.example\r\n\r\n", 400),
        ("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\nHost: {name}\r\n\r\n", 400),
        ("GET http://{name}/ HTTP/1.1\r\n\r\n", 400),
        ("GET http://user@{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("GET http://127.0.0.1\\@{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("TRACE http://{name}/ HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("A http://{name} HTTP/1.1\r\nHost: {name}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("POST http://{name}/ HTTP/1.1\r\nHost: {name}\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
        ("POST http://{name}/ HTTP/1.1\r\nHost: {name}\r\nContent-Length: -3\r\n\r\n", 400),
        ("POST http://{name}/ HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        ("POST http://{name}/ HTTP/1.1\r\nHost: {name}\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("GET http://{name}/ HTTP/1.1\r\nHost: {name}\r\nX: a\nY: b\x00\r\n\r\n", 400),
        ("GET http://{name}/\x01 HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("CONNECT {name}/x HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("CONNECT http://{name} HTTP/1.1\r\nHost: {name}\r\n\r\n", 400),
        ("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\nContent-Length: 1\r\n\r\nx", 400),
        ("GET http://{name}/ HTTP/2.0\r\nHost: {name}\r\n\r\n", 505),
        ("SSH-2.0-OpenSSH\r\n\r\n", 400),
        ("GET http://{name}/ HTTP/1.1\r\nX: " + "a" * 70000 + "\r\n\r\n", 431),
    ],
)  # fmt: skip
async def test_what_is_malformed_reaches_nobody(place: Web, request_: str, status: int) -> None:
    reached: list[bytes] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(1000))
        writer.close()

    async with server(noted) as port:
        place.reload(egress_ports=(port,))
        name = (
            f"{NAME}:{port}" if not request_.startswith("CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n") else NAME
        )
        answer = await place.say(request_.replace("{name}", name).encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert not reached
    assert place.counted()["refused_totalmalformed"] == 1


async def test_a_second_request_in_a_body_is_none(place: Web) -> None:
    """What follows a request goes through the same checks, and no two requests share a connection to a server."""
    seen: list[bytes] = []

    async def noted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        )
        await writer.drain()
        seen[-1] += await reader.read(1000)
        writer.close()

    async with server(noted) as port:
        place.reload(egress_ports=(port,), egress_hosts=(NAME,))
        host = f"{NAME}:{port}"
        answer = await place.say(
            f"GET http://{host}/a HTTP/1.1\r\nHost: {host}\r\n\r\n"
            f"GET http://other.example:{port}/b HTTP/1.1\r\nHost: other.example:{port}\r\n\r\n".encode()
        )
    assert b"evil" not in answer
    assert answer.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 403 " in answer
    assert [one.split(b" ")[1] for one in seen] == [b"/a"]
    assert b"other" not in seen[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"not http at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000,
    ],
)  # fmt: skip
async def test_servers_that_speak_no_http(place: Web, answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with server(odd) as port:
        place.reload(egress_ports=(port,))
        told = await place.say(f"GET http://{NAME}:{port}/ HTTP/1.1\r\nHost: {NAME}:{port}\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 502 ")


# --- limits


async def test_a_head_that_comes_slowly(place: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "HEAD_SECONDS", 0.5)
    reader, writer = await place.connect()
    async with asyncio.timeout(SECONDS):  # with each byte of it there would be more time
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"G")
                await asyncio.sleep(0.05)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await reader.read(1)
    writer.close()


async def test_idle_tunnels_end_and_busy_ones_do_not(place: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_IDLE_SECONDS", 1.5)

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(20):
            writer.write(b"x")
            await asyncio.sleep(0.1)
        await reader.read()
        writer.close()

    async with server(talks) as port:
        place.reload(egress_ports=(port,))
        _, reader, writer = await place.tunnel(f"{NAME}:{port}")
        async with asyncio.timeout(SECONDS):
            assert await reader.read() == b"x" * 20
        writer.close()


async def test_a_rate(place: Web) -> None:
    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * (1 << 20))
        await writer.drain()
        writer.close()

    async with server(pours) as port:
        place.reload(egress_ports=(port,), egress_rate=256 * 1024)
        _, reader, writer = await place.tunnel(f"{NAME}:{port}")
        began = time.monotonic()
        async with asyncio.timeout(SECONDS):
            assert len(await reader.read()) == 1 << 20
        assert time.monotonic() - began > 1.5  # a burst of 2 s, then 256 KiB/s
        writer.close()


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"HTTP/1.1 103 a\r\n\r\n"], ids=["chunks", "heads"])
async def test_what_costs_much_to_read_holds_up_nobody(
    place: Web, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(notebook, "_PARSED_AT_ONCE", 100.0)
    monkeypatch.setattr(notebook, "_PARSED_PER_SECOND", 500.0)

    async def pours(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            if piece.startswith(b"1"):
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(100):
                writer.write(piece * 1000)
                await writer.drain()
        writer.close()

    async with server(pours) as port:
        place.reload(egress_ports=(port,))
        began, directory = time.monotonic(), _made(place, "limited")
        place.proxy.open("limited", str(directory))
        reader, writer = await asyncio.open_unix_connection(str(directory / WEB_SOCKET))
        writer.write(f"GET http://{NAME}:{port}/ HTTP/1.1\r\nHost: {NAME}:{port}\r\n\r\n".encode())
        await until(lambda: place.counted().get("bytes_totalin", 0) > 100 * len(piece))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await reader.read(-1)
        received = place.counted()["bytes_totalin"]
        may_be_parsed = 100 + 500 * (time.monotonic() - began)
        assert received < may_be_parsed * len(piece) + 70_000, "one more piece was read"
        writer.close()


async def test_more_connections_than_may_be_wait(place: Web) -> None:
    async with server(echo) as port:
        place.reload(egress_ports=(port,), egress_connections=2)
        first = [await place.tunnel(f"{NAME}:{port}") for _ in range(2)]
        third = asyncio.ensure_future(place.tunnel(f"{NAME}:{port}"))
        done, _ = await asyncio.wait((third,), timeout=0.5)
        assert not done
        first[0][2].close()
        head, _, writer = await third
        assert head.startswith(b"HTTP/1.1 200 ")
        for one in (first[1][2], writer):
            one.close()


# --- its socket


async def test_the_socket_is_restored_and_ends_with_its_notebook(place: Web) -> None:
    path = place.directory / WEB_SOCKET
    inode = path.stat().st_ino
    place.proxy.open("one", str(place.directory))
    assert path.stat().st_ino == inode
    path.unlink()
    place.proxy.open("one", str(place.directory))
    assert (await place.say(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert path.stat().st_mode & 0o777 == 0o666
    assert [entry.name for entry in place.directory.parent.parent.iterdir()] == ["pool"]
    with capture_logs() as logs:
        place.proxy.close("one")
        await until(lambda: logs)  # what was used is told at the end
    with pytest.raises(OSError, match="refused"):
        await place.connect()


async def test_connections_end_with_their_notebook_and_count_no_more(place: Web) -> None:
    async with server(echo) as port:
        place.reload(egress_ports=(port,))
        _, reader, writer = await place.tunnel(f"{NAME}:{port}")
        waiting = [await place.connect() for _ in range(3)]  # of which some are not even begun
        place.proxy.close("one")
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
            await until(lambda: "open_connections" not in place.counted())
        for one in (writer, *(writer for _, writer in waiting)):
            one.close()


async def test_a_hostile_directory(place: Web, tmp_path: Path) -> None:
    """A link in the socket's place is replaced and not followed; a directory there harms this notebook only."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    precious.chmod(0o600)
    (hostile := place.directory.parent / "two").mkdir()
    (hostile / WEB_SOCKET).symlink_to(precious)
    place.proxy.open("two", str(hostile))
    assert (hostile / WEB_SOCKET).is_socket()
    assert (precious.read_text(), precious.stat().st_mode & 0o777) == ("mine", 0o600)
    (place.directory.parent / "three" / WEB_SOCKET / "x").mkdir(parents=True)
    linked = place.directory.parent / "four"
    linked.symlink_to(hostile)
    with capture_logs() as logs:
        place.proxy.open("three", str(place.directory.parent / "three"))
        place.proxy.open("four", str(linked))
    assert [(line["event"], line["id"]) for line in logs] == [
        ("web_unavailable", "three"),
        ("web_unavailable", "four"),
    ]


async def test_the_log_names_notebooks_and_hosts_only_where_the_operator_wants_it(place: Web) -> None:
    secret = "/secret?token=abc"
    for shown in (False, True):
        place.reload(log_egress_hosts=shown)
        with capture_logs() as logs:
            place.proxy.open(f"log{shown}", str(_made(place, f"log{shown}")))
            asked = f"GET http://10.0.0.1:80{secret} HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n".encode()
            for _ in range(3):
                reader, writer = await asyncio.open_unix_connection(
                    str(place.directory.parent / f"log{shown}" / WEB_SOCKET)
                )
                writer.write(asked)
                await reader.read()
                writer.close()
            place.proxy.close(f"log{shown}")
            await until(lambda logs=logs: len(logs) > 1)  # type: ignore[misc]
        refused, used = logs
        assert (refused["event"], refused["id"], refused["reason"]) == ("web_refused", f"log{shown}", "address")
        assert ("host" in refused) is shown
        assert (used["event"], used["id"], used["connections"]) == ("web_used", f"log{shown}", 3)
        assert "secret" not in str(logs)


def _made(place: Web, name: str) -> Path:
    directory = place.directory.parent / name
    directory.mkdir()
    return directory


# --- through the forwarder, as notebooks do


@pytest.fixture
async def forwarded(place: Web) -> AsyncIterator[tuple[Web, int]]:
    """The proxy by a port, as in a notebook."""
    (port,) = free_ports(1)
    arguments = ("-I", "-S", "-B", "-c", Path(forward_inside.__file__).read_text(), str(port), str(place.path))
    async with program(sys.executable, *arguments, place=port):
        yield place, port


async def test_much_at_once_through_the_forwarder(forwarded: tuple[Web, int]) -> None:
    place, port = forwarded
    place.reload(egress_rate=0, egress_connections=20)
    async with server(echo) as upstream:
        place.reload(egress_ports=(upstream,))

        async def one(number: int) -> bool:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"CONNECT {NAME}:{upstream} HTTP/1.1\r\nHost: {NAME}:{upstream}\r\n\r\n".encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            data = bytes([number]) * (200_000 + number)
            sending = asyncio.ensure_future(_send(writer, data))
            same = await reader.readexactly(len(data)) == data
            await sending
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            return same

        async with asyncio.timeout(60):
            assert all(await asyncio.gather(*(one(number) for number in range(60))))
