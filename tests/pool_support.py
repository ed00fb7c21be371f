"""A pool without its reconciler: the test makes the containers and says how the engine does.

The only place in the tests that reaches behind a pool's methods.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tmpnb_py.core.models import ContainerConfig, Failure
from tmpnb_py.engines.base import Engine
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.pool import Pool
from tmpnb_py.pools.reaper import Reaper
from tmpnb_py.pools.records import Records

TODAY = "today"


def records_of(pool: Pool) -> Records:
    """The records of a pool, to put containers, failures and the like into them."""
    return pool._records


def fail(pool: Pool, failure: Failure) -> None:
    """A container did not become ready."""
    pool._health.start_failed(failure)


def reaper_of(pool: Pool) -> Reaper:
    """The reaper of a pool, to have it look now."""
    return pool._reaper


def rewind(container: Container, seconds: float) -> None:
    """As if a session had been claimed, and last used, that much earlier."""
    assert container.claimed_at is not None
    container.claimed_at -= seconds
    container.last_activity -= seconds
    container.last_presence -= seconds


async def config_of(pool: Pool) -> ContainerConfig:
    """What a container that is started now looks like."""
    return await pool._configuration.resolve()


class HandMadePool(Pool):
    """Nothing in it happens by itself. `directory` is its runtime directory."""

    def __init__(self, engine: Engine, directory: Path, name: str = "test", **options: Any) -> None:
        chosen = {"pool_name": name, "image": "fake", "pool_size": 0, "runtime_dir": directory, **options}
        super().__init__(engine, LiveOptions(Settings(**chosen)), PoolMetrics())
        self._records.current_digest, self._records.limit = TODAY, 100

    def insert(self, container: Container) -> Container:
        """Record a container in the state that it says."""
        self._records.insert(container)
        return container

    def make_ready(self, container_id: str, endpoint: Endpoint, now: float) -> Container:
        """One more container is started and answers."""
        container = self.insert(Container(container_id, TODAY, "token", created_at=now))
        assert self._records.mark_ready(container, endpoint, now)
        return container

    def engine_is_listed(self) -> None:
        """The engine was listed; the containers are those that the test has made."""
        self._records.listed = True
        self._health.engine_answered()
        self._health.configured()
