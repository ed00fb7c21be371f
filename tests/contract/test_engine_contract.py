"""What every engine must do, whatever it runs containers in."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from tests.contract.rigs import Rig, fetch, new_id
from tmpnb_py.core import boot_clock
from tmpnb_py.core.errors import (
    EngineDownError,
    EngineError,
    ImageMissingError,
    NoSuchContainerError,
    PoolLockedError,
)
from tmpnb_py.core.models import Observed, State, Transport
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.engines.base import Engine


async def only(engine: Engine) -> Observed:
    """The pool's one container."""
    (observed,) = await engine.list()
    return observed


async def until(events: AsyncIterator[str], wanted: str) -> list[str]:
    """What comes up to and including `wanted`, within a minute."""
    seen: list[str] = []
    async with asyncio.timeout(60):
        async for event in events:
            seen.append(event)
            if event == wanted:
                break
    return seen


async def nothing_remains(rig: Rig, pool: str) -> None:
    """A hold whose container still starts when its manager is closed goes a moment later."""
    async with asyncio.timeout(30):
        while await rig.remains(pool):
            await asyncio.sleep(0.1)


async def close(events: AsyncIterator[str]) -> None:
    """Leave an event stream early, as a listener that stops does."""
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_container_lives_through_its_states(rig: Rig, engine: Engine, pool: str) -> None:
    spec = await rig.spec(engine, warm=(WarmKernel("ir", ("tidyverse",)), WarmKernel("python3")))
    address = await engine.start(spec)
    starting = await only(engine)
    assert (starting.id, starting.state, starting.exit) == (spec.id, State.STARTING, None)
    assert starting.address == address
    assert (starting.config_digest, starting.token) == (spec.config.digest, spec.token)
    assert abs(starting.created_unix - time.time()) < 30
    assert await fetch(address, f"{spec.base_path}api") == {"version": "fake"}
    assert await fetch(address, f"{spec.base_path}api/kernels") == []
    echo = {"method": "GET", "path": f"{spec.base_path}lab?x=1", "id": spec.id}
    assert await fetch(address, f"{spec.base_path}lab?x=1") == echo
    told = [{"name": name, "state": "ready"} for name in ("ir", "python3")]
    assert await fetch(address, f"{spec.base_path}api/tmpnb/warm") == {"kernels": told}

    await engine.mark_ready(spec.id)
    assert (await only(engine)).state is State.READY
    await engine.hold(spec.config.image.image, _not_lost)  # a claim without it need not know its time
    assert await engine.claim(spec.id, 1_700_000_000.7)
    claimed = await only(engine)
    assert (claimed.state, claimed.claimed_unix) == (State.CLAIMED, 1_700_000_000)
    assert (boot_clock.seconds_since(claimed.claimed_stamp) or 0) < 60, "told by a clock that nobody sets, too"
    assert claimed.claimed_stamp
    assert await fetch(claimed.address, f"{spec.base_path}api") == {"version": "fake"}

    await engine.remove(spec.id)
    assert await engine.list() == []
    await engine.close()
    await nothing_remains(rig, pool)


@pytest.mark.parametrize("base_url", ["/", "/jupyter/"])
async def test_what_it_was_started_with_outlives_the_orchestrator(
    rig: Rig, engine: Engine, pool: str, base_url: str
) -> None:
    spec = await rig.spec(engine, base_url=base_url)
    assert spec.base_path == f"{base_url}user/{spec.id}/"
    assert await fetch(await engine.start(spec), f"{spec.base_path}api") == {"version": "fake"}
    await engine.close()
    second = rig.engine(pool)
    await second.open()
    found = await only(second)
    assert (found.base_url, found.session_name) == (base_url, spec.session_name)
    await second.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_marks_outlive_the_orchestrator(rig: Rig, engine: Engine, pool: str) -> None:
    spec = await rig.spec(engine)
    await fetch(await engine.start(spec), f"{spec.base_path}api")  # before, Docker may say that it does not run
    await engine.mark_ready(spec.id)
    await engine.close()

    second = rig.engine(pool)
    await second.open()
    assert (await only(second)).state is State.READY
    await second.hold(spec.config.image.image, _not_lost)
    assert await second.claim(spec.id, 1_700_000_000)
    assert await second.claim(spec.id, 1_700_000_000)  # repeated, as after an answer that was lost

    third = rig.engine(pool)
    await third.open()
    assert not await third.claim(spec.id, 1_700_000_000)
    assert not await third.claim(spec.id, 1_800_000_000)
    assert (await only(third)).claimed_unix == 1_700_000_000
    await third.remove(spec.id)  # by an engine that has never listed it would be found just the same
    await second.close()
    await nothing_remains(rig, pool)


