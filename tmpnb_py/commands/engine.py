"""The engine that `serve` would use, opened for a command that works without a service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from tmpnb_py.engines.docker import DockerEngine
from tmpnb_py.settings import Settings
from tmpnb_py.settings_load import choose_engine


@contextlib.asynccontextmanager
async def opened_engine(settings: Settings, *, pool: str | None = None) -> AsyncIterator[DockerEngine]:
    """The engine, for the settings' pool or another one. Raises `EngineError`."""
    choose_engine(settings, os.environ)
    engine = DockerEngine(pool=pool or settings.pool_name, runtime_dir=settings.runtime_path)
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()
