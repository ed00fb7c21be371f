"""A benchmark that lacks something says so at once, instead of running its rows into their time-outs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = [
    path.stem
    for path in sorted((ROOT / "tests" / "benchmarks").glob("*.py"))
    if "argparse.ArgumentParser(" in path.read_text() and path.stem != "load"  # it needs nothing
]
ARGUMENTS = {"class_of": ["1"]}


def test_there_are_benchmarks() -> None:
    assert {"proxy", "service", "line", "notes", "image"} <= set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_no_engine_is_said_at_once(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{name}", *ARGUMENTS.get(name, [])],
        env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/nowhere"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("not measured: ")
    assert "no Docker engine answers" in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
