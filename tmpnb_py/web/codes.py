"""One-time codes: how a browser gets from the main host to a notebook's own, without the token in any address.

The main host, which knows whose notebook it is, sends the browser to `/enter?code=…` under the notebook's host; that
takes the code, gives the browser its cookie and sends it on to the document. A code is good for one use, for half a
minute and for one host, and so is worth nothing once it is in a history or a log.

It is a proof made with the session's token, over all that it says, so that it is also known after a restart or an
upgrade, which most visitors do not notice otherwise. Which codes have been used is forgotten then. So one of an
earlier process lets nobody in: it leads back to the main host, which gives its visitor another. Times are of the
machine's monotonic clock, which a restart leaves alone.
"""

from __future__ import annotations

import collections
import dataclasses
import re
import secrets
import urllib.parse
from collections.abc import Callable

from tmpnb_py.core.proofs import Purpose, is_proof, proof
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy import origins

SECONDS = 30.0
_MOST = 10_000  # notebooks of which is known how often they were led to
_CODE = re.compile(
    r"(?P<proof>[0-9a-f]{32})\.(?P<rest>(?P<until>[0-9]{1,15})\.(?P<process>[0-9a-f]{16})[0-9a-f]{16}\.(?P<id>[a-z0-9]{1,64})\."
    r"(?P<main>[!-.0-~]*)/(?P<target>[!-~]*))"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Way:
    """Where a code leads: to a document of a notebook. `main` is the authority that the visitor came from.

    `is_earlier`: the code is of an earlier process, and may have been used there.
    """

    container: Container
    target: str
    main: str
    is_earlier: bool = False


class Codes:
    """Issues codes, and remembers those that were used as long as they are good. `now` is always monotonic."""

    def __init__(self, find: Callable[[str], Container | None]) -> None:
        """`find` gets a session by its id."""
        self._find = find
        self._process = secrets.token_hex(8)
        self._used: collections.OrderedDict[str, float] = collections.OrderedDict()
        self._led: collections.OrderedDict[str, collections.deque[float]] = collections.OrderedDict()

    def __len__(self) -> int:
        """How many used ones are remembered: those of half a minute, each of which took two requests."""
        return len(self._used)

    def issue(self, container: Container, target: str, main: str, now: float) -> str:
        """A code for a document below the notebook's base path, as a query has it."""
        self._note(container.id, now)
        until = round((now + SECONDS) * 1000)
        rest = f"{until}.{self._process}{secrets.token_hex(8)}.{container.id}.{main}/{target}"
        made = proof(origins.secret_of(container), Purpose.ENTRANCE, _subject(container, rest))
        return urllib.parse.quote(f"{made}.{rest}", safe="/:")

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
        """Where a code leads, the first time that it is shown, and under the host that it was made for.

        `code` may be any text, without the quoting of a query.
        """
        found = _CODE.fullmatch(code)
        container = self._find(found["id"]) if found is not None else None
        if found is None or container is None:
            return None
        secret, subject = origins.secret_of(container), _subject(container, found["rest"])
        if not is_proof(found["proof"], secret, Purpose.ENTRANCE, subject):
            return None
        until = int(found["until"]) / 1000
        if not now < until <= now + SECONDS + 0.001 or not self._use(found["proof"], until, now):
            return None
        if container.session_name != session_name:  # shown elsewhere, it is used up
            return None
        return Way(container, found["target"], found["main"], is_earlier=found["process"] != self._process)

    def _use(self, shown: str, until: float, now: float) -> bool:
        """Whether a code has not been used yet."""
        while self._used and next(iter(self._used.values())) <= now:
            self._used.popitem(last=False)
        if shown in self._used:
            return False
        self._used[shown] = until
        return True


def _subject(container: Container, rest: str) -> str:
    return f"{container.session_name} {rest}"
