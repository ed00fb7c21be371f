"""Links of the classic interface where there is only JupyterLab: a real server with the image's settings."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests import ports
from tests.local_support import need_jupyterlab
from tmpnb_py.core.installation import workshop_directory

BASE = "/user/0abc/"
TOKEN = "throw0away"


@contextlib.contextmanager
def started(home: Path, packages: Path | None = None, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """The port of a server as the image configures it; `packages` are installed beside what it has."""
    need_jupyterlab()
    (home / "work").mkdir()
    (port,) = ports.free_ports(1)
    options = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", f"--ServerApp.base_url={BASE}"]
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options, "--allow-root"],
        cwd=home,
        env={
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "JUPYTER_CONFIG_PATH": str(workshop_directory() / "etc"),
            "JUPYTER_TOKEN": TOKEN,
            **({} if packages is None else {"PYTHONPATH": str(packages)}),
            **(environment or {}),
        },
    )
    try:
        asyncio.run(ports.until_it_answers(f"http://127.0.0.1:{port}{BASE}login"))
        yield port
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with started(tmp_path_factory.mktemp("home")) as port:
        yield port


def get(port: int, target: str, token: str = TOKEN) -> tuple[int, str]:
    """Status and address of the answer to a target that is sent as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", BASE + target, headers={"Authorization": f"token {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.headers.get("Location", "")


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("tree", "lab"),
        ("tree/", "lab"),
        (f"tree?token={TOKEN}", f"lab?token={TOKEN}"),
        ("tree/a.ipynb", "lab/tree/a.ipynb"),
        ("notebooks/a%20b/c%20d.ipynb", "lab/tree/a%20b/c%20d.ipynb"),
        ("edit/100%25%20sure%2Fnot.txt", "lab/tree/100%25%20sure%2Fnot.txt"),
        ("tree/%C3%BCbung/%E2%88%9A.ipynb?reset&x=%20a/b?c", "lab/tree/%C3%BCbung/%E2%88%9A.ipynb?reset&x=%20a/b?c"),
        ("tree/folder/", "lab/tree/folder"),
        # What would lead to other hosts if it stood alone.
        ("tree//evil.example/x", "lab/tree/evil.example/x"),
        ("tree///evil.example", "lab/tree/evil.example"),
        ("tree/https://evil.example/", "lab/tree/https://evil.example"),
        ("tree/%2F%2Fevil.example", "lab/tree/%2F%2Fevil.example"),
        ("tree/%0d%0aSet-Cookie:x=1", "lab/tree/%0d%0aSet-Cookie:x=1"),
    ],
)
def test_they_lead_to_the_same_document_in_jupyterlab(server: int, target: str, place: str) -> None:
    assert get(server, target) == (302, BASE + place)


def test_they_need_a_token_as_everything_does(server: int) -> None:
    status, location = get(server, "tree/a.ipynb", token="")
    assert status == 302
    assert location.startswith(f"{BASE}login?next=")
    assert get(server, "treehouse")[0] == 404
    assert get(server, "lab/tree/a.ipynb")[0] == 200


def test_where_the_classic_interface_is_installed_they_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "packages" / "notebook").mkdir(parents=True)
    (tmp_path / "packages" / "notebook" / "__init__.py").touch()
    with started(tmp_path, tmp_path / "packages") as port:
        assert get(port, "tree/a.ipynb")[0] == 404  # this one is empty
