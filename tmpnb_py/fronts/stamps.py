"""Presence and activity on their way from a front end's records to the orchestrator's. Pure; ages are in seconds.

A front end's proxy stamps its own record of a session just as the orchestrator's does (`Container`). What is new
there is told as ages, since the clocks of two machines have nothing in common; the orchestrator keeps of each stamp
the newest, whoever told it, and the sum of the open connections.
"""

from __future__ import annotations

from typing import NamedTuple

from tmpnb_py.fronts.wire import Stamp
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import Nudges

_NEVER = float("-inf")


class Seen(NamedTuple):
    """What a record said when it was told last. (A tuple: each second one is made of every session.)"""

    presence: float = 0.0
    activity: float = 0.0
    left_at: float | None = None
    open: int = 0
    kernel: float = _NEVER
    terminal: float = _NEVER

    @classmethod
    def of(cls, container: Container) -> Seen:
        """What a front end's record says now."""
        return cls(
            container.last_presence,
            container.last_activity,
            container.left_at,
            container.open_connections,
            container.kernel_nudges.newest,
            container.terminal_nudges.newest,
        )


NOTHING = Seen()


def stamp_of(container: Container, told: Seen, now: float) -> Stamp:
    """What is new since it was told last."""
    return Stamp(
        id=container.id,
        presence=_age(container.last_presence or None, now),
        activity=_age(container.last_activity or None, now),
        left=_age(container.left_at, now),
        open=container.open_connections,
        kernel=_ages(container.kernel_nudges, told.kernel, now),
        terminal=_ages(container.terminal_nudges, told.terminal, now),
    )


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)


def _ages(nudges: Nudges, after: float, now: float) -> tuple[float, ...]:
    return tuple(max(0.0, now - moment) for moment in nudges.moments if moment > after)


def apply(stamp: Stamp, container: Container, opened: int, now: float) -> None:
    """Put a report on the orchestrator's record. `opened` is by how many its open connections there have changed.

    A front end can make nothing older than it is, nor can what it tells lie in the future.
    """
    container.open_connections = max(0, container.open_connections + opened)
    if stamp.presence is not None and now - stamp.presence > container.last_presence:
        container.stamp_presence(now - stamp.presence)
    if stamp.activity is not None and now - stamp.activity > container.last_activity:
        container.stamp_activity(now - stamp.activity)
    if stamp.left is not None and (container.left_at is None or now - stamp.left > container.left_at):
        container.left_at = now - stamp.left
    for nudges, ages in ((container.kernel_nudges, stamp.kernel), (container.terminal_nudges, stamp.terminal)):
        for age in sorted(ages, reverse=True):
            nudges.add(now - age)


def lose(container: Container, opened: int, now: float) -> None:
    """The front end that had these connections open is gone for good, and they with it."""
    container.open_connections = max(0, container.open_connections - opened)
    container.left_at = now
