"""A real Caddy for a test; skipped (in CI: failed) where it is not installed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from tests.engine_support import skip_or_fail
from tests.nginx_support import listens

_GLOBAL = """\
{{
	admin off
	auto_https off
	storage file_system {directory}/storage
}}
"""


@contextlib.asynccontextmanager
async def caddy(directory: Path, sites: str, *, port: int) -> AsyncIterator[None]:
    """Caddy with everything of it in `directory`, once it listens at `port`. `sites` is its Caddyfile."""
    program = shutil.which("caddy")
    if program is None:
        skip_or_fail("Caddy is not installed")
    assert program is not None
    configuration = directory / "Caddyfile"
    configuration.write_text(_GLOBAL.format(directory=directory) + sites)
    process = await asyncio.create_subprocess_exec(
        program, "run", "--config", str(configuration), "--adapter", "caddyfile",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env=os.environ | dict.fromkeys(("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"), str(directory)),
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not await listens(port):
                assert process.returncode is None, "Caddy has ended"
                await asyncio.sleep(0.02)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
