"""The commands for a running service where it has several pools: all of them, or the one of `--pool`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.e2e.inprocess import Rig
from tests.e2e.test_pools import pool, ready, spawn, two_pools
from tests.integration.command_support import at, run
from tmpnb_py.core.models import State


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with two_pools(python={"pool_size": 2}, r={"pool_size": 1}, max_containers=30) as rig:
        await ready(rig, python=2, r=1)
        yield rig


async def test_status_shows_all_pools_or_one(rig: Rig) -> None:
    await spawn(rig, {"pool": "r"})
    await ready(rig, python=2, r=1)
    shown = await run("status", *at(rig))
    assert shown.code == 0, shown.err
    rows = {line.split()[0]: line.split() for line in shown.out.splitlines() if line}
    assert rows["python"][1:8] == ["2", "of", "2", "0", "0", "0", "default"]
    assert rows["r"][1:7] == ["1", "of", "1", "0", "1", "0"]
    assert not any(line.startswith("image ") for line in shown.out.splitlines()), "each pool has one"
    assert "warning: the workshop shared is in the images of the pools python and r; python serves it" in shown.out
    found = json.loads((await run("status", "--json", "--pool", "r", *at(rig))).out)
    assert (found["name"], found["pool"]["ready"], len(found["sessions"])) == ("r", 1, 1)
    assert found["sessions"][0]["pool"] == "r"
    assert [one["name"] for one in found["pools"]] == ["python", "r"]
    assert (await run("sessions", "--pool", "python", *at(rig))).out == "no session is running\n"
    unknown = await run("status", "--pool", "julia", *at(rig))
    assert (unknown.code, unknown.err) == (
        7,
        "error: the service refused: There is no pool julia here. There is: python, r.\n",
    )


async def test_one_pool_is_resized_closed_and_drained(rig: Rig) -> None:
    several = await run("resize", "3", *at(rig))
    assert several.code == 7
    assert "There are several pools: say which one, of python, r (--pool, or ?pool=)." in several.err
    assert (await run("resize", "3", "--pool", "r", *at(rig))).code == 0
    await ready(rig, python=2, r=3)
    assert (await run("close", "--pool", "r", *at(rig))).out.startswith(
        "closed, but for classes that are booked: 3 of 3 ready"
    )
    assert [one.is_open for one in rig.service.site.pools.values()] == [True, False]
    assert [(await spawn(rig, body))[0] for body in ({}, {"pool": "r"})] == [200, 503]
    assert (await run("close", *at(rig))).out.startswith("closed, but for")
    assert not any(one.is_open for one in rig.service.site.pools.values())
    assert (await run("open", *at(rig))).out.startswith("open: ")
    assert all(one.is_open for one in rig.service.site.pools.values())
    kept = {one.id for one in pool(rig, "python").in_state(State.READY)}
    assert (await run("drain", "--pool", "r", *at(rig))).out == "3 ready notebooks replaced\n"
    assert kept <= {one.id for one in pool(rig, "python").in_state(State.READY)}
    assert (await run("drain", "--node", "x", "--pool", "r", *at(rig))).code == 2


async def test_what_one_of_several_pools_cannot_have_is_refused_with_figures(rig: Rig) -> None:
    most = rig.service.options.current.max_containers
    assert most is not None
    larger = await run("resize", str(most + 1), "--pool", "r", *at(rig))
    assert (larger.code, larger.err) == (
        7,
        f"error: the service refused: {most + 1} is above max_containers, which is {most}.\n",
    )
    elsewhere = await run("book", "tomorrow 9:00-10:00", "--people", "1", "--pool", "r", "--workshop", "x", *at(rig))
    assert "There is no workshop 'x' in the pool r. There is: " in elsewhere.err
    zone = await run("book", "tomorrow 9:00-10:00", "--people", "1", "--time-zone", "Europe/Berln", *at(rig))
    assert zone.err.endswith("did you mean Europe/Berlin?\n")
