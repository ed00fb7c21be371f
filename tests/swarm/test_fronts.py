"""Front ends of the documented stack, on three nodes: each is killed under load, and so is the orchestrator."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from tests.benchmarks import proxy
from tests.e2e.traffic import Counted
from tests.engine_support import build_image
from tests.swarm.nodes import Node, running_swarm
from tests.swarm.test_stack import PORT, Stack, ask, service_image, until  # noqa: F401 - a fixture

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]

_PAUSE = 0.05


@pytest.fixture
def stack(service_image: str, pool: str, swarm_docker: str) -> Iterator[Stack]:  # noqa: F811 - the fixture
    """Notebooks are a server that echoes WebSockets."""
    image = build_image(proxy.IMAGE, proxy.CONTEXT)
    with running_swarm(managers=3, version=swarm_docker) as swarm:
        swarm.load(service_image, image)
        stack = Stack(swarm, (service_image, image), pool)
        stack.environment["TMPNB_COMMAND"] = proxy.SERVER
        stack.deploy()
        yield stack


@dataclasses.dataclass
class Seen(Counted):
    """What one visitor has seen by way of one node's front end."""

    echoed: int = 0

    def clear(self) -> None:
        """Count from the beginning, what is under way now, too."""
        self.answered = self.echoed = 0
        self.lost.clear()


@dataclasses.dataclass
class Visitor:
    """Somebody who keeps asking a notebook, and talks to it over a WebSocket, by one node's front end."""

    client: aiohttp.ClientSession
    url: str
    headers: dict[str, str]
    counted: Seen = dataclasses.field(default_factory=Seen)

    async def ask(self) -> None:
        while True:
            await self.counted.ask(self.client, self.url + "api/kernels", self.headers)
            await asyncio.sleep(_PAUSE)

    async def talk(self) -> None:
        """One WebSocket, made anew where it is cut."""
        while True:
            try:
                async with self.client.ws_connect(self.url + "ws", headers=self.headers) as socket:
                    while not socket.closed:
                        await socket.send_str("here")
                        assert await socket.receive_str(timeout=10) == "here"
                        self.counted.echoed += 1
                        await asyncio.sleep(_PAUSE)
                why = f"closed with {socket.close_code}"
            except (OSError, TypeError, aiohttp.ClientError) as error:  # TypeError: it was closed
                why = repr(error)
            self.counted.lost.append(f"a WebSocket of {self.url} was cut: {why}")
            await asyncio.sleep(_PAUSE)


class Load:
    """Visitors of all notebooks by way of all nodes' front ends."""

    def __init__(self, client: aiohttp.ClientSession, urls: dict[str, str], notebooks: list[dict[str, Any]]) -> None:
        self.visitors = {
            name: [
                Visitor(client, f"{url}{one['url']}", {"Authorization": f"token {one['token']}"}) for one in notebooks
            ]
            for name, url in urls.items()
        }

    def start(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Begin."""
        return [group.create_task(work()) for one in self.counting() for work in (one.ask, one.talk)]

    def counting(self, *but: str) -> list[Visitor]:
        """Those that do not come by these nodes."""
        return [one for name, all_of in self.visitors.items() if name not in but for one in all_of]

    def again(self) -> None:
        """Count from the beginning."""
        for one in self.counting():
            one.counted.clear()

    def losses(self, *but: str) -> list[str]:
        """What went wrong."""
        return [what for one in self.counting(*but) for what in one.counted.lost]

    async def serves(self, name: str) -> bool:
        """Whether all visitors of a node are answered and echoed to."""
        before = [(one.counted.answered, one.counted.echoed) for one in self.visitors[name]]
        await asyncio.sleep(1)
        now = [(one.counted.answered, one.counted.echoed) for one in self.visitors[name]]
        return all(a < c and b < d for (a, b), (c, d) in zip(before, now, strict=True))


def kill(node: Node, service: str) -> None:
    """Kill a task's container on a node."""
    found = node.docker("ps", "-q", "--filter", f"label=com.docker.swarm.service.name={service}").split()
    assert len(found) == 1, (node.name, service, found)
    node.docker("kill", found[0])


async def test_whoever_is_killed_the_others_go_on(stack: Stack) -> None:
    swarm = stack.swarm
    urls = {node.name: f"http://{node.address}:{PORT}" for node in swarm.nodes}

    async def ready() -> bool:
        found = [await ask("GET", f"{url}/api/stats") for url in urls.values()]
        return all(status == 200 and stats["available"] >= 3 for status, stats in found)

    async def all_are_known() -> bool:
        found = [await ask("GET", f"{url}/healthz") for url in urls.values()]
        return all(status == 200 and health["sessions"] >= len(urls) for status, health in found)

    await until(stack, ready)
    claimed = [await ask("POST", f"{url}/api/spawn?wait=60") for url in urls.values()]
    assert [status for status, _ in claimed] == [200] * 3
    await until(stack, all_are_known)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client, asyncio.TaskGroup() as group:
        load = Load(client, urls, [notebook for _, notebook in claimed])
        tasks = load.start(group)
        for name in urls:
            await until(stack, lambda name=name: load.serves(name))  # type: ignore[misc]
        for node in swarm.nodes:
            await _front_is_killed(stack, load, node)
        await _orchestrator_is_killed(stack, load, list(urls.values()))
        for task in tasks:
            task.cancel()


async def _front_is_killed(stack: Stack, load: Load, node: Node) -> None:
    load.again()
    kill(node, f"{stack.name}_front")
    await asyncio.sleep(2)
    seconds = 2 + await until(stack, lambda: load.serves(node.name))
    print(f"the front end of {node.name} served again after {seconds:.1f} s")
    assert not (lost := load.losses(node.name)), f"the others' visitors noticed: {lost}"


async def _orchestrator_is_killed(stack: Stack, load: Load, urls: list[str]) -> None:
    there = stack.where(stack.swarm.manager)
    assert there is not None
    load.again()
    kill(there, f"{stack.name}_orchestrator")
    await asyncio.sleep(1)  # a claim that is under way when it dies is answered 503, and is nobody's
    notebooks = await asyncio.gather(*[_claimed(stack, url) for url in urls])
    assert len({notebook["id"] for notebook in notebooks}) == 3
    await asyncio.sleep(2)
    assert not (lost := load.losses()), lost
    answered = sum(one.counted.answered + one.counted.echoed for one in load.counting())
    print(f"{answered} requests and round trips while the orchestrator was away and came back, none lost")


async def _claimed(stack: Stack, url: str) -> dict[str, Any]:
    """A notebook. Who is answered 503, as the next orchestrator takes longer than front_wait to come, asks again."""
    async with asyncio.timeout(180):
        while True:
            status, notebook = await ask("POST", f"{url}/api/spawn?wait=60")
            if status == 200:
                return dict(notebook)
            assert status == 503, stack.report()
            await asyncio.sleep(1)