async def test_only_what_is_ready_can_be_claimed(rig: Rig, engine: Engine) -> None:
    spec = await rig.spec(engine)
    await fetch(await engine.start(spec), f"{spec.base_path}api")
    assert not await engine.claim(spec.id, 1)
    assert (await only(engine)).state is State.STARTING
    await engine.remove(spec.id)


async def test_a_pool_has_one_manager(rig: Rig, engine: Engine, pool: str) -> None:
    image = (await rig.spec(engine)).config.image.image
    await engine.hold(image, _not_lost)
    await engine.hold(image, _not_lost)  # repeated before each listing
    if engine.name == "local":  # what managers could share is in the runtime directory, which has a lock
        return
    second = rig.engine(pool)
    await second.open()
    began = time.monotonic()
    with pytest.raises(PoolLockedError, match=pool) as caught:
        await second.hold(image, _not_lost)
    assert time.monotonic() - began < 20
    assert caught.value.remedy
    other = rig.engine(f"{pool}x")
    await other.open()
    await other.hold(image, _not_lost)
    assert await engine.list() == []  # whatever holds is no notebook
    await engine.close()
    await second.hold(image, _not_lost)
    await second.close()
    await other.close()
    assert await rig.remains(pool) == []


async def test_a_manager_lets_another_one_have_the_pool_and_goes_on(rig: Rig, engine: Engine, pool: str) -> None:
    """What it has started it still serves; and it may become the manager again."""
    spec = await rig.spec(engine)
    address, image = await engine.start(spec), spec.config.image.image
    await engine.hold(image, _not_lost)
    await engine.release()
    await engine.release()
    second = rig.engine(pool)
    await second.open()
    began = time.monotonic()
    await second.hold(image, _not_lost)
    assert time.monotonic() - began < 10  # an upgrade's visitors wait for this
    await fetch(address, f"{spec.base_path}api")
    await second.release()
    await engine.hold(image, _not_lost)
    await engine.remove(spec.id)
    await second.close()


def _not_lost() -> None:
    raise AssertionError("the hold was lost")


async def test_of_two_managers_that_race_for_every_claim_none_gets_one_twice(
    rig: Rig, engine: Engine, pool: str
) -> None:
    """Whatever keeps a second manager away, a claim is safe without it."""
    other = rig.engine(pool)
    await other.open()
    ids = await rig.ready_ones(engine)
    claims = []
    for start in range(0, len(ids), 8):  # close together, and never all at once
        some = [(manager, one) for one in ids[start : start + 8] for manager in (engine, other)]
        random.shuffle(some)
        claims += await asyncio.gather(*(_claim(manager, one) for manager, one in some))
    winners = [one for one, manager in claims if manager is not None]
    assert sorted(winners) == sorted(ids)  # each of them once
    assert len({manager for _, manager in claims}) == 3  # both won some, and lost some
    assert {one.state for one in await engine.list()} == {State.CLAIMED}


async def _claim(manager: Engine, container_id: str) -> tuple[str, Engine | None]:
    return container_id, manager if await manager.claim(container_id, time.time()) else None


async def test_a_pool_sees_only_its_own(rig: Rig, engine: Engine, pool: str) -> None:
    await rig.foreign()
    other = rig.engine(f"{pool}x")
    await other.open()
    theirs, ours = await rig.spec(other), await rig.spec(engine)
    await asyncio.gather(other.start(theirs), engine.start(ours))
    assert (await only(engine)).id == ours.id
    assert (await only(other)).id == theirs.id
    with pytest.raises(NoSuchContainerError):
        await engine.claim(theirs.id, 1)
    await engine.remove(theirs.id)
    assert (await only(other)).id == theirs.id
    await other.remove(theirs.id)


