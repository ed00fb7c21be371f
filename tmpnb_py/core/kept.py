"""What a service knows, in memory and on the disk: one immutable state, written when a change has replaced it."""

from __future__ import annotations

import asyncio
from typing import Generic

import structlog

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.state_file import M, StateFile

_RETRY_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Kept(Generic[M]):
    """`state` is what is so now. Who changes it sets it, and awaits `save` where it must not be lost."""

    def __init__(self, file: StateFile[M] | None, first: M) -> None:
        """`first` is so where there is no file yet. `file` None: nothing outlives the service."""
        self._file = file
        self._state = self._written = first
        self._writing = asyncio.Lock()
        self._touched = asyncio.Event()
        self._is_ours = True
        self._has_failed = False

    @property
    def state(self) -> M:
        """What is so now."""
        return self._state

    @state.setter
    def state(self, state: M) -> None:
        self._state = state
        self._touched.set()

    def load(self) -> None:
        """Take up what is on the disk. Another process may have had it."""
        self._is_ours = True
        found = None if self._file is None else self._file.read()
        self._state = self._written = found or self._state

    async def save(self) -> None:
        """Have what is so now on the disk. Changes that come together are written once. Raises as `StateFile`."""
        async with self._writing:
            state = self._state
            if self._file is None or state is self._written or not self._is_ours:
                return
            await asyncio.to_thread(self._file.write, state)
            self._written = state
            if self._has_failed:
                _log.info("state_written", file=str(self._file.path))
            self._has_failed = False

    async def run(self) -> None:
        """Write what has changed, until cancelled. A write that fails is tried again; the log says it once."""
        while True:
            await self._touched.wait()
            self._touched.clear()
            if not await self._tried():
                await asyncio.sleep(_RETRY_SECONDS)
                self._touched.set()

    async def settled(self) -> None:
        """Have what is so now on the disk, if that can be: what fails is tried again by `run`."""
        await self._tried()

    async def _tried(self) -> bool:
        try:
            await self.save()
        except (OSError, SettingsError) as error:
            if not self._has_failed:
                hint = "a restart would forget what has changed since; it is tried again"
                file = "" if self._file is None else str(self._file.path)
                _log.error("state_not_written", file=file, error=reason(error), hint=hint)
            self._has_failed = True
            return False
        return True

    async def hand_on(self) -> None:
        """Write the last of it. From here on the file is another process's, until `load`."""
        await self._tried()
        self._is_ours = False


def reason(error: OSError | SettingsError) -> str:
    """Why something could not be kept, in words."""
    return error.message if isinstance(error, SettingsError) else error.strerror or str(error)
