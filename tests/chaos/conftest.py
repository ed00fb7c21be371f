"""The stage that a run's rounds share, and the table at the end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests import local_support
from tests.chaos import rounds, truth
from tests.chaos.local import LocalStage
from tests.chaos.stage import Stage, staged
from tests.chaos.table import Table
from tests.e2e.own_engine import own_engine_on_small_disk
from tests.engine_support import skip_or_fail

MIB = 2**20
_TABLE = pytest.StashKey[Table]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TABLE] = Table()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was tried, how often, and what was lost."""
    if table := config.stash[_TABLE]:
        terminalreporter.section("faults: what was tried, and what was lost")
        for line in table.lines():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def _ended_in_order() -> None:
    """Fixtures clean up after SIGTERM, too, as `timeout` sends it: an engine would go on for ever."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def table(pytestconfig: pytest.Config) -> Table:
    """The table."""
    return pytestconfig.stash[_TABLE]


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The first round's seed; the next ones count up."""
    return int(pytestconfig.getoption("--seed") or rounds.some_seed())


class Theatre:
    """Stages, one at a time: after a round that went wrong the next has a fresh one."""

    def __init__(self, make: Callable[[], Stage]) -> None:
        self._make = make
        self._stack = contextlib.AsyncExitStack()
        self._stage: Stage | None = None

    async def stage(self) -> Stage:
        """The one of the next round."""
        if self._stage is None:
            self._stage = await self._stack.enter_async_context(staged(self._make()))
            _, wrongs = await truth.settle(self._stage)
            assert not wrongs, wrongs
        return self._stage

    async def end(self) -> None:
        """See that nothing at all is left behind of the rounds, and end the stage."""
        try:
            if self._stage is not None:
                _, wrongs = await truth.settle(self._stage, leave=0)
                assert not wrongs, wrongs
        finally:
            await self.clear()

    async def clear(self) -> None:
        """End the stage that there is."""
        self._stage = None
        await self._stack.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def theatre(server_image: str, seed: int) -> AsyncIterator[Theatre]:
    """With an engine of its own, whose containers' files are on a small disk."""
    with own_engine_on_small_disk(server_image, 16 * MIB) as engine:
        theatre = Theatre(lambda: Stage(engine, seed=seed))
        try:
            yield theatre
        finally:
            await theatre.end()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local_theatre(seed: int) -> AsyncIterator[Theatre]:
    """With the local engine."""
    if os.geteuid() != 0:
        skip_or_fail("only root can give the service a small disk")
    local_support.need_sandbox()
    theatre = Theatre(lambda: LocalStage(None, seed=seed))
    try:
        yield theatre
    finally:
        await theatre.end()
