"""Taking up containers that the engine lists: those without a record, and sessions that are somewhere else now.

Called by the reconciler. The engine knows more than a restarted service: how old a session is. It does not know what
its visitor did last, so a session's activity counts from now (decision 2).
"""

from __future__ import annotations

import time

import structlog

from tmpnb_py.core import boot_clock
from tmpnb_py.core.models import EndReason, Observed, State
from tmpnb_py.jupyter.endpoint import Endpoint, is_removed
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.records import Records

_CLOCKS_DIFFER = 60.0  # seconds that the engine's machine's clock may be off from this one's
_UNREACHABLE_HINT = (
    "it is tried again; after an hour out of reach a session ends, without its directory after minutes"
)

_log = structlog.get_logger(__name__)


class Adoption:
    """Makes records of what the engine lists."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def adopt(self, observed: Observed) -> None:
        """Take up a container. If it cannot be dialled, a session is tried again later, a ready one removed."""
        container = taken_up(observed, observed.state, now=time.monotonic(), unix=time.time())
        error = _reach(container, observed)
        if error and observed.state is State.READY:
            self.discard(observed, EndReason.CRASHED)
            return
        if error:
            pool = self._records.name
            _log.warning("session_unreachable", id=container.id, pool=pool, error=error, hint=_UNREACHABLE_HINT)
        self._records.insert(container)

    def readdress(self, observed: Observed) -> None:
        """Dial a session where it is now: somebody restarted its container, or it could not be dialled before."""
        container = self._records.get(observed.id)
        if container is not None and not _reach(container, observed):
            _log.info("session_reached", id=container.id, pool=self._records.name)

    def discard(self, observed: Observed, reason: EndReason) -> None:
        """Have a container removed that cannot be used."""
        container = taken_up(observed, State.REMOVING, now=time.monotonic(), unix=time.time())
        if self._records.ended(observed.id) is not None:
            container.claimed_at, container.has_begun = None, False  # its session has ended before
        container.reason = reason
        self._records.insert(container)


def _reach(container: Container, observed: Observed) -> str:
    """Dial the container at its listed address from now on. Returns why that is not possible, "" where it is."""
    if observed.address is None:
        return "the engine lists no address"
    try:
        endpoint = Endpoint(observed.address)
    except OSError as error:
        container.is_cut_off = is_removed(observed.address)
        return str(error)
    container.dial(endpoint)
    return ""


def taken_up(observed: Observed, state: State, *, now: float, unix: float) -> Container:
    """The record. `now` is monotonic, `unix` the wall clock."""
    is_session = state is State.CLAIMED
    created_at = now - max(0.0, unix - observed.created_unix)
    return Container(
        observed.id,
        observed.config_digest,
        observed.token,
        created_at=created_at,
        state=state,
        changed_at=now,
        claimed_at=now - session_age(observed, unix=unix) if observed.state is State.CLAIMED else None,
        visited=observed.state is State.CLAIMED,
        has_begun=observed.state is State.CLAIMED,
        last_activity=now,
        last_presence=now,
        unreachable_since=now if is_session else None,
        base_url=observed.base_url,
        session_name=observed.session_name,
    )


def session_age(observed: Observed, *, unix: float) -> float:
    """How many seconds ago a container was claimed.

    A clock that nobody sets tells it, as long as the machine runs. Else the wall clock does, unless it must have been
    wrong: a claim in the future, or before the container was there, counts from now.
    """
    age = boot_clock.seconds_since(observed.claimed_stamp)
    if age is not None:
        return age
    claimed_unix = observed.created_unix if observed.claimed_unix is None else observed.claimed_unix
    if not observed.created_unix - _CLOCKS_DIFFER <= claimed_unix <= unix:
        return 0.0
    return unix - claimed_unix
