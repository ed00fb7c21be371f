"""Whether a visitor may have a notebook, or wait for one. Each check raises why not, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.core.errors import AddressFullError, ClosedError, EngineDownError, UnavailableError
from tmpnb_py.core.models import State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.pool import Pool


class Admission:
    """The checks of one pool."""

    def __init__(
        self,
        pool: Pool,
        line: Line,
        tickets: TicketRegistry,
        options: LiveOptions,
        elsewhere: Callable[[str], int],
        *,
        is_on: Callable[[str], bool],
    ) -> None:
        """`elsewhere` says how many notebooks count for a quota key in other pools, `is_on` whether a class is on."""
        self._is_on = is_on
        self._pool = pool
        self._line = line
        self._tickets = tickets
        self._options = options
        self._elsewhere = elsewhere

    def counted(self, quota_key: str) -> int:
        """How many notebooks, in use and waited for, count for this key in this pool."""
        in_use = sum(container.quota_key == quota_key for container in self._pool.in_state(State.CLAIMED))
        return in_use + sum(ticket.quota_key == quota_key for ticket in self._tickets.all_of(self._line))

    def admits(self, booking: str) -> bool:
        """Whether somebody is let in who came by the link of this class ("": by none).

        A class that is on is let in whatever the timetable says, and while the operator has closed the pool.
        """
        return self._pool.is_open or (self._pool.admits_classes and self._is_on(booking))

    def check_open(self, booking: str = "") -> None:
        """Raise `ClosedError` while such newcomers are not let in."""
        if not self.admits(booking):
            raise ClosedError("no newcomers are let in", pool=self._pool.name)

    def check_quota(self, quota_key: str) -> None:
        """Raise `AddressFullError` if this key has as many notebooks, in use and waited for, as one may have."""
        most = self._options.current.max_notebooks_per_address
        if not most or not quota_key:
            return
        if self.counted(quota_key) + self._elsewhere(quota_key) >= most:
            message = f"no more than {most} notebooks may be in use from one address"
            raise AddressFullError(message, retry_after=RETRY_AFTER)

    def check_engine(self) -> None:
        """Raise `EngineDownError` while the engine does not answer."""
        if self._pool.engine_down:
            raise EngineDownError("the engine does not answer, so no notebook can be handed out")

    def check_starts(self) -> None:
        """Raise `UnavailableError` if a failure, and not that all are in use, is why no notebook is ready."""
        if (failure := self._pool.refusal or self._pool.failure) is not None:
            raise UnavailableError("no notebook can be started now", failure.kind)
