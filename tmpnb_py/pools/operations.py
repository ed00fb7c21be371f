"""What the operator can do while the service runs: drain, resize, close, open. Called through `Pool`.

Everything is synchronous: methods mark containers or set a target and wake the reconciler, which does the work.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

import structlog

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.records import Records

LARGEST_POOL = 100_000

_log = structlog.get_logger(__name__)


class Gate:
    """Whether new visitors are let in. A file in the runtime directory keeps that over a restart of the service.

    A crash must not open a service that was closed for maintenance. A restart of the machine empties the runtime
    directory and ends all notebooks; the service then starts open.
    """

    def __init__(self, path: Path) -> None:
        """The pool is closed while the file `path` exists."""
        self._path = path
        self.look()

    def look(self) -> None:
        """Another process may have moved it."""
        self._is_open = not self._path.exists()

    @property
    def is_open(self) -> bool:
        """Whether new visitors are let in."""
        return self._is_open

    def close(self) -> None:
        """Let nobody in. Raises `OSError` if the file cannot be written; then nothing has changed."""
        os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._is_open = False

    def open(self) -> None:
        """Let new visitors in. Raises `OSError`, like `close`."""
        self._path.unlink(missing_ok=True)
        self._is_open = True


class Operations:
    """The operator's actions on one pool. `gate_moved` tells the visitors in line and returns their number."""

    def __init__(
        self,
        records: Records,
        gate: Gate,
        options: LiveOptions,
        *,
        gate_moved: Callable[[], int],
        observe_soon: Callable[[], None],
    ) -> None:
        self._records = records
        self._gate = gate
        self._options = options
        self._gate_moved = gate_moved
        self._observe_soon = observe_soon

    @property
    def is_open(self) -> bool:
        """Whether new visitors are let in."""
        return self._gate.is_open

    def drain(self, now: float, only: Collection[str] | None = None) -> int:
        """Replace all ready containers, or those of `only`. Returns how many; sessions and starts are not touched."""
        drained = 0
        for container in self._records.in_state(State.READY):
            if only is None or container.id in only:
                drained += self._records.end(container, EndReason.DRAINED, now)
        _log.info("drained", pool=self._records.name, count=drained)
        return drained

    def look_at_gate(self) -> None:
        """Another process has had the pool, and may have closed or opened it."""
        self._gate.look()

    def resize(self, size: int) -> None:
        """Set the number of ready containers until the service restarts. Raises `SettingsError`."""
        if not 0 <= size <= LARGEST_POOL:
            raise SettingsError(f"size is a whole number from 0 to {LARGEST_POOL}")
        max_containers = self._options.current.max_containers
        if max_containers is not None and size > max_containers:
            raise SettingsError(f"{size} is above max_containers, which is {max_containers}")
        _log.info("resized", pool=self._records.name, before=self._records.size, size=size)
        self._records.size = size
        self._observe_soon()

    def close(self) -> None:
        """Let no new visitors in. Sessions go on; those in line are told and keep their places. Raises `OSError`."""
        self._gate.close()
        _log.warning("closed", pool=self._records.name, waiting=self._gate_moved())

    def open(self) -> None:
        """Let new visitors in again. Raises `OSError`."""
        self._gate.open()
        _log.info("opened", pool=self._records.name, waiting=self._gate_moved())
        self._observe_soon()
