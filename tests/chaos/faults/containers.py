"""What others do to containers and images: operators with the docker command, the kernel, a cleaning job."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tests.engine_support import hung

if TYPE_CHECKING:
    from tests.chaos.stage import Stage


async def _victims(stage: Stage) -> dict[str, str]:
    """One container, or all of them, in any state."""
    await stage.sleep(0.5, 2)
    ids = await asyncio.to_thread(stage.docker_ids)
    if stage.random.random() < 0.7:
        ids = dict([stage.random.choice(list(ids.items()))]) if ids else {}
    stage.visitors.doomed |= ids.keys()
    return ids


@fault(rounds=20, cheap=True)
async def containers_are_killed(stage: Stage) -> None:
    """`docker kill`, `docker stop`, `docker rm --force`."""
    verb = stage.random.choice((("kill",), ("stop", "--time=1"), ("rm", "--force")))
    for docker_id in (await _victims(stage)).values():
        await asyncio.to_thread(stage.docker, *verb, docker_id, check=False)


@fault(rounds=10)
async def containers_are_restarted(stage: Stage) -> None:
    """Their notebooks are empty then: a session goes on under its URL."""
    for docker_id in (await _victims(stage)).values():
        await asyncio.to_thread(stage.docker, "restart", "--time=1", docker_id, check=False)


@fault(rounds=10)
async def containers_are_paused(stage: Stage) -> None:
    """For seconds. What is theirs waits."""
    ids = await _victims(stage)
    for docker_id in ids.values():
        await asyncio.to_thread(stage.docker, "pause", docker_id, check=False)
    await stage.sleep(1, 8)
    for docker_id in ids.values():
        await asyncio.to_thread(stage.docker, "unpause", docker_id, check=False)


@fault(rounds=5)
async def a_container_runs_out_of_memory(stage: Stage) -> None:
    """A visitor's code takes more than there is; or somebody outside lowers what there is, and little is too much."""
    session = await stage.visitors.claim()
    assert session is not None
    session.may_end = True
    size = 2**28
    if stage.random.random() < 0.5:
        docker_id = (await asyncio.to_thread(stage.docker_ids))[session.id]
        await asyncio.to_thread(stage.docker, "update", "--memory=32m", "--memory-swap=32m", docker_id)
        stage.note("of a limit that was lowered from outside")
        size = 2**25
    await stage.visitors.fill_memory(session, size)
    assert not await stage.visitors.run(session, "print(1)"), "it has taken the memory"


@fault(rounds=10, cheap=True)
async def a_container_hangs(stage: Stage) -> None:
    """Whatever is asked for it waits, while the engine answers everything else."""
    ids = await asyncio.to_thread(stage.docker_ids)
    one = stage.random.choice(list(ids.items()))
    stage.visitors.doomed.add(one[0])
    await asyncio.to_thread(_hang, stage, one[1], stage.random.uniform(2, 12))


def _hang(stage: Stage, docker_id: str, seconds: float) -> None:
    with hung(docker_id, host=stage.engine.host):
        time.sleep(seconds)


@fault(rounds=10)
async def the_image_vanishes(stage: Stage) -> None:
    """Its name is removed, and comes back."""
    await asyncio.to_thread(stage.docker, "tag", stage.image, stage.kept_image)
    await stage.sleep(0, 1)
    await asyncio.to_thread(stage.docker, "rmi", "--force", stage.image)
    await stage.sleep(1, 5)
    await asyncio.to_thread(stage.docker, "tag", stage.kept_image, stage.image)
    await asyncio.to_thread(stage.docker, "rmi", stage.kept_image)


@fault(rounds=10)
async def the_image_is_retagged(stage: Stage) -> None:
    """Another image has its name now, and then the first one again."""
    await _replaced(stage, stage.other_image, 1, 6)


@fault(rounds=5)
async def every_second_start_fails(stage: Stage) -> None:
    """The image's server ends at once, every other time."""
    await _replaced(stage, stage.flaky_image, 4, 10)


async def _replaced(stage: Stage, image: str, least: float, most: float) -> None:
    """Another image has the name of the pool's for some seconds."""
    await asyncio.to_thread(stage.docker, "tag", stage.image, stage.kept_image)
    await asyncio.to_thread(stage.docker, "tag", image, stage.image)
    stage.observe()
    await stage.sleep(least, most)
    await asyncio.to_thread(stage.docker, "tag", stage.kept_image, stage.image)
    stage.observe()
