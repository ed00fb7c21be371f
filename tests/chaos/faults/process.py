"""What happens to the service's process: it is killed, stopped, told things, and its tasks raise."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tests.chaos.faults.managers import nobody_else_gets_the_pool

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


@fault(rounds=200, cheap=True, engines=("docker", "local"))
async def kill_9(stage: Stage) -> None:
    """At any moment, also of the start."""
    await stage.sleep(0, 2)
    if stage.random.random() < 0.3:
        stage.kill()
        stage.start()
        await stage.sleep(0, 1.5)
    await stage.start_anew()


@fault(rounds=20, engines=("docker", "local"))
async def sigterm(stage: Stage) -> None:
    """As a restart does it: a cell that runs comes to its end. Now and then twice, which cuts it off."""
    session = await stage.visitors.claim()
    assert session is not None
    cell = asyncio.ensure_future(stage.visitors.run(session, "import time; time.sleep(3); print('done', end='')"))
    await stage.sleep(0.5, 1.5)
    forced = stage.random.random() < 0.4
    began = time.monotonic()
    stage.service.signal(signal.SIGTERM)
    if forced:
        stage.note("twice")
        await stage.sleep(0, 0.5)
        assert not stage.has_ended, "it has not waited"
        stage.service.signal(signal.SIGTERM)
    code = await stage.ended()
    took = time.monotonic() - began
    stage.note(f"ended after {took:.1f} s")
    assert code == 0, f"exit code {code}{stage.service.report()}"
    printed = await cell
    assert printed == "done" or stage.service.found("forced"), printed
    assert forced or printed == "done", printed
    stage.start()
    await stage.answers()
    await stage.visitors.end(session)


@fault(rounds=10, engines=("docker", "local"))
async def sighup_storm(stage: Stage) -> None:
    """Hundreds of reloads, each with other options, and some with a file that is none."""
    before = len(stage.service.found("option_changed"))
    for number in range(stage.random.randint(50, 300)):
        stage.configure(
            "max_waiting = [" if number % 10 == 5 else f'place_lease = "{number + 1}m"\nmax_waiting = {number}'
        )
        stage.service.signal(signal.SIGHUP)
        await asyncio.sleep(stage.random.choice((0, 0, 0.02)))
    await asyncio.sleep(1)
    stage.configure("")
    stage.service.signal(signal.SIGHUP)
    await asyncio.sleep(1)
    assert len(stage.service.found("option_changed")) > before, "no option has changed"


# Shorter than a minute. Whoever shows himself all the time is never idle by them.
_SHORT_LIMITS = ("--cull-unvisited=25s", "--cull-disconnected=25s", "--cull-timeout=45s")


@fault(rounds=3, engines=("docker", "local"))
async def sigstop(stage: Stage) -> None:
    """Not scheduled for a minute: a machine that swaps, a virtual machine that is moved.

    Whoever came meanwhile has come in time, though all limits were over before the service could hear of it. The pool
    stays its own.
    """
    await stage.start_anew(options=_SHORT_LIMITS)
    unopened = await stage.visitors.claim()
    assert unopened is not None
    async with stage.visitors.present(unopened):
        await asyncio.sleep(2)
        stage.service.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            await nobody_else_gets_the_pool(stage)
            await asyncio.sleep(60 - (time.monotonic() - began))
        finally:
            stage.service.signal(signal.SIGCONT)
        await asyncio.sleep(3)
        assert await stage.visitors.come_back(unopened), "the notebook that nobody could open does not answer"
        assert not stage.service.found("reaped"), "sessions were reaped"
        await stage.start_anew()
    await stage.visitors.end(unopened)


@fault(rounds=10, engines=("docker", "local"))
async def sigstop_for_seconds(stage: Stage) -> None:
    """The same, shorter."""
    await stage.sleep(0, 1)
    stage.service.signal(signal.SIGSTOP)
    await stage.sleep(1, 5)
    stage.service.signal(signal.SIGCONT)


VITAL = ("reconciler", "reaper", "claims", "proxy", "lock", "engine-events")
OTHERS = ("static-files", "hold", "start-*", "remove-*", "died-*", "claim-*", "serve-*", "Task-*")


@fault(rounds=60, cheap=True)
async def a_task_raises(stage: Stage) -> None:
    """Any of its tasks, at any step, any error. Without a vital one the service ends, and is started again."""
    stage.visitors.patient_with |= {500}
    pattern = stage.random.choice((*VITAL, *OTHERS))
    kind = stage.random.choice(("bug", "lookup", "memory", "io"))
    steps = stage.random.choice((1, 1, 2, 3, 8))
    stage.note(f"{pattern} raises {kind} at its step {steps}")
    stage.order(f"raise {pattern} {steps} {kind}")
    await asyncio.sleep(4)
    stage.order("raise nothing 1 bug")  # in case that no such task came
    if stage.service.found("task_died", level="critical"):
        code = await stage.ended()
        assert code == 1, f"exit code {code}"
    await stage.revive()
