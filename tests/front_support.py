"""Real proxies for tests: programs that are started, waited for and ended; skipped (in CI: failed) where missing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tests.engine_support import skip_or_fail


@contextlib.asynccontextmanager
async def program(name: str, *arguments: str, place: Path | int, **env: str) -> AsyncIterator[None]:
    """A program that stays in the foreground, once it listens at `place` (a path, or a port)."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        skip_or_fail(f"{name} is not installed")
    assert found is not None
    process = await asyncio.create_subprocess_exec(
        found, *arguments, stderr=asyncio.subprocess.PIPE, env={**os.environ, **env}
    )
    assert process.stderr is not None
    reading = asyncio.ensure_future(process.stderr.read())  # else a talkative one stops when the pipe is full
    try:
        async with asyncio.timeout(20):
            while not await listens(place):
                assert process.returncode is None, await reading
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await reading
        await process.wait()


def caddy(directory: Path, configuration: str, *, place: int) -> contextlib.AbstractAsyncContextManager[None]:
    """Caddy with a Caddyfile, and everything of it in `directory`."""
    path = directory / "Caddyfile"
    # Some requests go on for a while after their clients have left (flush_interval -1): it need not wait for them.
    path.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n\tgrace_period 2s\n}\n" + configuration)
    homes = {name: str(directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    return program("caddy", "run", "--adapter", "caddyfile", "--config", str(path), place=place, **homes)


def haproxy(
    directory: Path, configuration: str, *, place: Path | int
) -> contextlib.AbstractAsyncContextManager[None]:
    """HAProxy with a configuration."""
    path = directory / "haproxy.cfg"
    path.write_text(configuration)
    return program("haproxy", "-db", "-f", str(path), place=place)


async def listens(place: Path | int) -> bool:
    """Whether somebody listens there; a socket's file is there a little earlier."""
    try:
        if isinstance(place, Path):
            _, writer = await asyncio.open_unix_connection(place)
        else:
            _, writer = await asyncio.open_connection("127.0.0.1", place)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return True
