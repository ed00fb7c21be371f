"""What a notebook is said to use comes from its control group, and errors name the limit that they came from."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.image_modules import load

pytest.importorskip("jupyter_server")

ROOM = load("tmpnb_room")
LIMITS = load("tmpnb_limits")
NEW = {
    "memory.max": "1000",
    "memory.current": "700",
    "memory.stat": "anon 1\ninactive_file 200\n",
    "memory.events": "low 0\noom_kill 3\n",
    "pids.max": "64",
    "pids.current": "5",
}
OLD = {
    "memory/memory.limit_in_bytes": "1000",
    "memory/memory.usage_in_bytes": "700",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 200\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "pids/pids.max": "64",
    "pids/pids.current": "5",
}


@pytest.mark.parametrize("files", [NEW, OLD])
def test_what_is_used_is_said_alike_for_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(LIMITS, "GROUPS", tmp_path)
    found = LIMITS.limits()
    assert found["memory"] == {"used": 500, "limit": 1000, "kills": 3}
    assert found["memory"]["limit"] - found["memory"]["used"] == ROOM.memory_left(tmp_path)
    assert found["processes"] == {"used": 5, "limit": 64}


def test_what_has_no_limit_is_not_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**NEW, "memory.max": "max", "pids.max": "max"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(LIMITS, "GROUPS", tmp_path)
    assert not {"memory", "processes"} & set(LIMITS.limits())


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.ENOSPC, ""), "disk"),
        (OSError(errno.ENOMEM, ""), "memory"),
        (MemoryError(), "memory"),
        (BlockingIOError(errno.EAGAIN, ""), "processes"),
        (RuntimeError("can't start new thread"), "processes"),
    ],
)
def test_errors_name_their_limit(error: Exception, word: str) -> None:
    assert word in LIMITS.cause(error)
    outer = ValueError("anything")
    outer.__cause__ = error
    assert LIMITS.cause(outer) == LIMITS.cause(error)


def test_other_errors_name_none() -> None:
    assert LIMITS.cause(OSError(errno.ENOENT, "")) == LIMITS.cause(ValueError("anything")) == LIMITS.cause(None) == ""
