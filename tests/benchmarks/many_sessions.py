"""The proxy with any number of sessions, all of them led to one socket: no engine holds ten thousand containers here.

    python -m tests.benchmarks.many_sessions PORT SOCKET SESSIONS

Records, route look-up, header rules, stamps, limits and metrics are the product's; only engine and pages are missing.
Prints the ids, and serves until killed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

import uvloop

from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.models import SocketAddress, State
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.records import Records
from tmpnb_py.proxy.answers import Page
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.proxy.server import Proxy


def _error_page(status: int, *, wants_html: bool, languages: str) -> Page:
    return Page(b"text/html" if wants_html else b"application/json", b"%d" % status)


async def _no_application(_factory: object) -> object:
    raise ConnectionRefusedError("there are no pages here")


async def main() -> None:
    """Serve until killed."""
    port, socket, sessions = int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    pool, counters, now = Records("bench"), Counters(), time.monotonic()
    ids = [f"session{number:019}" for number in range(sessions)]
    for one in ids:
        endpoint = Endpoint(SocketAddress(str(socket.parent), socket.name))
        pool.insert(Container(one, "", "", now, State.CLAIMED, claimed_at=now, endpoint=endpoint))
    options = LiveOptions(Settings(allowed_hosts=("*",), max_connections_per_address=0))
    proxy = Proxy(
        pool,
        application=_no_application,  # type: ignore[arg-type]  # nothing here asks for a page
        error_page=_error_page,
        counters=counters,
        options=options,
        hosts=options.derive(lambda settings: Hosts(settings.allowed_hosts)),
    )
    await asyncio.get_running_loop().create_server(proxy.client_factory, "127.0.0.1", port)
    print(json.dumps(ids[:1000]), flush=True)
    await proxy.run()


if __name__ == "__main__":
    uvloop.run(main())
