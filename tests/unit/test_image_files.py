"""Files of images out of archives and directories, and BuildKit's traces: both come from outside and are bounded."""

from __future__ import annotations

import base64
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines import image_files
from tmpnb_py.engines.docker.buildkit import Progress, is_offered


def archive(*entries: tuple[str, bytes, bytes]) -> io.BytesIO:
    """Name, type and content (or the target of a link)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(content)
            else:
                entry.linkname = content.decode()
            tar.addfile(entry, io.BytesIO(content))
    file.seek(0)
    return file


def test_a_file_and_a_directory() -> None:
    one = archive(("w.toml", tarfile.REGTYPE, b"x"))
    assert image_files.from_tar(one, "/usr/share/w.toml") == {"/usr/share/w.toml": b"x"}
    many = archive(("d", tarfile.DIRTYPE, b""), ("d/a", tarfile.REGTYPE, b"1"), ("d/e/b", tarfile.REGTYPE, b"2"))
    assert image_files.from_tar(many, "/srv/d") == {"/srv/d/a": b"1", "/srv/d/e/b": b"2"}


def test_only_regular_files_count() -> None:
    hostile = archive(
        ("d/link", tarfile.SYMTYPE, b"/etc/passwd"),
        ("d/hard", tarfile.LNKTYPE, b"d/a"),
        ("d/../../x", tarfile.REGTYPE, b"1"),
        ("d/pipe", tarfile.FIFOTYPE, b""),
    )
    assert image_files.from_tar(hostile, "/srv/d") == {}


def test_what_is_read_is_bounded() -> None:
    with pytest.raises(EngineError, match="more bytes than"):
        image_files.from_tar(
            archive(("d/a", tarfile.REGTYPE, b"12"), ("d/b", tarfile.REGTYPE, b"34")), "/srv/d", limit=3
        )


def test_what_is_no_archive() -> None:
    with pytest.raises(EngineError, match="cannot read"):
        image_files.from_tar(io.BytesIO(b"x" * 2000), "/srv/d")


def test_a_directory_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"1")
    (tmp_path / "d" / "link").symlink_to("/etc/passwd")
    paths = [str(tmp_path / "d"), str(tmp_path / "missing"), str(tmp_path / "d" / "link")]
    assert image_files.from_directory(paths) == {str(tmp_path / "d" / "a"): b"1"}
    with pytest.raises(EngineError):
        image_files.from_directory(paths, limit=0)


# ---- BuildKit


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def vertex(digest: bytes, name: bytes, *, started: bool = False, error: bytes = b"") -> bytes:
    body = field(1, digest) + field(3, name) + (b"\x20\x01")  # cached = true, a varint
    return field(1, body + (field(5, b"\x08\x01") if started else b"") + (field(7, error) if error else b""))


def lines(progress: Progress, *parts: bytes) -> list[str]:
    return list(progress.lines(base64.b64encode(b"".join(parts)).decode()))


OLD = {"Api-Version": "1.41", "Ostype": "linux", "Server": "Docker/20.10.24+dfsg1 (linux)"}
PODMAN = {"Api-Version": "1.41", "Buildah-Version": "1.28.2", "Server": "Libpod/4.3.1 (linux)"}


@pytest.mark.parametrize(
    ("answer", "offered"),
    [
        (OLD, True),
        (OLD | {"Builder-Version": "2", "Api-Version": "1.51"}, True),
        (OLD | {"Builder-Version": "1"}, False),  # switched off by its configuration
        (OLD | {"Api-Version": "1.38"}, False),
        (OLD | {"Ostype": "windows"}, False),
        (PODMAN, False),
        ({}, False),
    ],
)
def test_an_engine_tells_whether_it_has_buildkit(answer: dict[str, str], offered: bool) -> None:
    assert is_offered(answer) is offered


def test_steps_are_counted_as_they_begin() -> None:
    progress = Progress()
    known = [vertex(b"1", b"[a 1/2] FROM x"), vertex(b"2", b"[a 2/2] RUN y"), vertex(b"3", b"[internal] load")]
    assert lines(progress, *known) == []
    assert lines(progress, vertex(b"3", b"[internal] load", started=True)) == []
    assert lines(progress, vertex(b"1", b"[a 1/2] FROM x", started=True)) == ["Step 1/2 : [a 1/2] FROM x"]
    assert lines(progress, vertex(b"1", b"[a 1/2] FROM x", started=True)) == []
    assert lines(progress, field(3, field(1, b"2") + field(4, b"one\ntwo\n"))) == ["one", "two"]
    failed = lines(progress, vertex(b"2", b"[a 2/2] RUN y", started=True, error=b"exit code: 1"))
    assert failed == ["Step 2/2 : [a 2/2] RUN y", "exit code: 1"]


@example(base64.b64encode(b"\x0a\x01\x80").decode())
@example(base64.b64encode(b"\x1a\x01\x80").decode())
@given(st.one_of(st.binary(max_size=300).map(lambda data: base64.b64encode(data).decode()), st.text(), st.none()))
def test_a_trace_that_cannot_be_read_has_no_lines(aux: str | None) -> None:
    list(Progress().lines(aux))
