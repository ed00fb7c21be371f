"""What happens to the engine, or to what leads to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tests.chaos.unsteady import Rule

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

# What a service asks in its life; the rest is asked at the start only.
CREATE, START, RENAME, REMOVE = (
    r"POST /containers/create",
    r"POST /.*/start$",
    r"POST /.*/rename",
    r"DELETE /containers/",
)
LIST, EVENTS, INSPECT, UPDATE = (
    r"GET /containers/json",
    r"GET /events",
    r"GET /containers/\w+/json",
    r"POST /.*/update",
)
CALLS = (CREATE, START, RENAME, REMOVE, LIST, INSPECT, UPDATE, ".")


async def _with(stage: Stage, *rules: Rule, least: float = 3, most: float = 6) -> None:
    """These rules for some seconds, in which the pool is stirred too."""
    stage.note(
        ", ".join(f"{rule.call} {rule.action} {rule.seconds:.1f} s, chance {rule.chance:.1f}" for rule in rules)
    )
    stage.unsteady.random.seed(stage.random.random())
    stage.unsteady.rules = rules
    try:
        await stage.sleep(least, most)
    finally:
        stage.unsteady.rules = ()


def _some(stage: Stage) -> tuple[str, float]:
    """Some call, and how often it is met."""
    return stage.random.choice(CALLS), stage.random.choice((0.2, 0.5, 1.0))


@fault(rounds=30, cheap=True)
async def engine_answers_500(stage: Stage) -> None:
    """To some of its calls, or to all."""
    call, chance = _some(stage)
    await _with(stage, Rule(call, "refuse", chance=chance))


@fault(rounds=60)
async def engine_answers_nonsense(stage: Stage) -> None:
    """JSON of another shape, HTML, half an answer, no HTTP at all."""
    call, chance = _some(stage)
    await _with(stage, Rule(call, "nonsense", chance=chance))


@fault(rounds=30)
async def engine_is_slow(stage: Stage) -> None:
    """Each call takes up to two seconds more."""
    call, chance = _some(stage)
    await _with(stage, Rule(call, "delay", seconds=stage.random.uniform(0.1, 2), chance=chance))


@fault(rounds=30, cheap=True)
async def engine_cuts_calls(stage: Stage) -> None:
    """Before it was asked, or after it did what it was asked."""
    call, chance = _some(stage)
    await _with(stage, Rule(call, stage.random.choice(("cut", "unanswered")), chance=chance))


@fault(rounds=20)
async def calls_succeed_after_we_gave_up(stage: Stage) -> None:
    """Containers are created, started, renamed, removed while nobody waits for it any more."""
    call = stage.random.choice((CREATE, START, RENAME, REMOVE))
    seconds = 20.0 if call in (RENAME,) else 12.0
    await _with(stage, Rule(call, "late", seconds=seconds, chance=stage.random.choice((0.5, 1.0))), least=4, most=10)


@fault(rounds=20, cheap=True)
async def event_stream_is_cut(stage: Stage) -> None:
    """Again and again, and a container dies in between."""
    for _ in range(stage.random.randint(1, 10)):
        await asyncio.to_thread(stage.unsteady.cut, EVENTS)
        await stage.sleep(0, 0.5)
    ready = await asyncio.to_thread(stage.docker_ids, "ready")
    await asyncio.to_thread(stage.unsteady.cut, EVENTS)
    for docker_id in list(ready.values())[:1]:
        await asyncio.to_thread(stage.docker, "kill", docker_id)


@fault(rounds=10)
async def all_connections_are_cut(stage: Stage) -> None:
    """Those of calls, of events and of the hold on the pool."""
    for _ in range(stage.random.randint(1, 5)):
        await asyncio.to_thread(stage.unsteady.cut)
        await stage.sleep(0, 1)


@fault(rounds=10)
async def engine_socket_is_away(stage: Stage) -> None:
    """As while a package is upgraded."""
    await stage.sleep(0, 1)
    await asyncio.to_thread(stage.unsteady.shut)
    await stage.sleep(0.5, 6)
    if stage.random.random() < 0.5:
        await stage.start_anew()
        await stage.sleep(0, 2)
    await asyncio.to_thread(stage.unsteady.open)


@fault(rounds=5)
async def engine_hangs(stage: Stage) -> None:
    """SIGSTOP of dockerd: connections are accepted by the kernel, and nobody answers."""
    await stage.sleep(0, 1)
    pid = stage.engine.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        await stage.sleep(2, 15)
    finally:
        os.kill(pid, signal.SIGCONT)


@fault(rounds=3)
async def engine_hangs_for_a_minute(stage: Stage) -> None:
    """The same for longer than any call waits: open notebooks go on all the time."""
    session = await stage.visitors.claim()
    assert session is not None
    pid = stage.engine.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(12):
            assert await stage.visitors.run(session, "print(1, end='')") == "1", "an open notebook does not answer"
            await asyncio.sleep(5)
    finally:
        os.kill(pid, signal.SIGCONT)
    await stage.visitors.end(session)


@fault(rounds=10)
async def the_engines_clock_steps(stage: Stage) -> None:
    """By hours, to and fro: each time that the engine tells is off. Now and then the service starts meanwhile.

    (The kernel has no namespace for the wall clock, and what replaces libc's clock does not reach a Go program.)
    """
    try:
        for _ in range(2):
            stage.unsteady.clock = stage.random.choice((-1, 1)) * stage.random.randint(3600, 40000)
            await stage.sleep(1, 3)
            if stage.random.random() < 0.4:
                stage.note(f"a start with the engine's clock {stage.unsteady.clock:+} s off")
                await stage.start_anew()
    finally:
        stage.unsteady.clock = 0


@fault(rounds=5)
async def engine_restarts(stage: Stage) -> None:
    """As `systemctl restart docker` does it; its containers end with it, unless it has live-restore."""
    keep = stage.random.random() < 0.5
    stage.note("live-restore" if keep else "as usual")
    stage.engine.keep_containers(keep=keep)
    if not keep:
        stage.visitors.may_end = True
    await stage.sleep(0.5, 1.5)
    await asyncio.to_thread(stage.engine.stop)
    await stage.sleep(0, 5)
    await asyncio.to_thread(stage.engine.start)
    stage.engine.keep_containers(keep=False)


@fault(rounds=5)
async def engine_is_killed(stage: Stage) -> None:
    """`kill -9` of dockerd and containerd with it; containers go on, and are ended when it starts again."""
    stage.visitors.may_end = True
    await stage.sleep(0, 1)
    await asyncio.to_thread(stage.engine.kill)
    await stage.sleep(0, 3)
    await asyncio.to_thread(stage.engine.start)


@fault(rounds=5)
async def engine_disk_is_full(stage: Stage) -> None:
    """Nothing of a container can be written."""
    disk = stage.engine.disk
    assert disk is not None
    assert disk.is_mount(), "never fill the machine's own disk"
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        await stage.sleep(2, 6)
    finally:
        filler.unlink()
