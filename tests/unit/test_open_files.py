"""The limit of open files: raised as far as that needs no privilege, and said where it is too low."""

from __future__ import annotations

import resource

import pytest
from structlog.testing import capture_logs

from tmpnb_py.options.settings import Settings
from tmpnb_py.service import open_files
from tmpnb_py.service.serve import _make_room_for_files


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The soft and the hard limit of a process that this one only plays."""
    now = [1024, 4096]

    def set_to(_which: int, pair: tuple[int, int]) -> None:
        now[:] = pair

    monkeypatch.setattr(resource, "getrlimit", lambda _which: tuple(now))
    monkeypatch.setattr(resource, "setrlimit", set_to)
    return now


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1024, 4096], [4096, 4096]),
        ([4096, 4096], [4096, 4096]),
        ([1024, 1 << 30], [1 << 20, 1 << 30]),
        ([1 << 21, 1 << 30], [1 << 21, 1 << 30]),
        ([1024, resource.RLIM_INFINITY], [1 << 20, resource.RLIM_INFINITY]),
        ([resource.RLIM_INFINITY, resource.RLIM_INFINITY], [resource.RLIM_INFINITY, resource.RLIM_INFINITY]),
    ],
)
def test_the_soft_limit_is_raised(limits: list[int], before: list[int], after: list[int]) -> None:
    limits[:] = before
    raised = open_files.raise_open_files_limit()
    assert limits == after
    assert raised == (1 << 20 if resource.RLIM_INFINITY in before else after[0])


def test_too_few_files_for_the_connections_are_told(limits: list[int]) -> None:
    with capture_logs() as logs:
        _make_room_for_files(Settings(max_connections=10_000))
    assert [(log["event"], log["limit"], log["needed"]) for log in logs] == [("open_files_too_few", 4096, 30_200)]
    assert f"max_connections = {(4096 - 200) // 3}" in logs[0]["hint"]
    limits[:] = [1024, 1 << 20]
    with capture_logs() as logs:
        _make_room_for_files(Settings(max_connections=10_000))
    assert logs == []
