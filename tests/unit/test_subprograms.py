"""Modules of ours in processes of their own run our code, whatever lies in the working directory."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tmpnb_py.core import subprograms
from tmpnb_py.workshops import notes_cache

PACKAGE = Path(subprograms.__file__).parents[1]
NOTEBOOK = {
    "cells": [{"cell_type": "markdown", "metadata": {}, "source": "# Some *words*"}],
    "metadata": {"kernelspec": {"name": "python3"}, "language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with modules that say that they were run, named as those that ours import."""
    names = ["nh3", "json", "resource", "markdown_it", "pygments", "brotli", "tmpnb_py", "sitecustomize", "struct"]
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'a').write('{name} ')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "owned"


async def test_notes_are_made_by_our_own_code(hostile: Path) -> None:
    notes = await notes_cache.make_notes(
        json.dumps(NOTEBOOK).encode(), start="a/b.ipynb", pages={}, language="python"
    )
    assert notes.title == "Some words"
    assert not hostile.exists()


@pytest.mark.parametrize(
    "module", sorted(path.relative_to(PACKAGE.parent).parent.as_posix() for path in PACKAGE.rglob("__main__.py"))
)
def test_every_program_of_ours_starts_with_our_own_code(hostile: Path, module: str) -> None:
    command = subprograms.command(module.replace("/", "."), "--help")
    subprocess.run(command, input=b"", capture_output=True, check=False, timeout=60, env=subprograms.environment())
    assert not hostile.exists()


def test_no_token_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_AUTH_TOKEN", "secret")
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", "secret")
    assert "secret" not in subprograms.environment().values()


def test_no_python_of_ours_looks_into_the_working_directory() -> None:
    """`-P` keeps it off the path, and `-I` this and more."""
    for path in PACKAGE.rglob("*.py"):
        for rest in re.findall(r"[\[(]sys\.executable, (.*)", path.read_text()):
            assert rest.startswith(('"-P"', '"-I"')), (path, rest)


def test_programs_in_our_image_do_not_look_into_the_working_directory() -> None:
    for line in (PACKAGE.parent / "Dockerfile").read_text().splitlines():
        if line.startswith(("HEALTHCHECK", "CMD", "ENTRYPOINT")) and "python" in line:
            assert re.search(r'"python3", "-I"', line), line
