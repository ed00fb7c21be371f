"""Signals at the very end of the service."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

from tests.e2e.service import Service


def test_signals_until_the_very_end_do_not_make_an_orderly_end_a_crash(tmp_path: Path) -> None:
    """One that came after the last line of the log, while Python was still ending, was the exit code."""
    where = ["--ip=127.0.0.1", "--port=0", "--admin-port=0", f"--runtime-dir={tmp_path / 'run'}", "--log-format=json"]
    service = Service([*where, "--image=none"], {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    service.wait_for("engine_down")
    service.signal(signal.SIGTERM)
    service.wait_for("stopped")
    process = Path(f"/proc/{service.pid}")
    with contextlib.suppress(ProcessLookupError):
        while process.exists():
            service.signal(signal.SIGTERM)
            time.sleep(0.001)
    assert service.wait() == 0
