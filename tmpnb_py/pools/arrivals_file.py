"""The counts of a pool's arrivals on disk, so that a service that starts again knows of earlier days.

They are numbers only, written now and then: losing the last minutes of them loses nobody anything.
"""

from __future__ import annotations

import asyncio

from tmpnb_py.core.kept import Kept
from tmpnb_py.core.state_file import StateFile
from tmpnb_py.core.units import MINUTE
from tmpnb_py.pools.arrivals import Arrivals, Counts

_PERIOD = 5 * MINUTE


class ArrivalsFile:
    """The file of one pool. Where it cannot be written, the log says so once, and the counts go on."""

    def __init__(self, file: StateFile[Counts], arrivals: Arrivals) -> None:
        self._file = file
        self._kept = Kept(file, Counts())
        self._arrivals = arrivals

    def load(self) -> None:
        """Take up what an earlier process has counted."""
        self._kept.load()
        self._arrivals.take_up(self._kept.state)

    def _look(self) -> None:
        counts = self._arrivals.counts
        if counts != self._kept.state:
            self._kept.state = counts

    async def save(self) -> None:
        """Write what has been counted, if that is anything new."""
        self._look()
        await self._kept.settled()

    async def hand_on(self) -> None:
        """Write the last of it, and leave the file to another process or to the next start."""
        self._look()
        await self._kept.hand_on()

    def remove(self) -> None:
        """Remove the file: there is no such pool any more."""
        self._file.remove()

    async def run(self) -> None:
        """Save every five minutes, until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD)
            await self.save()
