"""A real nginx for a test; skipped (in CI: failed) where it is not installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tests.engine_support import skip_or_fail

_MAIN = """\
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log crit;
{main}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
{http}
}}
"""


@contextlib.asynccontextmanager
async def nginx(directory: Path, http: str, *, place: Path | int, main: str = "") -> AsyncIterator[None]:
    """nginx with everything of it in `directory`, once it listens at `place` (a path, or a port).

    `http` is what its configuration has in the block of that name, `main` outside of all blocks.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        skip_or_fail("nginx is not installed")
    assert program is not None
    configuration = directory / "nginx.conf"
    configuration.write_text(_MAIN.format(directory=directory, main=main, http=http))
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(configuration), "-p", str(directory), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(20):
            while not await listens(place):
                assert process.returncode is None, await process.communicate()
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


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
