"""What operator and teachers tell the people at their notebooks. Called in the event loop's thread.

A message is plain text of one line and bounded length; whoever shows it shows it as text. Times are Unix seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from tmpnb_py.bookings.confirm import confirm
from tmpnb_py.bookings.model import Message, State
from tmpnb_py.core.errors import BookingError
from tmpnb_py.core.kept import Kept
from tmpnb_py.core.tasks import Changes
from tmpnb_py.words.tags import to_translate

MOST = 20  # at a time, for one reader

_log = structlog.get_logger(__name__)


class Messages:
    """The messages of one service."""

    def __init__(self, kept: Kept[State], clock: Callable[[], float]) -> None:
        self._kept = kept
        self._clock = clock
        self._changes = Changes()
        self._changing = asyncio.Lock()

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    @property
    def next_change(self) -> asyncio.Event:
        """Set at the next change. Take it before looking, so that no change in between is missed."""
        return self._changes.next

    def wake(self) -> None:
        """Have everybody look again."""
        self._changes.tell()

    # --- looking

    def all(self) -> list[Message]:
        """Those of the operator that are shown now, the newest last."""
        return [one for one in self._current() if not one.booking]

    def of_class(self, booking: str) -> list[Message]:
        """Those of a class's teacher that are shown now."""
        return [one for one in self._current() if one.booking == booking]

    def shown(self, pool: str, booking: str = "") -> list[Message]:
        """What is shown at a notebook of this pool and of this class ("": of none), the newest last."""
        return [one for one in self._current() if one.pool in ("", pool) and one.booking in ("", booking)]

    def _current(self) -> list[Message]:
        now = self.now
        return [one for one in self._kept.state.messages if one.until > now]

    # --- telling

    async def tell(self, message: Message) -> None:
        """Show a message. It is on the disk then. Raises `BookingError`."""
        if message.until <= self.now:
            raise BookingError(to_translate("the end of this message is past"))
        async with self._changing:
            same = [one for one in self._current() if one.booking == message.booking]
            if len(same) >= MOST:
                text = to_translate("{count} messages are shown already")
                raise BookingError(text, remedy=to_translate("Withdraw some."), count=str(MOST))
            await self._keep((*self._current(), message))
        _log.info("announced", message=message.id, pool=message.pool, booking=message.booking)

    async def prolong(self, booking: str, before: float, until: float) -> None:
        """Show what is told to a class until its end, as long as it now lasts. Raises `BookingError`."""
        async with self._changing:
            messages = self._kept.state.messages
            changed = tuple(
                one.model_copy(update={"until": until}) if (one.booking, one.until) == (booking, before) else one
                for one in messages
            )
            if changed != messages:
                await self._keep(changed)

    async def withdraw(self, message_id: str) -> Message | None:
        """Show a message no longer. None where there is none. Raises `BookingError`."""
        async with self._changing:
            found = next((one for one in self._current() if one.id == message_id), None)
            if found is not None:
                await self._keep(tuple(one for one in self._current() if one is not found))
                _log.info("announcement_withdrawn", message=message_id)
            return found

    async def _keep(self, messages: tuple[Message, ...]) -> None:
        before = self._kept.state.messages
        self._change(messages)
        await confirm(self._kept, lambda: self._change(before))

    def _change(self, messages: tuple[Message, ...]) -> None:
        self._kept.state = self._kept.state.model_copy(update={"messages": messages})
        self.wake()
