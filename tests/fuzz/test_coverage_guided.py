"""A few seconds of atheris for each target; by hand it may run for hours (`tests/fuzz/targets.py`)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine_support import skip_or_fail

_RUNS = 8000  # a few seconds; a number and a seed, so that each run of CI does the same


@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", ["requests", "responses", "chunks", "frames"])
def test_what_coverage_leads_to_holds(target: str, tmp_path: Path) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("atheris has no wheels for this version of Python")
    if importlib.util.find_spec("atheris") is None:
        skip_or_fail("atheris is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.targets", target, f"-runs={_RUNS}", "-seed=1",
         f"-artifact_prefix={tmp_path}/"],
        cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, check=False,
        timeout=280,
    )  # fmt: skip
    output = done.stdout.decode(errors="replace")[-4000:] + done.stderr.decode(errors="replace")[-2000:]
    assert done.returncode == 0, output
    assert b"Done " in done.stderr
