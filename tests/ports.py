"""Ports for programs that have to be told theirs, and waiting for who is to answer there."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket

import aiohttp
import pytest


def _has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def free_ports(count: int) -> list[int]:
    """So many ports that nobody has on 127.0.0.1, below those that the kernel gives to whoever asks for any."""
    found: list[int] = []
    for port in random.sample(range(20000, 32000), 400):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no ports are free")


async def until_it_answers(url: str) -> None:
    """Wait, a minute at most, until there is a 200."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.02)
