"""What one client may take, and which connections are let in: not too many in all, nor from one address.

Only the listener's side uses it, in the event loop's callbacks. The connections of trusted proxies count in all and
not per address: each of them carries many visitors.
"""

from __future__ import annotations

import dataclasses

from tmpnb_py.core.models import Refusal
from tmpnb_py.core.quota_keys import quota_key_of
from tmpnb_py.options.settings import Settings
from tmpnb_py.proxy.header_rules import ClientFacts

_LAST_MOMENT = 60.0  # seconds; what is being handed over when the wait ends is waited for


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyLimits:
    """What one client may take. Times in seconds, sizes in bytes."""

    max_head_size: int
    max_connections: int
    max_connections_per_address: int  # 0 is no limit
    head_timeout: float
    body_timeout: float
    write_timeout: float
    keepalive_timeout: float
    proxy_keepalive_timeout: float
    connect_timeout: float
    response_timeout: float
    application_timeout: float  # at least so long our own pages may take: one may wait in line for that long

    @classmethod
    def of(cls, settings: Settings) -> ProxyLimits:
        """The limits that the options set."""
        return cls(
            max_head_size=settings.max_head_size,
            max_connections=settings.max_connections,
            max_connections_per_address=settings.max_connections_per_address,
            head_timeout=settings.head_timeout,
            body_timeout=settings.body_timeout,
            write_timeout=settings.write_timeout,
            keepalive_timeout=settings.keepalive_timeout,
            proxy_keepalive_timeout=settings.proxy_keepalive_timeout,
            connect_timeout=settings.connect_timeout,
            response_timeout=settings.response_timeout,
            application_timeout=settings.max_wait + _LAST_MOMENT,
        )


class OpenConnections:
    """Counts the open connections, in all and per address, and refuses those beyond the limits."""

    __slots__ = ("_held", "_total")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._total = 0

    def enter(self, facts: ClientFacts, *, in_all: int, each: int) -> Refusal | None:
        """Count a connection and return why it is refused, or None. `each` is the limit per address, 0 for none.

        A refused one counts until it is lost, as any other does.
        """
        self._total += 1
        held = 0
        if not facts.trusted:
            quota_key = quota_key_of(facts.address)
            held = self._held[quota_key] = self._held.get(quota_key, 0) + 1
        if self._total > in_all:
            return Refusal.TOO_MANY
        if each and held > each:
            return Refusal.ONE_ADDRESS
        return None

    def leave(self, facts: ClientFacts) -> None:
        """Stop counting a connection that is gone."""
        self._total -= 1
        if facts.trusted:
            return
        quota_key = quota_key_of(facts.address)
        left = self._held[quota_key] - 1
        if left:
            self._held[quota_key] = left
        else:
            del self._held[quota_key]
