"""One-time codes: how a browser gets from the main host to a notebook's own, without the token in any address.

The main host, which knows whose notebook it is, sends the browser to `/enter?code=…` under the notebook's host; that
takes the code, gives the browser its cookie and sends it on to the document. A code is 128 random bits, is good for
one use, for half a minute and for one host, and so is worth nothing once it is in a history or a log.
"""

from __future__ import annotations

import collections
import dataclasses
import secrets

from tmpnb_py.pools.container import Container

SECONDS = 30.0
_MOST = 10_000  # at a time: a hundred visitors a second, and more if they follow at once


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Where a code leads: to a document of a notebook. `main` is the authority that the visitor came from."""

    container: Container
    target: str
    main: str
    until: float


class Codes:
    """The codes that were given and not used yet. `now` is always monotonic."""

    def __init__(self) -> None:
        self._ways: collections.OrderedDict[str, Way] = collections.OrderedDict()
        self._led: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._ways)

    def issue(self, container: Container, target: str, main: str, now: float) -> str:
        """A code for a document below the notebook's base path; beyond too many the oldest are void."""
        while self._ways and (len(self._ways) >= _MOST or next(iter(self._ways.values())).until <= now):
            self._ways.popitem(last=False)
        self._note(container.id, now)
        code = secrets.token_hex(16)
        self._ways[code] = Way(container, target, main, now + SECONDS)
        return code

    def _note(self, container_id: str, now: float) -> None:
        times = self._led.pop(container_id, None)
        self._led[container_id] = times = collections.deque(maxlen=10) if times is None else times
        times.append(now)
        while len(self._led) > _MOST:
            self._led.popitem(last=False)

    def lately(self, container: Container, now: float) -> int:
        """How many codes of a notebook's wait to be used, or were used in the last half a minute."""
        times = self._led.get(container.id, ())
        return sum(one > now - SECONDS for one in times)

    def redeem(self, code: str, session_name: str, now: float) -> Way | None:
        """Where a code leads, the first time that it is shown, and under the host that it was made for."""
        way = self._ways.pop(code, None)
        if way is None or way.until <= now or way.container.session_name != session_name:
            return None
        return way
