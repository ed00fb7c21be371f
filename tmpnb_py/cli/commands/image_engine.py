"""Shared by the commands below `image`: opening Docker's engine, and running with a quiet log."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import need_docker

if TYPE_CHECKING:
    from tmpnb_py.engines.base import Engine


@contextlib.asynccontextmanager
async def docker_engine(settings: Settings, *, pool: str | None = None) -> AsyncIterator[Engine]:
    """Open Docker's engine, the one that has images. Raises `EngineError`."""
    from tmpnb_py.cli.commands.engine import opened_engine  # noqa: PLC0415 - a wrong option answers at once

    need_docker(settings, os.environ)
    async with opened_engine(settings, pool=pool) as engine:
        yield engine


def run_quietly(work: Coroutine[Any, Any, Any]) -> None:
    from tmpnb_py.core import logs  # noqa: PLC0415

    logs.configure("auto", "error")  # commands print their results
    asyncio.run(work)
