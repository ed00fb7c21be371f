"""Upgrades, and kill -9, in the middle of a class and of a timetable: the reserve, the links and the line go over."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e import test_upgrade
from tests.e2e.local import LocalDeployment
from tests.e2e.service import SECONDS, Service
from tests.e2e.test_classes import CLASS
from tests.e2e.test_upgrade import finally_ended, gone, start, upgraded

deployment = test_upgrade.deployment
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


async def drawn(client: aiohttp.ClientSession, key: str = "") -> dict[str, Any]:
    """The ticket of somebody who opens a class's link, or (without key) the first page."""
    async with client.post("/api/tickets", json={"class_key": key}) as response:
        answer = await response.json()
        assert response.status in (201, 503), answer
        return dict(answer)


async def until_pool(service: Service, pool: str = "", seconds: float = SECONDS, **wanted: int | bool) -> None:
    """Wait until a pool ("": the only one) is so."""
    path = f"/api/pool?pool={pool}" if pool else "/api/pool"
    async with asyncio.timeout(seconds):
        while not wanted.items() <= (found := await service.admin("GET", path)).items():
            await asyncio.sleep(0.1)
    assert found


async def serving(service: Service) -> int:
    """The process that is the service now."""
    return int((await service.admin("GET", "/api/status"))["pid"])


class Class:
    """A class that is on, as its people and its teacher know it, in whichever process serves it."""

    def __init__(self, made: dict[str, Any], people: int) -> None:
        self.made = made
        self.key = str(made["class_url"]).rpartition("/")[2]
        self.teacher = str(made["teacher_url"]).rpartition("/")[2]
        self.people = people
        self.sessions: dict[str, str] = {}

    def moved_to(self, service: Service) -> None:
        """A process that was started anew has a port of its own."""
        for name in ("class_url", "teacher_url"):
            self.made[name] = service.url + self.made[name].split("/", 3)[3]

    async def comes(self, service: Service, count: int) -> None:
        """So many come by the link at once, and none of them waits."""
        async with service.http() as client:
            for one in await asyncio.gather(*(drawn(client, self.key) for _ in range(count))):
                assert one["status"] == "ready", one
                self.sessions[one["session"]["id"]] = one["session"]["url"]

    async def check(self, service: Service) -> None:
        """Nobody has lost anything: who came, what is kept, both links, what the teacher told, each session."""
        (found,) = (await service.admin("GET", "/api/bookings"))["bookings"]
        came = len(self.sessions)
        assert (found["came"], found["left"]) == (came, self.people - came)
        assert [found[one] for one in ("class_url", "teacher_url")] == [
            self.made[one] for one in ("class_url", "teacher_url")
        ]
        async with service.http() as client:
            async with client.get(f"/teach/{self.teacher}", headers={"Accept": "text/html"}) as page:
                text = await page.text()
                assert (page.status, f'<b id="came">{came}</b>' in text, "Open two" in text) == (200, True, True)
            for session, url in self.sessions.items():
                async with client.get(url) as response:
                    assert response.status == 200
                async with client.get(f"/api/sessions/{session}/messages") as stream:
                    frames = [await stream.content.readuntil(b"\n\n") for _ in range(2)]
                    assert b"Open two" in frames[1], "it is one of the class"


async def a_class(service: Service, people: int, pool: str = "") -> Class:
    """A class that is on and has been told something."""
    made = Class(await service.admin("POST", "/api/bookings", {**CLASS, "people": people, "pool": pool}), people)
    async with (
        service.http() as client,
        client.post(
            f"/teach/{made.teacher}/messages",
            data={"text": "Open two"},
            headers={"Origin": service.url.rstrip("/"), "Accept": "application/json"},
        ) as response,
    ):
        assert response.status == 200, await response.text()
    return made


async def places(client: aiohttp.ClientSession, tickets: list[dict[str, Any]]) -> list[int | None]:
    """Where these stand in line; None for who does not wait."""
    found = []
    for one in tickets:
        async with client.get(f"/api/tickets/{one['id']}") as response:
            assert response.status == 200, "the place is lost"
            found.append((await response.json())["position"])
    return found


