"""What a container that the engine lists becomes where there is no record of it. Called by the reconciler.

The engine knows more than a restarted service: how old a session is. What its visitor did last it does not know,
so a session's activity counts from now (decision 2).
"""

from __future__ import annotations

from tmpnb_py.core import boot_clock
from tmpnb_py.core.models import Observed, State
from tmpnb_py.pools.container import Container

_CLOCKS_DIFFER = 60.0  # seconds that the engine's machine's clock may be off from this one's


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
        ready_at=created_at,
        claimed_at=now - session_age(observed, unix=unix) if observed.state is State.CLAIMED else None,
        visited=observed.state is State.CLAIMED,
        has_begun=observed.state is State.CLAIMED,
        last_activity=now,
        last_presence=now,
        unreachable_since=now if is_session else None,
        base_url=observed.base_url,
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
