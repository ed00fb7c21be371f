"""When the reconciler's next round is, and whether it lists the engine then. Others can bring both nearer."""

from __future__ import annotations

import asyncio
import math
import time

from tmpnb_py.core.tasks import event_or_time

_LIST_SECONDS = 30.0
_RETRY_ENGINE = 2.0


class Schedule:
    """The next look at the records and the next listing of the engine. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self.list_at = -math.inf

    def wake(self) -> None:
        """Look again soon."""
        self._woken.set()

    def observe_soon(self) -> None:
        """Wake, and list the engine in the next round: it may differ from the records."""
        self.list_at = -math.inf
        self._woken.set()

    def listing(self, now: float) -> None:
        """The engine is being listed: the next listing is due in half a minute."""
        self.list_at = now + _LIST_SECONDS

    def retry(self, now: float) -> None:
        """The engine could not be listed: try again in two seconds."""
        self.list_at = now + _RETRY_ENGINE

    def list_by(self, moment: float) -> None:
        """List the engine at this moment at the latest."""
        self.list_at = min(self.list_at, moment)

    def begin_round(self) -> None:
        """Begin a round: a `wake` during it causes another round."""
        self._woken.clear()

    async def next_round(self, wake_at: float) -> None:
        """Wait until `wake` is called, or until `wake_at`."""
        await event_or_time(self._woken, max(0.0, wake_at - time.monotonic()))
