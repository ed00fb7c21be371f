"""The engine's calls are counted, timed and passed on; its figures are read as Docker counts them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from tmpnb_py.core.errors import EngineDownError, ImageMissingError
from tmpnb_py.core.models import Usage
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.docker.usage import usage_of
from tmpnb_py.engines.fake import FakeEngine, FakeHost
from tmpnb_py.engines.metered import MeteredEngine


def _calls(of: type) -> dict[str, inspect.Signature]:
    members = inspect.getmembers(of, inspect.isfunction)
    return {name: inspect.signature(member) for name, member in members if not name.startswith("_")}


def test_it_has_every_call_of_an_engine() -> None:
    expected, found = _calls(Engine), _calls(MeteredEngine)
    assert set(found) == set(expected)
    for name, signature in expected.items():
        assert list(found[name].parameters) == list(signature.parameters), name


async def test_success_failure_and_what_it_was() -> None:
    recorded: list[tuple[str, bool, str]] = []

    def record(call: str, seconds: float, error: str) -> None:
        recorded.append((call, seconds >= 0, error))

    async with FakeHost() as host:
        engine = MeteredEngine(FakeEngine(host), record)
        assert engine.name == "fake"
        assert await engine.list() == []
        with pytest.raises(ImageMissingError):
            await engine.image("nowhere")
        host.down = True
        with pytest.raises(EngineDownError):
            await engine.info()
    assert recorded == [("list", True, ""), ("image", True, "image missing"), ("info", True, "engine down")]


@pytest.mark.parametrize(
    ("stats", "inspected", "usage"),
    [
        (
            {
                "memory_stats": {"usage": 100, "stats": {"total_inactive_file": 30, "inactive_file": 1}},
                "cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
            },
            {"SizeRw": 7},
            Usage(70, 1.5, 7),
        ),
        ({"memory_stats": {"usage": 100, "stats": {"inactive_file": 40}}}, {}, Usage(60, 0.0, 0)),
        ({"memory_stats": {"usage": 10, "stats": {"inactive_file": 40}}}, {"SizeRw": None}, Usage(0, 0.0, 0)),
        ({}, {}, Usage(0, 0.0, 0)),
    ],
    ids=["cgroup v1", "cgroup v2", "odd", "nothing"],
)
def test_dockers_figures(stats: dict[str, Any], inspected: dict[str, Any], usage: Usage) -> None:
    assert usage_of(stats, inspected) == usage
