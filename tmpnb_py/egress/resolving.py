"""Turns a target into a connection to an address that was checked.

aiodns asks the name servers of this machine: it needs no thread for it, so a notebook whose names take long to
resolve holds up nobody else. What it answers is checked and then dialled itself, never the name again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiodns

from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.core.web_targets import Address, Target
from tmpnb_py.egress.policy import RefusedError, WebPolicy, carried

_TOLD_SECONDS = 20.0
_RESOLVE_SECONDS = 10.0
_TRY_SECONDS, _TRIES = 3.0, 2
_CONNECT_SECONDS = 8.0  # for each address
_MOST_ADDRESSES = 4
_NONLOCAL = {4: "/proc/sys/net/ipv4/ip_nonlocal_bind", 6: "/proc/sys/net/ipv6/ip_nonlocal_bind"}


class Resolver:
    """Dials targets. Used in the event loop's thread; `options` of aiodns are for tests."""

    def __init__(self, **options: Any) -> None:
        self._options = {"timeout": _TRY_SECONDS, "tries": _TRIES, **options}
        self._dns: aiodns.DNSResolver | None = None  # made where the loop runs
        self._shut_out: frozenset[Address] = frozenset()
        self._is_told = asyncio.Event()

    def shut_out(self, addresses: Iterable[Address]) -> None:
        """Count these addresses as this machine's own, too. Until the first call nothing is dialled."""
        self._shut_out = frozenset(addresses)
        self._is_told.set()

    async def dial(self, target: Target, policy: WebPolicy) -> socket.socket:
        """Connect to the target, at an address that the policy allows. Raises `RefusedError`."""
        if not await event_or_time(self._is_told, _TOLD_SECONDS):
            raise RefusedError(503, "unreachable", "the service does not know this machine's addresses yet")
        found = [target.address] if target.address is not None else await self._addresses(target)
        allowed = [one for one in found if policy.allows(one, is_own=self._is_own(one))]
        if not allowed:
            raise RefusedError(403, "address", f"{target.host} is no address of the public internet")
        for address in allowed[:_MOST_ADDRESSES]:
            with contextlib.suppress(OSError):  # a TimeoutError among them
                return await _connected(address, target.port)
        raise RefusedError(502, "unreachable", f"{target} does not answer")

    def _is_own(self, address: Address) -> bool:
        return any(one in self._shut_out or is_own(one) for one in {address, carried(address)})

    async def _addresses(self, target: Target) -> list[Address]:
        if self._dns is None:
            self._dns = aiodns.DNSResolver(**self._options)
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                answer = await self._dns.getaddrinfo(target.host, port=target.port, type=socket.SOCK_STREAM)
        except (aiodns.error.DNSError, TimeoutError, UnicodeError) as error:
            raise RefusedError(502, "unresolved", f"the name {target.host} does not resolve") from error
        return [ipaddress.ip_address(_text(node.addr[0]).partition("%")[0]) for node in answer.nodes]

    async def close(self) -> None:
        """Give up what is being asked."""
        dns, self._dns = self._dns, None
        if dns is not None:
            await dns.close()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


async def _connected(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def is_own(address: Address) -> bool:
    """Whether this machine has the address now, on any interface: then a socket can be bound to it.

    Where the kernel lets every address be bound (`ip_nonlocal_bind`), the address that it would answer from tells.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
        try:
            if not _binds_anything(address.version):
                probe.bind((str(address), 0))
                return True
            probe.connect((str(address), 9))
            return str(probe.getsockname()[0]) == str(address)
        except OSError:
            return False


def _binds_anything(version: int) -> bool:
    try:
        return Path(_NONLOCAL[version]).read_text().strip() == "1"
    except OSError:
        return False
