"""Whether a pool can start containers and hand them out; if not, why, and when to try again.

The reconciler and its parts report successes and failures here; pages and the operator's API show them. The log
events about failures are written here, once per failure.
"""

from __future__ import annotations

import collections
import random

import structlog

from tmpnb_py.core.errors import EngineError, FailureClass, LackError
from tmpnb_py.core.models import Failure
from tmpnb_py.pools.metrics import PoolMetrics
from tmpnb_py.pools.planner import Backoff

_REMEMBERED = 20
# Failures to find out what to start: over as soon as that is known. Others are over when a container becomes ready.
_BEFORE_ANY_START = (FailureClass.ENGINE_DOWN, FailureClass.IMAGE_MISSING, FailureClass.SHORT)

_log = structlog.get_logger(__name__)


class Health:
    """How one pool does. Times are monotonic seconds.

    `engine_down`: the engine did not answer when it was last asked. `failure` keeps containers from becoming ready
    now, and `refusal` keeps ready ones from being handed out. `failures` are the latest of the former, the oldest
    first. `backoff` says when the next start may be tried, and how many at once. `warm_problems` are the latest
    failures of warm kernels by their names, which keep nothing from becoming ready.
    """

    def __init__(self, pool: str, metrics: PoolMetrics) -> None:
        self._pool = pool
        self._metrics = metrics
        self.engine_down = False
        self.failure: Failure | None = None
        self.refusal: Failure | None = None
        self.failures: collections.deque[Failure] = collections.deque(maxlen=_REMEMBERED)
        self.backoff = Backoff()
        self.warm_problems: dict[str, Failure] = {}

    # --- the engine

    def engine_answered(self) -> None:
        """The engine has listed its containers."""
        self.engine_down = False

    def engine_failed(self, error: EngineError, now: float) -> bool:
        """The engine does not answer. Returns whether that is news: it is logged once, until it answers again."""
        is_news = not self.engine_down
        if is_news:
            _log.error("engine_down", error=error.message, remedy=error.remedy)
        self.engine_down = True
        self._fail(Failure(FailureClass.ENGINE_DOWN, error.message, now))
        return is_news

    def lacking(self, error: LackError, now: float) -> None:
        """This process lacks something to ask the engine with, which says nothing about the engine."""
        if self.failure is None or self.failure.kind is not error.failure:
            _log.error("short_of_resources", error=error.message, remedy=error.remedy)
        self._fail(Failure(error.failure, error.message, now))

    # --- starts

    def configured(self) -> None:
        """It is known again what is to be started."""
        if self.failure is not None and self.failure.kind in _BEFORE_ANY_START:
            self.failure = None
            self.backoff = Backoff()

    def not_configured(self, error: EngineError, now: float) -> None:
        """It cannot be found out what is to be started. Counts once per backoff: it is asked more often than that."""
        if now >= self.backoff.retry_at:
            self.start_failed(Failure(error.failure, error.message, now), remedy=error.remedy)

    def started(self) -> None:
        """A container became ready."""
        self.backoff = self.backoff.succeeded()
        self.failure = None

    def is_full(self, now: float) -> None:
        """As many containers are ready as should be: a start that failed keeps none away, once another may be tried.

        It may have been one of a configuration that was replaced, or for a visitor who has left.
        """
        if now >= self.backoff.retry_at and self.failure is not None and self.failure.kind not in _BEFORE_ANY_START:
            self.failure = None

    def start_failed(self, failure: Failure, *, container_id: str = "", remedy: str = "") -> None:
        """A container did not become ready, or did not stay so."""
        self._metrics.start_failed(failure.kind.value)
        self.backoff = self.backoff.failed(failure.at, random.random())  # noqa: S311  (jitter, not a secret)
        self._fail(failure)
        _log.error(
            "start_failed",
            id=container_id,
            pool=self._pool,
            cause=failure.kind.value,
            error=failure.message,
            remedy=remedy,
            log_lines=list(failure.log_lines),
            retry_in=round(max(0.0, self.backoff.retry_at - failure.at), 1),
        )

    # --- kernels that are started before a visitor comes

    def warm_kernel_ready(self, kernel: str) -> None:
        """It became ready in a container."""
        self.warm_problems.pop(kernel, None)

    def warm_kernel_failed(self, kernel: str, problem: str, container_id: str, now: float) -> None:
        """It did not become ready in a container, which is ready without. `problem` has been cleaned."""
        self._metrics.warm_kernel_failed(kernel)
        self.warm_problems[kernel] = Failure(FailureClass.NOT_ANSWERING, problem, now)
        hint = "visitors start it themselves; tmpnb-py image check tries it"
        _log.warning("warm_kernel_failed", id=container_id, pool=self._pool, kernel=kernel, error=problem, hint=hint)

    def _fail(self, failure: Failure) -> None:
        last = self.failures[-1] if self.failures else None
        if last is not None and (last.kind, last.message) == (failure.kind, failure.message):
            self.failures.pop()  # an engine that is down is asked every two seconds: that is one failure
        self.failure = failure
        self.failures.append(failure)

    # --- claims

    def refused(self, failure: Failure) -> None:
        """The engine refuses to mark containers as claimed."""
        self.refusal = failure

    def not_refused(self) -> None:
        """A claim went well, or nobody has tried one for a while."""
        self.refusal = None
