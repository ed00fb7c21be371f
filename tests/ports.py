"""Ports for programs that have to be told theirs."""

from __future__ import annotations

import contextlib
import random
import socket


def free_ports(count: int) -> list[int]:
    """So many ports that nobody has on 127.0.0.1, below those that the kernel gives to whoever asks for any."""
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 400):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports are free")
