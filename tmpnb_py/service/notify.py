"""What a service manager is told of this process: systemd's notification protocol (sd_notify(3)), a datagram each.

Without `NOTIFY_SOCKET` nobody is told anything. Telling never blocks, and never fails the service.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

VARIABLE = "NOTIFY_SOCKET"


class ServiceManager:
    """Whoever started this process and wants to know how it does. `address` is a socket's; "" for nobody."""

    def __init__(self, address: str = "") -> None:
        """A path, or a name in the abstract namespace, written with an @. Any other address counts as nobody."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address if address.startswith("/") else ""

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> ServiceManager:
        """The one that the environment names."""
        return cls(environ.get(VARIABLE, ""))

    def ready(self) -> None:
        """The start, or a reload, has come to its end."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """Options are read again, or a new process is started in place of this one; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def succeeded_by(self, pid: int) -> None:
        """From here on that process is the service, and is ready."""
        self._tell(f"MAINPID={pid}", "READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.sendto("\n".join(lines).encode(), os.fsencode(self._address))
