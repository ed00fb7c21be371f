"""Third-party scripts are what packaging/vendored.toml says, under licences that let us ship them."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TABLE = tomllib.loads((ROOT / "packaging" / "vendored.toml").read_text(encoding="utf-8"))
VENDOR = ROOT / "tmpnb_py" / "vendor"
LICENCES = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT"}


def test_every_vendored_directory_is_in_the_table() -> None:
    assert {path.name for path in VENDOR.iterdir()} == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_vendored_files_are_the_packages_own(name: str) -> None:
    entry: dict[str, Any] = TABLE[name]
    here = VENDOR / name
    found = {path.relative_to(here).as_posix(): path for path in here.rglob("*") if path.is_file()}
    sums = {path: hashlib.sha256(file.read_bytes()).hexdigest() for path, file in found.items()}
    assert sums == entry["files"], "tmpnb_py/vendor is changed by packaging/vendor.py only"
    algorithm, _, digest = entry["integrity"].partition("-")
    assert (algorithm, len(base64.b64decode(digest))) == ("sha512", 64)
    assert entry["licence"] in LICENCES
    assert (here / entry["licence_text"]).resolve().is_relative_to(VENDOR)
    assert (here / entry["licence_text"]).is_file()


def test_vendored_files_are_committed() -> None:
    """Directories called `dist` or `build` are what ignore files name."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", str(VENDOR)]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout of git")
    expected = {f"tmpnb_py/vendor/{name}/{path}" for name, entry in TABLE.items() for path in entry["files"]}
    assert set(done.stdout.splitlines()) == expected
