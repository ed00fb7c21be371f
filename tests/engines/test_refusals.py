"""An engine that cannot keep what is promised is refused in one sentence. `matrix` runs this where one is."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.service import PROGRAM
from tests.engine_support import SERVER_COMMAND_PORT, SERVER_IMAGE

REFUSAL = os.environ.get("REFUSAL", "")
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not REFUSAL, reason="tests/engines/test_engines.py runs it with engines that are refused"),
]


def ran(directory: Path, *command: str, seconds: float) -> subprocess.CompletedProcess[str]:
    where = (f"--runtime-dir={directory}", f"--image={SERVER_IMAGE}", "--port=0", "--admin-port=0")
    return subprocess.run(
        ["timeout", "--signal=INT", f"{seconds:g}", PROGRAM, *command, *where, "--log-format=json"],
        capture_output=True, text=True, check=False, timeout=seconds + 60,
    )  # fmt: skip


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    done = ran(tmp_path / "run", "doctor", "--json", seconds=120)
    assert done.returncode == 8, done.stderr
    failed = [one for one in json.loads(done.stdout)["findings"] if one["grade"] == "FAIL"]
    assert len(failed) == 1
    assert REFUSAL in failed[0]["text"]
    assert "use" in failed[0]["remedy"]
    print(failed[0])


@pytest.mark.skipif("Podman" in REFUSAL, reason="nobody can accept what Podman lacks")
def test_who_accepts_it_has_notebooks_without_limits(tmp_path: Path) -> None:
    """Not even of CPU time, which such an engine refuses to set."""
    accepted = ("--accept-missing=memory,processes", f"--command={SERVER_COMMAND_PORT}", "--pool-size=1")
    done = ran(tmp_path / "run", "serve", *accepted, "--transport=port", "--cleanup-on-exit", seconds=60)
    said = done.stdout + done.stderr
    assert '"event": "ready"' in said, said[-3000:]
    assert "cpu_quota has no effect" in said


def test_serve_gives_nothing_away(tmp_path: Path) -> None:
    done = ran(tmp_path / "run", "serve", "--pool-size=1", seconds=30)
    assert REFUSAL in done.stdout + done.stderr
    assert '"event": "ready"' not in done.stdout + done.stderr
    if "Podman" in REFUSAL:  # nothing that its operator could change while it runs
        assert done.returncode == 3
        assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1
