"""Whether a visitor may have a notebook, or wait for one. Each check raises why not, and changes nothing."""

from __future__ import annotations

from tmpnb_py.claims.line import RETRY_AFTER, Line
from tmpnb_py.claims.registry import TicketRegistry
from tmpnb_py.core.errors import AddressFullError, ClosedError, EngineDownError, UnavailableError
from tmpnb_py.core.models import State
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.pool import Pool


class Admission:
    """The checks of one pool."""

    def __init__(self, pool: Pool, line: Line, tickets: TicketRegistry, options: LiveOptions) -> None:
        self._pool = pool
        self._line = line
        self._tickets = tickets
        self._options = options

    def check_open(self) -> None:
        """Raise `ClosedError` while the operator lets no newcomers in."""
        if not self._pool.is_open:
            raise ClosedError("the operator has closed the service to newcomers")

    def check_quota(self, quota_key: str) -> None:
        """Raise `AddressFullError` if this key has as many notebooks, in use and waited for, as one may have."""
        most = self._options.current.max_notebooks_per_address
        if not most or not quota_key:
            return
        in_use = sum(container.quota_key == quota_key for container in self._pool.in_state(State.CLAIMED))
        in_line = sum(ticket.quota_key == quota_key for ticket in self._tickets.all_of(self._line))
        if in_use + in_line >= most:
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
