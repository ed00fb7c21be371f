"""Warm kernels of the local engine's server: it has the image's settings, and our environment's Python kernel."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_folder import ask, kernels_begin_in
from tests.integration.test_tree import started

pytestmark = pytest.mark.timeout(120)


def states(port: int) -> list[dict[str, Any]]:
    """The warm kernels when none is starting any more."""
    while True:
        status, text = ask(port, "GET", "api/tmpnb/warm")
        assert status == 200
        kernels: list[dict[str, Any]] = json.loads(text)["kernels"]
        if all(one["state"] != "starting" for one in kernels):
            return kernels
        time.sleep(0.1)


def processes(home: str) -> set[int]:
    """The kernels' processes of a server."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if home.encode() in (process / "cmdline").read_bytes() and (process / "cwd").exists():
                found.add(int(process.name))
        except OSError:
            continue
    return found


def test_a_kernel_of_another_sites_page_gets_the_warm_one_in_the_workshops_folder() -> None:
    told = {"TMPNB_WARM_KERNELS": json.dumps({"kernels": {"python3": ["fractions"]}, "unused_seconds": 60})}
    with tempfile.TemporaryDirectory() as home, started(Path(home), environment=told) as port:
        folder = Path(home, "work", "knots")
        folder.mkdir()
        assert ask(port, "GET", "api/tmpnb/warm", token="")[0] == 403
        assert [(one["name"], one["state"]) for one in states(port)] == [("python3", "ready")]
        (warm,) = processes(home)
        assert str(Path(f"/proc/{warm}/cwd").readlink()) == "/"
        assert ask(port, "PUT", "tmpnb/folder?path=knots")[0] == 204
        first = {"name": "python3", "path": "not/there"}
        assert kernels_begin_in(port, first, {"name": "python3"}) == [str(folder), str(folder)]
        assert [one["state"] for one in states(port)] == ["taken"]
