"""The first Python kernel, which begins together with the server (`tmpnb_start`), is as any other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

SCRIPT = (Path(__file__).parent / "likeness.py").read_text()
# The server forks, and no kernel is taken from it before the first that is asked for.
WANTED = '{"kernels": {}, "for this test": "python3"}'
# How it can be told from others, if one looks for it.
OWN = {"pid", "random", "uuid", "hash", "secret", "processor", "frozen"}


def told(hardened: list[str], *arguments: str) -> dict[str, Any]:
    """What `likeness.py` finds in a container as the service starts it, but with two processors."""
    *options, image = hardened
    command = [*options, "--cpus", "2", "--interactive", "--env", f"TMPNB_WARM_KERNELS={WANTED}", image]
    done = subprocess.run(
        ["docker", *command, "python", "-", *arguments],
        input=SCRIPT, capture_output=True, text=True, check=False, timeout=220,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def without_ids(kernel: dict[str, Any]) -> dict[str, Any]:
    """What a kernel finds in itself, without the name of its connection file."""
    command = kernel["argv"][-1]
    plain: dict[str, Any] = json.loads(json.dumps(kernel).replace(command, "FILE"))
    return plain


def test_a_visitor_finds_no_difference(hardened: list[str]) -> None:
    found = told(hardened)
    (first, own), (later, others) = found["kernels"]
    assert without_ids(first) == without_ids(later)
    assert own.keys() == others.keys() == OWN
    assert {name for name in OWN if own[name] == others[name]} == set()
    assert own["frozen"] > 0  # so it was really the one that began with the server
    assert others["frozen"] == 0
    assert own["processor"] < others["processor"]
    assert found["tried"] == {
        "debugger": [True] * 6,
        "interrupt": "begun\nKeyboardInterrupt",
        "pool": "[1, 2]\n",
        "numpy": "9\n",
        "after a restart": "False\n",
        "after its death": "1\n",
    }
    # The server is what it was: under its name, with its exit status, and nothing is left of its kernels.
    name, command = found["server"]
    assert name == "jupyter-lab\n"
    assert command.split("\0")[1] == "/opt/jupyter/bin/jupyter-lab"
    assert found["status"] == 0
    assert found["left"] == []


@pytest.mark.long
@pytest.mark.parametrize("reason", ["packages", "killed"])
def test_where_it_would_be_another_one_it_is_started_as_ever(hardened: list[str], reason: str) -> None:
    found = told(hardened, reason)
    (first, own), (later, _) = found["kernels"]
    assert own["frozen"] == 0
    assert without_ids(first) == without_ids(later)
    assert any(".local/lib" in place for place in first["path"]) == (reason == "packages")
    assert found["left"] == []
