"""When a session ends: what counts as activity, and how long a session lives without it.

The proxy stamps the session with what its visitor does (`activity`). The reaper gathers `Evidence`, calls `decide`
and acts on the verdict; the API shows `expires_at`. Pure functions: the caller passes the time (monotonic seconds).

A limit of 0 never ends a session.
"""

from __future__ import annotations

import collections
import dataclasses
import math

from tmpnb_py.core.models import EndReason
from tmpnb_py.jupyter.report import Report
from tmpnb_py.options.settings import Settings

# A client without a WebSocket is still there as long as it polls. JupyterLab polls every 3 to 60 seconds, and
# browsers let the timers of a hidden tab fire once a minute; the half minute more forgives one slow answer.
PRESENCE_WINDOW = 90.0

# Seconds until the reaper asks a notebook server again that did not answer.
RETRY_QUESTION = 20.0

# After so many fruitless questions in a row the session ends by what is known without them: a server that hangs must
# not keep its memory for ever, and one slow answer must not cost a visitor their work.
QUESTIONS = 3

# Output of a kernel or terminal within so many seconds after a page connected to it, or asked it something by
# itself, may be the answer to that: a shell draws its prompt anew for every window. Busy machines take their time.
ECHO = 4.0

# A program that prints every few seconds is noticed between two echoes.
RETRY_ECHO = ECHO + 1.0

_CLOCKS_APART = 0.5
_NUDGES_KEPT = 32
_NUDGES_APART = 1.0

_NEVER = math.inf
_NOTHING = -math.inf


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The five limits of a session in seconds; 0 = never by this rule.

    `timeout`: without activity. `disconnected`: both without activity and without any client, counted from
    whichever was there last. `busy`: how long after the last client left a busy or printing kernel counts as
    activity (0 = for ever). `unvisited`: from a claim that nobody opens. `maximum`: from the claim, whatever
    happens.
    """

    timeout: float
    disconnected: float
    busy: float
    unvisited: float
    maximum: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the options set."""
        return cls(
            timeout=settings.cull_timeout,
            disconnected=settings.cull_disconnected,
            busy=settings.cull_busy,
            unvisited=settings.cull_unvisited,
            maximum=settings.cull_max,
        )

    def longer_by(self, seconds: float) -> Limits:
        """The same with each limit longer, for a session whose class was prolonged."""
        if not seconds:
            return self
        limits = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        return Limits(**{name: limit + seconds if limit else 0.0 for name, limit in limits.items()})

    @property
    def shortest(self) -> float:
        """The least time in which a session can end; `math.inf` where no limit applies."""
        limits = (self.timeout, self.disconnected, self.unvisited, self.maximum)
        return min((limit for limit in limits if limit), default=_NEVER)


class Nudges:
    """The latest moments at which pages by themselves made kernels (or terminals) do something."""

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments: collections.deque[float] | None = None

    def add(self, now: float) -> None:
        """Note one; of several within a second, only the first is kept."""
        if self._moments is None:
            self._moments = collections.deque(maxlen=_NUDGES_KEPT)
        if not self._moments or now - self._moments[-1] >= _NUDGES_APART:
            self._moments.append(now)

    @property
    def moments(self) -> tuple[float, ...]:
        """The oldest first."""
        return tuple(self._moments or ())

    @property
    def newest(self) -> float:
        """The last of them, minus infinity where there is none."""
        return self._moments[-1] if self._moments else _NOTHING


@dataclasses.dataclass(frozen=True, slots=True)
class Evidence:
    """What this service knows of a session without asking its notebook server.

    `visited`: a request for it has been seen; also true of a session that was taken up after a restart, where
    nobody can know. `last_activity`: the newest thing that a person did, at least `claimed_at` (after a restart:
    the restart). `last_presence`: the newest request of any kind. `left_at`: when the client's last WebSocket
    closed, None if there never was one. `kernel_nudges` and `terminal_nudges`: see `Nudges`.
    """

    claimed_at: float
    visited: bool
    last_activity: float
    last_presence: float
    open_connections: int = 0
    left_at: float | None = None
    kernel_nudges: tuple[float, ...] = ()
    terminal_nudges: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """The session goes on. Without new evidence the verdict can't change before `until` (`math.inf`: never)."""

    until: float


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """The session is due: ask its notebook server, then decide again; `pause` seconds later if that failed."""

    pause: float = RETRY_QUESTION


@dataclasses.dataclass(frozen=True, slots=True)
class Reap:
    """The session ends."""

    reason: EndReason


Verdict = Keep | Ask | Reap


