"""An engine that cannot keep what is promised is refused in one sentence. `matrix` runs this where one is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.service import PROGRAM
from tests.engine_support import SERVER_COMMAND_PORT, SERVER_IMAGE

REFUSAL = os.environ.get("REFUSAL", "")
READY = '"event": "ready"'
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not REFUSAL, reason="tests/engines/test_engines.py runs it with engines that are refused"),
]
_SECONDS = 200  # longer than anybody waits for an engine: what is waited for comes, or the program ends


def words(directory: Path, *command: str) -> list[str | Path]:
    where = (f"--runtime-dir={directory}", f"--image={SERVER_IMAGE}", "--port=0", "--admin-port=0")
    return ["timeout", "--signal=INT", f"{_SECONDS}", PROGRAM, *command, *where, "--log-format=json"]


def served(directory: Path, *options: str, until: str) -> tuple[str, int]:
    """What `serve` says, and how it ends: by itself, or by Ctrl-C once it has said what is waited for."""
    said: list[str] = []
    with subprocess.Popen(
        words(directory, "serve", *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if until in line and until not in "".join(said):
                process.send_signal(signal.SIGINT)
            said.append(line)
    return "".join(said), process.returncode


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(words(tmp_path / "run", "doctor", "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 8, done.stderr
    failed = [one for one in json.loads(done.stdout)["findings"] if one["grade"] == "FAIL"]
    assert len(failed) == 1
    assert REFUSAL in failed[0]["text"]
    assert "use" in failed[0]["remedy"]


@pytest.mark.skipif("Podman" in REFUSAL, reason="nobody can accept what Podman lacks")
def test_who_accepts_it_has_notebooks_without_limits(tmp_path: Path) -> None:
    """Not even of CPU time, which such an engine refuses to set."""
    accepted = ("--accept-missing=memory,processes", f"--command={SERVER_COMMAND_PORT}", "--pool-size=1")
    said, _ = served(tmp_path / "run", *accepted, "--transport=port", "--cleanup-on-exit", until=READY)
    assert READY in said
    assert "cpu_quota has no effect" in said


def test_serve_gives_nothing_away(tmp_path: Path) -> None:
    said, code = served(tmp_path / "run", "--pool-size=1", until=REFUSAL)
    assert REFUSAL in said
    assert READY not in said
    if "Podman" in REFUSAL:  # nothing that its operator could change while it runs
        assert code == 3
        assert len([line for line in said.splitlines() if line.startswith("error: ")]) == 1