async def test_removing_what_is_gone_succeeds(rig: Rig, engine: Engine, pool: str) -> None:
    spec = await rig.spec(engine)
    await engine.start(spec)
    await asyncio.gather(*(engine.remove(spec.id) for _ in range(3)))
    await engine.remove(spec.id)
    await engine.remove(new_id())
    assert await rig.remains(pool) == []


async def test_calls_for_a_container_that_is_not_there(engine: Engine) -> None:
    for call in (
        engine.mark_ready,
        lambda one: engine.claim(one, 1),
        lambda one: engine.logs(one, lines=1),
    ):
        with pytest.raises(NoSuchContainerError):
            await call(new_id())


async def test_a_death_is_told_and_listed(rig: Rig, engine: Engine, pool: str) -> None:
    events = engine.events()
    assert await anext(aiter(events)) == ""
    spec = await rig.spec(engine)
    await engine.start(spec)
    await rig.die(pool, spec.id)
    assert set(await until(events, spec.id)) == {spec.id}
    dead = await only(engine)
    assert dead.exit is not None
    assert dead.exit.status != 0
    assert not dead.exit.out_of_memory
    assert dead.address is None
    await close(events)
    await engine.remove(spec.id)


async def test_events_come_back_after_a_break(rig: Rig, engine: Engine, pool: str) -> None:
    events = engine.events()
    assert await anext(aiter(events)) == ""
    await rig.break_events()
    assert await anext(aiter(events)) == ""
    spec = await rig.spec(engine)
    await engine.start(spec)
    await engine.remove(spec.id)
    assert spec.id in await until(events, spec.id)
    await close(events)


async def test_a_container_that_ends_at_once(rig: Rig, engine: Engine, pool: str) -> None:
    events = engine.events()
    await anext(aiter(events))
    spec = await rig.exits(engine)
    await engine.start(spec)
    await until(events, spec.id)
    await close(events)
    ended = await only(engine)
    assert ended.exit is not None
    assert ended.exit.status in (1, 7)
    assert ended.address is None
    async with asyncio.timeout(60):
        while not await engine.logs(spec.id, lines=5):  # Docker tells a death after two seconds, written or not
            await asyncio.sleep(0.05)
    await engine.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_a_missing_image_says_what_to_do(rig: Rig, engine: Engine) -> None:
    with pytest.raises(ImageMissingError) as caught:
        await engine.image(rig.missing_image)
    assert rig.missing_image in caught.value.message
    assert caught.value.remedy


async def test_files_of_an_image_are_read_without_running_it(rig: Rig, engine: Engine, pool: str) -> None:
    image, directory = await rig.files(engine)
    found = await engine.read_image(image, [directory, "/nowhere/at/all"])
    assert found == {f"{directory}/a": b"one", f"{directory}/sub/b": b"two"}
    assert await engine.read_image(image, [f"{directory}/sub/b"], limit=3) == {f"{directory}/sub/b": b"two"}
    assert await engine.read_image(image, []) == {}
    with pytest.raises(EngineError):
        await engine.read_image(image, [directory], limit=5)
    assert await engine.list() == []
    assert await rig.remains(pool) == []


async def test_a_failed_start_leaves_nothing(rig: Rig, engine: Engine, pool: str) -> None:
    with pytest.raises(EngineError):
        await engine.start(await rig.unstartable(engine))
    assert await engine.list() == []
    assert await rig.remains(pool) == []


async def test_a_second_start_of_an_id_leaves_the_first_alone(rig: Rig, engine: Engine) -> None:
    spec = await rig.spec(engine)
    await engine.start(spec)
    with pytest.raises(EngineError):
        await engine.start(spec)
    assert (await only(engine)).id == spec.id
    await engine.remove(spec.id)


