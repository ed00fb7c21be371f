"""The options in force: one frozen snapshot in one box, which the parts read when they act.

Each part that an option concerns receives the box and keeps no copy of a value, so that what it reads is true after a
reload as well. A value that is made from options (the limits of the idle rules, say) is declared with `derive` by the
module that owns the concept. A part that must *do* something about a change subscribes.

A pool's parts read the box that their pool was made with, and no other: pools with options of their own get a box
each. Used in the event loop's thread only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tmpnb_py.options.declaration import Reload
from tmpnb_py.options.settings import OPTIONS, Settings

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """The snapshot to run with from now on, and the options that changed: in force, and only after a restart."""

    settings: Settings
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def compare(old: Settings, new: Settings) -> Change:
    """What a running service takes on of `new`: options that need a restart keep their value of `old`."""
    names = [name for name in OPTIONS if getattr(old, name) != getattr(new, name)]
    changed = tuple(name for name in names if OPTIONS[name].reload is not Reload.RESTART)
    restart = tuple(name for name in names if OPTIONS[name].reload is Reload.RESTART)
    settings = new.model_copy(update={name: getattr(old, name) for name in restart})
    return Change(settings, changed, restart)


class Derived(Generic[T]):
    """A value made from the snapshot in force. Made by `LiveOptions.derive`."""

    __slots__ = ("make", "value")

    def __init__(self, make: Callable[[Settings], T], value: T) -> None:
        self.make = make
        self.value = value


class LiveOptions:
    """Holds the snapshot in force, as `current`, and the values that are derived from it.

    Derived values are made when the snapshot is replaced, not when they are read: a read on the way of a request is
    an attribute, and all of them change in one step.
    """

    __slots__ = ("_derived", "_subscribers", "current")

    def __init__(self, settings: Settings) -> None:
        self.current = settings
        self._derived: list[Derived[Any]] = []
        self._subscribers: list[Callable[[Change], None]] = []

    def derive(self, make: Callable[[Settings], T]) -> Derived[T]:
        """A value that follows the options: its `value` is always `make` of the snapshot in force.

        `make` is called once now and once per replacement. It must not raise: what can fail, such as reading a file,
        is a subscriber's.
        """
        derived = Derived(make, make(self.current))
        self._derived.append(derived)
        return derived

    def renew(self, derived: Derived[T]) -> None:
        """Make a value anew because something else that it is made from has changed."""
        derived.value = derived.make(self.current)

    def subscribe(self, subscriber: Callable[[Change], None]) -> None:
        """Call `subscriber` after each replacement, also one that changes nothing; in the order of subscribing.

        It must not raise: those after it would not be called, while the new snapshot is in force already.
        """
        self._subscribers.append(subscriber)

    def replace(self, new: Settings) -> Change:
        """Put `new` in force as far as a running service can take it on, and tell the subscribers."""
        change = compare(self.current, new)
        values = [derived.make(change.settings) for derived in self._derived]
        self.current = change.settings
        for derived, value in zip(self._derived, values, strict=True):
            derived.value = value
        for subscriber in self._subscribers:
            subscriber(change)
        return change
