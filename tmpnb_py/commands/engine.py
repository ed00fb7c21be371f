"""The engine that `serve` would use, opened for a command that works without a service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from tmpnb_py.engine_choice import choose
from tmpnb_py.engines.docker import DockerEngine
from tmpnb_py.engines.local import LocalEngine
from tmpnb_py.settings import Settings


@contextlib.asynccontextmanager
async def opened_engine(settings: Settings, *, pool: str | None = None) -> AsyncIterator[DockerEngine | LocalEngine]:
    """The engine, for the settings' pool or another one. Raises `EngineError`."""
    engine = (await choose(settings, os.environ, pool=pool)).engine
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()
