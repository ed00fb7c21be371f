"""Measures the CPU time of sessions, names those that keep the processor busy, and ends them where that is wanted.

One task. It asks for a hundred sessions at a time, and rests between two questions for four times as long as the
last one took: so it takes a bounded part of the engine's time, however many sessions there are. (Measured with 200:
4 ms where control groups are seen, none of it the engine's; 8 s and 2 of its CPU-s by Docker 20.10's statistics.)
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import EndReason, State
from tmpnb_py.engines.base import MOST_MEASURED, Engine
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.busy import BusyRule, is_busy, ratios
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.records import Records

_REST = 4.0

Reap = Callable[[Container, EndReason, float], None]  # the last is monotonic seconds

_log = structlog.get_logger(__name__)


class Busiest:
    """Watches what the sessions of one pool use."""

    def __init__(
        self, engine: Engine, records: Records, options: LiveOptions, metrics: PoolMetrics, *, reap: Reap
    ) -> None:
        """`reap` ends a session for a reason."""
        self._reap = reap
        self._engine = engine
        self._records = records
        self._metrics = metrics
        self._rule = options.derive(BusyRule.of)
        self._busy: list[Container] = []

    @property
    def found(self) -> tuple[tuple[str, float], ...]:
        """The ids of the sessions that are busy now, the busiest first, each with its share of what it may use."""
        running = [one for one in self._busy if one.state is State.CLAIMED]
        return tuple((one.id, one.cpu.ratio or 0.0) for one in running)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            began = time.monotonic()
            if self._rule.value.share:
                await self.measure_once()
            else:
                self._busy = []
            await asyncio.sleep(max(0.05, began + self._rule.value.period - time.monotonic()))

    async def measure_once(self, rest: float = _REST) -> None:
        """One round: measure every session, then judge. What the engine does not tell stays as it was."""
        sessions = self._records.in_state(State.CLAIMED)
        for first in range(0, len(sessions), MOST_MEASURED):
            some = sessions[first : first + MOST_MEASURED]
            began = time.monotonic()
            try:
                found = await self._engine.cpu_seconds([one.id for one in some])
            except EngineError:  # others notice, and say so
                return
            now, rule = time.monotonic(), self._rule.value
            for one in some:
                if (seconds := found.get(one.id)) is not None:
                    self._metrics.cpu_used(one.cpu.add(now, seconds, rule.window))
            if rest:
                await asyncio.sleep((now - began) * rest)
        self._judge([one for one in sessions if one.state is State.CLAIMED], time.monotonic())

    def _judge(self, sessions: Sequence[Container], now: float) -> None:
        rule = self._rule.value
        used = {one.id: cpus for one in sessions if (cpus := one.cpu.cpus) is not None}
        shares = ratios(used, rule.limit, self._records.cpus)
        for one in sessions:
            one.cpu.ratio = shares.get(one.id)
            before, one.cpu.is_busy = one.cpu.is_busy, is_busy(one.cpu, rule)
            if one.cpu.is_busy and not before:
                self._log_busy(one, rule)
            elif before and not one.cpu.is_busy:
                _log.info("session_calm", id=one.id, pool=self._records.name, cpu=round(one.cpu.ratio or 0.0, 3))
            if one.cpu.is_busy and rule.ends:
                self._reap(one, EndReason.TOO_BUSY, now)
        busy = [one for one in sessions if one.cpu.is_busy]
        self._busy = sorted(busy, key=lambda one: one.cpu.ratio or 0.0, reverse=True)

    def _log_busy(self, one: Container, rule: BusyRule) -> None:
        _log.warning(
            "session_busy",
            id=one.id,
            pool=self._records.name,
            cpu=round(one.cpu.ratio or 0.0, 3),
            cpu_seconds=round(one.cpu.seconds or 0.0, 1),
            window=rule.window,
            connections=one.open_connections,
            action="end" if rule.ends else "warn",
        )
