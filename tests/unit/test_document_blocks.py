"""Each block of commands, options and code in the documents is run, or checked, or somebody says why not."""

from __future__ import annotations

import re

import pytest

from tests import quickstart
from tests.documents import ledger
from tests.documents.blocks import ROOT, UNITS, all_blocks, block, blocks_of, pages
from tests.documents.checks import CHECKS
from tests.documents.ledger import Entry, entries

PLACES = {"fresh Debian": "tests/documents/test_fresh_debian.py"}
ENTRIES = entries()


def test_each_block_is_accounted_for() -> None:
    assert ledger.missing() == [], "tests/documents/ledger.toml says what is done with each block"


def test_what_was_run_is_what_is_written() -> None:
    """To the character. Run it again, then `python -m tests.documents.ledger` notes what it is now."""
    assert ledger.changed() == []


@pytest.mark.parametrize(
    "entry", [one for one in ENTRIES if one.check], ids=lambda one: f"{one.page}: {one.begins}"[:80]
)
def test_what_is_checked(entry: Entry) -> None:
    CHECKS[entry.check](entry.block.text)


def test_what_runs_them_is_there() -> None:
    """A file of tests takes its blocks from the documents, by the line that they begin with."""
    for entry in ENTRIES:
        if not entry.run or entry.run in PLACES:
            continue
        taken = re.findall(r'\bblock\("([^"]+)", "([^"]+)"\)', (ROOT / entry.run).read_text())
        assert entry.run == "tests/quickstart.py" or entry.block in [block(*one) for one in taken], entry
    assert all((ROOT / one).is_file() for one in PLACES.values())
    assert {entry.check for entry in ENTRIES} - {""} == CHECKS.keys()


def test_what_is_quoted_is_in_the_file_that_is_named() -> None:
    quoted = [one for one in all_blocks() if one.source not in ("", "docs/generate")]
    assert quoted
    for one in quoted:
        assert one.text in (ROOT / one.source).read_text(), one


def test_reasons_name_tests_that_there_are() -> None:
    for entry in ENTRIES:
        assert not entry.reason or entry.reason.endswith(".")
        for path in re.findall(r"tests/[\w/.]+\.py", entry.reason):
            assert (ROOT / path).is_file(), path


def test_what_a_reader_fills_in_is_a_place_for_it() -> None:
    for entry in ENTRIES:
        for theirs in entry.fill:
            assert theirs in entry.block.text, entry
            assert entry.told or re.search(r"…|[0-9a-f]{8}|\bexample\.", theirs), "a block is run as it is written"


def test_the_quick_start_is_the_block() -> None:
    assert block("README.md", quickstart.COMMAND).text == f"{quickstart.COMMAND}\n"
    commands = list(quickstart.PACKAGE_COMMANDS.values())
    assert block("README.md", commands[0]).commands == commands


def test_blocks_are_found_wherever_they_are() -> None:
    text = "a\n\n```sh\nls \\\n  -l\n\n  x\n```\n1. b\n\n   ~~~ toml\n   a = 1\n   ```\n   ~~~\n\n"
    text += "```{note}\nc\n```\n````\n```\n````\n"
    found = [(one.line, one.language, one.text) for one in blocks_of(text, "p")]
    assert found == [(3, "sh", "ls \\\n  -l\n\n  x\n"), (11, "toml", "a = 1\n```\n"), (19, "", "```\n")]
    with pytest.raises(ValueError, match="p:1: a block that does not end"):
        list(blocks_of("```sh\nls\n", "p"))
    assert {"README.md", "SECURITY.md", "docs/operating.md"} <= {*pages()}
    assert {one.page for one in all_blocks()} >= {*UNITS}


def test_a_character_makes_it_another_block(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry, *_) = [one for one in ENTRIES if one.run]
    assert entry.sum == entry.block.sum
    other = next(blocks_of(f"```sh\n{entry.block.text.rstrip()} \n```\n", entry.page))
    assert other.sum != entry.sum
