"""Ends sessions that are idle, unvisited, too old or out of reach. It marks them; the reconciler removes them.

One task. It sleeps until the next session can end, or a little less, because a visitor who leaves brings the end
nearer. It asks a notebook server only when the session is about to be reaped (decision 7).
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Callable

import pydantic
import structlog

from tmpnb_py.core.errors import LackError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.core.tasks import event_or_time, has_stalled
from tmpnb_py.jupyter.questions import NoAnswerError, report
from tmpnb_py.jupyter.report import Report
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import PRESENCE_WINDOW, Ask, Keep, Limits, Reap, Verdict, decide
from tmpnb_py.pools.records import Records

_LONGEST_SLEEP = 30.0
_STEP = 5.0
_QUESTIONS_AT_ONCE = 8
_CUT_OFF = 180.0  # seconds until a session ends whose socket was removed: it can never be reached again
_OUT_OF_REACH = 3600.0  # seconds until a session ends that cannot be reached: others need what it holds

_log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """Until when a notebook server's last answer keeps the session; void once its visitor leaves."""

    until: float
    left_at: float | None


class Reaper:
    """Marks idle, unvisited and overlong sessions for removal."""

    def __init__(
        self,
        records: Records,
        options: LiveOptions,
        limits: Derived[Limits] | None = None,
        *,
        extension: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        """`limits` are those in force: by default, as the options set them.

        `extension` says by how many seconds a session may live longer than they let others.
        """
        self._records = records
        self._extension = extension
        self._limits = limits or options.derive(Limits.of)
        self._questions = asyncio.Semaphore(_QUESTIONS_AT_ONCE)
        self._woken = asyncio.Event()
        self._kept: dict[str, _Kept] = {}
        options.subscribe(lambda _: self.judge_anew())

    def judge_anew(self) -> None:
        """Begin a round at once: the limits may be others, and then what was judged by the old ones is void."""
        self._kept = {}
        self._woken.set()

    async def run(self) -> None:
        """Reap until cancelled."""
        while True:
            self._woken.clear()
            wake_at = await self.reap_once()
            period = min(_LONGEST_SLEEP, max(0.1, self._limits.value.shortest / 4))
            seconds = max(0.05, min(wake_at - time.monotonic(), period))
            late = await _sleep(seconds, self._woken)
            while late:
                _log.warning("process_stalled", pool=self._records.name, seconds=round(late, 1))
                # In which whoever is still there shows it: other limits do not shorten it.
                late = await _sleep(PRESENCE_WINDOW, asyncio.Event())

    async def reap_once(self) -> float:
        """One round; returns when (monotonic seconds) the next session can end."""
        if not self._records.listed:
            return math.inf
        sessions = self._records.in_state(State.CLAIMED)
        self._kept = {one.id: self._kept[one.id] for one in sessions if one.id in self._kept}
        now = time.monotonic()
        wake_ats = {one.id: self._judge(one, now) for one in sessions}
        # Most need no question, and of ten thousand a task for each would keep a processor busy.
        to_ask = [one for one in sessions if wake_ats[one.id] is None]
        answered = await asyncio.gather(*(self._judge_by_its_answer(one) for one in to_ask))
        return min([*answered, *(moment for moment in wake_ats.values() if moment is not None)], default=math.inf)

    def _judge(self, container: Container, now: float) -> float | None:
        """When to look at a session again (monotonic seconds); None where its server has to be asked first."""
        kept = self._kept.get(container.id)
        if kept is not None and now < kept.until and kept.left_at == container.left_at:
            return kept.until
        if container.endpoint is None:
            return self._follow(container, self._unreachable(container, now), now)
        verdict = decide(container.evidence, self._limits_of(container), now, None, container.failed_questions)
        return None if isinstance(verdict, Ask) else self._follow(container, verdict, now)

    async def _judge_by_its_answer(self, container: Container) -> float:
        left_at = container.left_at
        answer = await self._ask(container)
        now = time.monotonic()
        verdict = decide(container.evidence, self._limits_of(container), now, answer, container.failed_questions)
        if answer is not None:
            container.failed_questions = container.failed_questions + 1 if isinstance(verdict, Ask) else 0
        until = self._follow(container, verdict, now)
        self._kept[container.id] = _Kept(until, left_at)
        return until

    def _unreachable(self, container: Container, now: float) -> Verdict:
        """Judge a session that cannot be asked. It is not idle: the reconciler tries to reach it again."""
        since = container.changed_at if container.unreachable_since is None else container.unreachable_since
        if container.is_cut_off and now - since >= _CUT_OFF:
            return Reap(EndReason.UNREACHABLE)
        verdict = decide(container.evidence, self._limits_of(container), now, None, failed_questions=0)
        if not isinstance(verdict, Ask):
            return verdict
        return Reap(EndReason.UNREACHABLE) if now - since >= _OUT_OF_REACH else verdict

    def _limits_of(self, container: Container) -> Limits:
        return self._limits.value.longer_by(self._extension(container.id))

    def _follow(self, container: Container, verdict: Verdict, now: float) -> float:
        """Act on a verdict. Returns when to look at this session again (monotonic seconds)."""
        if isinstance(verdict, Reap):
            self.reap(container, verdict.reason, now)
            return math.inf
        return verdict.until if isinstance(verdict, Keep) else now + verdict.pause

    async def _ask(self, container: Container) -> Report | None:
        endpoint = container.endpoint
        try:
            async with self._questions:
                if endpoint is None:
                    raise NoAnswerError("nothing to dial")
                answer = await report(endpoint, container.base_path.decode(), container.token)
        except (LackError, NoAnswerError, OSError, pydantic.ValidationError) as error:
            container.failed_questions += not isinstance(error, LackError)  # what we lack is not its silence
            _log.warning(
                "question_failed",
                id=container.id,
                pool=self._records.name,
                failed=container.failed_questions,
                error=type(error).__name__,
            )
            return None
        return answer

    def reap(self, container: Container, reason: EndReason, now: float) -> None:
        """End a session, and log it. No-op for one that has ended."""
        age = now - container.evidence.claimed_at
        if self._records.end(container, reason, now):
            _log.info("reaped", id=container.id, pool=self._records.name, reason=reason.value, duration=round(age, 1))


async def _sleep(seconds: float, woken: asyncio.Event) -> float:
    """Sleep for so long, or until woken. Returns for how long the process has stalled meanwhile, about, else 0.

    In short steps: a stall within one long sleep would not make it end late.
    """
    now = time.monotonic()
    end = now + seconds
    while True:
        due = min(end, now + _STEP)
        is_woken = await event_or_time(woken, due - now)
        now = time.monotonic()
        if has_stalled(due, now):
            return now - due
        if is_woken or now >= end:
            return 0.0
