"""The proxy's tests run on both event loops: asyncio's and uvloop's transports differ."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """pytest-asyncio asks for each test; its name goes into the test's."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if item.path.name == "test_proxy_relayed.py":
        return {"uvloop": uvloop.new_event_loop}  # as relays and the service run
    if item.path.name.startswith("test_proxy_"):
        factories["uvloop"] = uvloop.new_event_loop
    return factories
