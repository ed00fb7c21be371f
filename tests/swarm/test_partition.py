"""A network that is cut in two: one side goes on, the other gives nothing away, and nothing is handed out twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.documents.blocks import block
from tests.swarm.nodes import Node
from tests.swarm.test_stack import PORT, Stack, ask, service_image, stack, until  # noqa: F401 - fixtures are some

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]

_READY = 3


def url_of(node: Node) -> str:
    return f"http://{node.address}:{PORT}"


async def stats(node: Node) -> dict[str, Any]:
    """What the service says there, {} where none answers."""
    status, found = await ask("GET", f"{url_of(node)}/api/stats")
    return found if status == 200 else {}


async def cell(node: Node, notebook: dict[str, Any]) -> int:
    """The status of running something in a notebook."""
    headers = {"Authorization": f"token {notebook['token']}"}
    url = f"{url_of(node)}{notebook['url']}exec"
    status, _ = await ask("POST", url, data="print(6 * 7)", headers=headers)
    return status


async def test_nothing_is_given_away_twice(stack: Stack) -> None:  # noqa: F811 - the fixture
    swarm = stack.swarm
    (advice,) = block("docs/swarm.md", "docker swarm update").commands
    swarm.manager.docker(*advice.split()[1:])

    async def is_ready() -> bool:
        return any([(await stats(node)).get("available", 0) >= _READY for node in swarm.nodes])

    await until(stack, is_ready)
    alone = stack.where(swarm.manager)
    assert alone is not None
    others = [node for node in swarm.nodes if node is not alone]
    given: list[dict[str, Any]] = []

    async def claim(node: Node) -> int:
        status, notebook = await ask("POST", f"{url_of(node)}/api/spawn?wait=1")
        if status == 200:
            given.append(notebook)
            assert await cell(node, notebook) == 200  # one that nobody opens would end soon
        return status

    while not (there := [one for one in given if is_on(alone, one)]):
        await claim(alone)
    await until(stack, is_ready)

    swarm.part(alone)
    before = len(given)

    async def goes_on() -> bool:
        return any([(await claim(node)) == 200 for node in others])

    # The side without a majority: not one claim, from the first second on, and it says so.
    async with asyncio.TaskGroup() as group:
        going_on = group.create_task(until(stack, goes_on))
        while not going_on.done():
            assert await claim(alone) != 200
            await asyncio.sleep(0.5)
    print(f"the majority gave away notebooks again after {going_on.result():.1f} s")
    assert (await stats(alone))["cause"] is not None
    assert await cell(alone, there[0]) == 200, "who works there goes on"
    assert len(given) > before

    swarm.part(alone, parted=False)

    async def is_one_again() -> bool:
        return swarm.ready() == len(swarm.nodes) and stack.where(alone) in others

    await until(stack, is_one_again)
    new = stack.where(others[0])
    assert new is not None
    for _ in range(_READY):
        await until(stack, lambda: claimed(claim(new)))
    ids = [one["id"] for one in given]
    assert len(set(ids)) == len(ids)
    tokens = [one["token"] for one in given]
    assert len(set(tokens)) == len(tokens)
    for notebook in given[before:]:
        assert await cell(new, notebook) == 200

    # Swarm has ended what was on the node that it had lost.
    async def is_told() -> bool:
        return await cell(new, there[0]) == 410

    await until(stack, is_told)


def is_on(node: Node, notebook: dict[str, Any]) -> bool:
    return bool(node.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={notebook['id']}"))


async def claimed(status: Any) -> bool:
    return bool(await status == 200)
