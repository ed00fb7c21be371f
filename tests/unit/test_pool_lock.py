"""The pool's lock: one at a time, whatever becomes of its file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tmpnb_py.core.errors import PoolLockedError
from tmpnb_py.service.pool_lock import lock_pool


def test_one_at_a_time_and_the_next_at_once(tmp_path: Path) -> None:
    with lock_pool(tmp_path, "p"), pytest.raises(PoolLockedError, match=str(os.getpid())), lock_pool(tmp_path, "p"):
        pass
    with lock_pool(tmp_path, "p"), lock_pool(tmp_path, "q"):
        pass


@pytest.mark.parametrize("what", ["file", "directory"])
def test_whoever_removes_the_file_lets_nobody_in(tmp_path: Path, what: str) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    with lock_pool(directory, "p") as lock:
        lock.keep()
        if what == "file":
            (directory / "p.lock").unlink()
        else:
            shutil.rmtree(directory)
            directory.mkdir()  # as a second start does
        with pytest.raises(PoolLockedError, match=str(os.getpid())), lock_pool(directory, "p"):
            pass  # by its name, before `keep` has seen it
        lock.keep()
        assert (directory / "p.lock").read_text() == f"{os.getpid()}\n"
    with lock_pool(directory, "p"):
        pass


def test_a_process_elsewhere_meets_the_new_file_too(tmp_path: Path) -> None:
    """As in a container, whose names are its own, that has the same directory."""
    with lock_pool(tmp_path, "p") as lock:
        (tmp_path / "p.lock").unlink()
        lock.keep()
        lock._name.close()  # type: ignore[union-attr]
        with pytest.raises(PoolLockedError, match=str(os.getpid())), lock_pool(tmp_path, "p"):
            pass


def test_who_lost_the_file_to_another_is_told(tmp_path: Path) -> None:
    with lock_pool(tmp_path, "p") as lock:
        (tmp_path / "p.lock").unlink()
        code = (
            "import fcntl, os, sys, time\n"
            "file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
            "fcntl.flock(file, fcntl.LOCK_EX)\n"
            "print('locked', flush=True)\n"
            "sys.stdin.read()\n"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "p.lock")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == b"locked\n"
            with pytest.raises(PoolLockedError):
                lock.keep()
            assert other.stdin is not None
            other.stdin.close()


def test_the_file_stays_fresh(tmp_path: Path) -> None:
    with lock_pool(tmp_path, "p") as lock:
        os.utime(tmp_path / "p.lock", (0, 0))
        lock.keep()
        assert (tmp_path / "p.lock").stat().st_mtime > 1e9


def test_many_who_ask_are_told_the_same(tmp_path: Path) -> None:
    with lock_pool(tmp_path, "p") as lock:
        (tmp_path / "p.lock").unlink()
        for _ in range(50):
            with pytest.raises(PoolLockedError), lock_pool(tmp_path, "p"):
                pass
            (tmp_path / "p.lock").unlink()
            lock.keep()


def test_a_name_that_another_user_has_taken_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lock_pool(tmp_path, "p") as lock:
        assert lock._name is not None
        address = lock._name.getsockname()
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(address)
        squatter.listen(1)
        monkeypatch.setattr("tmpnb_py.service.pool_lock._holder_of", lambda _: None)  # what it says of another's uid
        with lock_pool(tmp_path, "p"):
            pass


def test_a_disk_that_cannot_be_written_is_told_once_and_kills_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    with lock_pool(tmp_path, "p") as lock:
        monkeypatch.setattr(os, "utime", broken)
        lock.keep()
        lock.keep()


def test_it_is_let_go_and_taken_again(tmp_path: Path) -> None:
    with lock_pool(tmp_path, "p") as lock:
        lock.release()
        lock.release()
        lock.keep()  # which takes nothing
        with lock_pool(tmp_path, "p"), pytest.raises(PoolLockedError):
            lock.take()
        lock.take()
        with pytest.raises(PoolLockedError), lock_pool(tmp_path, "p"):
            pass


def test_it_goes_from_process_to_process_and_nobody_else_gets_it_in_between(tmp_path: Path) -> None:
    with lock_pool(tmp_path, "p") as old:
        new = lock_pool(tmp_path, "p")
        new.take(old.descriptors())
        new.take()  # which it has
        old.release()
        (tmp_path / "p.lock").unlink()  # by the name of its socket, too
        with pytest.raises(PoolLockedError, match=str(os.getpid())), lock_pool(tmp_path, "p"):
            pass
        new.keep()
        with pytest.raises(PoolLockedError):
            old.take()
        new.release()
        old.take()
    assert old.descriptors() == ()
