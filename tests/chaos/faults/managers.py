"""Two managers of one pool, in every way an operator can produce them, and two pools on one engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.chaos.faults import fault
from tests.e2e.service import PROGRAM, environment, run_to_the_end

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

_LOCKED, _NO_PORT = 6, 5
_NAMESPACES = ("unshare", "--pid", "--fork", "--mount-proc")
_OTHER_MACHINE = (*_NAMESPACES, "--uts", "--ipc", "--net", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh")


async def _second(stage: Stage, *options: str, command: str = "serve", wrapper: tuple[str, ...] = ()) -> int:
    """Run another manager of the pool, which must not become one. Returns its exit code."""
    arguments = [f"--pool-name={stage.deployment.pool}", f"--runtime-dir={stage.runtime_dir}", *options]
    if command == "serve":
        arguments = ["--ip=127.0.0.1", *stage.options(), "--port=0", "--admin-port=0", *arguments]
    else:
        arguments += stage.command_options()
    done = await asyncio.to_thread(
        subprocess.run,
        [*wrapper, PROGRAM, command, *arguments],
        capture_output=True, text=True, check=False, timeout=60, env=environment(stage.operators_environment()),
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
        "in another process namespace": ((elsewhere,), "serve", _NAMESPACES),
        "in another process namespace with the runtime directory": ((), "serve", _NAMESPACES),
        "on another machine with the same engine": ((elsewhere,), "serve", _OTHER_MACHINE),
        "to clean up": (("--cleanup-on-exit", elsewhere), "serve", ()),
        "purge": (("--yes",), "purge", ()),
        "purge with another runtime directory": (("--yes", elsewhere), "purge", ()),
        "purge on another machine": (("--yes", elsewhere), "purge", _OTHER_MACHINE),
    }
    way = stage.random.choice(list(ways))
    stage.note(way)
    options, command, wrapper = ways[way]
    code = await _second(stage, *options, command=command, wrapper=wrapper)
    assert code == _LOCKED, f"exit code {code}"


@fault(rounds=10, engines=("local",))
async def a_second_manager_here(stage: Stage) -> None:
    """Of the local engine's pool, which is its runtime directory's."""
    way = stage.random.choice(("serve", "serve in another process namespace", "purge"))
    stage.note(way)
    if way == "purge":
        code = await _second(stage, "--yes", command="purge")
    else:
        code = await _second(stage, wrapper=_NAMESPACES if "namespace" in way else ())
    assert code == _LOCKED, f"exit code {code}"


async def nobody_else_gets_the_pool(stage: Stage) -> None:
    """Whoever tries while the service does not answer is told whose it is."""
    for elsewhere in ((), (f"--runtime-dir={stage.elsewhere}",)) if stage.has_engine else ((),):
        assert await _second(stage, *elsewhere) == _LOCKED
        assert await _second(stage, "--yes", *elsewhere, command="purge") == _LOCKED


@fault(rounds=20, engines=("docker", "local"))
async def two_starts_at_once(stage: Stage) -> None:
    """After a crash, by systemd and by hand: exactly one of two or three has the pool, whichever it is."""
    stage.kill()
    ways: list[tuple[str, ...]] = [()] * stage.random.randint(2, 3)
    if stage.has_engine and stage.random.random() < 0.5:
        ways[-1] = (f"--runtime-dir={stage.elsewhere}",)
        stage.note("one with another runtime directory")
    stage.random.shuffle(ways)
    services = []
    for options in ways:  # they take a second to come to the lock, more or less
        services.append(stage.start(*options))
        await stage.sleep(0, 0.1)
    async with asyncio.timeout(60):
        while sum(one.runs for one in services) > 1 or not any(one.found("listening") for one in services):
            assert any(one.runs for one in services), "nobody has the pool"
            await asyncio.sleep(0.05)
    (winner,) = [one for one in services if one.runs]
    stage.note(f"number {services.index(winner) + 1} of {len(services)} has it")
    codes = {one.wait() for one in services if one is not winner}
    # With a runtime directory of its own it comes to the port before it comes to the engine.
    assert codes <= {_LOCKED, *((_NO_PORT,) if any(ways) else ())}, f"exit codes {codes}"
    stage.choose(winner)
    await stage.answers()
    if ways[services.index(winner)]:
        await stage.start_anew()


@fault(rounds=20)
async def an_upgrade_and_a_second_start(stage: Stage) -> None:
    """Somebody starts another service, or purges, while a new process takes over, which it does all the same."""
    old = stage.service
    await stage.sleep(0, 1)
    others = [(), (f"--runtime-dir={stage.elsewhere}",), ("--yes",)]
    tries = []
    began = stage.random.uniform(0, 1.5)
    old.signal(signal.SIGUSR2)
    await asyncio.sleep(began)
    for options in others:
        tries.append(
            asyncio.ensure_future(_second(stage, *options, command="purge" if "--yes" in options else "serve"))
        )
        await stage.sleep(0, 0.2)
    try:
        new = int((await old.event("upgraded"))["pid"])
        codes = await asyncio.gather(*tries)
        assert codes == [_LOCKED] * len(others), f"exit codes {codes}"
        await stage.answers()
        await stage.sleep(0, 1)
    finally:
        for one in old.found("upgraded"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(one["pid"]), signal.SIGKILL)
        for trial in tries:
            trial.cancel()
    stage.note(f"process {new} took over")
    await stage.start_anew()


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
    await stage.start_anew()


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
