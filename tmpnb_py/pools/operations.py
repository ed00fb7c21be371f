"""What the operator may do while the service runs: drain, resize, close, open. Called by the admin listener.

Everything is synchronous and only marks or sets a target; the reconciler does the rest, and each method wakes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import structlog

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.records import Records

LARGEST_POOL = 100_000

_log = structlog.get_logger(__name__)


class Gate:
    """Whether newcomers are let in. The answer outlives the process in a file, as long as the directory does.

    An operator who closed the service for maintenance would not want a crash in the meantime to open it. The runtime
    directory goes with a restart of the machine, and with it all notebooks; then the service begins open.
    """

    def __init__(self, path: Path) -> None:
        """`path` names the file that stands for "closed"."""
        self._path = path
        self._is_open = not path.exists()

    @property
    def is_open(self) -> bool:
        """Whether newcomers are let in."""
        return self._is_open

    def close(self) -> None:
        """Let nobody in. Raises `OSError` where that cannot be written down; then nothing has changed."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._is_open = False

    def open(self) -> None:
        """Let newcomers in. Raises `OSError`, like `close`."""
        self._path.unlink(missing_ok=True)
        self._is_open = True


class Operations:
    """The operator's hand on one pool."""

    def __init__(
        self,
        pool: Records,
        gate: Gate,
        options: LiveOptions,
        *,
        gate_moved: Callable[[], int],
        observe_soon: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._gate = gate
        self._options = options
        self._gate_moved = gate_moved
        self._observe_soon = observe_soon

    @property
    def is_open(self) -> bool:
        """Whether newcomers are let in."""
        return self._gate.is_open

    def drain(self, now: float) -> int:
        """Replace every ready container by a new one. Returns how many; those in use and those starting stay."""
        drained = 0
        for container in self._pool.in_state(State.READY):
            drained += self._pool.end(container, EndReason.DRAINED, now)
        _log.info("drained", pool=self._pool.name, count=drained)
        return drained

    def resize(self, size: int) -> None:
        """Keep so many ready from now on, until the service restarts. Raises `SettingsError`."""
        if not 0 <= size <= LARGEST_POOL:
            raise SettingsError(f"size is a whole number from 0 to {LARGEST_POOL}")
        max_containers = self._options.current.max_containers
        if max_containers is not None and size > max_containers:
            raise SettingsError(f"{size} is above max_containers, which is {max_containers}")
        _log.info("resized", pool=self._pool.name, before=self._pool.size, size=size)
        self._pool.size = size
        self._observe_soon()

    def close(self) -> None:
        """Take no newcomers; who waits in line is told so and keeps the place, sessions go on. Raises `OSError`."""
        self._gate.close()
        _log.warning("closed", pool=self._pool.name, waiting=self._gate_moved())

    def open(self) -> None:
        """Take newcomers again. Raises `OSError`."""
        self._gate.open()
        _log.info("opened", pool=self._pool.name, waiting=self._gate_moved())
        self._observe_soon()
