"""Calls about notebooks' services: what others have made, changed or removed meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from tmpnb_py.core.errors import EngineError, NoSuchContainerError
from tmpnb_py.engines.docker.host import RefusedError
from tmpnb_py.engines.swarm import records as module
from tmpnb_py.engines.swarm.api import EngineApi
from tmpnb_py.engines.swarm.records import NotebookExistsError, Records

NOTEBOOK = "n" * 20
_SERVICE = {"ID": "s", "Version": {"Index": 7}, "Spec": {"Name": "tmpnb-x", "Labels": {}}}


class Managers:
    """Answers with what is at hand for a path's first word; raises what is an error."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    async def call(self, method: str, path: str, **_: Any) -> Any:
        self.asked.append((method, path))
        answer = self.answers[path.split("/", maxsplit=1)[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer


def records(**answers: Any) -> Records:
    return Records(cast(EngineApi, Managers(**answers)), "pool")


@pytest.mark.parametrize("refused", [(409, "no"), (500, "rpc error: name conflicts with an existing object")])
async def test_what_exists_is_told_from_other_refusals(refused: tuple[int, str]) -> None:
    with pytest.raises(NotebookExistsError):
        await records(services=RefusedError(refused[1], status=refused[0])).create(NOTEBOOK, {})
    with pytest.raises(RefusedError):
        await records(services=RefusedError("no such image", status=400)).create(NOTEBOOK, {})


async def test_what_is_gone_is_removed() -> None:
    gone = records(services=RefusedError("gone", status=404))
    await gone.delete(NOTEBOOK)
    with pytest.raises(NoSuchContainerError):
        await gone.read(NOTEBOOK)


async def test_of_two_changes_the_later_one_is_not_made() -> None:
    refused = RefusedError("rpc error: update out of sequence", status=500)
    assert not await records(services=refused).set_state(_SERVICE, "ready")
    assert await records(services=None).set_state(_SERVICE, "ready")


async def test_a_task_that_never_starts_is_told_with_swarm_s_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)
    waiting = {"ServiceID": "s", "Status": {"State": "pending", "Err": "no suitable node"}}
    with pytest.raises(EngineError, match=r"in time: no suitable node \(all are full\)"):
        await records(tasks=[waiting]).placed("x", asyncio.Event(), seconds=0.05, hint=lambda: " (all are full)")
    failed = {"ServiceID": "s", "Status": {"State": "rejected", "Err": "no such mount"}}
    with pytest.raises(EngineError, match="could not start a notebook: no such mount"):
        await records(tasks=[failed]).placed("x", asyncio.Event(), seconds=5)


async def test_a_relay_s_word_is_enough_that_a_task_has_started() -> None:
    begun = {
        "ServiceID": "s",
        "NodeID": "n1",
        "Status": {"State": "starting", "ContainerStatus": {"ContainerID": "c"}},
    }
    started = asyncio.Event()
    started.set()
    assert await records(tasks=[begun]).placed("x", started, seconds=5) == "n1"
