"""The runtime directory: what is taken for ours, and what is left as it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.service.pool_lock import lock_pool
from tmpnb_py.service.runtime_dir import borrowed_runtime_dir, prepare_runtime_dir


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def refused(path: Path, words: str) -> None:
    before = mode(path), path.is_symlink()
    with pytest.raises(SettingsError, match=words) as caught:
        prepare_runtime_dir(path)
    assert "--runtime-dir" in caught.value.remedy
    assert (mode(path), path.is_symlink()) == before
    assert not (path / ".tmpnb-py").exists()


def test_a_new_one_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "run"
    prepare_runtime_dir(path)
    assert mode(path) == 0o700


def test_an_empty_one_is_made_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    prepare_runtime_dir(tmp_path)
    assert mode(tmp_path) == 0o700


def test_it_is_known_again_with_whatever_is_in_it(tmp_path: Path) -> None:
    prepare_runtime_dir(tmp_path)
    (tmp_path / "of a later version").touch()
    tmp_path.chmod(0o755)
    prepare_runtime_dir(tmp_path)
    assert mode(tmp_path) == 0o700


@pytest.mark.parametrize("name", ["tmpnb.lock", "sockets"])
def test_one_from_before_there_was_a_mark_is_ours(tmp_path: Path, name: str) -> None:
    """An upgrade takes it up, and so does a start after somebody's cleaning."""
    (tmp_path / name).mkdir()
    (tmp_path / "tmpnb.line").touch()
    tmp_path.chmod(0o700)
    prepare_runtime_dir(tmp_path)


@pytest.mark.parametrize("permissions", [0o700, 0o755])
def test_a_directory_with_other_files_is_left_alone(tmp_path: Path, permissions: int) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(permissions)
    refused(tmp_path, "holds other files")


def test_what_looks_like_ours_is_not_ours_where_others_look_in(tmp_path: Path) -> None:
    (tmp_path / "aptitude.lock").touch()
    tmp_path.chmod(0o755)
    refused(tmp_path, "holds other files")


@pytest.mark.parametrize("permissions", [0o1777, 0o777])
def test_a_shared_one_is_left_alone_also_empty(tmp_path: Path, permissions: int) -> None:
    tmp_path.chmod(permissions)
    refused(tmp_path, "open to all users")


def test_the_systems_tmp() -> None:
    refused(Path("/tmp"), "belongs to|open to all users")


def test_a_link_and_a_file(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "file").touch()
    refused(tmp_path / "link", "is no directory")
    with pytest.raises(SettingsError, match="exists"):
        prepare_runtime_dir(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root to give files away")
def test_somebody_elses(tmp_path: Path) -> None:
    os.chown(tmp_path, 1, 1)
    refused(tmp_path, "belongs to the user daemon")
    os.chown(tmp_path, 54321, 1)
    refused(tmp_path, "belongs to the user 54321")


def test_a_command_leaves_no_directory_that_was_not_there(tmp_path: Path) -> None:
    """Made by root, it would keep out a service that runs as another user."""
    path = tmp_path / "run"
    with borrowed_runtime_dir(path), lock_pool(path, "x"):
        (path / "sockets").mkdir()
        (path / "sockets" / ".hosts").touch()
    assert not path.exists()


def test_a_command_leaves_a_directory_that_is_in_use(tmp_path: Path) -> None:
    with borrowed_runtime_dir(path := tmp_path / "run"):
        held = lock_pool(path, "x")
        held.__enter__()
    assert path.is_dir()
    held.__exit__(None, None, None)
    with borrowed_runtime_dir(path):
        pass
    assert path.is_dir()
