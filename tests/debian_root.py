"""Debian in a directory: a root for programs that this machine lacks, made once by mmdebstrap and kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.engine_support import skip_or_fail

_CACHE = Path(__file__).parent / "artifacts"
_SECONDS = 600


def root(name: str, suite: str, packages: str) -> Path:
    """The directory with these packages. Skips (in CI: fails) where it can't be had."""
    made_of = hashlib.sha256(f"{suite} {packages}".encode()).hexdigest()[:8]  # what it lacks it is made anew for
    cached = _CACHE / f".{name}-{made_of}"  # hidden: neither linters nor pytest look into it
    if cached.is_dir():
        return cached
    if shutil.which("mmdebstrap") is None:
        skip_or_fail(f"mmdebstrap is not installed, which makes {name}")
    _CACHE.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=_CACHE, prefix=f".{name}-"))
    try:
        # Never half a root under the name; another run may be quicker.
        done = subprocess.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={packages}",
                "--aptopt=Acquire::Check-Valid-Until \"false\"", suite, str(work / "root"),
            ],
            capture_output=True, text=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
        if done.returncode:
            skip_or_fail(f"Debian's packages for {name} cannot be had: {done.stderr[-1500:]}")
        if not cached.is_dir():
            os.rename(work / "root", cached)  # noqa: PTH104  (fails where another run was quicker)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return cached
