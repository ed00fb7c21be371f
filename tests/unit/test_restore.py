"""Restoring an archive: one's files where they were, nothing of the visitor's overwritten, all of it or nothing."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.image_modules import load
from tmpnb_py.words.words import words

pytest.importorskip("jupyter_server")

load("tmpnb_words")
CHANGES = load("tmpnb_changes")
PACKING = load("tmpnb_packing")
ROOM = load("tmpnb_room")
RESTORE = load("tmpnb_restore")
MANY = 1 << 40  # bytes of room


class Place:
    """A fresh home, as the image fills it."""

    def __init__(self, directory: Path) -> None:
        self.original, self.root, self.staging = (
            directory / "image",
            directory / "work",
            directory / "work" / ".staging",
        )
        for one in (self.original, self.root):
            (one / "course").mkdir(parents=True)
            (one / "course" / "Course.ipynb").write_text("the image's")
        self.upload = directory / "upload"

    def restore(self, archive: bytes, name: str = "archive.zip") -> Any:
        self.upload.write_bytes(archive)
        self.staging.mkdir()
        try:
            return RESTORE.restore(self.upload, str(self.root), name, self.staging, str(self.original))
        finally:
            RESTORE.shutil.rmtree(self.staging)

    def refuse(self, archive: bytes, name: str = "archive.zip") -> Any:
        """It must be refused, and everything is as it was."""
        before = self.files()
        with pytest.raises(RESTORE.RefusedError) as refused:
            self.restore(archive, name)
        assert self.files() == before
        return refused.value

    def files(self) -> dict[str, str]:
        found = {path.relative_to(self.root).as_posix(): path for path in sorted(self.root.rglob("*"))}
        return {name: path.read_text() for name, path in found.items() if path.is_file()}

    def download(self, **wish: object) -> bytes:
        out = io.BytesIO()
        PACKING.write_archive(
            str(self.root), "work", out.write, original=str(self.original), wish=PACKING.Wish.of(wish)
        )
        return out.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(ROOM, "memory_left", lambda: None)
    return Place(tmp_path / "new")


@pytest.fixture
def before(tmp_path: Path) -> Place:
    """Where somebody worked, on another day."""
    return Place(tmp_path / "old")


def zipped(files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_ones_files_are_where_they_were_and_what_was_open_is_named(before: Place, place: Place) -> None:
    (before.root / "course" / "Course.ipynb").write_text("worked on")
    (before.root / "mine" / "empty").mkdir(parents=True)
    (before.root / "mine" / "Übung.ipynb").write_text("made")
    (before.root / "mine" / "run.sh").write_text("#!/bin/sh")
    (before.root / "mine" / "run.sh").chmod(0o755)
    (before.root / ".Rprofile").write_text("options()")
    archive = before.download(open=["course/Course.ipynb", "mine/Übung.ipynb", "gone"], active="course/Course.ipynb")
    outcome = place.restore(archive)
    assert place.files() == before.files()
    assert (place.root / "mine" / "empty").is_dir()
    assert stat.S_IMODE((place.root / "mine" / "run.sh").stat().st_mode) == 0o755
    assert outcome.open == ["mine/Übung.ipynb", "course/Course.ipynb"]  # the one in front comes last
    assert (outcome.replaced, outcome.kept_both, outcome.skipped) == (["course/Course.ipynb"], {}, [])
    assert outcome.told()["restored"] == 4
    # Once more: nothing is there twice.
    again = place.restore(archive)
    assert (again.restored, again.same, place.files()) == ([], 4, before.files())


def test_what_somebody_has_worked_on_is_kept_beside(before: Place, place: Place) -> None:
    (before.root / "course" / "Course.ipynb").write_text("worked on")
    (place.root / "course" / "Course.ipynb").write_text("worked on here, too")
    archive = before.download(open=["course/Course.ipynb"])
    outcome = place.restore(archive)
    assert outcome.kept_both == {"course/Course.ipynb": "course/Course (restored).ipynb"}
    assert outcome.open == ["course/Course (restored).ipynb"]
    (place.root / "course" / "Course (restored).ipynb").write_text("and this")
    place.restore(archive)
    assert place.files() == {
        "course/Course.ipynb": "worked on here, too",
        "course/Course (restored).ipynb": "and this",
        "course/Course (restored 2).ipynb": "worked on",
    }


def test_an_old_download_without_a_manifest(before: Place, place: Place) -> None:
    """It holds what nobody touched, too: that neither replaces anything nor comes beside it."""
    (place.root / "course" / "Course.ipynb").write_text("worked on")
    outcome = place.restore(zipped({"work/course/Course.ipynb": "the image's", "work/mine.ipynb": "made"}))
    assert place.files() == {"course/Course.ipynb": "worked on", "mine.ipynb": "made"}
    assert (outcome.restored, outcome.same, outcome.open) == (["mine.ipynb"], 1, ["mine.ipynb"])


@pytest.mark.parametrize(
    ("name", "inside", "folder"),
    [
        ("Thesis.zip", "", "Thesis/"),
        ("Thesis.zip", "Thesis/", "Thesis/"),
        ("../../etc.zip", "", "etc/"),
        ("..", "", "archive/"),
        ("C:\\Users\\me\\x.zip", "", "x/"),
    ],
)
def test_any_other_archive_is_unpacked_into_a_folder(place: Place, name: str, inside: str, folder: str) -> None:
    files = {"a.ipynb": "a", "b/c.txt": "c", "__MACOSX/._a": "", "b/.DS_Store": "", ".git/hooks/evil": ""}
    outcome = place.restore(zipped({f"{inside}{one}": text for one, text in files.items()}), name)
    assert place.files() == {"course/Course.ipynb": "the image's", f"{folder}a.ipynb": "a", f"{folder}b/c.txt": "c"}
    assert outcome.open == [f"{folder}a.ipynb"]
    assert [one["why"] for one in outcome.skipped] == ["it is in a hidden folder"]


def test_a_manifest_of_somebody_elses_is_taken_with_care(place: Place) -> None:
    for manifest in (
        "",
        "[]",
        "1",
        "{}",
        '{"format": "tmpnb-archive", "directory": ".."}',
        "[" * 200_000,
        "x" * 2_000_000,
    ):
        place.restore(zipped({"tmpnb-archive.json": manifest, "a": "a"}), "x.zip")
        assert place.files()["x/a"] == "a"
    opened = '["../../etc/passwd", "/etc/passwd", {}, "a", "l"]'
    manifest = f'{{"format": "tmpnb-archive", "directory": "w", "open": {opened}, "active": []}}'
    (place.root / "l").symlink_to("/etc/passwd")
    assert place.restore(zipped({"tmpnb-archive.json": manifest, "w/a": "a"})).open == ["a"]


@pytest.mark.parametrize(
    "name", ["../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "c:/evil", "a/./b", "a//b", "d/" * 50]
)
def test_a_name_that_leads_out_makes_all_of_it_suspect(place: Place, name: str) -> None:
    refused = place.refuse(zipped({"good": "good", name: "evil"}))
    assert refused.status == 400
    assert "none of it was taken" in refused.message
    assert not list(place.root.parent.parent.rglob("*evil*"))


def test_links_are_not_made_and_not_followed(place: Place, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("work/out")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        archive.writestr("work/elsewhere/file", "evil")
        archive.writestr("work/file/below", "a file is there")
        archive.writestr("work/taken", "beside")
    (tmp_path / "elsewhere").mkdir()
    (place.root / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (place.root / "taken").symlink_to(tmp_path / "elsewhere" / "new")
    (place.root / "file").write_text("mine")
    outcome = place.restore(out.getvalue())
    assert [one["path"] for one in outcome.skipped] == ["out", "elsewhere/file", "file/below"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (place.root / "taken (restored)").read_text() == "beside"
    assert (place.root / "file").read_text() == "mine"


def damaged(archive: bytes) -> bytes:
    middle = archive.index(b"content") if b"content" in archive else len(archive) // 2
    return archive[:middle] + b"CONTENT" + archive[middle + 7 :]


def with_flag(archive: bytes, flag: int) -> bytes:
    """Its entries with a flag of the format's in their heads."""
    data = bytearray(archive)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = data.index(mark) + offset
        data[place : place + 2] = struct.pack("<H", struct.unpack_from("<H", data, place)[0] | flag)
    return bytes(data)


