"""A service that cannot go on says so, ends with an error and keeps every session; optional work never ends it."""

from __future__ import annotations

import asyncio
import errno

import pytest
from structlog.testing import capture_logs

from tests.e2e.inprocess import Rig, running
from tests.integration.test_shared_files import FILES, address, host_with
from tmpnb_py.core.errors import PoolLockedError
from tmpnb_py.core.models import State
from tmpnb_py.engines.fake import FakeHost


async def _fault(rig: Rig) -> BaseException:
    """Wait until the service gives up, stop it as `serve` does, and return what it raised."""
    async with asyncio.timeout(60):
        await rig.service.until(asyncio.Event())
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        await rig.service.stop()
    return caught.value


@pytest.mark.parametrize("task", ["reconciler", "reaper", "claims", "proxy"])
async def test_the_death_of_a_vital_task_ends_the_service_with_an_error_and_keeps_sessions(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeHost() as host:
        die = asyncio.Event()

        async def dying(*_: object) -> None:
            await die.wait()
            raise KeyError("a mistake of ours")

        monkeypatch.setattr(f"tmpnb_py.{_PLACES[task]}.run", dying)
        async with running(host, cleanup_on_exit=True) as rig:
            if task != "reconciler":  # which alone makes some ready
                await rig.ready(1)
                session = await rig.spawn()
            with capture_logs() as logged:
                die.set()
                assert isinstance(await _fault(rig), KeyError)
            if task != "reconciler":
                assert host.containers["tmpnb", session["id"]].state is State.CLAIMED
        assert [(one["event"], one["task"]) for one in logged if "task" in one] == [("task_died", task)]


_PLACES = {
    "reconciler": "pools.reconciler.Reconciler",
    "reaper": "pools.reaper.Reaper",
    "claims": "claims.claims.Claims",
    "proxy": "proxy.server.Proxy",
}


async def test_a_task_that_merely_ends_is_a_fault_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ending(*_: object) -> None:
        pass

    monkeypatch.setattr("tmpnb_py.pools.reaper.Reaper.run", ending)
    async with running() as rig:
        assert "reaper" in str(await _fault(rig))


async def test_what_an_operator_can_mend_is_raised_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def locked(*_: object) -> None:
        raise PoolLockedError("somebody else manages it")

    monkeypatch.setattr("tmpnb_py.pools.reaper.Reaper.run", locked)
    async with running() as rig:
        assert isinstance(await _fault(rig), PoolLockedError)


async def test_a_process_that_cannot_be_started_costs_only_its_own_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for one more process: static files stay as they were packed first, and notes cannot be shown."""

    async def no_process(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("asyncio.create_subprocess_exec", no_process)
    async with host_with() as host, running(host) as rig:
        with capture_logs() as logged:
            await rig.ready(1)
            await rig.until(lambda: "static_files_not_compressed" in [one["event"] for one in logged])
        url = f"{address(rig)}/static/lab/main.1f.js"
        async with rig.client.get(url, headers={"Accept-Encoding": "br, gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert await response.read() == FILES["/opt/lab/main.1f.js"]
        await rig.spawn()
        assert rig.service.fault is None


async def test_optional_work_that_dies_does_not_take_the_service_along(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dying(*_: object) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("tmpnb_py.shared_files.shared.SharedFiles.run", dying)
    with capture_logs() as logged:
        async with running() as rig:
            await rig.ready(1)
            await rig.spawn()
            assert "task_died" in [one["event"] for one in logged]
            assert rig.service.fault is None
