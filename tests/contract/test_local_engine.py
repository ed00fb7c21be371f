"""The local engine beyond the contract: processes that outlive us, ids that are used again, crashes in between."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import json
import operator
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests import local_support
from tests.contract.local_rig import LocalRig
from tests.contract.rigs import MIB, fetch
from tmpnb_py.core.errors import EngineError, StartFailedError
from tmpnb_py.core.models import Address, Egress, Observed, State
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.engines.local import seccomp
from tmpnb_py.engines.local.engine import LocalEngine
from tmpnb_py.engines.local.process import Process
from tmpnb_py.engines.local.sandbox import Sandbox
from tmpnb_py.workshops import manifest


@pytest.fixture(params=["sandboxed", "unprotected"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[LocalRig]:
    local_support.need_jupyterlab()
    rig = LocalRig(local_support.need_sandbox() if request.param == "sandboxed" else None)
    yield rig
    await rig.close()


@pytest.fixture
async def engine(rig: LocalRig, pool: str) -> LocalEngine:
    engine = rig.engine(pool)
    await engine.open()
    return engine


async def only(engine: LocalEngine) -> Observed:
    (observed,) = await engine.list()
    return observed


async def until_dead(engine: LocalEngine, container_id: str) -> None:
    """Wait until the engine lists it as ended: as the reconciler does, a list after each event."""
    async with asyncio.timeout(60):
        async for _ in engine.events():
            if any(one.id == container_id and one.exit for one in await engine.list()):
                return


async def fatal(address: Address, path: str, code: str) -> None:
    """Run code that the server does not survive."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await fetch(address, path, code)


def rewrite(rig: LocalRig, pool: str, container_id: str, **values: object) -> None:
    path = rig.records(pool).path(container_id) / "container.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


