"""Who may send a notebook an archive: a real server with the image's settings, and somebody who knows its address."""

from __future__ import annotations

import contextlib
import http.client
import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_tree import BASE, TOKEN, started

PATH = f"{BASE}tmpnb/restore?name=a.zip"
XSRF = "0123456789abcdef0123456789abcdef"  # of whoever asks: no secret


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[int]:
    with started(home) as port:
        yield port


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "x")
    return out.getvalue()


def test_nothing_is_kept_of_what_a_stranger_sends_and_the_owner_need_not_wait_for_them(
    server: int, home: Path
) -> None:
    with (
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", server, timeout=30)) as stranger,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", server, timeout=30)) as owner,
    ):
        _both_send(stranger, owner, home)


def _both_send(stranger: http.client.HTTPConnection, owner: http.client.HTTPConnection, home: Path) -> None:
    stranger.putrequest("POST", PATH)
    for name, value in (("Cookie", f"_xsrf={XSRF}"), ("X-XSRFToken", XSRF), ("Content-Length", "1000000")):
        stranger.putheader(name, value)
    stranger.endheaders(b"x" * 500_000)

    owner.request("POST", PATH, body=zipped("theirs"), headers={"Authorization": f"token {TOKEN}"})
    answer = owner.getresponse()
    assert (answer.status, bool(answer.read())) == (200, True)
    end = time.monotonic() + 10
    while list((home / "work").glob(".tmpnb-restore-*")):
        assert time.monotonic() < end, "what the stranger sends is kept"
        time.sleep(0.05)

    stranger.send(b"x" * 500_000)
    assert stranger.getresponse().status == 403
