"""Who gets the next ready container: the line in its order, except for what is held back for classes. Pure.

Each class has a reserve: as many containers as people who are still to come. Ready containers up to the sum of the
reserves are held: only somebody of a class whose reserve lasts may have one of them. All that is ready beyond them is
for everybody, first come, first served, and nothing that may be had is kept from those who wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def may_have(ready: int, held: int, *, is_reserved: bool) -> bool:
    """Whether somebody may have a ready container. `is_reserved`: something is left of their own class's reserve."""
    return ready > (0 if is_reserved else held)


def next_served(line: Iterable[T], left: Callable[[T], int], ready: int, held: int) -> T | None:
    """Who of those in line is served next, the first one that may have what is ready; None where nobody may."""
    if ready <= 0:
        return None
    if ready > held:
        return next(iter(line), None)
    return next((one for one in line if left(one)), None)
