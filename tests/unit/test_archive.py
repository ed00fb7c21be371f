"""The archive of a visitor's files: complete, readable everywhere, never more in memory than a few blocks."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.image_modules import load
from tmpnb_py.core.installation import workshop_directory

pytest.importorskip("jupyter_server")

SERVER = workshop_directory() / "server"


load("tmpnb_words")
CHANGES = load("tmpnb_changes")
PACKING = load("tmpnb_packing")
ARCHIVE = load("tmpnb_archive")
write_archive: Callable[..., None] = PACKING.write_archive
OURS = ["About this archive.txt", "tmpnb-archive.json"]  # the last in each


def archived(root: Path, **more: object) -> zipfile.ZipFile:
    """The archive of a directory, sound from its first byte to its last."""
    out = io.BytesIO()
    write_archive(str(root), "work", out.write, **more)
    archive = zipfile.ZipFile(out)
    assert archive.testzip() is None
    assert archive.namelist()[-2:] == OURS
    return archive


def names(archive: zipfile.ZipFile) -> list[str]:
    """What it holds of the visitor's."""
    return archive.namelist()[:-2]


def manifest(archive: zipfile.ZipFile) -> dict[str, Any]:
    return dict(json.loads(archive.read("tmpnb-archive.json")))


def left_out(archive: zipfile.ZipFile) -> dict[str, str]:
    """What it says that it does not hold, which people are told, too."""
    found = {one["path"]: one["why"] for one in manifest(archive)["left_out"]}
    about = archive.read("About this archive.txt").decode()
    assert all(f"  {path}: {why}" in about for path, why in found.items())
    return found


def test_everything_is_in_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "empty").mkdir()
    (tmp_path / "a" / "Übung 1.ipynb").write_text("{}")
    (tmp_path / ".gitignore").write_text("*.o")
    (tmp_path / "large").write_bytes(os.urandom(1_000_000))
    (tmp_path / "old").write_text("from before the format")
    os.utime(tmp_path / "old", (0, 0))
    archive = archived(tmp_path)
    assert names(archive) == [
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
    for name in (".cache", ".git", "__pycache__", ".ipynb_checkpoints", "kept"):
        (home / name).mkdir(parents=True)
        (home / name / "file").write_text(name)
    (home / "link").symlink_to("/etc/passwd")
    (home / "kept" / "directory").symlink_to("/etc")
    (home / "round").symlink_to(home)
    os.mkfifo(home / "pipe")
    (home / "..\\..\\evil").write_text("on another system this would be a path")
    Path(os.fsdecode(bytes(home) + b"/\xff")).write_text("no UTF-8")
    assert names(archive := archived(home)) == ["work/.._.._evil", "work/\ufffd", "work/kept/file"]
    assert left_out(archive) == {
        ".git/": "it is a hidden folder",
        "kept/directory": "it is a link that leads out of your files",
        "link": "it is a link that leads out of your files",
        "pipe": "it is not a regular file, but a socket, a pipe or a device",
    }


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    """A home as the image fills it, and what it is filled from."""
    original, home = tmp_path / "image", tmp_path / "home"
    (original / "course" / "data" / "none").mkdir(parents=True)
    (original / "course" / "data" / "a.csv").write_text("1,2\n")
    (original / "course" / "Course.ipynb").write_text(json.dumps(BOOK))
    shutil.copytree(original, home)
    return home, original


BOOK: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 4,
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    "cells": [
        {"cell_type": "code", "source": ["1 +\n", "1"], "metadata": {}, "outputs": [], "execution_count": None}
    ],
}


def saved_unchanged() -> dict[str, Any]:
    """As JupyterLab saves a notebook that was only looked at."""
    book = json.loads(json.dumps(BOOK))
    book["nbformat_minor"] = 5
    book["metadata"]["language_info"] = {"name": "python", "version": "3.11.2"}
    book["cells"][0] |= {"id": "0123", "source": "1 +\n1", "metadata": {"trusted": True}}
    return dict(book)


