"""A small web for tests of the web proxy: a name server whose answers change, servers, and a notebook's socket.

127.0.0.2 is the public internet here, as the policy of these tests allows it; every other address of this machine is
what it is elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

from tests.integration.front_rig import make_certificate
from tmpnb_py.egress.counters import WebRoom
from tmpnb_py.egress.proxy import WebProxy
from tmpnb_py.egress.resolving import Resolver
from tmpnb_py.engines.web_socket import WEB_SOCKET
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings

PUBLIC = "127.0.0.2"


class NameServer(asyncio.DatagramProtocol):
    """Answers with the next of a name's answers each time it is asked; the last one stays. Unknown names are none."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Sequence[str]]] = {}
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self._held: list[tuple[bytes, tuple[str, int]]] = []
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is no subclass

    def speak(self) -> None:
        """Answer what it was silent about."""
        self.silent.clear()
        held, self._held = self._held, []
        for data, addr in held:
            self.datagram_received(data, addr)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += data[at] + 1
        name, (kind,) = ".".join(labels).lower(), struct.unpack(">H", data[at + 1 : at + 3])
        question = data[12 : at + 5]
        if kind == 1:
            self.asked.append(name)
        if name in self.silent:
            self._held.append((data, addr))
            return
        found = self.answers.get(name)
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        records = b""
        count = 0
        if found and family is not None:
            now = found[0]
            if kind == 1 and len(found) > 1:
                found.pop(0)
            for address in now:
                if (":" in address) == (kind == 28):
                    packed = socket.inet_pton(family, address)
                    records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed
                    count += 1
        flags = 0x8180 if found else 0x8183
        assert self._transport is not None
        self._transport.sendto(
            data[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0) + question + records, (addr[0], addr[1])
        )


class Web:
    """The proxy with one notebook, whose socket is at `path`, and what it may ask."""

    def __init__(self, proxy: WebProxy, options: LiveOptions, directory: Path, names: NameServer) -> None:
        self.proxy = proxy
        self.options = options
        self.directory = directory
        self.path = directory / WEB_SOCKET
        self.names = names

    def reload(self, **options: object) -> None:
        """Have the operator change options."""
        changed = {**self.options.current.model_dump(exclude_unset=True), **options}
        self.options.replace(Settings(**changed))

    def counted(self) -> dict[str, float]:
        """The proxy's metrics that are not 0."""
        samples = [sample for family in self.proxy.metrics.collect() for sample in family.samples]
        named = {"".join((sample.name, *sample.labels.values())): sample.value for sample in samples}
        return {name.removeprefix("tmpnb_web_"): value for name, value in named.items() if value}

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of the notebook."""
        return await asyncio.open_unix_connection(str(self.path))

    async def say(self, data: bytes) -> bytes:
        """All that is answered to what a notebook sends."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(20):
            answer = await reader.read(-1)
        writer.close()
        return answer

    async def tunnel(self, target: str) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        """The head of the answer to CONNECT, and the connection."""
        reader, writer = await self.connect()
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
        return head, reader, writer


@contextlib.asynccontextmanager
async def web(directory: Path, **options: object) -> AsyncIterator[Web]:
    """The proxy with a name server of its own; `options` are the operator's."""
    loop = asyncio.get_running_loop()
    transport, names = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    resolver = Resolver(nameservers=["127.0.0.1"], udp_port=port, tcp_port=port, timeout=60.0, tries=1)
    settings = {"egress": "web", "egress_allow": PUBLIC, **options}
    live = LiveOptions(Settings(**settings))  # type: ignore[arg-type]
    proxy = WebProxy(live, WebRoom(256), resolver)
    proxy.shut_out(["203.0.113.9"])
    notebook = directory / "sockets" / "pool" / "one"
    notebook.mkdir(parents=True)
    proxy.open("one", str(notebook))
    try:
        yield Web(proxy, live, notebook, names)
    finally:
        await proxy.shut_down()
        transport.close()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(
    handler: Handler, host: str = PUBLIC, tls: ssl.SSLContext | None = None, *, port: int = 0
) -> AsyncIterator[int]:
    """A server; its port."""
    listening = await asyncio.start_server(handler, host, port, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def certificate(directory: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file of the authority that vouches for it."""
    make_certificate(directory, *(f"DNS:{name}" for name in names))
    pem = directory / "fullchain.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, directory / "privkey.pem")
    return context, pem
