"""A load balancer before two front ends, as documented: whichever process ends, no request to a notebook is lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.documents.blocks import block
from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment
from tests.e2e.test_several_fronts import asking, stack_of
from tests.front_support import haproxy
from tests.nginx_support import nginx
from tests.ports import free_ports

pytestmark = [pytest.mark.engine, pytest.mark.long]

EXAMPLES = {
    "haproxy": block("docs/swarm.md", "backend tmpnb"),
    "nginx": block("docs/swarm.md", "upstream tmpnb {"),
}
_HAPROXY = """\
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout tunnel 1h
frontend notebooks
    bind 127.0.0.1:{port}
    http-request set-header X-Forwarded-For %[src]
    default_backend tmpnb
{documented}
"""

_NGINX = """\
map $http_upgrade $tmpnb_connection {{ default upgrade; "" ""; }}
{documented}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://tmpnb;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $tmpnb_connection;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_buffering off;
        proxy_request_buffering off;
    }}
}}
"""


def documented(language: str, ports: list[int]) -> str:
    """The lines of docs/swarm.md, with this test's ports."""
    text = EXAMPLES[language].text
    for number, port in enumerate(ports, 1):
        assert f"192.0.2.{number}:8000" in text
        text = text.replace(f"192.0.2.{number}:8000", f"127.0.0.1:{port}")
    return text


@contextlib.asynccontextmanager
async def behind_haproxy(directory: Path, fronts: list[int]) -> AsyncIterator[int]:
    (port,) = free_ports(1)
    text = _HAPROXY.format(port=port, documented=documented("haproxy", fronts))
    async with haproxy(directory, text, place=port):
        yield port


@contextlib.asynccontextmanager
async def behind_nginx(directory: Path, fronts: list[int]) -> AsyncIterator[int]:
    (port,) = free_ports(1)
    async with nginx(directory, _NGINX.format(port=port, documented=documented("nginx", fronts)), place=port):
        yield port


Balancer = Callable[[Path, list[int]], contextlib.AbstractAsyncContextManager[int]]


@pytest.mark.parametrize("balancer", [behind_haproxy, behind_nginx])
async def test_no_request_is_lost_behind_a_balancer(
    deployment: Deployment, small: list[str], tmp_path: Path, balancer: Balancer
) -> None:
    ports = free_ports(2)
    with stack_of(deployment, *small, "--pool-size=1", ports=ports) as stack:
        a, b = stack.fronts
        async with balancer(tmp_path, ports) as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}/") as client:
            notebook = Notebook.of(client, await stack.orchestrator.spawn(client))
            await stack.knows(1)
            async with asking(notebook) as one, asking(notebook) as two, asking(notebook) as three:
                stack.orchestrator.kill()
                for front in stack.fronts:
                    await front.event("orchestrator_lost")
                claim = asyncio.create_task(stack.orchestrator.spawn(client))
                await asyncio.sleep(3.5)  # three checks of HAProxy's
                async with client.get("/healthz") as response:
                    assert (await response.json())["orchestrator"] == "away"
                assert not claim.done()
                stack.restart()
                assert (await claim)["id"] != notebook.id
                a.signal(signal.SIGTERM)
                await asyncio.to_thread(a.wait)
                again = stack.start_front(ports[0])
                await again.event("orchestrator_found")
                await asyncio.sleep(2.5)  # the balancer sees it
                b.kill()
                await asyncio.sleep(1)
            for counted in (one, two, three):
                assert counted.lost == []
                assert counted.answered > 50