async def test_what_cannot_be_decided_is_claimed(rig: Rig, engine: Engine, pool: str) -> None:
    spec = await rig.spec(engine)
    await fetch(await engine.start(spec), f"{spec.base_path}api")
    await engine.mark_ready(spec.id)
    if await rig.scramble(pool, spec.id):
        observed = await only(engine)
        assert (observed.id, observed.state) == (spec.id, State.CLAIMED)
        assert observed.claimed_unix == observed.created_unix
    await engine.remove(spec.id)
    assert await rig.remains(pool) == []


async def test_four_at_once(rig: Rig, engine: Engine, pool: str) -> None:
    specs = [await rig.spec(engine) for _ in range(4)]
    addresses = await asyncio.gather(*(engine.start(spec) for spec in specs))
    answers = await asyncio.gather(
        *(fetch(address, f"{spec.base_path}who") for address, spec in zip(addresses, specs, strict=True))
    )
    await asyncio.gather(*(engine.mark_ready(spec.id) for spec in specs))
    assert [answer["id"] for answer in answers] == [spec.id for spec in specs]
    assert {(one.id, one.state) for one in await engine.list()} == {(spec.id, State.READY) for spec in specs}
    await asyncio.gather(*(engine.remove(spec.id) for spec in specs))
    assert await rig.remains(pool) == []


async def test_the_transport_is_found_by_trying(rig: Rig, engine: Engine, pool: str) -> None:
    config = (await rig.spec(engine)).config
    found = await asyncio.gather(*(engine.choose_transport(config) for _ in range(2)))
    assert found == [Transport.SOCKET, Transport.SOCKET]
    assert await engine.list() == []
    assert await rig.remains(pool) == []


async def test_a_container_by_port(rig: Rig, engine: Engine, pool: str) -> None:
    spec = await rig.spec(engine, transport=Transport.PORT)
    if engine.name in ("local", "swarm"):  # which have none, and say so
        with pytest.raises(EngineError) as caught:
            await engine.prepare(spec.config)
        assert "{socket}" in caught.value.remedy
        return
    await engine.prepare(spec.config)
    address = await engine.start(spec)
    assert await fetch(address, f"{spec.base_path}api") == {"version": "fake"}
    await engine.mark_ready(spec.id)
    observed = await only(engine)
    assert (observed.address, observed.state) == (address, State.READY)
    await engine.remove(spec.id)


async def test_the_machine_is_described(engine: Engine) -> None:
    info = await engine.info()
    assert info.memory > 100 * 1024 * 1024
    assert info.cpus >= 1
    assert info.version


async def test_cpu_time_is_told_of_those_that_run(rig: Rig, engine: Engine) -> None:
    specs = [await rig.spec(engine) for _ in range(2)]
    for spec in specs:
        await engine.start(spec)
    first, second = (spec.id for spec in specs)
    before = await engine.cpu_seconds([first, second, new_id()])
    assert before.keys() == {first, second}
    assert all(0 <= seconds < 60 for seconds in before.values())
    after = await engine.cpu_seconds([first])
    assert after[first] >= before[first]
    await engine.remove(first)
    assert (await engine.cpu_seconds([first, second])).keys() == {second}
    assert await engine.cpu_seconds([]) == {}


async def test_the_last_lines_of_a_log(rig: Rig, engine: Engine) -> None:
    spec = await rig.spec(engine)
    address = await engine.start(spec)
    await fetch(address, f"{spec.base_path}api")
    async with asyncio.timeout(60):  # Docker copies what is printed in its own time
        while not any(spec.base_path in line for line in await engine.logs(spec.id, lines=10)):
            await asyncio.sleep(0.05)
    assert await engine.logs(spec.id, lines=0) == ()
    await engine.remove(spec.id)


async def test_an_engine_that_is_down_says_so(rig: Rig, engine: Engine, pool: str) -> None:
    spec = await rig.spec(engine)
    await rig.go_down()
    calls = (engine.open(), engine.list(), engine.info(), engine.start(spec), engine.remove(spec.id))
    for call in calls:
        with pytest.raises(EngineDownError) as caught:
            await call
        assert caught.value.remedy
