"""The archive of a visitor's files: complete, readable everywhere, never more in memory than a few blocks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image_modules import load
from tmpnb_py.image import workshop_directory

pytest.importorskip("jupyter_server")

SERVER = workshop_directory() / "server"


ARCHIVE = load("tmpnb_archive")
write_archive: Callable[[str, str, Callable[[bytes], object]], None] = ARCHIVE.write_archive


def archived(root: Path) -> zipfile.ZipFile:
    """The archive of a directory, sound from its first byte to its last."""
    out = io.BytesIO()
    write_archive(str(root), "work", out.write)
    archive = zipfile.ZipFile(out)
    assert archive.testzip() is None
    return archive


def test_everything_is_in_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "Übung 1.ipynb").write_text("{}")
    (tmp_path / ".gitignore").write_text("*.o")
    (tmp_path / "large").write_bytes(os.urandom(1_000_000))
    (tmp_path / "old").write_text("from before the format")
    os.utime(tmp_path / "old", (0, 0))
    archive = archived(tmp_path)
    assert archive.namelist() == [
        "work/.gitignore",
        "work/large",
        "work/old",
        "work/a/Übung 1.ipynb",
        "work/a/empty/",
    ]
    assert archive.read("work/large") == (tmp_path / "large").read_bytes()
    assert archive.getinfo("work/old").date_time == (1980, 1, 1, 0, 0, 0)


def test_nothing_of_another_place_is_in_it(tmp_path: Path) -> None:
    """Links, pipes, caches, hidden directories; and no name leads out of the directory that it is unpacked in."""
    home = tmp_path / "home"
    for name in (".cache", "__pycache__", ".ipynb_checkpoints", "kept"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text(name)
    (home / "link").symlink_to("/etc/passwd")
    (home / "kept" / "directory").symlink_to("/etc")
    (home / "round").symlink_to(home)
    os.mkfifo(home / "pipe")
    (home / "..\\..\\evil").write_text("on another system this would be a path")
    Path(os.fsdecode(bytes(home) + b"/\xff")).write_text("no UTF-8")
    assert archived(home).namelist() == ["work/.._.._evil", "work/\ufffd", "work/kept/file"]


def test_what_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "secret"):
        (tmp_path / name).write_text(name)
    really_open = os.open

    def refuse(path: str, flags: int) -> int:
        if path.endswith("secret"):
            raise PermissionError
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    assert archived(tmp_path).namelist() == ["work/kept"]


def test_a_directory_that_is_empty_or_gone_gives_an_empty_archive(tmp_path: Path) -> None:
    assert archived(tmp_path).namelist() == []
    assert archived(tmp_path / "gone").namelist() == []


def test_it_comes_in_blocks(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).write_bytes(os.urandom(300_000))
    sizes: list[int] = []
    write_archive(str(tmp_path), "work", lambda block: sizes.append(len(block)))
    assert sum(sizes) > 8 * 300_000
    assert max(sizes) < 3 * ARCHIVE._BLOCK


def test_it_stops_when_nobody_reads_on(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).write_bytes(os.urandom(300_000))
    opened: list[str] = []
    blocks: list[int] = []

    def leave(block: bytes) -> None:
        blocks.append(len(block))
        raise ARCHIVE.GoneError

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching and str(arguments[0]).startswith(str(tmp_path)):
            opened.append(str(arguments[0]))

    watching = True
    sys.addaudithook(note)
    with pytest.raises(ARCHIVE.GoneError):
        write_archive(str(tmp_path), "work", leave)
    watching = False
    assert len(opened) == 1


def test_a_file_that_grows_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is as long as it was when it was opened: a log's writer may be faster than the visitor."""
    log = tmp_path / "log"
    log.write_bytes(b"x" * 1_000_000)
    out = io.BytesIO()

    def send(block: bytes) -> None:
        with log.open("ab") as file:
            file.write(b"y" * 1_000_000)
        out.write(block)

    monkeypatch.setattr(ARCHIVE, "_BLOCK", 100)
    write_archive(str(tmp_path), "work", send)
    assert zipfile.ZipFile(out).read("work/log") == b"x" * 1_000_000


def test_a_server_that_starts_does_not_pay_for_it() -> None:
    """Beside what every server has imported, it brings nothing but itself."""
    code = (
        "import sys, jupyter_server.serverapp; before = set(sys.modules); "
        "import tmpnb_archive; print(*(set(sys.modules) - before))"
    )
    environment = {**os.environ, "PYTHONPATH": str(SERVER), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == ["tmpnb_archive"]
