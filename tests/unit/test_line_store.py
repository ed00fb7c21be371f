"""The line on disk: whoever was in it is in it again, in order, whatever state a crash left the file in."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tmpnb_py.claims.line_store import Entry, LineStore

LEASE = 120.0


def entry(number: int) -> Entry:
    return Entry(id=f"{number:032x}", target=f"lab/tree/{number}.ipynb", since=1000.5 + number)


def reopened(path: Path) -> list[Entry]:
    """The tickets, but for how long they are kept."""
    line_store = LineStore(path)
    found = line_store.open(LEASE)
    line_store.close()
    assert all(one.until is not None for one in found)
    return [one.model_copy(update={"until": None}) for one in found]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pool.line"


@pytest.fixture
def line_store(path: Path) -> LineStore:
    line_store = LineStore(path)
    assert line_store.open(LEASE) == []
    return line_store


def test_the_order_is_kept_without_those_who_left(path: Path, line_store: LineStore) -> None:
    for number in range(5):
        line_store.add(entry(number))
    line_store.remove(entry(3).id)
    line_store.remove("never in it")
    # No `close`: a crash.
    assert reopened(path) == [entry(0), entry(1), entry(2), entry(4)]
    assert reopened(path) == [entry(0), entry(1), entry(2), entry(4)]


def test_only_its_owner_reads_it(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(1))
    assert path.stat().st_mode & 0o777 == 0o600
    assert not path.with_name("pool.line.new").exists()


def test_nothing_is_left_when_nobody_waits(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(1))
    line_store.remove(entry(1).id)
    line_store.close()
    assert list(path.parent.iterdir()) == []


def test_forgotten_is_gone(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(1))
    line_store.clear()
    line_store.close()
    assert list(path.parent.iterdir()) == []


def test_how_long_a_ticket_is_kept(path: Path, line_store: LineStore) -> None:
    """A lease from the start on where the service ran a moment ago; a further start makes it no longer."""
    line_store.add(entry(1))
    line_store.add(entry(2))
    line_store.update(entry(2).id, until=5.0)
    written = path.stat().st_mtime

    def kept(now: float) -> list[float | None]:
        found = LineStore(path, clock=lambda: now).open(LEASE)
        os.utime(path, (now, now))
        return [one.until for one in found]

    os.utime(path, (written, written))
    assert kept(written + 100) == [written + 100 + LEASE, 5.0]
    assert kept(written + 150) == [written + 100 + LEASE, 5.0]


def test_who_could_not_come_back_because_no_service_ran_is_not_kept(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(1))
    written = path.stat().st_mtime
    (found,) = LineStore(path, clock=lambda: written + LEASE + 1).open(LEASE)
    assert found.until == pytest.approx(written + LEASE)


def test_a_line_that_does_not_move_is_as_fresh_as_one_that_does(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(1))
    for touch in (line_store.maintain, line_store.close):
        os.utime(path, (1, 1))
        touch()
        assert path.stat().st_mtime > 1000


def test_changes_keep_the_order_and_what_is_not_there_does_not_change(path: Path, line_store: LineStore) -> None:
    for number in range(3):
        line_store.add(entry(number))
    line_store.update(entry(0).id, container="c0")
    line_store.update(entry(0).id, told=True)
    size = path.stat().st_size
    line_store.update(entry(0).id, told=True, container="c0")
    line_store.update(entry(7).id, told=True)
    assert path.stat().st_size == size
    assert reopened(path) == [
        entry(0).model_copy(update={"container": "c0", "told": True}), entry(1), entry(2),
    ]  # fmt: skip


def test_it_does_not_grow_for_ever(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(0))
    for number in range(1, 1000):
        line_store.add(entry(number))
        line_store.remove(entry(number).id)
    line_store.maintain()
    assert len(path.read_bytes().splitlines()) == 1
    line_store.add(entry(1000))
    assert reopened(path) == [entry(0), entry(1000)]


@given(st.integers(min_value=0))
def test_a_torn_end_costs_that_line_only(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("line_store") / "pool.line"
    line_store = LineStore(path)
    line_store.open(LEASE)
    for number in range(3):
        line_store.add(entry(number))
    whole = path.read_bytes()
    kept = cut % (len(whole) + 1)
    path.write_bytes(whole[:kept])
    complete = len(whole[:kept].rstrip(b"\n").splitlines()) if kept else 0
    found = reopened(path)
    assert found == [entry(number) for number in range(len(found))]
    assert complete - 1 <= len(found) <= complete
    line_store.close()


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"null", b'"id"', b"\xff\xfe", b'{"id": 5}', b'{"id": []}', b"[" * 100_000,
        b'{"id": "x", "target": "lab", "since": 1}', b'{"id": "%032d", "target": "lab", "since": NaN}' % 1,
        b'{"id": "%032d", "target": "lab"}' % 1,
    ],
)  # fmt: skip
def test_what_is_no_entry_is_passed_over(path: Path, line: bytes) -> None:
    first, last = (entry(number).model_dump_json().encode() for number in (1, 2))
    path.write_bytes(b"%b\n%b\n%b\n" % (first, line, last))
    assert reopened(path) == [entry(1), entry(2)]


def test_a_directory_that_cannot_be_written_is_told_once_and_costs_nobody_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now = tmp_path / "missing" / "pool.line", 1000.0
    line_store = LineStore(path, clock=lambda: now)
    really_open, tries = os.open, []

    def open_file(*arguments: Any, **more: Any) -> int:
        tries.append(now)
        return really_open(*arguments, **more)

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "open", open_file)
        assert line_store.open(LEASE) == []
        line_store.add(entry(1))
        for _ in range(60):
            now += 1
            line_store.maintain()
    assert [(one["event"], one["error"]) for one in logs] == [("line_not_written", "No such file or directory")]
    assert tries == [1000, 1001, 1003, 1007, 1015, 1031]
    path.parent.mkdir()
    now += 1000
    line_store.maintain()  # mended
    assert reopened(path) == [entry(1)]


def test_a_file_that_was_tidied_up_is_written_again(path: Path, line_store: LineStore) -> None:
    line_store.add(entry(1))
    path.unlink()
    line_store.maintain()
    assert reopened(path) == [entry(1)]


def test_a_directory_that_cannot_be_written_any_more_stops_nobody_from_stopping(
    path: Path, line_store: LineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, f"Read-only file system: {self} {missing_ok}")

    monkeypatch.setattr(Path, "unlink", unlink)
    line_store.close()
    assert path.exists()


def test_a_full_disk_is_survived(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    line_store = LineStore(path, clock=lambda: now)
    line_store.open(LEASE)
    line_store.add(entry(1))
    really_write = os.write
    room = 20

    def write(file: int, data: bytes) -> int:
        nonlocal room
        if not room:
            raise OSError(28, "No space left on device")
        written = really_write(file, data[:room])
        room -= written
        return written

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(os, "write", write)
        line_store.add(entry(2))
        line_store.add(entry(3))
        now += 1000
        line_store.maintain()
        assert sorted(one.name for one in path.parent.iterdir()) == ["pool.line"]
    assert [one["event"] for one in logs] == ["line_not_written"]
    crashed = path.with_name("crashed.line")
    crashed.write_bytes(path.read_bytes())
    assert reopened(crashed) == [entry(1)]  # as much as there is
    now += 1000
    line_store.maintain()
    assert reopened(path) == [entry(1), entry(2), entry(3)]


def test_after_trouble_with_the_disk_who_was_forgotten_does_not_come_back(
    path: Path, line_store: LineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    line_store.add(entry(1))

    def full(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        line_store.remove(entry(1).id)
    line_store.close()
    assert list(path.parent.iterdir()) == []


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    path.with_name("pool.line.new").symlink_to(elsewhere)
    with capture_logs() as logs:
        LineStore(path).open(LEASE)
    assert elsewhere.read_text() == "mine"
    assert [one["event"] for one in logs] == ["line_not_written"]


def test_other_versions_read_what_this_one_writes_and_the_other_way_round(path: Path, line_store: LineStore) -> None:
    """Byte for byte what version 1 writes, which refuses fields that it does not know."""
    written = (
        '{"id":"00000000000000000000000000000001","target":"lab/tree/1.ipynb","since":1001.5,'
        '"container":"","told":false,"until":null}\n'
        '{"id":"00000000000000000000000000000001","target":"lab/tree/1.ipynb","since":1001.5,'
        '"container":"c1","told":true,"until":5.0}\n'
        '{"id":"00000000000000000000000000000002"}\n'
    )
    line_store.add(entry(1))
    line_store.update(entry(1).id, container="c1", told=True, until=5.0)
    line_store.add(entry(2))
    line_store.remove(entry(2).id)
    lines = path.read_text().splitlines(keepends=True)
    assert "".join([*lines[:2], lines[3]]) == written
    path.write_text(written)
    (found,) = LineStore(path).open(LEASE)
    assert (found.id, found.container, found.told, found.until) == (entry(1).id, "c1", True, 5.0)


def test_another_process_has_the_file_until_it_is_taken_back(line_store: LineStore, path: Path) -> None:
    line_store.add(entry(1))
    line_store.hand_on()
    line_store.add(entry(2))
    line_store.remove(entry(1).id)
    line_store.maintain()
    assert reopened(path) == [entry(1)]  # as it was handed on
    path.unlink()
    line_store.take_back()
    assert reopened(path) == [entry(2)]


def test_a_file_that_was_handed_on_is_not_removed_at_the_end(line_store: LineStore, path: Path) -> None:
    line_store.hand_on()
    line_store.close()
    assert path.exists()


def test_a_file_that_was_never_opened_is_another_process_s(line_store: LineStore, path: Path) -> None:
    """A process that was to follow the one that has the file, and failed before it did."""
    line_store.add(entry(1))
    other = LineStore(path)
    other.maintain()
    other.close()
    assert reopened(path) == [entry(1)]
