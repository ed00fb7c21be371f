"""Pages' scripts as they are served: without their comments, and otherwise as they are written."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import tmpnb_py
from tests.engine_support import skip_or_fail
from tmpnb_py.web import assets
from tmpnb_py.web.templates import templates
from tmpnb_py.words.tags import tags
from tmpnb_py.words.words import words

FRONTEND = Path(tmpnb_py.__file__).parent / "frontend"
SCRIPTS = sorted(str(path.relative_to(FRONTEND)) for path in FRONTEND.rglob("*.js"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_only_lines_of_comments_are_left_out(name: str) -> None:
    source, served = assets.source(name), assets.script(name)
    assert "@param" not in served
    lines = iter(source.splitlines())
    kept = [line for line in served.splitlines() if any(line == one for one in lines)]
    assert kept == served.splitlines(), "what is served is lines of the source, in their order"


def test_what_is_left_are_scripts() -> None:
    node = shutil.which("node")
    if node is None:
        skip_or_fail("node is not installed (apt-get install npm)")
    served = {name: assets.script(name) for name in SCRIPTS if name != "live/renderer.js"}  # that is a module
    code = "for (const [name, code] of Object.entries(JSON.parse(fs.readFileSync(0)))) new vm.Script(code, name)"
    done = subprocess.run(
        [str(node), "-e", f"const fs = require('fs'), vm = require('vm');\n{code}"],
        input=json.dumps(served), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_at_its_top_what_it_is(name: str) -> None:
    """Who opens a file learns what it is for, and, directly or in the file that it names, where it runs."""
    first = assets.source(name).removeprefix('"use strict";\n')
    assert first.startswith("// "), name


def test_a_page_is_of_one_version_whatever_is_installed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Templates that are read when they are first asked for would be the next version's after a "pip install"."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("nothing is read after the start")

    monkeypatch.setattr(io, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    for tag in tags():
        environment = templates(tag).overlay(cache_size=0)
        assert "overflow.html" in environment.list_templates(["html"])
        for name in environment.list_templates(["html"]):
            if "/" not in name:
                environment.get_template(name)
        assert words(tag).gettext("Try again")
    assert assets.source("notes.css")