PLAIN = zipped({"work/a": "content", "work/b": "b"}, zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"", "no ZIP archive"),
        (b"not one", "no ZIP archive"),
        (PLAIN[:-30], "no ZIP archive"),
        (PLAIN[20:], "damaged"),
        (damaged(PLAIN), "damaged"),
        (with_flag(PLAIN, 1), "encrypted"),
    ],
)
def test_what_cannot_be_read_is_refused_as_a_whole(place: Place, archive: bytes, words: str) -> None:
    refused = place.refuse(archive)
    assert (refused.status, words in refused.message) == (400, True), refused.message


def test_a_name_that_is_there_twice(place: Place) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", "1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", "2")
    assert "twice" in place.refuse(out.getvalue()).message
    assert "twice" in place.refuse(zipped({"a": "a file", "a/b": "and a folder"})).message


def test_a_bomb_is_looked_at_before_it_is_unpacked(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped({f"{number}": b"\0" * 10_000_000 for number in range(3)})
    assert len(bomb) < 100_000
    monkeypatch.setattr(RESTORE, "room", lambda directory: 25_000_000)
    refused = place.refuse(bomb)
    assert refused.status == 507
    assert "need 30.0 MB, and there is room for 25.0 MB" in refused.message
    assert refused.values == {"needed": 30_000_000 + 4 * 4096, "room": 25_000_000}
    assert words("de").gettext(refused.text, needed="A", room="B").startswith("Diese Dateien brauchen A, und")
    # One that lies about its sizes is damaged: no more is unpacked than it says.
    small = bytearray(bomb)
    for start in range(len(small)):
        if small[start : start + 4] == b"PK\x01\x02":
            struct.pack_into("<I", small, start + 24, 100)
    monkeypatch.setattr(RESTORE, "room", lambda directory: MANY)
    assert "damaged" in place.refuse(bytes(small)).message


def test_a_manifest_that_is_larger_than_it_says_takes_no_memory(place: Place) -> None:
    archive = bytearray(zipped({"tmpnb-archive.json": b"0" * 100_000_000, "a": "a"}))
    struct.pack_into("<I", archive, archive.index(b"PK\x01\x02") + 24, 1000)
    tracemalloc.start()
    try:
        place.refuse(bytes(archive))
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "folder"), [("\u6587" * 120 + ".zip", "\u6587" * 66), ("a\0b.zip", "a_b"), (".zip", "archive")]
)
def test_any_name_of_an_archive_becomes_a_folder(place: Place, name: str, folder: str) -> None:
    assert place.restore(zipped({"x": "x", "y": "y"}), name).folder == folder


