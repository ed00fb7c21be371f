"""Waiting for what no event tells."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

SECONDS = 60.0  # how long anything may take before the test fails


async def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Let the loop run until something is so; only for what no event tells."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to be so"
        await asyncio.sleep(0.001)
