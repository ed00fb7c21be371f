#!/usr/bin/env python3
"""The steps of a release. RELEASING.md says when each is taken.

    packaging/release.py prepare 0.2.0   write the version and the changelog's heading; you look at them, and commit
    packaging/release.py check           whether the commit is a release; changes nothing
    packaging/release.py build           make dist/ of the commit: wheel, source distribution, SHA256SUMS
    packaging/release.py tag             tag the commit, as v0.2.0

The version is in one place, `__version__` in tmpnb_py/__init__.py; package, command, API, metrics and the image's
labels read it there. `build` builds twice, each time from a fresh clone, so nothing that is not committed gets into a
package, and fails unless both are the same. Nothing is sent anywhere. It needs git, and for `build` the Python
package `build`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION_FILE = Path("tmpnb_py/__init__.py")
CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = "## Unreleased\n"
_VERSION = re.compile(r'^__version__ = "([^"]*)"$', re.MULTILINE)
_NUMBER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command prints. Exits with what it complains about."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd, env=env)  # noqa: S603
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def current() -> str:
    """The version of this tree."""
    found = _VERSION.findall(VERSION_FILE.read_text())
    if len(found) != 1 or not _NUMBER.fullmatch(found[0]):
        sys.exit(f'{VERSION_FILE} needs exactly one line like __version__ = "0.2.0"')
    return str(found[0])


def must_be_clean() -> None:
    """Exit where something is not committed: it would be in no package, and in no tag."""
    if status := run("git", "status", "--porcelain"):
        sys.exit(f"commit this first, or remove it:\n{status}")


def tags_here() -> list[str]:
    """The tags of the commit."""
    return run("git", "tag", "--points-at", "HEAD").split()


def prepare(version: str) -> None:
    """Write the version, and make what is unreleased in the changelog this version's."""
    must_be_clean()
    if not _NUMBER.fullmatch(version):
        sys.exit(f"{version} is not a version: write three numbers, such as 0.2.0")
    text, parts = CHANGELOG.read_text(), [[int(part) for part in one.split(".")] for one in (version, current())]
    if parts[0] < parts[1] or f"## {version} " in text:
        sys.exit(f"{version} is not newer than what there is: {current()}")
    before, heading, rest = text.partition(UNRELEASED)
    if not heading or not re.search(r"^- ", rest.partition("\n## ")[0], re.MULTILINE):
        sys.exit(f"{CHANGELOG} has nothing under {UNRELEASED.strip()}: there is nothing to release")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    CHANGELOG.write_text(f"{before}{UNRELEASED}\n## {version} - {today}\n{rest}")
    VERSION_FILE.write_text(_VERSION.sub(f'__version__ = "{version}"', VERSION_FILE.read_text()))
    print(f"{VERSION_FILE} and {CHANGELOG} say {version}: look at git diff, run tests/run, and commit.")


def check() -> str:
    """Return the version that the commit releases. Exits where it is no release."""
    must_be_clean()
    version, text = current(), CHANGELOG.read_text()
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", headings[1] if len(headings) > 1 else ""):
        sys.exit(f"this is no release: the newest one in {CHANGELOG} is not {version}; see prepare")
    if text.partition(UNRELEASED)[2].partition("\n## ")[0].strip():
        sys.exit(f"{CHANGELOG} has changes after {version}: prepare a newer version, or tag the commit before them")
    if f"v{version}" not in tags_here() and run("git", "tag", "--list", f"v{version}"):
        sys.exit(f"v{version} is another commit already: a version is never given twice")
    return version


def build(*, isolated: bool) -> None:
    """Make `dist/` of the commit. Exits where a second build differs."""
    version = check()
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    with tempfile.TemporaryDirectory(prefix="tmpnb-release-") as work:
        sums = []
        for name in ("first", "second"):
            tree = Path(work, name)
            run("git", "clone", "--quiet", "--no-hardlinks", ".", str(tree))
            extra = () if isolated else ("--no-isolation",)
            environ = {**os.environ, "SOURCE_DATE_EPOCH": epoch}
            run(sys.executable, "-m", "build", *extra, "--outdir", f"{tree}-dist", str(tree), env=environ)
            files = sorted(Path(f"{tree}-dist").iterdir())
            sums.append("".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in files))
        if sums[0] != sums[1]:
            sys.exit(f"two builds differ:\n{sums[0]}{sums[1]}")
        target = Path("dist")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(work, "first-dist"), target)
        (target / "SHA256SUMS").write_text(sums[0])
    print(f"dist/ has {version}, the same from two builds:\n{sums[0]}", end="")


def tag() -> None:
    """Tag the commit. No-op where it has its tag."""
    version = check()
    if f"v{version}" not in tags_here():
        run("git", "tag", "--annotate", "--message", f"tmpnb-py {version}", f"v{version}")
    print(f"v{version} is this commit. It is on this machine only, until you push it.")


def main() -> None:
    """Take the step that is asked for, in the repository that this file is in."""
    parser = argparse.ArgumentParser(description="The steps of a release: see RELEASING.md.")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("prepare", help="write the version and the changelog's heading").add_argument("version")
    steps.add_parser("check", help="whether the commit is a release")
    building = steps.add_parser("build", help="make dist/ of the commit")
    building.add_argument(
        "--no-isolation", action="store_true", help="build with what is installed, without a registry"
    )
    steps.add_parser("tag", help="tag the commit")
    asked = parser.parse_args()
    os.chdir(Path(__file__).resolve().parents[1])
    if asked.step == "prepare":
        prepare(asked.version)
    elif asked.step == "check":
        print(f"this commit releases {check()}")
    elif asked.step == "build":
        build(isolated=not asked.no_isolation)
    else:
        tag()


if __name__ == "__main__":
    main()
