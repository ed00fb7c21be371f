"""What the reconciler does next: a pure function from the situation to a list of actions.

The reconciler calls it in each round. Rules and order follow DESIGN decisions 1-4: end what has ended, then take up
what was found, then start what is missing, slowly after a failure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from tmpnb_py.core.models import Address, Ended, EndReason, Observed, State

_BASE_DELAY = 0.5
_MAX_DELAY = 60.0
_REMOVAL_SECONDS = 10.0  # what takes longer hangs
_QUIET = 300.0  # without a failure for so long, earlier ones no longer count
# A crowd that comes at once has the processors for its first second.
_CROWD = 4  # claims
_CROWD_SECONDS = 1.0
_CALM = 10.0  # without a claim before: where visitors come all the time, starting must not wait for a pause


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerFacts:
    """What the planner knows of one container. Times are monotonic seconds.

    `answers`: the server of one that is STARTING does, and its kernels are being started.
    """

    id: str
    state: State
    config_digest: str
    created_at: float
    changed_at: float
    removal_due_at: float = math.inf
    address: Address | None = None
    answers: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """The engine's containers, as asked for at `asked_at`. `after_outage`: the engine did not answer before."""

    asked_at: float
    containers: Sequence[Observed]
    after_outage: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """How carefully to start. `batch` bounds the starts at once: 1 after a failure, doubled by each success.

    A success only ends the wait. Earlier failures count until some minutes have passed without one, so that
    containers that become ready and then die do not spin either.
    """

    failures: int = 0
    retry_at: float = -math.inf
    batch: int = 1
    failed_at: float = -math.inf

    def failed(self, now: float, jitter: float) -> Backoff:
        """After a failed start; `jitter` is in [0, 1). Starts that fail together count as one failure."""
        if now < self.retry_at:
            return self
        failures = self.failures if now - self.failed_at < _QUIET else 0
        delay = min(_MAX_DELAY, _BASE_DELAY * 2 ** min(failures, 10)) * (0.75 + jitter / 2)
        return Backoff(failures + 1, now + delay, 1, now)

    def succeeded(self) -> Backoff:
        """After a successful start."""
        return dataclasses.replace(self, retry_at=-math.inf, batch=min(self.batch * 2, 1 << 16))


@dataclasses.dataclass(frozen=True, slots=True)
class Targets:
    """What the operator wants. `digest` None: the current configuration is unknown, so nothing can be started."""

    digest: str | None
    pool_size: int
    max_containers: int
    concurrency: int
    ready_max_age: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the plan depends on."""

    now: float
    targets: Targets
    records: Sequence[ContainerFacts]
    listing: Listing | None = None
    ended: Mapping[str, Ended] = dataclasses.field(default_factory=dict)
    waiting: int = 0
    backoff: Backoff = Backoff()


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """Start one container of the current configuration."""


@dataclasses.dataclass(frozen=True, slots=True)
class Adopt:
    """Take up a container that the engine lists and that has no record."""

    observed: Observed


@dataclasses.dataclass(frozen=True, slots=True)
class Readdress:
    """Dial a session at the address that the engine lists now."""

    observed: Observed


@dataclasses.dataclass(frozen=True, slots=True)
class Discard:
    """Remove a container without a record that no visitor can have, or that has exited."""

    observed: Observed
    reason: EndReason


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """Mark a container as REMOVING."""

    id: str
    reason: EndReason


@dataclasses.dataclass(frozen=True, slots=True)
class Died:
    """Tell a start under way that its container has exited."""

    id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Remove:
    """Have the engine remove a container that is REMOVING."""

    id: str


Action = Start | Adopt | Readdress | Discard | End | Died | Remove


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, and when to look again even if nothing happens (monotonic seconds)."""

    actions: tuple[Action, ...]
    wake_at: float = math.inf


