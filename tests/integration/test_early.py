"""Sessions that begin with a notebook's page, before JupyterLab asks: a real server with the image's settings."""

from __future__ import annotations

import contextlib
import http.client
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_folder import ask
from tests.integration.test_tree import BASE, TOKEN, started

SPEC = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
STRANGE = {
    "no-kernel": {},
    "not-installed": {"kernelspec": {"name": "fortran", "display_name": "Fortran"}},
    "no-name": {"kernelspec": {"name": ["python3"], "display_name": "Python 3"}},
    "no-dict": {"kernelspec": "python3"},
}


def _notebook(metadata: object) -> str:
    return json.dumps({"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    # A short path: kernels have their sockets in it.
    with tempfile.TemporaryDirectory() as home, started(Path(home)) as port:
        work = Path(home) / "work"
        (work / "a b").mkdir()
        for name in ("one", "a b/two", "three", "four", "last"):
            (work / f"{name}.ipynb").write_text(_notebook(SPEC))
        for name, metadata in STRANGE.items():
            (work / f"{name}.ipynb").write_text(_notebook(metadata))
        (work / "no-json.ipynb").write_text("{")
        (work / "data.csv").write_text("a,b\n")
        (work / ".hidden.ipynb").write_text(_notebook(SPEC))
        (Path(home) / "outside.ipynb").write_text(_notebook(SPEC))
        yield port


def page(port: int, target: str, headers: Mapping[str, str] | None = None, token: str = TOKEN) -> int:
    """The status of a page, as a browser asks for it."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        authorization = {"Authorization": f"token {token}"} if token else {}
        connection.request("GET", BASE + target, headers={**authorization, **(headers or {})})
        return connection.getresponse().status


def sessions(port: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ask(port, "GET", "api/sessions")[1])
    return found


def jupyterlab_asks(port: int, path: str) -> dict[str, Any]:
    """What JupyterLab is given if it finds no session, and asks for one; the name tells which it is."""
    body = {"path": path, "name": "asked for", "type": "notebook", "kernel": {"name": "python3"}}
    status, answer = ask(port, "POST", "api/sessions", body)
    assert status == 201, answer
    found: dict[str, Any] = json.loads(answer)
    return found


def end_all(port: int) -> None:
    for one in sessions(port):
        assert ask(port, "DELETE", f"api/sessions/{one['id']}")[0] == 204


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("lab/tree/one.ipynb", "one.ipynb"),
        ("lab/tree/a%20b/two.ipynb?reset", "a b/two.ipynb"),
        ("lab/workspaces/auto-x/tree/three.ipynb", "three.ipynb"),
        ("doc/tree/four.ipynb", "four.ipynb"),
        ("lab/tree/one.ipynb?factory=Notebook", "one.ipynb"),
    ],
)
def test_it_is_the_session_that_jupyterlab_would_begin(server: int, target: str, path: str) -> None:
    """Asked for in the moment after the page, it is the one that is under way: there are no two of a path."""
    assert page(server, target, {"Sec-Fetch-Mode": "navigate"}) == 200
    asked = jupyterlab_asks(server, path)
    try:
        assert (asked["path"], asked["name"], asked["type"]) == (path, path.rpartition("/")[2], "notebook")
        assert asked["kernel"]["name"] == "python3"
        assert page(server, target) == 200  # loaded once more
        assert [one["id"] for one in sessions(server)] == [asked["id"]]
        assert jupyterlab_asks(server, path)["id"] == asked["id"]
        assert len(json.loads(ask(server, "GET", "api/kernels")[1])) == 1
    finally:
        end_all(server)


def test_it_begins_without_being_asked_for(server: int) -> None:
    assert page(server, "lab/tree/one.ipynb") == 200
    deadline = time.monotonic() + 30
    while not (found := sessions(server)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    end_all(server)
    assert [one["path"] for one in found] == ["one.ipynb"]


def test_what_begins_none(server: int) -> None:
    """Where JupyterLab would not, or would ask its visitor; and where no page is opened."""
    for target in ("lab", "lab/tree/a%20b", "lab/tree/data.csv", "lab/tree/one.ipynb?factory=Editor"):
        assert page(server, target) == 200
    for name in (*STRANGE, "no-json", "missing", ".hidden"):
        assert page(server, f"lab/tree/{name}.ipynb") == 200
    assert page(server, "lab/tree/data.csv?factory=Notebook") == 200
    for outside in ("..%2Foutside.ipynb", "../outside.ipynb", "a%20b/..%2F..%2Foutside.ipynb", "%2Fetc%2Fx.ipynb"):
        assert page(server, f"lab/tree/{outside}") in (200, 400, 404)
    for headers in ({"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Mode": "navigate", "Sec-Purpose": "prefetch"}):
        assert page(server, "lab/tree/one.ipynb", headers) == 200
    assert page(server, "lab/tree/one.ipynb", token="") == 302
    assert page(server, "lab/tree/last.ipynb") == 200  # this one does: all others are through when it is there
    jupyterlab_asks(server, "last.ipynb")
    found = sessions(server)
    end_all(server)
    assert [one["path"] for one in found] == ["last.ipynb"]
    assert [one["name"] for one in found] == ["last.ipynb"]
