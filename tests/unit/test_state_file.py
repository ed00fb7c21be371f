"""What must outlive a reboot: written whole or not at all, and never over what another version has written."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.bookings.model import VERSION, Booking, State
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.state_file import ForeignWriterError, StateFile
from tmpnb_py.service.runtime_dir import state_file, state_path

ONE = Booking(id="0a1b2c3d", pool="tmpnb", begins=1e9, ends=2e9, zone="UTC", people=3)


def a_file(directory: Path, version: int = VERSION) -> StateFile[State]:
    return state_file(state_path(directory, "tmpnb"), State, version)


def test_what_was_written_is_read_and_only_its_owner_may(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    assert a_file(directory).read() is None
    assert not directory.exists(), "a service that keeps nothing makes nothing"
    state = State(bookings=(ONE,))
    a_file(directory).write(state)
    assert a_file(directory).read() == state
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "tmpnb.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("written", "event", "suffix"),
    [
        (b"", "state_damaged", ".damaged-"),
        (b'{"version": 1, "bookings": [', "state_damaged", ".damaged-"),
        (b"[1]", "state_damaged", ".damaged-"),
        (b'{"version": 1, "people": 3}', "state_damaged", ".damaged-"),
        (b'{"version": 2, "new": "fields"}', "state_of_another_version", ".version-2-"),
        (b'{"version": "../../etc/x\\u0000"}', "state_of_another_version", ".version-..-..-etc-x--"),
        (b"\xff\xfe", "state_damaged", ".damaged-"),
        (b"[" * 100_000, "state_damaged", ".damaged-"),
    ],
)
def test_what_cannot_be_read_is_put_aside(tmp_path: Path, written: bytes, event: str, suffix: str) -> None:
    path = tmp_path / "tmpnb.json"
    path.write_bytes(written)
    (tmp_path / ".tmpnb-py").touch()
    file = a_file(tmp_path)
    with structlog.testing.capture_logs() as logs:
        assert file.read() is None
    assert [one["event"] for one in logs] == [event]
    kept = Path(logs[0]["kept"])
    assert kept.name.startswith(f"tmpnb.json{suffix}")
    assert kept.read_bytes() == written
    file.write(State(bookings=(ONE,)))
    assert kept.read_bytes() == written


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = a_file(tmp_path / "s")
    old = State()
    file.write(old)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 5:
            return real(descriptor, data[:5])  # a full disk takes a part first
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(State(bookings=(ONE,)))
    monkeypatch.undo()
    assert a_file(tmp_path / "s").read() == old
    assert sorted(one.name for one in (tmp_path / "s").iterdir()) == [".tmpnb-py", "tmpnb.json"]
    file.write(State(bookings=(ONE,)))


def test_another_process_is_not_written_over(tmp_path: Path) -> None:
    first, second = a_file(tmp_path / "s"), a_file(tmp_path / "s")
    first.write(State())
    second.read()
    second.write(State(bookings=(ONE,)))
    with pytest.raises(ForeignWriterError, match="another service"):
        first.write(State())
    assert second.read() == State.model_validate(json.loads((tmp_path / "s/tmpnb.json").read_bytes()))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    directory = tmp_path / "s"
    directory.mkdir()
    (directory / "tmpnb.json").symlink_to(victim)
    (directory / "tmpnb.json.new").symlink_to(victim)
    file = a_file(directory)
    with structlog.testing.capture_logs() as logs:
        assert file.read() is None
    assert logs[0]["event"] == "state_not_read"
    with pytest.raises((OSError, SettingsError)):
        file.write(State())
    assert victim.read_text() == "precious"


def test_a_directory_of_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(SettingsError, match="open to all users"):
        a_file(tmp_path).write(State())


@given(st.binary(max_size=300))
def test_nothing_on_the_disk_stops_the_service(data: bytes) -> None:
    file = StateFile(Path("/nowhere/tmpnb.json"), State, version=VERSION, prepare=lambda: None)
    with structlog.testing.capture_logs():
        assert file._parsed(data) is None or isinstance(file._parsed(data), State)
