"""What can be said of a block without running it. Each check raises, or fails, for a block with a mistake."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.documents.blocks import ROOT
from tests.engine_support import skip_or_fail
from tmpnb_py.core.errors import SettingsError
from tmpnb_py.engines.docker import options as labels
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import read_settings
from tmpnb_py.shared_files import ahead
from tmpnb_py.shared_files.tree import SharedFile, Tree
from tmpnb_py.web.api.schema import BuildEvent, Spawned, TicketState
from tmpnb_py.words.words import words
from tmpnb_py.workshops import manifest

_OURS = "https://notebooks.example.org/"
_FRONTEND = ROOT / "tmpnb_py" / "frontend"
_SCRIPTS = "".join(path.read_text() for path in _FRONTEND.rglob("*.js"))
_MANIFEST = manifest.read_file(ROOT / "workshop_image" / "workshops" / "workshops.toml")
_ADDRESSES = {"live.js", "frame.js", *(f"workshops/{one.slug}/" for one in _MANIFEST.workshops)}
_VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "source"}
_DIRECTIVES = {"connect-src", "frame-src", "img-src", "script-src"}


def options(text: str) -> None:
    """A file of options that can be read, without a warning."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tmpnb-py.toml")
        path.write_text(text)
        loaded = read_settings({}, {}, str(path))
    assert not loaded.warnings
    assert loaded.origins or loaded.settings.tables


def workshops(text: str) -> None:
    """A manifest of workshops."""
    assert manifest.parse(text).workshops


def label(text: str) -> None:
    """Lines of a Dockerfile with labels, each of which the program understands."""
    for line in text.splitlines():
        word, *given = shlex.split(line)
        assert word == "LABEL"
        for one in given:
            name, _, value = one.partition("=")
            without, found = (
                labels.facts_of("", {"Id": "", "Config": {"Labels": said}}) for said in ({}, {name: value})
            )
            assert found != without, line


def prometheus(text: str) -> None:
    """A configuration of Prometheus, to its own tool."""
    if shutil.which("promtool") is None:
        skip_or_fail("promtool is not installed (apt-get install prometheus)")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "prometheus.yml")
        path.write_text(text)
        done = subprocess.run(
            ["promtool", "check", "config", str(path)], capture_output=True, text=True, check=False, timeout=30
        )
    assert done.returncode == 0, done.stdout + done.stderr


def event_stream(text: str) -> None:
    """Events as a server sends them (HTML, 9.2): fields that there are, data in JSON."""
    for event in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in event.splitlines())
        assert fields.keys() <= {"id", "data", "event", "retry"}
        said = json.loads(fields["data"])
        assert said == BuildEvent.model_validate(said).model_dump(exclude_none=True)


def spawned(text: str) -> None:
    """What a program gets with its notebook: all fields, and no other."""
    said = json.loads(text)
    assert list(said) == list(Spawned.model_fields)
    Spawned.model_validate(said)


def ticket(text: str) -> None:
    """A place in line, in the words that its visitor is told."""
    said = json.loads(text)
    assert list(said) == list(TicketState.model_fields)
    TicketState.model_validate(said)
    before = words().ngettext("One visitor is before you.", "{count} visitors are before you.", said["position"] - 1)
    assert said["message"].startswith(before)


def files_ahead(text: str) -> None:
    """An image's list of files to fetch ahead, of which none is left out."""
    said = json.loads(text)
    names = [one.partition("?")[0] for listed in said.values() for one in listed]
    read = ahead.read(text.encode(), Tree({name: SharedFile("ab" * 32, 1) for name in names}), "")
    assert said == {"page": list(read.page), "notebook": list(read.notebook)}


def entry_point(text: str) -> None:
    """What another package declares for its engine."""
    ((group, declared),) = tomllib.loads(text)["project"]["entry-points"].items()
    assert group == "tmpnb_py.engines"
    assert all(re.fullmatch(r"[\w.]+:\w+", one) for one in declared.values())


def engine(text: str) -> None:
    """The example of another package's engine: what it chooses, and what it says if it cannot."""
    made: list[Any] = []
    names: dict[str, Any] = {"TheirEngine": lambda *given, **more: made.append((given, more))}
    exec(compile(text, "docs/developing.md", "exec"), names)
    chosen = asyncio.run(names["choose"](Settings(), {"THEIR_CLUSTER": "c1"}, None))
    chosen.make("r")
    assert made == [(("c1",), {"pool": "r"})]
    assert chosen.adapt(Settings()) == Settings()
    with pytest.raises(SettingsError, match="THEIR_CLUSTER"):
        asyncio.run(names["choose"](Settings(), {}, None))


class _Balanced(HTMLParser):
    """Raises for an end tag that ends nothing, and has the ones that are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"<{tag}> says something twice"
        for name, value in given.items():
            # An attribute of ours is one that the scripts read, and an address of ours one that there is.
            assert not name.startswith("data-") or name in _SCRIPTS or f"dataset.{name[5:]}" in _SCRIPTS, name
            address = (value or "").removeprefix(_OURS)
            assert address == (value or "") or address in _ADDRESSES, value
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag


def html(text: str) -> None:
    """A page, or a part of one, in which all that is opened is closed."""
    parser = _Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []


def policy(text: str) -> None:
    """A policy for another site's page (Content-Security-Policy)."""
    for one in filter(str.strip, text.split(";")):
        directive, *sources = one.split()
        assert directive in _DIRECTIVES
        assert sources
        assert all(re.fullmatch(r"(https|wss)://[\w.]+|data:", source) for source in sources), one


CHECKS: dict[str, Callable[[str], None]] = {
    "content security policy": policy,
    "engine": engine,
    "entry point": entry_point,
    "event stream": event_stream,
    "files ahead": files_ahead,
    "html": html,
    "label": label,
    "options": options,
    "prometheus": prometheus,
    "spawned": spawned,
    "ticket": ticket,
    "workshops": workshops,
}
