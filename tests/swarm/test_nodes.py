"""Nodes on which notebooks cannot be as they have to be get none, and the operator is told why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.swarm_rig import rig_on
from tests.swarm.nodes import NEWER
from tests.swarm.relays import swarm_with_relays
from tmpnb_py.core.errors import EngineError, ImageMissingError

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture
def swarm_of(server_image: str, swarm_docker: str) -> Any:
    """Makes a swarm of a test's own."""
    return lambda **of_swarm: swarm_with_relays(server_image, version=swarm_docker, **of_swarm)


async def test_notebooks_go_where_image_and_relay_are(swarm_of: Any, server_image: str, pool: str) -> None:
    with swarm_of(count=2) as relays:
        manager, worker = relays.swarm.nodes
        worker.docker("rmi", "--force", server_image)
        async with rig_on(relays, server_image) as rig:
            engine = rig.engine(pool)
            await engine.open()
            specs = [await rig.spec(engine) for _ in range(3)]
            await asyncio.gather(*(engine.start(spec) for spec in specs))
            label = f"label=org.tmpnb.pool={pool}"
            assert len(manager.docker("ps", "-q", "--filter", label).split()) == 3
            assert worker.docker("ps", "-aq", "--filter", label) == ""
            await asyncio.gather(*(engine.remove(spec.id) for spec in specs))

            relays.stop(manager)
            async with asyncio.timeout(10):
                while True:  # until that has been noticed, it is a relay that does not answer
                    with pytest.raises(EngineError) as caught:
                        await engine.start(await rig.spec(engine))
                    if isinstance(caught.value, ImageMissingError):
                        break
            assert server_image in caught.value.message
            assert "push-nodes" in caught.value.remedy
            relays.start(manager)


async def test_newer_engines_need_no_setting_for_no_new_privileges(server_image: str, pool: str) -> None:
    """There services can ask for it; those of Docker 20.10 cannot (`test_looks`)."""
    with swarm_with_relays(server_image, count=1, version=NEWER, options=()) as relays:
        async with rig_on(relays, server_image) as rig:
            engine = rig.engine(pool)
            await engine.open()
            assert await engine.prepare((await rig.spec(engine)).config) == ()
