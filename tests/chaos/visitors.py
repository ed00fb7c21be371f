"""Simulated visitors: they claim, run something, come back under their URL, and end, whatever happens meanwhile.

They are patient with what is away (a refused connection, 502, 503, an answer that is cut) and with nothing else: a
session that is not there any more, or answers as somebody else's, is noted in `wrongs` at once.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import math
import random
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tmpnb_py.core.tasks import event_or_time

_AWAY = (aiohttp.ClientError, OSError, asyncio.IncompleteReadError)  # TimeoutError is an OSError
_PATIENT_STATUS = frozenset({429, 502, 503, 504})
_CALL_SECONDS = 10.0
_WRITE = "open('/tmp/whose', 'w').write({secret!r})"
_READ = "print(open('/tmp/whose').read(), end='')"


@dataclasses.dataclass(eq=False)
class Session:
    """A notebook that a visitor was given. `secret` is in it once `is_begun`."""

    id: str
    url: str
    token: str
    secret: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))
    is_begun: bool = False
    is_leaving: bool = False
    may_end: bool = False  # the fault takes its container


class Visitors:
    """All of them. `url` says where the service is now; it ends in a slash."""

    def __init__(self, url: str, seed: random.Random) -> None:
        self.url = url
        self.sessions: dict[str, Session] = {}
        self.wrongs: list[str] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self.until = math.inf  # the moment at which their patience ends
        self.unanswered = 0  # claims that may have been made although no answer came
        self.patient_with = _PATIENT_STATUS
        self.never_away = False  # whether the service has to answer all the time
        self.doomed: set[str] = set()  # containers that the fault ends, whoever has them
        self.may_end = False  # the fault may end any session
        self._ids: set[str] = set()
        self._random = seed
        self._http: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready."""
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        # One connection for each request: what a crash does to a kept one is the next request's business.
        connector = aiohttp.TCPConnector(force_close=True)
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout, connector=connector)

    async def close(self) -> None:
        """Go."""
        if self._http is not None:
            await self._http.close()

    def begin_round(self) -> None:
        """Forget what was wrong before; nothing may end."""
        self.wrongs, self.doomed, self.may_end = [], set(), False
        self.until, self.patient_with = math.inf, _PATIENT_STATUS
        for session in self.sessions.values():
            session.may_end = False

    # --- what they do

    async def busy(self, visits: int) -> None:
        """So many visitors come, each for a whole visit, at moments within the first two seconds."""
        stay = [self._random.random() < 0.4 and len(self.sessions) < 3 for _ in range(visits)]
        delays = [self._random.uniform(0, 2) for _ in range(visits)]
        await asyncio.gather(*(self._visit(delay, stays=one) for delay, one in zip(delays, stay, strict=True)))

    async def _visit(self, delay: float, *, stays: bool) -> None:
        await asyncio.sleep(delay)
        session = await self.claim()
        if session is None:
            self._expect(False, "a visitor has got no notebook")
            return
        for _ in range(2):
            self._expect(await self.come_back(session), f"{session.id} does not answer")
        if not stays:
            await self.end(session)

    @contextlib.asynccontextmanager
    async def present(self, absent: Session) -> AsyncIterator[None]:
        """All but one are at their notebooks meanwhile, and do something every other second."""
        stop = asyncio.Event()

        async def at(session: Session) -> None:
            while not stop.is_set() and session.id in self.sessions:
                await self.come_back(session)
                await event_or_time(stop, 2)

        others = [one for one in self.sessions.values() if one is not absent]
        presence = asyncio.ensure_future(asyncio.gather(*(at(one) for one in others)))
        try:
            yield
        finally:
            stop.set()
            await presence

    async def claim(self) -> Session | None:
        """`POST /api/spawn` until it succeeds or the patience is over."""
        while time.monotonic() < self.until:
            try:
                status, answer = await self._call("POST", f"{self.url}api/spawn?wait=5")
            except aiohttp.ClientConnectorError:  # nobody was asked
                await asyncio.sleep(0.1)
                continue
            except _AWAY:
                self.unanswered += 1
                continue
            if status != 200:
                self._expect(status in self.patient_with, f"a claim was answered {status}: {answer}")
                await asyncio.sleep(0.2)
                continue
            session = Session(answer["id"], answer["url"].lstrip("/"), answer["token"])
            self._expect(session.id not in self._ids, f"{session.id} was handed out twice")
            self._ids.add(session.id)
            self.sessions[session.id] = session
            self.counts["claims"] += 1
            return session
        return None

    async def come_back(self, session: Session) -> bool:
        """Look at the notebook under its URL: is it there, and one's own? Returns whether it answered in time."""
        while time.monotonic() < self.until and session.id in self.sessions:
            try:
                if await self._look(session):
                    self.counts["visits"] += 1
                    return True
            except _AWAY:
                pass
            await asyncio.sleep(0.1)
        return session.id not in self.sessions

    async def _look(self, session: Session) -> bool:
        code = _READ if session.is_begun else _WRITE.format(secret=session.secret)
        status, answer = await self._call("POST", f"{self.url}{session.url}exec", session, code)
        if status in (404, 410):
            self._gone(session, f"{status}: {answer}")
            return True
        if status != 200:
            self._expect(status in self.patient_with, f"{session.id} answered {status}: {answer}")
            return False
        if not session.is_begun:
            session.is_begun = True
        elif answer != session.secret and not self._may_end(session):
            self._expect(False, f"{session.id} is another's: {str(answer)[-200:]}")
        return True

    async def end(self, session: Session) -> None:
        """End the session, and see that it has ended."""
        session.is_leaving = True
        while time.monotonic() < self.until and session.id in self.sessions:
            try:
                status, answer = await self._call("DELETE", f"{self.url}api/sessions/{session.id}", session)
            except _AWAY:
                await asyncio.sleep(0.1)
                continue
            if status in (200, 404, 410):
                self.sessions.pop(session.id, None)
                self.counts["ended"] += 1
            else:
                self._expect(status in self.patient_with, f"the end of {session.id} was answered {status}: {answer}")
                await asyncio.sleep(0.2)

    def _gone(self, session: Session, answer: str) -> None:
        self.sessions.pop(session.id, None)
        if session.is_leaving:
            self.counts["ended"] += 1
        elif self._may_end(session):
            self.counts["taken by the fault"] += 1
        else:
            self.counts["LOST"] += 1
            self.wrongs.append(f"the session {session.id} is gone, {answer}")

    def _may_end(self, session: Session) -> bool:
        return self.may_end or session.may_end or session.id in self.doomed

    async def fill_memory(self, session: Session, size: int) -> None:
        """Take more memory than the notebook may have, until nothing answers."""
        await self.run(session, f"x = b'x' * {size}")

    async def run(self, session: Session, code: str) -> str | None:
        """Run this once; returns what it prints, None where the answer was cut off."""
        with contextlib.suppress(*_AWAY):
            status, answer = await self._call("POST", f"{self.url}{session.url}exec", session, code)
            return str(answer) if status == 200 else None
        return None

    def _expect(self, condition: bool, wrong: str) -> None:
        if not condition:
            self.wrongs.append(wrong)

    async def _call(
        self, method: str, url: str, session: Session | None = None, body: str | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"token {session.token}"} if session else {}
        try:
            return await self._answer(method, url, headers, body)
        except _AWAY as error:
            self._expect(not self.never_away, f"{method} {url} was not answered: {type(error).__name__} {error}")
            raise

    async def _answer(self, method: str, url: str, headers: dict[str, str], body: str | None) -> tuple[int, Any]:
        assert self._http is not None
        async with self._http.request(method, url, headers=headers, data=body) as response:
            text = await response.text()
            if response.content_type != "application/json":
                return response.status, text[:200]
            return response.status, await response.json()
