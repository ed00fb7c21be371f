"""The process that waits to be the first Python kernel is only that if a new one would begin just like it."""

from __future__ import annotations

import site
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import image_modules

start = image_modules.load("tmpnb_start")

GIVEN = {"HOME": "/home/jovyan", "LANG": "C.UTF-8", "JPY_PARENT_PID": "7"}


def request(tmp_path: Path, **changed: Any) -> dict[str, Any]:
    command = [sys.executable, "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "x.json"]
    return {"argv": command, "env": GIVEN, "cwd": str(tmp_path), "limits": {}} | changed


def test_what_jupyter_sets_for_a_kernel_is_no_matter(tmp_path: Path) -> None:
    env = GIVEN | {"JPY_SESSION_NAME": "x.ipynb", "JPY_PARENT_PID": "8", "JUPYTER_SERVER_URL": "http://x"}
    assert start.unlike_a_new_one(request(tmp_path, env=env), GIVEN) == ""


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        (GIVEN | {"PYTHONPATH": "/x"}, "another PYTHONPATH"),
        (GIVEN | {"LANG": "de_DE.UTF-8"}, "another LANG"),
        ({"HOME": "/home/jovyan"}, "another LANG"),
    ],
)
def test_any_other_variable_is(tmp_path: Path, env: dict[str, str], problem: str) -> None:
    assert start.unlike_a_new_one(request(tmp_path, env=env), GIVEN) == problem


@pytest.mark.parametrize(
    "command",
    [
        ["/usr/bin/python3", "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "x.json"],
        [sys.executable, "-m", "ipykernel_launcher", "-f", "x.json"],
        [sys.executable, "-Xfrozen_modules=off", "-m", "my_kernel", "-f", "x.json"],
        [],
    ],
)
def test_another_command(tmp_path: Path, command: list[str]) -> None:
    assert start.unlike_a_new_one(request(tmp_path, argv=command), GIVEN) == "another command"


def test_a_directory_that_has_gone(tmp_path: Path) -> None:
    assert start.unlike_a_new_one(request(tmp_path, cwd=str(tmp_path / "gone")), GIVEN) == "no such directory"


def test_packages_that_the_visitor_has_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(tmp_path))
    assert start.unlike_a_new_one(request(tmp_path), GIVEN) == "packages were installed"
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert start.unlike_a_new_one(request(tmp_path), GIVEN) == ""
