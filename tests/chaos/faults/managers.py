"""Two managers of one pool, in every way an operator can produce them, and two pools on one engine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tests.e2e.service import PROGRAM, environment, run_to_the_end

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

_LOCKED = 6


async def _second(stage: Stage, *options: str, command: str = "serve", wrapper: tuple[str, ...] = ()) -> int:
    """Run another manager of the pool, which must not become one. Returns its exit code."""
    arguments = [f"--pool-name={stage.deployment.pool}", f"--runtime-dir={stage.runtime_dir}", *options]
    if command == "serve":
        arguments = ["--ip=127.0.0.1", *stage.options(), "--port=0", "--admin-port=0", *arguments]
    done = await asyncio.to_thread(
        subprocess.run,
        [*wrapper, PROGRAM, command, *arguments],
        capture_output=True, text=True, check=False, timeout=60, env=environment({"DOCKER_HOST": stage.engine.host}),
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


@fault(rounds=20, cheap=True)
async def a_second_manager(stage: Stage) -> None:
    """Started beside the first: the same way, with another runtime directory, as in a container, as a command."""
    elsewhere = f"--runtime-dir={stage.elsewhere}"
    ways: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
        "the same way": ((), "serve", ()),
        "with another runtime directory": ((elsewhere,), "serve", ()),
        "in another process namespace": ((elsewhere,), "serve", ("unshare", "--pid", "--fork", "--mount-proc")),
        "to clean up": (("--cleanup-on-exit", elsewhere), "serve", ()),
        "purge": (("--yes",), "purge", ()),
        "purge with another runtime directory": (("--yes", elsewhere), "purge", ()),
    }
    way = stage.random.choice(list(ways))
    stage.note(way)
    options, command, wrapper = ways[way]
    code = await _second(stage, *options, command=command, wrapper=wrapper)
    assert code == _LOCKED, f"exit code {code}"


@fault(rounds=10)
async def two_starts_at_once(stage: Stage) -> None:
    """After a crash, by systemd and by hand: one of them has the pool."""
    stage.kill()
    beside = asyncio.ensure_future(
        _second(stage, f"--runtime-dir={stage.elsewhere}") if stage.random.random() < 0.5 else _second(stage)
    )
    await stage.sleep(0, 0.3)
    service = stage.start()
    done, _ = await asyncio.wait(
        (beside, watching := asyncio.ensure_future(asyncio.to_thread(service.wait, 60))),
        return_when=asyncio.FIRST_COMPLETED, timeout=40,
    )  # fmt: skip
    assert done, "both go on"
    if beside in done:
        assert beside.result() == _LOCKED
        stage.note("the second was late")
    else:
        beside_pid = watching.result()
        assert beside_pid == _LOCKED


@fault(rounds=5)
async def the_hold_is_removed(stage: Stage) -> None:
    """By hand, again and again, with nobody who wants it."""
    for _ in range(stage.random.randint(1, 4)):
        await asyncio.to_thread(stage.docker, "rm", "--force", f"tmpnb.{stage.deployment.pool}.manager", check=False)
        await stage.sleep(0, 1)


@fault(rounds=5)
async def a_successor_takes_the_pool(stage: Stage) -> None:
    """The first hangs, its hold is removed by hand, a second one takes over; the first must go."""
    first = stage.service
    first.signal(signal.SIGSTOP)
    try:
        await asyncio.to_thread(stage.docker, "rm", "--force", f"tmpnb.{stage.deployment.pool}.manager", check=False)
        # The first still has the ports; its visitors wait, and find the next service there.
        second = stage.start(f"--runtime-dir={stage.elsewhere}", "--port=0", "--admin-port=0")
        await asyncio.to_thread(second.wait_for, "listening")
        await stage.sleep(0.5, 3)
    finally:
        first.signal(signal.SIGCONT)
    assert await asyncio.to_thread(first.wait, 60) == _LOCKED, first.report()
    stage.kill()
    stage.start()
    await stage.answers()


@fault(rounds=5)
async def another_pool_on_the_engine(stage: Stage) -> None:
    """Is started, has sessions, is killed, and is purged; this one does not notice."""
    pool = f"{stage.deployment.pool}-2"
    options = [
        f"--pool-name={pool}", f"--runtime-dir={stage.runtime_dir}", "--pool-size=1", "--max-containers=2",
        "--ip=127.0.0.1", "--log-format=json", *stage.notebook_options(), "--port=0", "--admin-port=0",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "serve", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment({"DOCKER_HOST": stage.engine.host}),
    )  # fmt: skip
    try:
        await stage.sleep(2, 5)
    finally:
        process.send_signal(stage.random.choice((signal.SIGKILL, signal.SIGTERM)))
        await asyncio.to_thread(process.wait)
    await asyncio.sleep(1)
    done = await asyncio.to_thread(
        run_to_the_end, "purge", "--yes", f"--pool-name={pool}", f"--runtime-dir={stage.runtime_dir}",
        env={"DOCKER_HOST": stage.engine.host},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    left = await asyncio.to_thread(stage.docker, "ps", "-aq", "--filter", f"label=org.tmpnb.pool={pool}")
    assert not left, left
