"""Where kernels begin in a notebook that a page of another site uses: a real server with the image's settings."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import image_modules
from tests.integration.test_tree import BASE, TOKEN, started


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as home:  # short: kernels have their sockets in it
        yield Path(home) / "work"


@pytest.fixture(scope="module")
def server(work: Path) -> Iterator[int]:
    with started(work.parent) as port:
        (work / "knots" / "data").mkdir(parents=True)
        (work / "course").mkdir()
        (work / "at-the-top.ipynb").touch()
        yield port


def ask(port: int, method: str, path: str, body: object = None, token: str = TOKEN) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        headers = {"Authorization": f"token {token}"} if token else {}
        connection.request(method, BASE + path, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()


def test_only_a_folder_of_the_visitors_is_taken(server: int) -> None:
    assert ask(server, "PUT", "tmpnb/folder?path=nowhere")[0] == 404
    assert ask(server, "PUT", "tmpnb/folder?path=at-the-top.ipynb")[0] == 404
    assert ask(server, "PUT", "tmpnb/folder?path=..%2F..")[0] == 404
    assert ask(server, "PUT", "tmpnb/folder")[0] == 400
    assert ask(server, "PUT", "tmpnb/folder?path=knots", token="")[0] == 403


def kernels_begin_in(port: int, *bodies: Mapping[str, object]) -> list[str]:
    """The directories of kernels that are started so: they are this process's grandchildren."""
    seen: set[str] = set()
    places = []
    for body in bodies:
        path = "api/kernels" if "kernel" not in body else "api/sessions"
        status, answer = ask(port, "POST", path, body)
        assert status == 201, answer
        kernel = json.loads(answer)
        kernel_id = kernel["kernel"]["id"] if "kernel" in kernel else kernel["id"]
        found = {
            process.name: str((process / "cwd").readlink())
            for process in Path("/proc").iterdir()
            if process.name.isdigit() and kernel_id.encode() in _command(process)
        }
        places += [place for number, place in found.items() if number not in seen]
        seen |= set(found)
        assert ask(port, "DELETE", f"api/kernels/{kernel_id}")[0] == 204
    return places


def _command(process: Path) -> bytes:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_bytes()
    return b""


def test_kernels_without_a_document_begin_in_the_workshops_folder(server: int, work: Path) -> None:
    """As thebe and thebelab start them, from pages that know nothing of folders here."""
    assert ask(server, "PUT", "tmpnb/folder?path=knots")[0] == 204
    thebe = {"name": "thebe.ipynb", "path": "", "type": "notebook", "kernel": {"name": "python3"}}
    begun = kernels_begin_in(server, thebe, {"name": "python3"}, {**thebe, "path": "course/new.ipynb"})
    assert begun == [str(work / "knots"), str(work / "knots"), str(work / "course")]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", "knots"),
        ("/", "knots"),
        ("page.ipynb", "knots"),
        ("data/page.ipynb", "knots/data"),
        ("none/page.ipynb", "knots"),
        ("at-the-top.ipynb", "."),
        ("course/page.ipynb", "course"),
        ("knots/page.ipynb", "knots"),
    ],
)
def test_what_a_path_means(tmp_path: Path, path: str, place: str) -> None:
    root = tmp_path.resolve()
    for folder in ("knots/data", "course"):
        (root / folder).mkdir(parents=True)
    (root / "at-the-top.ipynb").touch()

    def usual(asked: str, **_kwargs: object) -> str:
        found = root / asked.strip("/")
        while not found.is_dir() and found != root:
            found = found.parent
        return str(found)

    find = image_modules.load("tmpnb_folder").finder(usual, str(root), str(root / "knots"))
    assert Path(find(path)).resolve() == (root / place).resolve()
