"""The bound sockets of one service, by what they are for, whoever bound them.

This process binds them; or systemd did, and passes them on at each start (sd_listen_fds(3)); or the process that this
one follows did. They stay open as long as the service runs: what is listened on are duplicates, so that listening can
end, here, while the kernel goes on to queue connections for whoever listens next.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Iterable, Iterator, MutableMapping

from tmpnb_py.core.errors import ListenError
from tmpnb_py.options.settings import Settings
from tmpnb_py.service import listen

VISITORS, ADMIN, FRONT = "visitors", "admin", "front"
BACKLOG = 4096  # as packaging/tmpnb-py.socket has it, which listening sets anew
# A client that has sent a request on an idle connection gets it answered. Only where the next process finds those who
# come meanwhile: elsewhere they are refused, so that the end must not take longer.
PATIENCE_SECONDS = 1.0
_FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
_MOST = 64


@dataclasses.dataclass(frozen=True)
class Bound:
    """A bound socket. `host` and `port` are the options that it was bound for; "" where a service manager chose."""

    name: str
    sock: socket.socket
    host: str = ""
    port: int = 0

    def is_for(self, host: str, port: int) -> bool:
        """Whether it is what these options ask for. A service manager's choice is right."""
        return not self.host or (self.host, self.port) == (host, port)


def activated(environ: MutableMapping[str, str]) -> list[Bound]:
    """The sockets that a service manager passed to this very process, and their variables out of the environment.

    A name `admin` or `front` says what one is for (`FileDescriptorName=` of its unit); all others are the visitors'.
    Raises `ListenError` for what is no listening TCP socket.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    told = names.split(":")
    found = []
    for number in range(min(int(count), _MOST)):
        descriptor = _FIRST_DESCRIPTOR + number
        name = told[number] if number < len(told) else ""
        found.append(Bound(name if name in (ADMIN, FRONT) else VISITORS, _listening(descriptor, name)))
    return found


def _listening(descriptor: int, name: str) -> socket.socket:
    remedy = "Use ListenStream= with a port in the socket's unit, and Accept=no."
    try:
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ListenError(f"what the service manager passed as {name!r} is no socket", remedy=remedy) from error
    is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    if not is_tcp or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ListenError(f"what the service manager passed as {name!r} is no listening TCP socket", remedy=remedy)
    sock.setblocking(False)
    return sock


class Listeners:
    """The sockets of one service. `given` are those that it need not bind itself."""

    def __init__(self, given: Iterable[Bound] = ()) -> None:
        self._given = list(given)
        self._bound: list[Bound] = []

    @property
    def is_activated(self) -> bool:
        """Whether a service manager holds the visitors' sockets, so that they outlive this process."""
        return any(one.name == VISITORS and not one.host for one in self._bound)

    def bind(self, settings: Settings, *, fronts: bool = True) -> None:
        """Take what was given, as far as the options still ask for it, and bind what is missing.

        The rest stays as it is until `refuse_unused`: who has given it may have to go on with it.

        `fronts`: whether front ends may be listened for. May block while a name is looked up. Raises `ListenError`.
        """
        self._take(VISITORS, "port", settings.ip, settings.port)
        self._take(ADMIN, "admin_port", settings.admin_ip, settings.admin_port)
        if fronts and settings.front_port:
            self._take(FRONT, "front_port", settings.front_ip, settings.front_port)

    def refuse_unused(self) -> None:
        """Have the kernel refuse who comes to what was given and is not used, as the options ask for it no more.

        Otherwise newcomers there would wait as long as another process has the same socket open, and for nothing.
        """
        for unused in self._given:
            with contextlib.suppress(OSError):
                if unused.host:  # else it is a service manager's, which decides
                    unused.sock.shutdown(socket.SHUT_RD)
            unused.sock.close()
        self._given = []

    def _take(self, name: str, option: str, host: str, port: int) -> None:
        fit = [one for one in self._given if one.name == name and one.is_for(host, port)]
        self._given = [one for one in self._given if one not in fit]
        if not fit:
            with listen.explained(option, host, port):
                fit = [Bound(name, sock, host, port) for sock in listen.bound(host, port)]
        if name != ADMIN:
            for one in fit:  # a machine without power says nothing, not even an end
                listen.enable_keepalive(one.sock)
        self._bound += fit

    def __iter__(self) -> Iterator[Bound]:
        return iter(tuple(self._bound))

    def duplicates(self, name: str) -> list[socket.socket]:
        """Sockets to listen on, which the caller closes."""
        return [one.sock.dup() for one in self._bound if one.name == name]

    def port(self, name: str) -> int:
        """The port of what is bound for this (the kernel's choice where 0 was asked for)."""
        return next(int(one.sock.getsockname()[1]) for one in self._bound if one.name == name)

    def close(self) -> None:
        """Let go of all of them. Idempotent."""
        for one in (*self._bound, *self._given):
            with contextlib.suppress(OSError):
                one.sock.close()
