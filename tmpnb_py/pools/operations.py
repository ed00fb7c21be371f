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
from tmpnb_py.pools.sizing import Sizing

LARGEST_POOL = 100_000
_TO_CLASSES = b"to classes, too\n"

_log = structlog.get_logger(__name__)


class Gate:
    """Whether new visitors are let in. A file in the runtime directory keeps that over a restart of the service.

    A crash must not open a service that was closed for maintenance. A restart of the machine empties the runtime
    directory and ends all notebooks; the service then starts open. Who comes by the link of a class was promised a
    notebook for that time, and is let in at a closed gate, unless it is closed to classes as well.
    """

    def __init__(self, path: Path) -> None:
        """The pool is closed while the file `path` exists, and to classes while that is not empty."""
        self._path = path
        self.look()

    def look(self) -> None:
        """Another process may have moved it."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._is_open = self._admits_classes = True
        except OSError:
            self._is_open = self._admits_classes = False
        else:
            self._is_open, self._admits_classes = False, found.st_size == 0

    @property
    def is_open(self) -> bool:
        """Whether new visitors are let in."""
        return self._is_open

    @property
    def admits_classes(self) -> bool:
        """Whether those are let in who come by the link of a class that is on."""
        return self._admits_classes

    def close(self, *, to_classes: bool = False) -> None:
        """Let nobody in but classes, or nobody at all. Raises `OSError` if the file cannot be written.

        Then nothing has changed, or, where it was closed before, it is closed.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if to_classes:
                os.write(descriptor, _TO_CLASSES)
        finally:
            os.close(descriptor)
            self.look()

    def open(self) -> None:
        """Let new visitors in. Raises `OSError`, like `close`."""
        self._path.unlink(missing_ok=True)
        self._is_open = self._admits_classes = True


class Operations:
    """The operator's actions on one pool. `gate_moved` tells the visitors in line and returns their number."""

    def __init__(
        self,
        records: Records,
        sizing: Sizing,
        gate: Gate,
        options: LiveOptions,
        *,
        gate_moved: Callable[[], int],
        observe_soon: Callable[[], None],
    ) -> None:
        self._records = records
        self._sizing = sizing
        self._gate = gate
        self._options = options
        self._gate_moved = gate_moved
        self._observe_soon = observe_soon

    @property
    def is_open(self) -> bool:
        """Whether new visitors are let in."""
        return self._gate.is_open

    @property
    def admits_classes(self) -> bool:
        """Whether those are let in who come by the link of a class that is on."""
        return self._gate.admits_classes

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
        """Set the base of the number of ready containers until the service restarts. Raises `SettingsError`."""
        if not 0 <= size <= LARGEST_POOL:
            raise SettingsError(f"size is a whole number from 0 to {LARGEST_POOL}")
        max_containers = self._options.current.max_containers
        if max_containers is not None and size > max_containers:
            raise SettingsError(f"{size} is above max_containers, which is {max_containers}")
        _log.info("resized", pool=self._records.name, before=self._sizing.base, size=size)
        self._sizing.resize(size)
        self._observe_soon()

    def close(self, *, to_classes: bool = False) -> None:
        """Let no new visitors in. Sessions go on; those in line are told and keep their places. Raises `OSError`."""
        is_relaxed = not to_classes and not self._gate.admits_classes
        self._gate.close(to_classes=to_classes)
        _log.warning("closed", pool=self._records.name, waiting=self._gate_moved(), to_classes=to_classes)
        if is_relaxed:
            self._observe_soon()

    def open(self) -> None:
        """Let new visitors in again. Raises `OSError`."""
        self._gate.open()
        _log.info("opened", pool=self._records.name, waiting=self._gate_moved())
        self._observe_soon()