def plan(situation: Situation) -> Plan:
    """The next actions. Deterministic; planning again with their outcome never undoes them."""
    actions = [*_from_listing(situation)]
    touched = {action.id for action in actions if isinstance(action, End)}
    records = [record for record in situation.records if record.id not in touched]
    actions += _surplus(situation, records, len(touched))
    actions += [
        Remove(record.id)
        for record in situation.records
        if record.state is State.REMOVING and record.removal_due_at <= situation.now
    ]
    if not any(isinstance(action, (Adopt, Discard)) for action in actions):
        # Found containers take room, too: count them before starting more.
        gone = {action.id for action in actions if isinstance(action, End)}
        actions += _starts(situation, [record for record in situation.records if record.id not in gone])
    return Plan(tuple(actions), _wake_at(situation))


def _from_listing(situation: Situation) -> list[Action]:
    listing = situation.listing
    if listing is None:
        return []
    records = {record.id: record for record in situation.records}
    actions: list[Action] = []
    for observed in listing.containers:
        record = records.pop(observed.id, None)
        if record is not None:
            actions += _known(observed, record, listing)
        elif (ended := situation.ended.get(observed.id)) is None:
            actions.append(_unknown(observed))
        elif ended.gone_at is not None and ended.gone_at < listing.asked_at:
            # It appeared after its end: the engine carried out a call that had timed out here.
            actions.append(Discard(observed, ended.reason))
    for record in records.values():
        # A record that changed after the engine was asked may be newer than the answer.
        if record.state in (State.READY, State.CLAIMED) and record.changed_at < listing.asked_at:
            actions.append(End(record.id, _reason_for_death(listing)))
    return actions


def _known(observed: Observed, record: ContainerFacts, listing: Listing) -> list[Action]:
    if record.state is State.REMOVING:
        return []
    if observed.exit is None:
        return _moved(observed, record, listing)
    if record.state is State.STARTING:
        return [Died(record.id)]
    if observed.exit.out_of_memory:
        return [End(record.id, EndReason.OUT_OF_MEMORY)]
    return [End(record.id, observed.exit.reason or _reason_for_death(listing))]


def _moved(observed: Observed, record: ContainerFacts, listing: Listing) -> list[Action]:
    """Handle a new address: somebody restarted the container. A ready one may not answer there, so it ends."""
    if observed.address in (None, record.address) or record.changed_at >= listing.asked_at:
        return []
    if record.state is State.READY:
        return [End(record.id, _reason_for_death(listing))]
    return [Readdress(observed)] if record.state is State.CLAIMED else []


def _reason_for_death(listing: Listing) -> EndReason:
    return EndReason.ENGINE_RESTARTED if listing.after_outage else EndReason.CRASHED


def _unknown(observed: Observed) -> Action:
    if observed.exit is not None:
        reason = observed.exit.reason or EndReason.ENGINE_RESTARTED
        return Discard(observed, EndReason.OUT_OF_MEMORY if observed.exit.out_of_memory else reason)
    if observed.state is State.STARTING:
        return Discard(observed, EndReason.HALF_STARTED)
    return Adopt(observed)


def _ready(
    situation: Situation, records: Sequence[ContainerFacts]
) -> tuple[list[ContainerFacts], list[ContainerFacts]]:
    """The ready containers among these: those that are as they should be, and those that are outdated."""
    targets, now = situation.targets, situation.now
    good: list[ContainerFacts] = []
    outdated: list[ContainerFacts] = []
    for record in records:
        if record.state is State.READY:
            is_outdated = _has_older_config(record, targets) or _is_old(record, targets, now)
            (outdated if is_outdated else good).append(record)
    return good, outdated


def _has_older_config(record: ContainerFacts, targets: Targets) -> bool:
    return targets.digest is not None and record.config_digest != targets.digest


def _is_old(record: ContainerFacts, targets: Targets, now: float) -> bool:
    return targets.ready_max_age > 0 and now - record.created_at >= targets.ready_max_age


