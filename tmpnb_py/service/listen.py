"""Listening sockets (binding, errors explained, TCP keepalive), and the host names that are answered to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from tmpnb_py.core.errors import ListenError
from tmpnb_py.core.host_names import Hosts
from tmpnb_py.options.settings import Settings

_RESOLVER_SECONDS = 2.0
_TRIES = 20
_NO_SUCH_ADDRESS = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def hosts(settings: Settings, own: Iterable[str]) -> Hosts:
    """The host names that requests may name; `own` are this machine's (`own_names`)."""
    return Hosts(settings.allowed_hosts, (settings.ip, *own), settings.session_host or "")


def bound(host: str, port: int) -> list[socket.socket]:
    """Bind a socket for each address of a host, all to one port, which the kernel picks if `port` is 0.

    `::` means all addresses of IPv6 and of IPv4, in sockets of their own, so that IPv4 clients have IPv4 addresses.
    May block while a name is looked up. Raises `OSError`.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(_PortTakenError):
            return _bound_at_once(host, port)
    raise OSError(errno.EADDRINUSE, "no port is free for all of its addresses")


class _PortTakenError(Exception):
    """The port that the kernel picked for one address is taken at another."""


def _bound_at_once(host: str, port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        for family, address in _places(host):
            chosen = sockets[0].getsockname()[1] if sockets else port
            try:
                listener = _bound(family, (address[0], chosen, *address[2:]))
            except OSError as error:
                if error.errno == errno.EADDRINUSE and chosen != port:
                    raise _PortTakenError from error
                if error.errno in _NO_SUCH_ADDRESS and sockets and host != "::":
                    continue  # a name such as localhost, on a machine that has one of its addresses only
                raise
            sockets.append(undo.enter_context(listener))
        undo.pop_all()
    return sockets


def _bound(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _places(host: str) -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """The addresses of a host to bind to, IPv4 first, which every machine has."""
    hosts = ("0.0.0.0", "::") if host == "::" else (host,)
    found = [
        (family, address)
        for one in hosts
        for family, _, _, _, address in socket.getaddrinfo(one, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    ]
    return sorted(dict.fromkeys(found), key=lambda place: place[0])


def enable_keepalive(listener: socket.socket) -> None:
    """Enable TCP keepalive, which ends connections of clients that vanish, such as a laptop that was closed.

    Connections inherit it from their listener (Linux). An open WebSocket has no deadline of its own.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@contextlib.contextmanager
def explained(option: str, host: str, port: int) -> Iterator[None]:
    """Turn an `OSError` of binding into a `ListenError` that says what to do. `option` is the port's option."""
    try:
        yield
    except OSError as error:
        flag = option.replace("_", "-")
        if error.errno == errno.EADDRINUSE:
            remedy = f"Stop the program that uses it (ss -ltnp shows it), or choose another one with --{flag}."
            raise ListenError(f"port {port} on {host} is taken", remedy=remedy) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            remedy = f"Ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another one with --{flag}."
            raise ListenError(f"port {port} on {host} is not allowed for this user", remedy=remedy) from error
        remedy = (
            f"Give an address of this machine with --{flag.replace('port', 'ip')}; 0.0.0.0 is all of IPv4, "
            ":: all of IPv6 and IPv4."
        )
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}", remedy=remedy) from error


async def own_names() -> tuple[str, ...]:
    """This machine's own names: its host name, with and without its domain, and its mDNS name.

    The domain is left out if the resolver does not answer in time.
    """
    name = socket.gethostname()
    if not name:
        return ()
    try:
        async with asyncio.timeout(_RESOLVER_SECONDS):
            full = await _full_name(name)
    except TimeoutError:
        full = name
    return (name, f"{name.partition('.')[0]}.local", full)


async def _full_name(name: str) -> str:
    """A name with its domain. Resolved in a thread of its own: a process waits for the loop's threads to end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def told(full: str) -> None:
        if not answer.done():
            answer.set_result(full)

    def ask() -> None:
        full = socket.getfqdn(name)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(told, full)

    threading.Thread(target=ask, name="own-name", daemon=True).start()
    return await answer


def url(host: str, port: int) -> str:
    """Where a listener is found on this machine."""
    shown = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
