"""Directories of sockets: what is left of them when a pool ends."""

from __future__ import annotations

from pathlib import Path

from tmpnb_py.engines.sockets import SocketDirectories


def test_the_last_pool_leaves_nothing(tmp_path: Path) -> None:
    one, two = SocketDirectories(tmp_path, "one"), SocketDirectories(tmp_path, "two")
    first, second = "a" * 26, "b" * 26
    one.create(first)
    two.create(second)
    one.remove_pool()
    assert one.path(first).is_dir(), "a pool with containers stays"
    one.remove(first)
    one.remove_pool()
    assert [path.name for path in (tmp_path / "sockets").iterdir()] == ["two"]
    two.remove(second)
    two.remove_pool()
    assert list(tmp_path.iterdir()) == []
    two.create(second)  # and begins anew where it was
