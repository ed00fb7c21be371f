"""What happens to the service's process: it is killed, stopped, told things, and its tasks raise."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from tests.chaos.faults import fault

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


@fault(rounds=200, cheap=True, engines=("docker", "local"))
async def kill_9(stage: Stage) -> None:
    """At any moment, also of the start."""
    await stage.sleep(0, 2)
    stage.kill()
    if stage.random.random() < 0.3:
        stage.start()
        await stage.sleep(0, 1.5)
        stage.kill()
    stage.start()
    await stage.answers()


@fault(rounds=20, engines=("docker", "local"))
async def sigterm(stage: Stage) -> None:
    """As an upgrade does it; now and then twice, which forces."""
    await stage.sleep(0, 2)
    stage.service.signal(signal.SIGTERM)
    if stage.random.random() < 0.4:
        await stage.sleep(0, 0.5)
        if not stage.has_ended:
            stage.service.signal(signal.SIGTERM)
    code = await stage.ended()
    assert code == 0, f"exit code {code}{stage.service.report()}"
    stage.start()
    await stage.answers()


@fault(rounds=10)
async def sighup_storm(stage: Stage) -> None:
    """Hundreds of reloads."""
    for _ in range(stage.random.randint(50, 300)):
        stage.service.signal(signal.SIGHUP)
        await asyncio.sleep(stage.random.choice((0, 0, 0.02)))


@fault(rounds=3)
async def sigstop(stage: Stage) -> None:
    """Not scheduled for a minute: a machine that swaps, a virtual machine that is moved."""
    await stage.sleep(0, 1)
    stage.service.signal(signal.SIGSTOP)
    await asyncio.sleep(60)
    stage.service.signal(signal.SIGCONT)


@fault(rounds=10)
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