def _surplus(situation: Situation, records: Sequence[ContainerFacts], ending: int) -> list[Action]:
    """End ready containers beyond size or capacity, outdated ones first; if full, end one for its successor."""
    targets = situation.targets
    good, outdated = _ready(situation, records)
    ready = len(good) + len(outdated)
    alive = sum(1 for record in records if record.state is not State.REMOVING)
    wanted = max(0, min(targets.pool_size + situation.waiting, targets.max_containers - (alive - ready)))
    actions: list[Action] = []
    surplus_outdated = min(len(outdated), max(0, ready - wanted))
    if not surplus_outdated and not ending and _needs_room(situation):
        surplus_outdated = 1
    for record in outdated[:surplus_outdated]:
        reason = EndReason.OUTDATED if _has_older_config(record, targets) else EndReason.RENEWED
        actions.append(End(record.id, reason))
    beyond = max(0, len(good) - wanted)
    actions += [End(record.id, EndReason.SURPLUS) for record in good[:beyond]]
    return actions


def _needs_room(situation: Situation) -> bool:
    """Whether only the lack of room prevents a start, and nothing is under way that will give room.

    A removal that hangs will not give room soon, so it is not waited for, unless starts have failed lately.
    """
    now = situation.now
    patience = _REMOVAL_SECONDS if now - situation.backoff.failed_at >= _QUIET else math.inf
    has_no_room = len(situation.records) >= situation.targets.max_containers
    hanging = [
        record
        for record in situation.records
        if record.state is State.REMOVING
        and record.removal_due_at == math.inf
        and now - record.changed_at >= patience
    ]
    moving = [record for record in situation.records if record.state in (State.STARTING, State.REMOVING)]
    return has_no_room and len(moving) == len(hanging) and _may_start(situation)


def _may_start(situation: Situation) -> bool:
    return situation.targets.digest is not None and situation.now >= situation.backoff.retry_at


def _missing(situation: Situation, records: Sequence[ContainerFacts]) -> int:
    """How many more containers should be ready."""
    good, _ = _ready(situation, records)
    return situation.targets.pool_size + situation.waiting - len(good)


def is_full(situation: Situation) -> bool:
    """Whether as many containers are ready as should be, of the present configuration."""
    return situation.targets.digest is not None and _missing(situation, situation.records) <= 0


def _starts(situation: Situation, records: Sequence[ContainerFacts]) -> list[Action]:
    targets, backoff = situation.targets, situation.backoff
    if not _may_start(situation) or _crowd_until(situation) > situation.now:
        return []
    starting = [record for record in records if record.state is State.STARTING]
    missing = _missing(situation, records) - len(starting)
    room = targets.max_containers - len(situation.records)
    most = min(targets.concurrency, backoff.batch)
    # Those whose kernels are being started leave processors idle half of the time: each has a place of its own.
    at_once = min(most - sum(1 for record in starting if not record.answers), 2 * most - len(starting))
    return [Start() for _ in range(max(0, min(missing, room, at_once)))]


def _crowd_until(situation: Situation) -> float:
    """Until when nothing is started, as a crowd has just come and nobody waits for more; in the past if none has."""
    claims = [
        record.changed_at
        for record in situation.records
        if record.state is State.CLAIMED and situation.now - record.changed_at < _CALM
    ]
    is_crowd = len(claims) >= _CROWD and not situation.waiting
    return min(claims) + _CROWD_SECONDS if is_crowd else -math.inf


def _wake_at(situation: Situation) -> float:
    now, targets = situation.now, situation.targets
    moments = [situation.backoff.retry_at, _crowd_until(situation)]
    moments += [record.removal_due_at for record in situation.records if record.state is State.REMOVING]
    if targets.ready_max_age > 0:
        moments += [
            record.created_at + targets.ready_max_age for record in situation.records if record.state is State.READY
        ]
    return min((moment for moment in moments if moment > now), default=math.inf)