def test_what_the_image_brought_is_not_in_it(homes: tuple[Path, Path]) -> None:
    """Nor what was only looked at; but whatever differs, and whatever is new."""
    home, original = homes
    assert names(archived(home, original=str(original))) == []
    (home / "course" / "Course.ipynb").write_text(json.dumps(saved_unchanged(), indent=1))
    assert names(archived(home, original=str(original))) == []
    ran = saved_unchanged()
    ran["cells"][0]["execution_count"] = 1
    (home / "course" / "Course.ipynb").write_text(json.dumps(ran))
    (home / "course" / "data" / "a.csv").write_text("1,3\n")  # as long as it was
    (home / "course" / "data" / "b.csv").write_text("mine")
    (home / "mine").mkdir()
    assert names(archived(home, original=str(original))) == [
        "work/course/Course.ipynb",
        "work/course/data/a.csv",
        "work/course/data/b.csv",
        "work/mine/",
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"metadata": 1}', "[" * 100_000, '{"metadata": {}, "cells": [1]}']
)
def test_what_is_no_notebook_is_compared_by_its_bytes(homes: tuple[Path, Path], text: str) -> None:
    home, original = homes
    for one in (home, original):
        (one / "course" / "Course.ipynb").write_text(text)
    assert names(archived(home, original=str(original))) == []
    (home / "course" / "Course.ipynb").write_text(f"{text} ")
    assert names(archived(home, original=str(original))) == ["work/course/Course.ipynb"]


def test_it_says_where_it_is_from_and_holds_what_could_not_be_saved(homes: tuple[Path, Path]) -> None:
    """With a full disk the page has what the disk has not; a new notebook is an empty file there, or none."""
    home, original = homes
    (home / "New.ipynb").touch()
    wish = PACKING.Wish.of(
        {
            "origin": "https://notebooks.example.org/",
            "open": ["New.ipynb", "course/Course.ipynb", "../../etc/passwd", 1],
            "active": "New.ipynb",
            "unsaved": {
                "New.ipynb": '{"cells": []}',
                "not yet": "text",
                "course/Course.ipynb": json.dumps(saved_unchanged()),  # only looked at
                "course/data/a.csv": "1,2\n",
                "../out": "evil",
                "/out": "evil",
                "b": 1,
            },
        }
    )
    archive = archived(home, original=str(original), wish=wish)
    assert names(archive) == ["work/New.ipynb", "work/not yet"]
    assert archive.read("work/New.ipynb") == b'{"cells": []}'
    told = manifest(archive)
    assert told["origin"] == "https://notebooks.example.org/"
    assert told["open"] == ["New.ipynb", "course/Course.ipynb"]
    assert (told["active"], told["files"], told["directory"]) == ("New.ipynb", 2, "work")
    assert told["versions"]["jupyter_server"]
    assert PACKING.surveyed(str(home), str(original), wish) == {
        "files": 2, "bytes": 17, "left_out": [], "left_out_count": 0
    }  # fmt: skip
    for nonsense in ("null", "[]", '{"open": 1, "unsaved": []}'):
        assert PACKING.Wish.of(json.loads(nonsense)) == PACKING.Wish()


def test_of_a_great_many_that_are_left_out_the_first_are_named(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).symlink_to("/etc/passwd")
    told = manifest(archive := archived(tmp_path))
    assert (len(told["left_out"]), told["left_out_count"]) == (200, 300)
    assert "  and 100 more" in archive.read("About this archive.txt").decode()


def test_what_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("kept", "secret"):
        (tmp_path / name).write_text(name)
    really_open = os.open

    def refuse(path: str, flags: int) -> int:
        if path.endswith("secret"):
            raise PermissionError
        return really_open(path, flags)

    monkeypatch.setattr(os, "open", refuse)
    assert names(archive := archived(tmp_path)) == ["work/kept"]
    assert left_out(archive) == {"secret": "it cannot be read"}


def test_a_directory_that_is_empty_or_gone_gives_an_empty_archive(tmp_path: Path) -> None:
    assert names(archived(tmp_path)) == []
    assert names(archived(tmp_path / "gone")) == []


def test_it_comes_in_blocks(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).write_bytes(os.urandom(300_000))
    sizes: list[int] = []
    write_archive(str(tmp_path), "work", lambda block: sizes.append(len(block)))
    assert sum(sizes) > 8 * 300_000
    assert max(sizes) < 3 * PACKING._BLOCK


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

    monkeypatch.setattr(PACKING, "_BLOCK", 100)
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
