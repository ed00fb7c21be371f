"""Making a pool's network while another process makes it, against an engine that only these tests' worlds know.

A real Docker 20.10 refused the second process ("networks have same bridge name") before it listed what the first
one was making; that happened once in some hundred runs on a busy machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, cast

import aiodocker
import pytest

from tests.unit.test_docker_reach import CONFIG
from tmpnb_py.core.models import Egress
from tmpnb_py.engines.docker import networks
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.docker.networks import Networks

_NETWORKED = dataclasses.replace(CONFIG, egress=Egress.INTERNET)


class _World:
    """The networks of an engine, where another process's becomes visible only after some refusals."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.known: list[dict[str, Any]] = []
        self.made = 0
        self.networks = self  # as `docker.networks`

    @contextlib.asynccontextmanager
    async def calling(self, doing: str, seconds: float | None = None) -> AsyncIterator[aiodocker.Docker]:
        yield cast(aiodocker.Docker, self)

    async def list(self, filters: object = None) -> list[dict[str, Any]]:
        return list(self.known)

    async def create(self, body: dict[str, Any]) -> None:
        self.made += 1
        if self.made <= self.refusals:
            if self.made == self.refusals:
                self.known.append({"Name": body["Name"], "Id": "theirs", "Created": "1"})
            raise RefusedError("conflicts with network theirs: networks have same bridge name", 403)
        self.known.append({"Name": body["Name"], "Id": "ours", "Created": "2"})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_BETWEEN_ATTEMPTS", 0.0)


@pytest.mark.parametrize("refusals", [0, 1, 2, 5])
async def test_a_network_that_another_process_is_making_is_taken_as_soon_as_it_is_there(refusals: int) -> None:
    world = _World(refusals)
    found = await Networks(world.calling, "p", ()).prepare(_NETWORKED)
    assert found is not None
    assert found["Id"] == ("theirs" if refusals else "ours")
    assert len(world.known) == 1


async def test_a_refusal_that_lasts_is_reported() -> None:
    world = _World(10**6)
    with pytest.raises(RefusedError, match="same bridge name"):
        await Networks(world.calling, "p", ()).prepare(_NETWORKED)
    assert world.known == []
