"""What the documents have their readers type, typed on a fresh Debian with systemd, Docker, a clone and the internet.

One machine for all, in the ledger's order: what one block makes the next one finds, as it is for a reader. Images are
built there as documented; nothing comes from the machine that tests run on.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents.ledger import Entry, entries_of
from tests.e2e import systemd_machine
from tests.e2e.systemd_machine import Machine

ENTRIES = entries_of("fresh Debian")
# These go on until somebody presses Ctrl-C.
ENDLESS = re.compile(r"tmpnb-py (serve\b|.* --watch\b|.* --preview\b)")
START_SECONDS, STOP_SECONDS = 2400.0, 60.0  # the first one builds the image
# What a network that re-signs TLS has its users set.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
AUTHOR = "git config --global user.name Somebody && git config --global user.email x@y.example"

pytestmark = [pytest.mark.long, pytest.mark.engine, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with systemd_machine.machine(Path(tempfile.mkdtemp(prefix="tmpnb-documents-"))) as machine:
        machine.connect()
        machine.clone()
        machine.must(AUTHOR)
        yield machine


def environment() -> dict[str, str]:
    """Of the shell that somebody types in."""
    given = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    given |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    return given | {name: str(CERTIFICATES) for name in ("PIP_CERT", "SSL_CERT_FILE")}


def typed(command: str, options: str) -> str:
    """A command in a unit of its own, as a login's are: with its own control groups, and in the clone."""
    given = " ".join(f"--setenv={name}={shlex.quote(value)}" for name, value in environment().items())
    where = f"--working-directory={systemd_machine.CLONE}"
    written = shlex.quote(command.replace("$", "$$"))  # systemd would expand variables, and takes two for one
    return f"systemd-run --quiet {options} {where} {given} sh -c {written}"


class GoesOn:
    """A command that does not end: systemd tells what it prints, and presses Ctrl-C."""

    count = 0

    def __init__(self, machine: Machine, command: str) -> None:
        GoesOn.count += 1
        self._machine, self._unit = machine, f"typed{GoesOn.count}"
        machine.must(typed(command, f"--unit={self._unit}"))

    def printed(self) -> str:
        return self._machine.must(f"journalctl --unit={self._unit} --no-pager --output=cat")

    def is_running(self) -> bool:
        return self._machine.run(f"systemctl is-active {self._unit}").returncode == 0

    def until(self, wanted: str) -> str:
        """Wait until it has printed this, stop it, and return all that it has printed."""
        deadline = time.monotonic() + START_SECONDS
        while not re.search(wanted, self.printed()):
            assert self.is_running(), f"it ended: {self.printed()[-4000:]}"
            assert time.monotonic() < deadline, f"it never printed {wanted}: {self.printed()[-4000:]}"
            time.sleep(0.2)
        self._machine.must(f"systemctl kill --signal=INT {self._unit}")
        deadline = time.monotonic() + STOP_SECONDS
        while self.is_running():
            assert time.monotonic() < deadline, f"it goes on after Ctrl-C: {self.printed()[-4000:]}"
            time.sleep(0.2)
        assert "Traceback" not in self.printed(), self.printed()[-4000:]
        return self.printed()


def filled(entry: Entry, text: str) -> str:
    """A text of the block with what its reader puts into it."""
    for theirs, ours in entry.fill.items():
        text = text.replace(theirs, ours)
    return text


def pattern(entry: Entry) -> str:
    """What is told as it is written in the document, but for what is another one's each time."""
    text = entry.block.text.rstrip()
    for number, theirs in enumerate(entry.fill):
        text = text.replace(theirs, f"\0{number}\0")
    text = re.escape(text)
    for number, ours in enumerate(entry.fill.values()):
        text = text.replace(re.escape(f"\0{number}\0"), ours)
    return text


def types(machine: Machine, entry: Entry, command: str) -> str:
    """Type one command. Returns what it prints."""
    if ENDLESS.search(command):
        assert entry.until, "the ledger tells what it prints before it is stopped"
        return GoesOn(machine, command).until(entry.until)
    if entry.answer:
        on_terminal = f"script --quiet --return --command {shlex.quote(command)} /dev/null"
        command = f"printf '%s\\n' {shlex.quote(entry.answer)} | {on_terminal}"
    return machine.must(typed(command, "--pipe --wait --collect"))


@pytest.fixture(scope="module")
def screen() -> list[str]:
    """What the block before has printed."""
    return [""]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda one: f"{one.page}: {one.begins}"[:80])
def test_it_works_as_it_is_written(machine: Machine, screen: list[str], entry: Entry) -> None:
    if entry.told:
        assert re.search(pattern(entry), screen[0]), screen[0]
        return
    if entry.before:
        machine.must(typed(entry.before, "--pipe --wait --collect"))
    if entry.file:
        machine.path(entry.file).write_text(filled(entry, entry.block.text))
        commands = [entry.then]
    else:
        commands = [filled(entry, one) for one in entry.block.commands]
    screen[0] = "".join(types(machine, entry, one) for one in commands)
    assert re.search(entry.shows, screen[0]), screen[0]
