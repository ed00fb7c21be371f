"""The agenda of one service: its bookings and its messages, with the file that keeps both."""

from __future__ import annotations

import time
from collections.abc import Callable

from tmpnb_py.bookings.bookings import Bookings
from tmpnb_py.bookings.messages import Messages
from tmpnb_py.bookings.model import State
from tmpnb_py.core.kept import Kept
from tmpnb_py.core.state_file import StateFile


class Agenda:
    """What others use of it: `bookings`, `messages`."""

    def __init__(self, file: StateFile[State] | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """`file` None: nothing outlives the service. `clock` gives Unix seconds."""
        self._kept = Kept(file, State())
        self.bookings = Bookings(self._kept, clock)
        self.messages = Messages(self._kept, clock)

    def load(self) -> None:
        """Take up what an earlier process has left on the disk."""
        self._kept.load()
        self.messages.wake()

    async def run(self) -> None:
        """Write what changes, until cancelled."""
        await self._kept.run()

    async def hand_on(self) -> None:
        """Write the last of it, and leave the file to another process or to the next start."""
        await self._kept.hand_on()

    async def settled(self) -> None:
        """Have who came on the disk, before they are told. What fails is tried again by `run`."""
        await self._kept.settled()
