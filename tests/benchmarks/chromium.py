"""What the benchmarks with a real browser share: Chromium as a newcomer has it, links, clicks, and lone servers.

A lone server is a container without a network, whose socket a port of loopback leads to: no network device comes or
goes with it, whereupon Chromium would drop what is under way (ERR_NETWORK_CHANGED).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from playwright.async_api import BrowserContext, CDPSession, Page, async_playwright

from tests.benchmarks.rig import LABEL_POOL, Service, docker
from tests.e2e.cutting import front
from tests.integration.browser_support import FLAGS

MAIN = "notebooks.example.org"
MILLISECONDS = 120_000
LONGEST_WAIT = 120.0
# 20 Mbit/s in both directions and 40 ms to the first byte of each answer.
THROTTLED = {"offline": False, "latency": 40, "downloadThroughput": 20e6 / 8, "uploadThroughput": 20e6 / 8}
_RESOLVES = "--host-resolver-rules=MAP *.example.org 127.0.0.1, MAP *.example.net 127.0.0.1"
_SOCKET = "/run/bench/socket"
_ATTEMPTS = 3
_Result = TypeVar("_Result")


@contextlib.asynccontextmanager
async def newcomer() -> AsyncIterator[BrowserContext]:
    """A browser that has seen nothing, with a cache on disk."""
    with tempfile.TemporaryDirectory(prefix="tmpnb-bench-", ignore_cleanup_errors=True) as profile:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch_persistent_context(
                profile, executable_path=shutil.which("chromium"), args=[*FLAGS, _RESOLVES]
            )
            try:
                yield browser
            finally:
                await browser.close()


async def linked(page: Page, *, throttled: bool) -> CDPSession:
    """The page's events of the network, and its link."""
    page.set_default_timeout(MILLISECONDS)
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    if throttled:
        await session.send("Network.emulateNetworkConditions", THROTTLED)
    return session


async def in_turn(service: Service, ready: int, visit: Callable[[], Awaitable[_Result]]) -> _Result:
    """Visits of a service with so many ready notebooks, whose sessions end afterwards.

    Tried again where Chromium drops what is under way: whenever any Docker network comes or goes.
    """
    for _ in range(_ATTEMPTS - 1):
        await service.until_ready(ready)
        with contextlib.suppress(TimeoutError):
            return await _ending(service, visit)
    await service.until_ready(ready)
    return await _ending(service, visit)


async def _ending(service: Service, visit: Callable[[], Awaitable[_Result]]) -> _Result:
    try:
        return await visit()
    finally:
        await end_sessions(service)


async def end_sessions(service: Service) -> None:
    """Make room for the next visitors' notebooks."""
    if not (await service.stats())["claimed"]:
        return
    listed = await docker("ps", "--quiet", "--filter", f"label={LABEL_POOL}={service.pool}")
    await docker("rm", "--force", *listed.split())
    async with asyncio.timeout(LONGEST_WAIT):
        while (await service.stats())["claimed"]:
            await asyncio.sleep(0.1)


async def compressed(service: Service) -> None:
    """Wait for the good compression: it is done once per image, and not what is measured."""
    while not (service.events("static_files_compressed") or service.events("static_files_not_compressed")):
        if service.events("ready") and not service.events("static_files_shared"):
            return  # this image shares none
        await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def lone_server(image: str, command: str, *options: str, base: str = "/") -> AsyncIterator[tuple[Path, str]]:
    """The socket of an image's JupyterLab in a container of its own, and its token.

    `command` is a shell's, which is given the server's arguments.
    """
    name, token = f"tmpnb-bench-{secrets.token_hex(4)}", secrets.token_hex(8)
    arguments = f"--ServerApp.sock={_SOCKET} --ServerApp.sock_mode=0666 --ServerApp.allow_remote_access=True"
    arguments += f" --ServerApp.base_url={base} --IdentityProvider.token={token} --ServerApp.open_browser=False"
    with tempfile.TemporaryDirectory(prefix="tmpnb-bench-", ignore_cleanup_errors=True) as place:
        Path(place).chmod(0o777)
        mount = f"--volume={place}:{Path(_SOCKET).parent}"
        run = ("run", "--detach", "--name", name, "--network=none", mount, *options, image)
        await docker(*run, "/bin/sh", "-c", f"{command} {arguments}")
        try:
            socket = Path(place, "socket")
            await _answering(socket, base)
            yield socket, token
        finally:
            await asyncio.shield(docker("rm", "--force", "--volumes", name))


@contextlib.asynccontextmanager
async def direct(image: str) -> AsyncIterator[tuple[str, str]]:
    """The address of the image's JupyterLab with nothing but a port between, and its token."""
    async with (
        lone_server(image, "exec start-notebook.sh") as (socket, token),
        front(socket) as (_, address),
    ):
        yield address.replace("127.0.0.1", "localhost"), token


async def _answering(socket: Path, base: str) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(socket)
                writer.write(f"GET {base}api HTTP/1.0\r\n\r\n".encode())
                answer = await reader.read(12)
                writer.close()
                if answer.endswith(b"200"):
                    return
            await asyncio.sleep(0.1)
