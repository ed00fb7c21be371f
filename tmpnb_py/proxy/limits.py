"""Which connections are let in: not too many in all, nor from one address.

Only the listener's side uses it, in the event loop's callbacks. The connections of trusted proxies count in all and
not per address: each of them carries many visitors.
"""

from __future__ import annotations

from tmpnb_py.core.models import Refusal
from tmpnb_py.core.quota_keys import origin_of
from tmpnb_py.proxy.header_rules import ClientFacts


class Admission:
    """The connections that are open, by whom they count for."""

    __slots__ = ("_held", "_total")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._total = 0

    def enter(self, facts: ClientFacts, *, in_all: int, each: int) -> Refusal | None:
        """Count a connection; why it is refused, or None. `each` is the limit per address, 0 for none.

        A refused one counts until it is lost, as any other does.
        """
        self._total += 1
        held = 0
        if not facts.trusted:
            origin = origin_of(facts.address)
            held = self._held[origin] = self._held.get(origin, 0) + 1
        if self._total > in_all:
            return Refusal.TOO_MANY
        if each and held > each:
            return Refusal.ONE_ADDRESS
        return None

    def leave(self, facts: ClientFacts) -> None:
        """A connection that had been counted is gone."""
        self._total -= 1
        if facts.trusted:
            return
        origin = origin_of(facts.address)
        left = self._held[origin] - 1
        if left:
            self._held[origin] = left
        else:
            del self._held[origin]