async def test_a_class_goes_on_whatever_becomes_of_the_process(deployment: LocalDeployment) -> None:
    """People come while it is upgraded; the successor is killed; it is upgraded again; all is killed and begins anew.

    The operator has closed it to others in between, and two of these wait in line all the time.
    """
    options = ("--max-containers=9", "--pool-size=1")
    service = start(deployment, *options)
    async with finally_ended(service):
        await service.ready(1)
        course = await a_class(service, 8)
        await until_pool(service, ready=9)
        await course.comes(service, 1)
        async with service.http() as client:
            drop_ins = [await drawn(client) for _ in range(3)]
            assert [one["status"] for one in drop_ins] == ["ready", "waiting", "waiting"], "the rest is held"
            await service.admin("POST", "/api/close")
            await _through_upgrades(service, client, course, drop_ins)
    await _begins_anew(start(deployment, *options), course, drop_ins)


async def _through_upgrades(
    service: Service, client: aiohttp.ClientSession, course: Class, drop_ins: list[dict[str, Any]]
) -> None:
    (session,) = course.sessions.values()
    async with client.ws_connect(f"{session}x") as socket:  # as long as it is open, the first process stays
        (_, new) = await asyncio.gather(course.comes(service, 2), upgraded(service))
        assert await serving(service) == new
        await course.check(service)
        # The successor gives one away and is killed: the first process goes on, and knows of that.
        await course.comes(service, 1)
        os.kill(new, signal.SIGKILL)
        await service.event("successor_died")
        async with asyncio.timeout(SECONDS):
            while (await _pid_or_none(service)) != service.pid:
                await asyncio.sleep(0.1)
        await until_pool(service, ready=4, closed=True)
        await course.check(service)
        await course.comes(service, 1)
        assert await places(client, drop_ins[1:]) == [1, 2], "a place is kept, and nothing of the reserve taken"
        new = await upgraded(service, count=2)
        await course.comes(service, 1)
        await course.check(service)
        await socket.send_str("hello")
        assert (await socket.receive(20)).data == "hello"
    os.kill(new, signal.SIGKILL)
    service.kill()
    await gone(new)


async def _pid_or_none(service: Service) -> int | None:
    try:
        return await serving(service)
    except (aiohttp.ClientError, AssertionError):  # nobody listens for a moment
        return None


async def _begins_anew(service: Service, course: Class, drop_ins: list[dict[str, Any]]) -> None:
    """After kill -9: who came has theirs, two are kept, and it is still closed to others."""
    course.moved_to(service)
    await until_pool(service, ready=2, closed=True)
    await course.check(service)
    async with service.http() as client:
        assert (await drawn(client))["status"] == "closed"
        assert await places(client, drop_ins[1:]) == [1, 2]
        await course.comes(service, 2)
        await course.check(service)
        await service.admin("POST", "/api/open")
        assert await places(client, drop_ins[1:]) == [1, 2], "there is no room for them"
        async with client.delete(f"/api/tickets/{drop_ins[0]['id']}"):
            pass
        await service.admin("DELETE", f"/api/sessions/{next(iter(course.sessions))}")
        async with asyncio.timeout(SECONDS):
            while (await places(client, drop_ins[1:2]))[0] is not None:
                await asyncio.sleep(0.1)


async def test_a_timetable_that_is_on_goes_on_whatever_becomes_of_the_process(deployment: LocalDeployment) -> None:
    """So does one that is being prepared: what is ready is not begun again, and what is closed stays closed."""
    now = datetime.datetime.now(datetime.UTC)
    times = {"on": now - datetime.timedelta(minutes=5), "preparing": now + datetime.timedelta(seconds=61)}
    for state, begins in times.items():
        until_when = "24:00" if begins.hour >= 22 else f"{begins.hour + 2}:00"
        table = deployment.directory / f"{state}.toml"
        table.write_text(
            f'[[timetable]]\ndates = ["{begins.date()}"]\nfrom = "{begins:%H:%M}"\nto = "{until_when}"\n'
            f'time_zone = "UTC"\npool_size = 4\nonly = true\n'
        )
        await _timetable(deployment, table, state)


async def _timetable(deployment: LocalDeployment, table: Path, state: str) -> None:
    options = (f"--config={table}", "--max-containers=9", "--pool-size=1")
    service = start(deployment, *options)
    is_shut = state == "preparing"
    async with finally_ended(service):
        await until_pool(service, ready=4, size=4, closed=is_shut)
        starts = len(service.found("starting"))
        new = await upgraded(service)
        await until_pool(service, ready=4, size=4)
        assert len(service.found("starting")) == starts, "what was ready is"
        (shown,) = (await service.admin("GET", "/api/pool"))["timetable"]
        assert shown["state"] in (state, "on")
        os.kill(new, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            service.kill()
        await gone(new)
    service = start(deployment, *options)
    await until_pool(service, ready=4, size=4)
    assert len(service.found("adopted")) or not service.found("starting"), service.report()
    service.stop()
