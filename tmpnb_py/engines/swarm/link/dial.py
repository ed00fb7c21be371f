"""How holders of the secret connect: relays and the orchestrator are found by names, and dialled."""

from __future__ import annotations

import asyncio
import socket

from tmpnb_py.engines.swarm.link.lines import LIMIT, Connection
from tmpnb_py.engines.swarm.link.tls import Contexts

_SECONDS = 3.0

Address = tuple[str, int]


class StrangerError(ConnectionRefusedError):
    """What answers does not have the secret, or speaks no version of the protocol that we do."""


async def addresses_of(name: str) -> list[Address]:
    """All addresses of a `host:port`, each once; none where the resolver does not know it (yet)."""
    host, _, port = name.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys((str(one[4][0]), int(port)) for one in found))


async def dial(address: Address, contexts: Contexts) -> Connection:
    """A connection to a holder of the secret. Raises `OSError`: `StrangerError` for who is none."""
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection(*address, ssl=contexts.client, limit=LIMIT)
    if not contexts.is_ours(writer):
        writer.close()
        raise StrangerError("what answers there does not have our secret")
    return reader, writer