async def test_a_process_id_that_was_used_again_is_left_alone(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    spec = await rig.spec(engine)
    await engine.start(spec)
    await rig.die(pool, spec.id)
    await until_dead(engine, spec.id)
    await engine.close()
    with subprocess.Popen(["sleep", "300"]) as innocent:
        try:
            today = local_process.identify(innocent.pid)
            # Its id and nothing else; its start time on another boot; its id and a file that names it as the first
            # process of the sandbox.
            for started, boot in ((today.started - 1, today.boot_id), (today.started, "another")):
                process = {"pid": innocent.pid, "started": started, "boot_id": boot}
                rewrite(rig, pool, spec.id, process=process)
                status = {"child-pid": innocent.pid, "pid-namespace": 1, "exit-code": 5}
                (rig.records(pool).path(spec.id) / "status").write_text(json.dumps(status))
                second = rig.engine(pool)
                await second.open()
                observed = await only(second)
                assert observed.exit is not None
                assert observed.exit.status == 5
                assert observed.address is None
            await second.remove(spec.id)
            assert innocent.poll() is None
        finally:
            innocent.kill()
    assert await rig.remains(pool) == []


async def test_what_runs_is_watched_by_whoever_comes_next(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    spec = await rig.spec(engine)
    address = await engine.start(spec)
    await fetch(address, f"{spec.base_path}api")
    await engine.mark_ready(spec.id)
    await engine.close()
    second = rig.engine(pool)
    await second.open()
    assert (await only(second)).address == address
    await fatal(address, f"{spec.base_path}exec", "import os; os._exit(9)")
    await until_dead(second, spec.id)
    observed = await only(second)
    assert observed.exit is not None
    assert (observed.exit.status, observed.state) == (9, State.READY)
    await second.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_everything_goes_with_the_supervisor_dead_and_children_astray(
    rig: LocalRig, engine: LocalEngine, pool: str
) -> None:
    spec = await rig.spec(engine)
    address = await engine.start(spec)
    astray = "import subprocess; subprocess.run(['setsid', '--fork', 'sh', '-c', 'sleep 300 & exec sleep 301'])"
    assert await fetch(address, f"{spec.base_path}exec", astray) == ""
    await rig.die(pool, spec.id)
    await until_dead(engine, spec.id)
    assert local_process.marked("TMPNB_BASE_PATH", spec.base_path)
    await engine.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_a_cancelled_start_leaves_nothing(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    for seconds in (0.0, 0.002, 0.02):
        spec = await rig.spec(engine)
        start = asyncio.create_task(engine.start(spec))
        await asyncio.sleep(seconds)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        if not start.cancelled():  # it was quicker
            await engine.remove(spec.id)
        assert await engine.list() == []
        assert await rig.remains(pool) == []


async def test_a_record_that_cannot_be_read_is_a_visitors_until_it_is_removed(
    rig: LocalRig, engine: LocalEngine, pool: str
) -> None:
    spec = await rig.spec(engine)
    await engine.start(spec)
    (rig.records(pool).path(spec.id) / "container.json").write_text('{"id": ')
    observed = await only(engine)
    assert (observed.id, observed.state, observed.exit) == (spec.id, State.CLAIMED, None)
    await engine.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_what_a_crash_left_half_made_is_removed_when_it_is_old(
    rig: LocalRig, engine: LocalEngine, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = rig.records(pool).directory / ".new-half"
    new.mkdir()
    old = rig.records(pool).directory / ".old-gone"
    old.mkdir()
    await engine.open()
    assert await engine.list() == []
    assert new.exists()
    monkeypatch.setattr("tmpnb_py.engines.local.launch._LEFTOVER_SECONDS", -1.0)
    await engine.open()
    assert await rig.remains(pool) == []


@pytest.mark.parametrize("step", ["cgroups.make", "_sockets.create", "_started", "_hold", "records.commit"])
async def test_with_the_pool_goes_what_a_crash_left_a_moment_ago(
    rig: LocalRig, engine: LocalEngine, pool: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A crash at any step of a start, which nobody is there to clear up after."""

    class Crash(BaseException):
        pass

    def after(call: Callable[..., object]) -> Callable[..., object]:
        def crash(*arguments: object, **named: object) -> object:
            call(*arguments, **named)
            raise Crash

        return crash

    launcher = engine._launcher
    *owner, name = step.split(".")
    target = type(operator.attrgetter(*owner)(launcher) if owner else launcher)
    with monkeypatch.context() as patch:
        patch.setattr(target, name, after(getattr(target, name)))
        patch.setattr(type(launcher), "clear", lambda *_: None)
        spec = await rig.spec(engine, egress=Egress.WEB)  # sandboxed, it has a directory of a socket, too
        with pytest.raises(Crash):
            launcher.launch(spec)
    again = rig.engine(pool)
    await again.open()
    for one in await again.list():
        await again.remove(one.id)
    await again.remove_pool()
    assert await rig.remains(pool) == []


async def test_what_was_starting_when_its_record_was_removed_is_ended_all_the_same(
    rig: LocalRig, engine: LocalEngine, pool: str, tmp_path: Path
) -> None:
    spec = await rig.spec(engine)
    await engine.start(spec)
    rig.records(pool).path(spec.id).rename(tmp_path / "gone")  # at once: its log is being written
    await engine.remove(spec.id)
    assert local_process.marked("TMPNB_BASE_PATH", f"/user/{spec.id}/") == []
    assert await rig.remains(pool) == []


async def test_a_start_that_cannot_be_recorded_leaves_no_zombie(
    rig: LocalRig, engine: LocalEngine, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(engine._records, "commit", no_space)
    with pytest.raises(EngineError):
        await engine.start(await rig.spec(engine))
    with pytest.raises(ChildProcessError):  # or there would be one
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    assert await rig.remains(pool) == []


def log_size(rig: LocalRig, pool: str, container_id: str) -> int:
    """Bytes that a log takes on the disk."""
    paths = rig.records(pool).path(container_id).glob("log*")
    return sum(path.stat().st_blocks * 512 for path in paths)


async def logged(engine: LocalEngine, container_id: str, *lines: str) -> None:
    """Wait until these are the last lines of a log."""
    async with asyncio.timeout(30):
        while await engine.logs(container_id, lines=len(lines)) != lines:
            await asyncio.sleep(0.02)


async def test_a_log_is_bounded_at_every_moment_and_its_end_is_kept(
    rig: LocalRig, engine: LocalEngine, pool: str
) -> None:
    """Also where nobody lists the pool meanwhile."""
    spec = await rig.spec(engine)
    address = await engine.start(spec)
    write = "import os\nfor n in range(80): os.write(1, b'x' * 99_999 + b'\\n')\nos.write(1, b'the end\\n')"
    writing = asyncio.create_task(fetch(address, f"{spec.base_path}exec", write))
    while not writing.done():
        assert log_size(rig, pool, spec.id) < 3 * MIB
        await asyncio.sleep(0.005)
    await logged(engine, spec.id, "the end")
    await fetch(address, f"{spec.base_path}exec", "import os\nos.write(1, b'and more\\n')")
    await logged(engine, spec.id, "the end", "and more")
    await engine.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_no_file_of_the_host_is_open_in_a_notebook(rig: LocalRig, engine: LocalEngine) -> None:
    """By one a visitor could fill the disk, lock it against us, or change its mode."""
    spec = await rig.spec(engine)
    address = await engine.start(spec)
    code = "import os, stat\nprint([stat.S_ISREG(os.fstat(fd).st_mode) for fd in (0, 1, 2)])"
    assert await fetch(address, f"{spec.base_path}exec", code) == "[False, False, False]\n"
    await engine.remove(spec.id)


async def test_what_is_printed_while_we_are_away_is_kept(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    spec = await rig.spec(engine)
    address = await engine.start(spec)
    await fetch(address, f"{spec.base_path}api")
    await engine.close()
    await fatal(address, f"{spec.base_path}exec", "import os; os.write(1, b'last words\\n'); os._exit(3)")
    second = rig.engine(pool)
    await second.open()
    await logged(second, spec.id, "last words")
    await second.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_the_kernels_word_for_out_of_memory(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    spec = await rig.spec(engine, mem_limit=64 * MIB)
    address = await engine.start(spec)
    if not rig.record(pool, spec.id).cgroups:
        pytest.skip("this user may not make control groups")
    await fetch(address, f"{spec.base_path}api")
    await fatal(address, f"{spec.base_path}exec", "x = bytes(range(256)) * (1 << 20)")
    await until_dead(engine, spec.id)
    observed = await only(engine)
    assert observed.exit is not None
    assert observed.exit.out_of_memory
    await engine.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_memory_is_limited_without_control_groups_too(
    rig: LocalRig, engine: LocalEngine, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine._launcher.cgroups = dataclasses.replace(engine._launcher.cgroups, parents={})
    spec = await rig.spec(engine, mem_limit=128 * MIB, pids_limit=40)
    address = await engine.start(spec)
    hog = "try: x = bytearray(200 << 20)\nexcept MemoryError: print('no')"
    assert await fetch(address, f"{spec.base_path}exec", hog) == "no\n"
    if rig.sandbox is not None:
        bomb = (
            "import os, signal, time\npids = []\n"
            "try:\n for _ in range(60):\n"
            "  if not (pid := os.fork()): time.sleep(30); os._exit(0)\n"
            "  pids.append(pid)\n"
            "except BlockingIOError: print(len(pids) < 40)\n"
            "for pid in pids: os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)"
        )
        assert await fetch(address, f"{spec.base_path}exec", bomb) == "True\n"
    facts = (
        "import os, resource as r\nprint(os.nice(0), r.getrlimit(r.RLIMIT_CORE)[0], r.getrlimit(r.RLIMIT_NOFILE)[0])"
    )
    assert await fetch(address, f"{spec.base_path}exec", facts) == "5 0 4096\n"
    await engine.remove(spec.id)


@pytest.mark.parametrize("rig", ["sandboxed"], indirect=True)
async def test_a_sandbox_that_cannot_be_made_says_why(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    rig.sandbox = Sandbox("/bin/false", "0", as_root=False, locked=True)
    broken = rig.engine(pool)
    await broken.open()
    with pytest.raises(StartFailedError, match="the sandbox could not be created"):
        await broken.start(await rig.spec(engine))
    assert await rig.remains(pool) == []


@pytest.mark.parametrize("rig", ["unprotected"], indirect=True)
async def test_a_socket_whose_path_is_too_long_is_refused(rig: LocalRig, pool: str) -> None:
    engine = rig.engine(pool, runtime_dir=rig.directory / ("x" * 80))
    await engine.open()
    with pytest.raises(EngineError, match="too long") as caught:
        await engine.start(await rig.spec(engine))
    assert "--runtime-dir" in caught.value.remedy
    assert await rig.remains(pool) == []


async def test_the_pools_own_files_go_when_it_is_empty(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    spec = await rig.spec(engine)
    await engine.start(spec)
    await engine.remove_pool()
    assert (await only(engine)).id == spec.id
    await engine.remove(spec.id)
    await engine.remove_pool()
    assert not (rig.directory / "run" / "local").exists()


async def test_it_is_read_and_measured_like_an_image(rig: LocalRig, engine: LocalEngine) -> None:
    facts = await engine.image("local")
    files = await engine.read_image(facts, [facts.workshops, "/nowhere"])
    assert list(files) == [facts.workshops]
    offered = {one.slug for one in manifest.parse(files[facts.workshops]).workshops}
    assert "first-steps-in-python" in offered
    assert offered.isdisjoint({"introduction-to-r", "graphics-with-ggplot2", "introduction-to-octave"})
    spec = await rig.spec(engine)
    await fetch(await engine.start(spec), f"{spec.base_path}api")
    usage = await engine.usage(spec.id)
    assert 4 * MIB < usage.memory < 128 * MIB
    await engine.remove(spec.id)


@pytest.mark.parametrize("rig", ["unprotected"], indirect=True)
async def test_each_has_a_session_keyring_of_its_own(rig: LocalRig, engine: LocalEngine, pool: str) -> None:
    """In a sandbox nobody can ask; what must not be shared must not depend on that."""
    machine = seccomp.machine()
    assert machine is not None
    keyctl = seccomp.number("keyctl", machine)
    code = f"import ctypes; print(ctypes.CDLL(None).syscall({keyctl}, 0, -3, 0))"
    seen = {int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)}
    for _ in range(2):
        spec = await rig.spec(engine)
        seen.add(int(await fetch(await engine.start(spec), f"{spec.base_path}exec", code)))
        await engine.remove(spec.id)
    assert len(seen) == 3 or seen == {-1}  # the kernel has none


def test_processes_are_told_apart_by_their_start() -> None:
    with subprocess.Popen(["sleep", "300"]) as sleeper:
        found = local_process.identify(sleeper.pid)
        assert local_process.is_alive(found)
        assert found in local_process.descendants(local_process.identify(os.getpid()))
        for other in (dataclasses.replace(found, started=found.started + 1), dataclasses.replace(found, boot_id="x")):
            assert not local_process.is_alive(other)
            assert local_process.end(other, list, 0.1)
        assert sleeper.poll() is None
        sleeper.send_signal(signal.SIGKILL)
    assert not local_process.is_alive(found)
    assert not local_process.is_alive(Process(4_194_305, 1, "x"))
    assert Path("/proc/self").exists()


@pytest.mark.parametrize("what", ["run", "run/local", "run/local/{pool}/containers/{id}"])
async def test_files_that_are_removed_while_it_runs_cost_no_session(
    rig: LocalRig, engine: LocalEngine, pool: str, what: str
) -> None:
    """Neither now nor after a restart; a container that had ended meanwhile is not made up again."""
    spec, gone = await rig.spec(engine), await rig.spec(engine)
    address = await engine.start(spec)
    await fetch(address, f"{spec.base_path}api")
    await engine.start(gone)
    await engine.remove(gone.id)
    await engine.mark_ready(spec.id)
    assert await engine.claim(spec.id, 1_700_000_000)
    shutil.rmtree(rig.directory / what.format(pool=pool, id=spec.id))
    for one in (engine, rig.engine(pool)):
        await one.open()
        listed = await only(one)
        assert (listed.id, listed.state, listed.claimed_unix) == (spec.id, State.CLAIMED, 1_700_000_000)
        assert (listed.address, listed.token, listed.exit) == (address, spec.token, None)
    if rig.sandbox is not None:  # else its socket was there, too
        assert await fetch(address, f"{spec.base_path}api") == {"version": "fake"}
    another = await rig.spec(engine)
    await fetch(await engine.start(another), f"{another.base_path}api")
    await asyncio.gather(engine.remove(spec.id), engine.remove(another.id))
    assert await engine.list() == []
    assert await rig.remains(pool) == []
