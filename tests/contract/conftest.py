"""Fixtures of the contract suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests import local_support
from tests.contract.local_rig import LocalRig
from tests.contract.rigs import DockerRig, FakeRig, Rig
from tests.contract.swarm_rig import SwarmRig
from tests.swarm.nodes import NEWER
from tests.swarm.relays import RelaysOfNodes, swarm_with_relays
from tmpnb_py.engines.base import Engine


@pytest.fixture
async def docker_rig(server_image: str) -> AsyncIterator[DockerRig]:
    """The real engine."""
    rig = DockerRig(server_image)
    await rig.forwarder.open()
    yield rig
    await rig.close()


@pytest.fixture(scope="session")
def relays_of_nodes(server_image: str) -> Iterator[RelaysOfNodes]:
    """A swarm of three nodes with relays, for all tests that need one."""
    with swarm_with_relays(server_image) as relays:
        yield relays


@pytest.fixture(scope="session")
def relays_of_newer_nodes(server_image: str) -> Iterator[RelaysOfNodes]:
    """The same with a newer Docker."""
    with swarm_with_relays(server_image, version=NEWER) as relays:
        yield relays


_ENGINES = [
    "fake",
    "local",
    "local-unprotected",
    pytest.param("docker", marks=pytest.mark.engine),
    pytest.param("swarm", marks=[pytest.mark.engine, pytest.mark.long]),
    pytest.param("swarm-28", marks=[pytest.mark.engine, pytest.mark.long]),
]


@pytest.fixture(params=_ENGINES)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """Each engine in turn."""
    if request.param == "fake":
        rig: Any = FakeRig()
    elif request.param == "local":
        rig = LocalRig(local_support.need_sandbox())
    elif request.param == "local-unprotected":
        local_support.need_jupyterlab()
        rig = LocalRig(None)
    elif request.param in ("swarm", "swarm-28"):
        image = request.getfixturevalue("server_image")
        relays = "relays_of_nodes" if request.param == "swarm" else "relays_of_newer_nodes"
        rig = SwarmRig(request.getfixturevalue(relays), image)
        await rig.forwarder.open()
    else:
        rig = DockerRig(request.getfixturevalue("server_image"))
        await rig.forwarder.open()
    yield rig
    await rig.close()


@pytest.fixture
async def engine(rig: Rig, pool: str) -> Engine:
    """An opened engine of the test's pool."""
    engine = rig.engine(pool)
    await engine.open()
    return engine