def decide(evidence: Evidence, limits: Limits, now: float, report: Report | None, failed_questions: int) -> Verdict:
    """The verdict on a session at `now`.

    `report` answers a question asked just now, else None; `failed_questions` counts those in a row that told
    nothing: they were not answered, or this answered `Ask`. After `Keep` the caller comes back at `until`, or at
    once when a session is opened for the first time or its last WebSocket closes: only these bring the end
    nearer, everything else moves it away.
    """
    if now >= _after(evidence.claimed_at, limits.maximum):
        return Reap(EndReason.TOO_OLD)
    if now >= _unvisited_end(evidence, limits):
        return Reap(EndReason.UNVISITED)
    end = _end(evidence, limits, _kernel_activity(evidence, report, now))
    if now < end:
        return Keep(end)
    if report is None and failed_questions < QUESTIONS:
        return Ask()
    if report is not None and failed_questions < QUESTIONS - 1 and _echoes(evidence, report, now):
        return Ask(RETRY_ECHO)
    return Reap(EndReason.IDLE)


def expires_at(evidence: Evidence, limits: Limits, now: float) -> float:
    """When the session ends if nothing more happens; not before `now` unless its maximum age is over.

    The kernels are not asked for this. Where only they keep a session alive the answer is `now`, and the
    `until` of the last `Keep` says more. `math.inf` where no limit applies.
    """
    end = _end(evidence, limits, _NOTHING)
    return min(max(end, now), _after(evidence.claimed_at, limits.maximum))


def _after(moment: float, limit: float) -> float:
    return moment + limit if limit > 0 else _NEVER


def _unvisited_end(evidence: Evidence, limits: Limits) -> float:
    return _NEVER if evidence.visited else _after(evidence.claimed_at, limits.unvisited)


def _kernel_activity(evidence: Evidence, report: Report | None, now: float) -> float:
    """When a kernel or terminal was last active because of a person, as far as can be told."""
    if report is None:
        return _NOTHING
    if report.busy:
        return now
    caused = [moment for moment, nudges in _spoken(evidence, report, now) if not _is_echo(moment, nudges)]
    return max(caused, default=_NOTHING)


def _echoes(evidence: Evidence, report: Report, now: float) -> bool:
    """Whether there was output just now of which nobody can tell whether a person or a page caused it."""
    return any(
        now - moment <= 2 * ECHO and _is_echo(moment, nudges) for moment, nudges in _spoken(evidence, report, now)
    )


def _spoken(evidence: Evidence, report: Report, now: float) -> list[tuple[float, tuple[float, ...]]]:
    """When each kernel and terminal last had output, with the nudges that may have caused it."""
    kernels = [(min(moment, now), evidence.kernel_nudges) for moment in report.kernels]
    return kernels + [(min(moment, now), evidence.terminal_nudges) for moment in report.terminals]


def _is_echo(moment: float, nudges: tuple[float, ...]) -> bool:
    # The clock is read twice, a little apart, on the way from theirs to ours.
    return any(-_CLOCKS_APART <= moment - nudge <= ECHO for nudge in nudges)


def _end(evidence: Evidence, limits: Limits, kernel: float) -> float:
    """The earliest end, given that nothing new happens; `kernel` is the kernels' newest activity."""
    # A claim that nobody opened has a limit of its own, which may be longer than the ordinary ones: links
    # that are handed out before a course starts. Without that limit the ordinary ones apply.
    idle = _unvisited_end(evidence, limits)
    if idle == _NEVER:
        idle = _idle_end(evidence, limits, kernel)
    return min(idle, _after(evidence.claimed_at, limits.maximum))


def _idle_end(evidence: Evidence, limits: Limits, kernel: float) -> float:
    """When the session becomes idle: by the rule for a connected client, or by those for nobody.

    For nobody, a shorter limit counts from the last activity or the last sign of a client, whichever is
    newer, and a busy kernel counts only for so long. These rules come into force when the last presence is
    PRESENCE_WINDOW old. That they may do so in the future is why both are looked at, whoever is connected at
    present. Mere presence never prolongs a session beyond `timeout` without activity.
    """
    connected_end = _after(max(evidence.last_activity, kernel), limits.timeout)
    if evidence.open_connections > 0:
        return connected_end
    last_seen = max(evidence.last_activity, evidence.last_presence)
    if evidence.left_at is not None:
        last_seen = max(last_seen, evidence.left_at)
    active = max(evidence.last_activity, min(kernel, _after(last_seen, limits.busy)))
    nobody_end = min(_after(active, limits.timeout), _after(max(active, last_seen), limits.disconnected))
    return min(connected_end, max(nobody_end, evidence.last_presence + PRESENCE_WINDOW))
