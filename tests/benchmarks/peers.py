"""The other reverse proxies of the benchmark, each in front of the very same Unix socket, on one processor.

nginx and haproxy with one worker and kept-alive upstream connections, configurable-http-proxy from npm with a route
as JupyterHub gives it one, and the straightforward aiohttp proxy. What is not on this machine is named, not left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import aiohttp

from tests.benchmarks import rig
from tests.ports import free_ports

_TOKEN = "bench"
_NGINX = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_max_body_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map_hash_max_size 16384;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    map $uri $notebook {{ default notebook; {sessions} }}
    upstream notebook {{ server unix:{socket}; keepalive 128; keepalive_requests 100000000; }}
    {upstreams}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://{target};
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_read_timeout 3600;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""
_HAPROXY = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    option forwardfor
    http-reuse always
listen notebooks
    bind 127.0.0.1:{port}
    server notebook unix@{socket}
"""


@dataclasses.dataclass(frozen=True)
class Peer:
    """A proxy that listens on a port of loopback. `pid` is the process that does the work."""

    name: str
    port: int
    pid: int


async def nginx(socket: Path, stack: contextlib.AsyncExitStack, sessions: Sequence[str] = ()) -> Peer:
    """One worker, kept-alive connections to one upstream (or one for each session), nothing buffered in files."""
    directory, port = _directory(stack), free_ports(1)[0]
    configuration = directory / "nginx.conf"
    text = _NGINX.format(
        directory=directory,
        socket=socket,
        port=port,
        target="$notebook" if sessions else "notebook",
        sessions="".join(f"/user/{one}/api {one};" for one in sessions),
        upstreams="\n".join(
            f"upstream {one} {{ server unix:{socket}; keepalive 8; keepalive_requests 100000000; }}"
            for one in sessions
        ),
    )
    configuration.write_text(text)
    pid = await _process(stack, "nginx", "-p", str(directory), "-c", str(configuration))
    await _listening(port)
    return Peer("nginx", port, _child(pid))


async def haproxy(socket: Path, stack: contextlib.AsyncExitStack) -> Peer:
    """One thread, server connections shared by all clients."""
    directory, port = _directory(stack), free_ports(1)[0]
    configuration = directory / "haproxy.cfg"
    configuration.write_text(_HAPROXY.format(socket=socket, port=port))
    pid = await _process(stack, "haproxy", "-db", "-f", str(configuration))
    await _listening(port)
    return Peer("haproxy", port, pid)


async def plain(socket: Path, stack: contextlib.AsyncExitStack) -> Peer:
    """An aiohttp server with a ClientSession behind it."""
    port = free_ports(1)[0]
    arguments = ("-m", "tests.benchmarks.plain_proxy", str(port), str(socket))
    pid = await _process(stack, sys.executable, *arguments)
    await _listening(port)
    return Peer("aiohttp", port, pid)


def chp(
    installed: Path | None, *, anywhere: bool = False
) -> Callable[[Path, contextlib.AsyncExitStack], Awaitable[Peer]]:
    """configurable-http-proxy, from a directory with `node_modules` or installed by npm into a temporary one.

    `anywhere`: on any processor.
    """

    async def start(socket: Path, stack: contextlib.AsyncExitStack) -> Peer:
        directory = installed or await _install("configurable-http-proxy", _directory(stack))
        program = directory / "node_modules/.bin/configurable-http-proxy"
        port, api_port = free_ports(2)
        arguments = ["--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={api_port}"]
        environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": _TOKEN, "NODE_ENV": "production"}
        command = ["node", str(program), *arguments, "--log-level=error"]
        pid = await _process(stack, *command, environment=environment, anywhere=anywhere)
        await _listening(api_port)
        target = f"unix+http://{quote(str(socket), safe='')}"
        await _route(f"http://127.0.0.1:{api_port}/api/routes/user", target)
        await _listening(port)
        return Peer("configurable-http-proxy", port, pid)

    return start


async def _install(package: str, directory: Path) -> Path:
    try:
        await rig.run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(directory), package)
    except (RuntimeError, TimeoutError) as error:  # without a network npm tries for minutes
        reason = str(error) or "it takes too long"
        raise rig.MissingError(f"npm cannot install {package}: {reason}; or is it there for --chp-dir?") from error
    return directory


async def _route(url: str, target: str) -> None:
    headers = {"Authorization": f"token {_TOKEN}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(url, json={"target": target}) as response,
    ):
        if response.status != 201:
            raise RuntimeError(f"configurable-http-proxy refused the route: {response.status}")


def _directory(stack: contextlib.AsyncExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmpnb-bench-")))


async def _process(
    stack: contextlib.AsyncExitStack,
    *command: str,
    environment: dict[str, str] | None = None,
    anywhere: bool = False,
) -> int:
    """Start a program that ends with the stack. Raises `MissingError` where there is none."""
    if shutil.which(command[0]) is None:
        raise rig.MissingError(f"{command[0]} is not installed")
    process = await asyncio.create_subprocess_exec(
        *([] if anywhere else rig.on_processor(0)),
        *command,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    stack.push_async_callback(rig.end, process)
    return process.pid


def _child(pid: int) -> int:
    """The only child of a process."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def _listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def started(socket: Path, installed: Path | None) -> AsyncIterator[tuple[list[Peer], dict[str, str]]]:
    """All peers in front of a socket, and why the others are not there."""
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    starters = {"nginx": nginx, "haproxy": haproxy, "configurable-http-proxy": chp(installed), "aiohttp": plain}
    async with contextlib.AsyncExitStack() as stack:
        short = _directory(stack) / "socket"  # haproxy takes no path of over 97 bytes
        short.symlink_to(socket)
        for name, start in starters.items():
            try:
                peers.append(await start(short, stack))
            except rig.MissingError as error:
                missing[name] = str(error)
        yield peers, missing
