"""`RELEASING.md`'s steps, taken in a repository with a small package in place of ours."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "RELEASING.md").read_text()
PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tmpnb-py"
requires-python = ">=3.11"
dynamic = ["version"]
[tool.hatch.version]
path = "tmpnb_py/__init__.py"
"""
NEWS = "# Changelog\n\n## Unreleased\n\n### Added\n\n- Something.\n"


def environment() -> dict[str, str]:
    """Somebody's, without git's variables: this may run in a hook of another repository's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    me = {f"GIT_{role}_{what}": "x@y.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **me, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}


class Clone:
    """A repository of one commit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "packaging").mkdir(parents=True)
        shutil.copy(ROOT / "packaging" / "release.py", directory / "packaging")
        self.write("tmpnb_py/__init__.py", '"""A package."""\n\n__version__ = "0.1.0"\n')
        self.write("CHANGELOG.md", NEWS)
        self.write("pyproject.toml", PROJECT)
        self.write(".gitignore", "/dist/\n")
        self.git("init", "--quiet")
        self.commit()

    def write(self, name: str, text: str) -> None:
        (self.directory / name).parent.mkdir(exist_ok=True)
        (self.directory / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.directory / name).read_text()

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.directory), *arguments]
        return subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stdout

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "A commit")

    def step(self, *arguments: str) -> str:
        """What a step prints, or "refused: " and why."""
        command = [sys.executable, str(self.directory / "packaging" / "release.py"), *arguments]
        done = subprocess.run(command, check=False, env=environment(), capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else f"refused: {done.stderr}"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone")


def test_the_page_takes_the_steps_that_there_are() -> None:
    steps = re.findall(r"^ +\.venv/bin/python packaging/release\.py (\w+)", PAGE, re.MULTILINE)
    assert steps == ["prepare", "check", "build", "tag"]
    told = re.findall(
        r"^    packaging/release\.py (\w+)", (ROOT / "packaging" / "release.py").read_text(), re.MULTILINE
    )
    assert told == steps


def test_this_tree_could_be_released() -> None:
    """What `prepare` needs of the changelog and of the one place that has the version."""
    assert len(re.findall(r'^__version__ = "\d+\.\d+\.\d+"$', (ROOT / "tmpnb_py/__init__.py").read_text(), re.M)) == 1
    assert (ROOT / "CHANGELOG.md").read_text().count("\n## Unreleased\n") == 1


def test_a_release_from_its_first_step_to_its_last(clone: Clone) -> None:
    assert "0.2.0: look at git diff" in clone.step("prepare", "0.2.0")
    assert '__version__ = "0.2.0"\n' in clone.read("tmpnb_py/__init__.py")
    assert re.search(r"## Unreleased\n\n## 0\.2\.0 - \d{4}-\d\d-\d\d\n\n### Added\n\n- S", clone.read("CHANGELOG.md"))
    assert "refused: commit this first" in clone.step("check")
    clone.commit()
    assert clone.step("check") == "this commit releases 0.2.0\n"
    assert "the same from two builds" in clone.step("build", "--no-isolation")
    dist = clone.directory / "dist"
    lines = (line.split("  ") for line in (dist / "SHA256SUMS").read_text().splitlines())
    sums = {name: digest for digest, name in lines}
    assert set(sums) == {"tmpnb_py-0.2.0-py3-none-any.whl", "tmpnb_py-0.2.0.tar.gz"}
    assert all(hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest for name, digest in sums.items())
    assert "v0.2.0 is this commit" in clone.step("tag")
    assert "v0.2.0 is this commit" in clone.step("tag")
    assert clone.git("cat-file", "-t", "v0.2.0") == "tag\n"


def test_what_is_no_release_is_not_built_or_tagged(clone: Clone) -> None:
    for step in ("check", "build", "tag"):
        assert "refused: this is no release" in clone.step(step)
    clone.step("prepare", "0.2.0")
    clone.commit()
    clone.step("tag")
    clone.write("more.txt", "more")
    clone.commit()
    assert "refused: v0.2.0 is another commit already" in clone.step("tag")
    clone.write("CHANGELOG.md", clone.read("CHANGELOG.md").replace("Unreleased\n", "Unreleased\n\n- More.\n"))
    clone.commit()
    assert "has changes after 0.2.0" in clone.step("build")


@pytest.mark.parametrize("version", ["0.0.9", "0.2", "v0.2.0", "0.2.0rc1", "0.02.0"])
def test_versions_that_cannot_be(clone: Clone, version: str) -> None:
    assert "refused: " in clone.step("prepare", version)
    assert clone.git("status", "--porcelain") == ""


def test_without_news_there_is_nothing_to_release(clone: Clone) -> None:
    clone.write("CHANGELOG.md", "# Changelog\n\n## Unreleased\n\n## 0.1.0 - 2026-01-01\n\n- Old.\n")
    clone.commit()
    assert "refused: CHANGELOG.md has nothing" in clone.step("prepare", "0.2.0")
