"""Requests/s through the product and through configurable-http-proxy, to the very same container, in turn.

The product runs as `tmpnb-py serve` with a container whose command is nginx, on a published port or on a Unix socket
(the product's default). configurable-http-proxy gets a route to that container's own address, as JupyterHub and
tmpnb give it one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp

from tests.benchmarks import rig
from tests.benchmarks.rig import Row, Service

_IMAGE = "tmpnb-py-bench/static"
_CONTEXT = Path(__file__).parent / "static"
_COMMAND = 'sed "s#LISTEN#{}#" /nginx.conf > /tmp/nginx.conf && exec nginx -c /tmp/nginx.conf'
_LISTEN = {"port": "{port}", "socket": "unix:{socket}"}
_CONNECTIONS = 32
_TOKEN = "bench"
_BUILD_SECONDS = 300.0


async def measure(rounds: int, seconds: float, chp_directory: Path | None) -> list[Row]:
    """Both ways to the container; each with both proxies in turn, and nginx alone as the upper bound."""
    if shutil.which("wrk") is None:
        raise rig.MissingError("wrk is not installed (apt-get install wrk)")
    await rig.run("docker", "build", "--network=host", f"--tag={_IMAGE}", str(_CONTEXT), seconds=_BUILD_SECONDS)
    rows = []
    async with _installed(chp_directory) as program:
        for transport in ("socket", "port"):
            rows += await _by(transport, program, rounds, seconds)
    return rows


@contextlib.asynccontextmanager
async def _installed(directory: Path | None) -> AsyncIterator[Path]:
    """The program, from a directory with `node_modules` or installed by npm into a temporary one."""
    if directory is not None:
        yield directory / "node_modules/.bin/configurable-http-proxy"
        return
    with tempfile.TemporaryDirectory(prefix="tmpnb-bench-npm-") as temporary:
        try:
            await rig.run(
                "npm", "install", "--no-audit", "--no-fund", "--prefix", temporary, "configurable-http-proxy"
            )
        except RuntimeError as error:
            raise rig.MissingError(f"npm cannot install configurable-http-proxy: {error}") from error
        yield Path(temporary) / "node_modules/.bin/configurable-http-proxy"


async def _by(transport: str, program: Path, rounds: int, seconds: float) -> list[Row]:
    command = _COMMAND.format(_LISTEN[transport])
    options = (f"--image={_IMAGE}", f"--command={command}", "--cpu-quota=0", "--max-containers=2")
    async with rig.serving(*options, pool_size=1) as service:
        async with asyncio.timeout(60):
            await service.until_ready(1)
        status, body = await service.api("POST", "/api/spawn")
        if status != 200:
            raise RuntimeError(f"POST /api/spawn answered {status}")
        container_id = json.loads(body)["id"]
        async with asyncio.timeout(60):
            await service.until_ready(1)  # its replacement must not start in the midst of the measurement
        target = await _address(service, container_id)
        async with _chp(program, container_id, target) as (chp_port, chp_pid):
            path = f"/user/{container_id}/api"
            contestants = {
                "tmpnb-py": (f"http://127.0.0.1:{service.port}{path}", service.pid),
                "configurable-http-proxy": (f"http://127.0.0.1:{chp_port}{path}", chp_pid),
            }
            direct = None if transport == "socket" else (f"{target}{path}", 0)
            return await _race(transport, contestants, direct, rounds, seconds)


async def _address(service: Service, container_id: str) -> str:
    """Where the container listens, as configurable-http-proxy writes it."""
    socket = service.runtime_dir / "sockets" / service.pool / container_id / "server.sock"
    if socket.exists():
        return f"unix+http://{quote(str(socket), safe='')}"
    name = await rig.docker(
        "ps", "--quiet", "--filter", f"label={rig.LABEL_POOL}={service.pool}",
        "--filter", f"label=org.tmpnb.id={container_id}",
    )  # fmt: skip
    ports = json.loads(await rig.docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", name))
    ((published, *_),) = ports.values()
    return f"http://127.0.0.1:{published['HostPort']}"


@contextlib.asynccontextmanager
async def _chp(program: Path, container_id: str, target: str) -> AsyncIterator[tuple[int, int]]:
    port, api_port = rig.free_port(), rig.free_port()
    arguments = ["--ip=127.0.0.1", f"--port={port}", "--api-ip=127.0.0.1", f"--api-port={api_port}"]
    environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": _TOKEN, "NODE_ENV": "production"}
    process = await asyncio.create_subprocess_exec(
        "node", str(program), *arguments, "--log-level=error", env=environment
    )
    try:
        async with asyncio.timeout(30):
            await _route(f"http://127.0.0.1:{api_port}/api/routes/user/{container_id}", target)
        yield port, process.pid
    finally:
        await rig.end(process)


async def _route(url: str, target: str) -> None:
    headers = {"Authorization": f"token {_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectionError):
                async with session.post(url, json={"target": target}) as response:
                    if response.status != 201:
                        raise RuntimeError(f"configurable-http-proxy refused the route: {response.status}")
                    return
            await asyncio.sleep(0.05)


async def _race(
    transport: str,
    contestants: dict[str, tuple[str, int]],
    direct: tuple[str, int] | None,
    rounds: int,
    seconds: float,
) -> list[Row]:
    everybody = contestants | ({"nginx alone": direct} if direct else {})
    rates: dict[str, list[float]] = {name: [] for name in everybody}
    costs: dict[str, list[float]] = {name: [] for name in everybody}
    for number in range(rounds + 1):
        for name, (url, pid) in everybody.items():
            rate, cost = await _wrk(url, pid, seconds if number else 1.0)
            if number:  # the first round only warms up
                rates[name].append(rate)
                costs[name].append(cost)
    rows = []
    for name in everybody:
        cost_note = f"{statistics.median(costs[name]):.0f} us of its CPU per request" if everybody[name][1] else ""
        rows.append(
            Row(f"by {transport}: {name}", f"{statistics.median(rates[name]):,.0f} requests/s", note=cost_note)
        )
    ours, theirs = (statistics.median(rates[name]) for name in contestants)
    less = statistics.median(costs["configurable-http-proxy"]) / statistics.median(costs["tmpnb-py"])
    return [*rows, Row("  as fast as it", f"{ours / theirs:.1f} x", "> 1 x", ours > theirs, f"{less:.1f} x less CPU")]


async def _wrk(url: str, pid: int, seconds: float) -> tuple[float, float]:
    """Requests/s, and microseconds of the process's CPU per request."""
    used = rig.cpu_seconds(pid) if pid else 0.0
    duration = max(1, round(seconds))
    output = await rig.run(
        "wrk", "--threads=1", f"--connections={_CONNECTIONS}", f"--duration={duration}s", url, seconds=duration + 30
    )
    used = (rig.cpu_seconds(pid) if pid else 0.0) - used
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"wrk saw errors: {output}")
    match = re.search(r"(\d+) requests in .*Requests/sec:\s*([\d.]+)", output, re.DOTALL)
    if match is None:
        raise RuntimeError(f"wrk said: {output}")
    return float(match[2]), used / int(match[1]) * 1e6
