"""`start-notebook.sh` gives start lines that were written for tmpnb their present form."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "workshop_image" / "start-notebook.sh"

HISTORIC = (
    "--NotebookApp.base_url=/user/x/ --ip=0.0.0.0 --port=8888 "
    '--NotebookApp.token="" --NotebookApp.trust_xheaders=True'
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is not empty, and a server that prints its arguments."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "mine").touch()
    server = tmp_path / "jupyter-lab"
    server.write_text('#!/bin/sh\nfor argument in "$@"; do printf \'%s\\0\' "$argument"; done\n')
    server.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (["--ServerApp.sock=/run/x", ""], ["--ServerApp.sock=/run/x", ""]),
        (
            [HISTORIC],
            [
                "--ServerApp.base_url=/user/x/",
                "--ip=0.0.0.0",
                "--port=8888",
                "--IdentityProvider.token=",
                "--ServerApp.trust_xheaders=True",
            ],
        ),
        (["--NotebookApp.token=a b", "--port", "1"], ["--IdentityProvider.token=a b", "--port", "1"]),
        (["--NotebookApp.password='sha1:x' --x"], ["--PasswordIdentityProvider.hashed_password=sha1:x", "--x"]),
        (["--ServerApp.tornado_settings={'a': 'b c'}"], ["--ServerApp.tornado_settings={'a': 'b c'}"]),
        (["--port=1\n\t--ip=* --x='"], ["--port=1", "--ip=*", "--x='"]),
    ],
)  # fmt: skip
def test_options(home: Path, given: list[str], expected: list[str]) -> None:
    environ = {"HOME": str(home), "PATH": f"{home}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", SCRIPT, *given], env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\0")[:-1] == expected
    assert done.stderr == ""
