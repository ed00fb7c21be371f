"""What listening takes besides a socket: words for what can go wrong, and an eye on clients that vanish."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator

from tmpnb_py.errors import ListenError

_RESOLVER_SECONDS = 2.0


def notice_the_dead(listener: socket.socket) -> None:
    """Have the kernel ask a silent client whether it is still there: a laptop that was closed says no good-bye.

    Every connection inherits this of its listener (Linux), and an open WebSocket has no deadline of its own.
    """
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


@contextlib.contextmanager
def explained(option: str, host: str, port: int) -> Iterator[None]:
    """Say of a port that can't be listened on what to do. Raises `ListenError`; `option` is the port's own."""
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
        remedy = f"Give an address of this machine with --{flag.replace('port', 'ip')}; 0.0.0.0 is all of them."
        raise ListenError(f"cannot listen on {host}: {error.strerror or error}", remedy=remedy) from error


async def own_names() -> tuple[str, ...]:
    """The names that this machine has for itself: its host name, alone and in its domain, and that of mDNS.

    A resolver that does not answer in time is done without.
    """
    name = socket.gethostname()
    if not name:
        return ()
    try:
        async with asyncio.timeout(_RESOLVER_SECONDS):
            full = await asyncio.to_thread(socket.getfqdn, name)
    except TimeoutError:
        full = name
    return (name, f"{name.partition('.')[0]}.local", full)


def url(host: str, port: int) -> str:
    """Where a listener is found on this machine."""
    shown = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/"
