"""The reconciler with everything round it, on the engine in memory: what must not follow from what goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.e2e.inprocess import Rig, running
from tests.pool_support import config_of, reaper_of
from tmpnb_py.core.errors import EngineDownError, LackError
from tmpnb_py.core.models import ContainerSpec, EndReason, State
from tmpnb_py.engines import fake
from tmpnb_py.engines.fake import PORT_IMAGE, FakeHost
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.pools import reaper


@pytest.fixture
async def host() -> AsyncIterator[FakeHost]:
    async with FakeHost() as host:
        yield host


async def answers(rig: Rig, session: str) -> int:
    """The status of a session's own API."""
    async with rig.client.get(f"/user/{session}/api") as answer:
        return answer.status


async def again(rig: Rig, condition: Callable[[], bool]) -> None:
    """The engine is looked at again."""
    rig.pool.observe_soon()
    await rig.until(condition)


# --- what this process lacks is no evidence


async def test_a_lack_of_descriptors_costs_no_ready_container(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(pool_size=5, max_containers=8) as rig:
        await rig.ready(5)
        before = {one.id for one in rig.pool.in_state(State.READY)}

        async def lacking(_: Endpoint, __: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(Endpoint, "connect", lacking)
            async with rig.client.post("/api/spawn") as answer:
                assert answer.status == 503
            async with rig.client.post("/api/tickets", json={"target": "lab"}) as answer:
                assert answer.status in (200, 201, 202), await answer.text()
            await asyncio.sleep(0.2)
        await rig.until(lambda: rig.pool.count(State.CLAIMED) == 1)  # whoever waited is served
        left = {one.id for one in rig.pool}
        assert before <= left, "not one of them was removed"


async def test_a_lack_of_descriptors_while_taking_up_loses_nothing(
    host: FakeHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(host, runtime_dir=tmp_path, cleanup_on_exit=False, pool_size=2) as rig:
        await rig.ready(2)
        session = (await rig.spawn())["id"]
        await rig.ready(2)
        before = set(host.containers)
    real = os.open

    def lacking(path: object, flags: int, *arguments: object, **more: object) -> int:
        if flags & os.O_PATH:
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, flags, *arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", lacking)
        async with running(host, runtime_dir=tmp_path, pool_size=2) as rig:
            await rig.until(lambda: rig.pool.listed)
            assert (rig.pool.count(State.READY), rig.pool.count(State.CLAIMED)) == (2, 1)
            assert await answers(rig, session) == 503, "for now"
            patched.undo()
            assert await answers(rig, session) == 200
            await rig.spawn()
            assert before <= set(host.containers)


async def test_the_engine_is_not_blamed_for_what_we_lack() -> None:
    async with running() as rig:
        await rig.ready(1)
        rig.engine.fail_next("list", LackError("no file descriptor is left"))
        await again(rig, lambda: rig.pool.failure is not None)
        assert not rig.pool.engine_down
        await rig.until(lambda: rig.pool.failure is None)
        await rig.spawn()


# --- a session that cannot be dialled


async def _restarted_without_its_socket(host: FakeHost, runtime_dir: Path) -> tuple[str, Path, Path]:
    async with running(host, runtime_dir=runtime_dir, cleanup_on_exit=False, pool_size=0) as rig:
        rig.pool.resize(1)
        await rig.ready(1)
        session = str((await rig.spawn())["id"])
        rig.pool.resize(0)
        await rig.until(lambda: len(rig.pool) == 1)
    directory = host.containers["tmpnb", session].directory
    away = directory.with_name("away")
    directory.rename(away)
    return session, directory, away


async def test_a_session_out_of_reach_is_tried_again(host: FakeHost, tmp_path: Path) -> None:
    session, directory, away = await _restarted_without_its_socket(host, tmp_path)
    async with running(host, runtime_dir=tmp_path, pool_size=0) as rig:
        await rig.until(lambda: rig.pool.listed)
        assert await answers(rig, session) == 503
        away.rename(directory)
        await again(rig, lambda: rig.pool.session(session) is not None)
        assert await answers(rig, session) == 200


async def test_what_cannot_be_asked_is_not_idle(host: FakeHost, tmp_path: Path) -> None:
    session, directory, away = await _restarted_without_its_socket(host, tmp_path)
    limits = {"cull_timeout": 0.1, "cull_disconnected": 0.1}
    async with running(host, runtime_dir=tmp_path, pool_size=0, **limits) as rig:
        await rig.until(lambda: rig.pool.listed)
        await asyncio.sleep(1.5)  # PRESENCE_WINDOW has no part in it: nobody was there
        assert rig.pool.count(State.CLAIMED) == 1
        container = rig.pool.get(session)
        assert container is not None
        container.last_presence -= 3600
        container.last_activity -= 3600
        await reaper_of(rig.pool).reap_once()
        assert container.state is State.CLAIMED
        container.unreachable_since = time.monotonic() - reaper._OUT_OF_REACH
        await reaper_of(rig.pool).reap_once()
        assert container.reason is EndReason.UNREACHABLE
        away.rename(directory)


async def test_a_session_whose_directory_was_removed_ends_soon(host: FakeHost, tmp_path: Path) -> None:
    """Its visitor would wait for ever for what can't come back, and be told that it is about to start."""
    session, directory, away = await _restarted_without_its_socket(host, tmp_path)
    directory.parent.rename(tmp_path / "elsewhere")
    async with running(host, runtime_dir=tmp_path, pool_size=0) as rig:
        await rig.until(lambda: rig.pool.listed)
        container = rig.pool.get(session)
        assert container is not None
        assert not container.is_cut_off  # where the whole directory is not seen, it may be seen again
        (tmp_path / "elsewhere").rename(directory.parent)
        await again(rig, lambda: container.is_cut_off)
        await reaper_of(rig.pool).reap_once()
        assert container.state is State.CLAIMED
        container.unreachable_since = time.monotonic() - reaper._CUT_OFF
        await reaper_of(rig.pool).reap_once()
        assert container.reason is EndReason.UNREACHABLE
        assert await answers(rig, session) == 410
        away.rename(directory)


async def test_a_container_that_was_restarted_is_followed_to_its_new_port(host: FakeHost) -> None:
    async with running(host, image="fake-port") as rig:
        await rig.ready(1)
        session = (await rig.spawn())["id"]
        await rig.ready(1)
        assert await answers(rig, session) == 200
        container = host.containers["tmpnb", session]
        await fake._stop(container)
        before, container.address = (
            container.address,
            await fake._start(container, fake._answering(container.spec, set())),
        )
        assert before != container.address
        assert container.spec.config.image == PORT_IMAGE
        assert await answers(rig, session) == 502
        record = rig.pool.session(session)
        assert record is not None
        await again(rig, lambda: record.endpoint is not None and record.endpoint.address == container.address)
        assert await answers(rig, session) == 200


# --- what the engine does after we gave up


async def test_a_create_that_succeeded_after_its_time_out_is_removed(host: FakeHost) -> None:
    async with running(host, pool_size=0) as rig:
        await rig.until(lambda: rig.pool.listed)
        rig.engine.fail_next("start", EngineDownError("it did not answer in time"))
        rig.pool.resize(1)
        await again(rig, lambda: any(method == "start" for method, _ in rig.engine.calls))
        rig.pool.resize(0)
        late = next(name for method, name in rig.engine.calls if method == "start")
        await rig.until(lambda: rig.pool.ended(late) is not None)
        rig.pool.observe_soon()
        await rig.until(lambda: len(rig.pool) == 0)
        config = await config_of(rig.pool)
        directory = host.directory / "tmpnb" / late
        directory.mkdir(parents=True)
        spec = ContainerSpec(late, "token", config)
        host.containers["tmpnb", late] = fake.FakeContainer("tmpnb", spec, time.time(), directory)
        await again(rig, lambda: ("tmpnb", late) not in host.containers)


# --- bounds and settings


async def test_the_capacity_bounds_what_is_ready(host: FakeHost) -> None:
    async with running(host, pool_size=3, max_containers=10) as rig:
        await rig.ready(3)
        for _ in range(4):
            await rig.spawn("?wait=10")
        await rig.ready(3)
        rig.service.reload(rig.service.options.current.model_copy(update={"max_containers": 4}))
        await rig.until(lambda: rig.pool.capacity == 4 and rig.pool.count(State.READY) == 0)
        async with rig.client.post("/api/spawn") as answer:
            assert answer.status == 429
        await rig.until(lambda: len(host.containers) == 4)


async def test_settings_that_change_while_the_capacity_is_asked_for_are_not_lost() -> None:
    async with running(pool_size=1, max_containers=20) as rig:
        await rig.ready(1)
        rig.engine.delays["info"] = 0.3
        asked = sum(method == "info" for method, _ in rig.engine.calls)
        rig.service.reload(rig.service.options.current.model_copy(update={"max_containers": 30}))
        await rig.until(lambda: sum(method == "info" for method, _ in rig.engine.calls) > asked)
        rig.service.reload(rig.service.options.current.model_copy(update={"max_containers": 3}))
        await rig.until(lambda: rig.pool.capacity == 3, seconds=5)


# --- removals that hang


async def test_removals_that_hang_hold_up_no_other(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(host, pool_size=0, max_containers=20) as rig:
        rig.pool.resize(8)
        await again(rig, lambda: rig.pool.count(State.READY) == 8)
        sessions = [(await rig.spawn())["id"] for _ in range(8)]
        hanging, real, released = set(sessions[:6]), rig.engine.remove, asyncio.Event()

        async def remove(container_id: str) -> None:
            if container_id in hanging:
                await released.wait()
            await real(container_id)

        monkeypatch.setattr(rig.engine, "remove", remove)
        await rig.ready(8)
        began = time.monotonic()
        for session in sessions:
            container = rig.pool.get(session)
            assert container is not None
            rig.pool.end(container, EndReason.IDLE, began)
        await rig.until(lambda: not {("tmpnb", name) for name in sessions[6:]} & set(host.containers), seconds=8)
        assert time.monotonic() - began < 8
        await rig.spawn()
        await rig.ready(8)  # starts go on
        released.set()
        await rig.until(lambda: rig.pool.count(State.REMOVING) == 0)


async def test_an_end_is_told_once_though_the_container_comes_back(host: FakeHost) -> None:
    """A removal that the engine confirmed and did not do: it is removed again, and its visitor is told the reason."""
    async with running(host) as rig:
        await rig.ready(1)
        session = (await rig.spawn())["id"]
        await rig.ready(1)
        kept = dataclasses.replace(host.containers["tmpnb", session])
        record = rig.pool.get(session)
        assert record is not None
        rig.pool.end(record, EndReason.IDLE, time.monotonic())
        await rig.until(lambda: rig.pool.get(session) is None)
        kept.directory.mkdir()
        host.containers["tmpnb", session] = kept
        await again(rig, lambda: ("tmpnb", session) not in host.containers)
        ended = rig.pool.ended(session)
        assert ended is not None
        assert ended.reason is EndReason.IDLE
        async with rig.client.get(f"/user/{session}/api") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (410, "idle")
