"""What the image's programs say where there is no network, as far as it can be seen outside of the image."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import socket
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tmpnb_py.core.installation import workshop_directory

NETWORK = workshop_directory() / "network"
SENTENCE = "This notebook has no network: nothing outside of it can be reached."


@pytest.fixture
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tmpnb_network", NETWORK / "tmpnb_network.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def chained(cause: BaseException) -> BaseException:
    error = ValueError("what a library makes of it")
    error.__cause__ = RuntimeError("in between")
    error.__cause__.__context__ = cause
    return error


def ring() -> BaseException:
    one, other = ValueError(), ValueError()
    one.__cause__, other.__cause__ = other, one
    return one


@pytest.mark.parametrize(
    ("error", "is_about"),
    [
        (socket.gaierror(-3, "Temporary failure in name resolution"), True),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), True),
        (urllib.error.URLError(socket.gaierror(-3, "x")), True),
        (chained(socket.gaierror(-3, "x")), True),
        (chained(KeyError("x")), False),
        (ring(), False),
        (FileNotFoundError(errno.ENOENT, "x"), False),
        (ConnectionRefusedError(errno.ECONNREFUSED, "x"), False),  # somebody is there
    ],
)
def test_exceptions_that_come_of_it(module: ModuleType, error: BaseException, is_about: bool) -> None:
    assert module.is_about_network(error) is is_about


@pytest.fixture
def pip_log(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[pytest.LogCaptureFixture]:
    made = logging.getLogRecordFactory()
    for name in ("PIP_NO_INDEX", "PIP_RETRIES", "PIP_DISABLE_PIP_VERSION_CHECK"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    module.explain_pip()
    yield caplog
    logging.setLogRecordFactory(made)


def test_pip_says_it_once_and_does_not_deny_the_package(pip_log: pytest.LogCaptureFixture) -> None:
    assert os.environ["PIP_NO_INDEX"] == "1"
    log = logging.getLogger("pip._internal.resolution.resolvelib.factory")
    log.error("Could not find a version that satisfies the requirement %s (from versions: %s)", "gone>2", "none")
    log.error("No matching distribution found for %s", "gone")
    log.error("Could not install packages due to an OSError: HTTPSConnectionPool(…): Max retries exceeded with url")
    log.error("Something else for %s", "gone")
    logging.getLogger("mine").error("No matching distribution found for x")
    first, further, url, other, mine = pip_log.messages
    assert first == (
        "This notebook has no network, so that packages from elsewhere cannot be installed. It has no gone>2."
    )
    assert further == "What is installed is listed by: pip list"
    assert url == SENTENCE
    assert other == "Something else for gone"
    assert mine == "No matching distribution found for x"


@pytest.mark.parametrize(
    ("command", "status", "is_said"),
    [
        (["git", "clone", "https://x.example/r"], 128, True),
        (["git", "-C", "r", "-c", "a=b", "--no-pager", "pull"], 1, True),
        (["git", "-C", "pull", "status"], 128, False),
        (["git", "commit", "-m", "push"], 1, False),
        (["git", "clone", "https://x.example/r"], 0, False),
        (["git"], 1, False),
        (["curl", "https://x.example"], 6, True),
        (["curl", "http://localhost/missing"], 22, False),
        (["wget", "https://x.example"], 4, True),
        (["wget", "http://localhost/missing"], 8, False),
    ],
)
def test_programs_that_fail_for_want_of_it(tmp_path: Path, command: list[str], status: int, is_said: bool) -> None:
    own, real = tmp_path / "own", tmp_path / "real"
    stand_in = '#!/bin/sh\necho "$#"; exit "$STATUS"'
    for place, content in ((own, (NETWORK / "explain.sh").read_text()), (real, stand_in)):
        place.mkdir()
        (place / command[0]).write_text(content)
        (place / command[0]).chmod(0o755)
    done = subprocess.run(
        command,
        check=False,
        env={"PATH": f"{own}:{real}:/usr/bin:/bin", "STATUS": str(status)},
        executable=str(own / command[0]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert done.stdout == f"{len(command) - 1}\n"
    assert done.stderr == (f"{SENTENCE}\n" if is_said else "")
