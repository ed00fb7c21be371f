#!/usr/bin/env python3
"""The locks: with which versions our images are built, and the SHA-256 of each file that counts as one of them.

    packaging/lock.py              lock what the ranges ask for anew (a new dependency), keep all else
    packaging/lock.py --upgrade    the newest versions that the ranges allow
    packaging/lock.py --check      write nothing; exit 1 where a lock is not what the first command would write
    packaging/lock.py service      only this one, likewise with the options

A lock has the hashes of a version's files for every platform and every Python, so an image builds from it on x86-64
and on 64-bit ARM. `pip install --require-hashes` then takes no other file, and no package that the lock does not
name: neither a mirror nor whoever stands between can slip one in. It needs `uv` (`pip install uv`) and PyPI.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INDEX = "https://pypi.org/simple"


@dataclasses.dataclass(frozen=True)
class Lock:
    """A file, what asks for the packages in it (both in `directory`, where uv runs), and for which Python."""

    directory: str
    output: str
    source: str
    target: tuple[str, ...]
    constraints: str = ""

    @property
    def path(self) -> str:
        """The file, from the tree's top."""
        return str(Path(self.directory, self.output))


# The orchestrator's image has the Python of whichever Debian it is built on; the notebooks' has Debian 12's.
ANY_PYTHON = ("--universal", "--python-version", "3.11")
DEBIAN_12 = ("--python-platform", "linux", "--python-version", "3.11")
BUILD_SYSTEM = "build-system.requires"  # made of pyproject.toml, which uv reads for the dependencies only
LOCKS = {
    # Nothing can be added to an image later, so it has what traces take, too.
    "service": Lock(".", "packaging/requirements.txt", "pyproject.toml", (*ANY_PYTHON, "--extra", "otel")),
    "service-build": Lock(".", "packaging/requirements-build.txt", BUILD_SYSTEM, ANY_PYTHON),
    "notebooks": Lock("workshop_image", "requirements.txt", "requirements.in", DEBIAN_12),
    "notebooks-full": Lock(
        "workshop_image", "requirements-full.txt", "requirements-full.in", DEBIAN_12, constraints="requirements.txt"
    ),
}
SOURCES = ("pyproject.toml", "workshop_image/requirements.in", "workshop_image/requirements-full.in")


def program() -> str:
    """The path of uv: beside this Python, or on the PATH. Exits where there is none."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        sys.exit(f"uv is missing, which makes locks: {sys.executable} -m pip install uv")
    return found


def compiled(lock: Lock, tree: Path, *, upgrade: bool) -> str:
    """Return what a lock has to be. `tree` has what it is made of, and its present state, whose versions it keeps."""
    constraints = ("--constraints", lock.constraints) if lock.constraints else ()
    command = [program(), "pip", "compile", "--quiet", "--no-config", "--no-header", "--generate-hashes"]
    command += ["--default-index", INDEX, *lock.target, *constraints, *(("--upgrade",) if upgrade else ())]
    # Nobody's settings may decide what is in a lock.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    done = subprocess.run(  # noqa: S603
        [*command, "--output-file", lock.output, lock.source],
        check=False, cwd=tree / lock.directory, env=environ, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{lock.path}: {done.stderr or done.stdout}")
    return (tree / lock.path).read_text()


def main() -> int:
    """Return 1 where a lock was to be checked and is not what its ranges ask for."""
    parser = argparse.ArgumentParser(description="Make our images' locks, or check them.")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--upgrade", action="store_true", help="take the newest versions that the ranges allow")
    ways.add_argument("--check", action="store_true", help="write nothing; exit 1 where a lock is out of step")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(LOCKS)} (all)")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(LOCKS):
        parser.error(f"there is no lock {', '.join(sorted(unknown))}: choose from {', '.join(LOCKS)}")
    stale = []
    with tempfile.TemporaryDirectory(prefix="tmpnb-lock-") as work:
        tree = Path(work)
        for name in (*SOURCES, *(one.path for one in LOCKS.values())):
            (tree / name).parent.mkdir(exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, tree / name)
        build_system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
        (tree / BUILD_SYSTEM).write_text("\n".join(build_system["requires"]))
        # In this order: one is the constraint of the next.
        for lock in (LOCKS[name] for name in LOCKS if name in asked.names or not asked.names):
            text, file = compiled(lock, tree, upgrade=asked.upgrade), ROOT / lock.path
            if not file.exists() or file.read_text() != text:
                stale.append(lock.path)
                if not asked.check:
                    file.write_text(text)
    for name in stale:
        print(f"{name} is {'not what its ranges ask for: run packaging/lock.py' if asked.check else 'new'}")
    return 1 if asked.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