def test_more_files_than_anybody_has(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RESTORE, "MOST_FILES", 10)
    assert place.refuse(zipped({str(number): "" for number in range(11)})).status == 413
    monkeypatch.setattr(RESTORE, "_LARGEST_DIRECTORY", 400)
    assert place.refuse(zipped({str(number): "" for number in range(10)})).status == 413


def test_a_disk_that_gets_full_in_the_middle(before: Place, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it is unpacked, and while it is moved: then what was moved goes back."""
    (before.root / "course" / "Course.ipynb").write_text("worked on")
    for number in range(5):
        (before.root / f"mine{number}").mkdir()
        (before.root / f"mine{number}" / "file").write_text(str(number))
    archive = before.download()

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(RESTORE.shutil, "copyfileobj", full)
        assert place.refuse(archive).status == 507
    really_rename, moved = Path.rename, 0

    def rename(path: Path, target: Path) -> Path:
        nonlocal moved
        moved += 1
        if moved == 5:
            full()
        return really_rename(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert "no more room" in place.refuse(archive).message
    assert moved == 5
    assert sorted(path.name for path in place.root.iterdir()) == ["course"]


def test_names_that_a_mac_does_not_mark_as_what_they_are(place: Place) -> None:
    archive = with_flag(zipped({"work/Übung": "content"}), 0)
    plain = bytearray(archive)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        plain[plain.index(mark) + offset + 1] &= ~8 & 0xFF
    place.restore(bytes(plain))
    assert "Übung" in place.files()


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        ({"memory.max": "max", "memory.current": "5", "memory.stat": ""}, None),
        ({"memory.max": "100", "memory.current": "70", "memory.stat": "anon 1\ninactive_file 20\n"}, 50),
        (
            {
                "memory/memory.limit_in_bytes": "100",
                "memory/memory.usage_in_bytes": "70",
                "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 10\n",
            },
            40,
        ),
        (
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "70",
                "memory/memory.stat": "",
            },
            None,
        ),
    ],
)
def test_memory_is_room_too(tmp_path: Path, files: Mapping[str, str], left: int | None) -> None:
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert ROOM.memory_left(tmp_path) == left


def test_folders_within_folders_are_counted(place: Place) -> None:
    deep = "/".join("d" * 37)
    refused = place.refuse(zipped({f"w/{number}/{deep}/a": "" for number in range(600)}))
    assert refused.status == 413
    assert "folders" in refused.message


def test_folders_need_room_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RESTORE, "room", lambda _: 100_000)
    deep = "/".join("d" * 38)
    assert place.refuse(zipped({f"w/{deep}/a": ""})).status == 507
    place.restore(zipped({f"w/{number}": "" for number in range(20)}))
