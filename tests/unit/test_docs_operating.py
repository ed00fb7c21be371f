"""The operator's pages say what the program does: commands, exit codes, reloading, old names, links.

`docs/generate` writes the table of old names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.generated import DOCS, ROOT, Part
from tmpnb_py.cli.commands.bookings import COMMANDS as BOOKINGS
from tmpnb_py.cli.main import EXIT_CODES, cli
from tmpnb_py.core import errors
from tmpnb_py.options.declaration import Reload
from tmpnb_py.options.settings import OPTIONS
from tmpnb_py.options.tmpnb import LEGACY
from tmpnb_py.proxy.framing import MAX_HEADERS

PAGES = sorted(DOCS.glob("*.md"))
CODE = re.compile(r"`([^`\n]+)`")


def _leaves(group: click.Group, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, command in group.commands.items():
        found |= _leaves(command, f"{prefix}{name} ") if isinstance(command, click.Group) else {prefix + name}
    return found


def test_every_command_is_documented() -> None:
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", (DOCS / "commands.md").read_text(), re.MULTILINE)
    documented = {re.sub(r" [A-Z].*", "", code) for row in rows for code in CODE.findall(row)}
    assert _leaves(cli) <= documented


def _subclasses(cls: type[errors.TmpnbError]) -> Iterator[type[errors.TmpnbError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _subclasses(subclass)


def test_every_exit_code_is_documented() -> None:
    """In the page, and in each command's help, which says nothing of pipes."""
    codes = {0, 130, *(cls.exit_code for cls in _subclasses(errors.TmpnbError))}
    page = (DOCS / "commands.md").read_text().partition("\n## Exit codes\n")[2]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {*codes, 141}
    assert {int(code) for code in re.findall(r"\b\d+\b", EXIT_CODES)} == codes


def test_what_can_be_reloaded_is_documented() -> None:
    """The table's first row names what renews containers, the others what takes effect at once."""
    section = (DOCS / "operating.md").read_text().partition("## Changing options")[2].partition("\n## ")[0]
    renews, *others = re.findall(r"^\| (?!what changes|--).* \| (.*) \|$", section, re.MULTILINE)
    assert sorted(CODE.findall(renews)) == _declared(Reload.RENEW)
    assert sorted(CODE.findall(" ".join(others))) == _declared(Reload.AT_ONCE)


def _declared(reload: Reload) -> list[str]:
    return sorted(name for name, option in OPTIONS.items() if option.reload is reload)


def test_the_number_of_headers_is_documented() -> None:
    assert f"`max_head_size`, and {MAX_HEADERS} headers |" in (DOCS / "operating.md").read_text()


def _legacy_table() -> str:
    rows = ["| tmpnb's option | here |", "|---|---|"]
    rows += [f"| `{name}` | {legacy.note} |" for name, legacy in LEGACY.items()]
    return "\n".join(rows) + "\n"


PARTS = [Part(DOCS / "migrating.md", "legacy", _legacy_table)]


def test_every_old_name_is_documented() -> None:
    PARTS[0].check()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_commands_exist(page: Path) -> None:
    commands = [
        line for line in page.read_text().splitlines() if re.match(r"\s*(?:\S+/)?tmpnb-py (?!image)[a-z]", line)
    ]
    known = {option.flag for option in OPTIONS.values()} | {
        "--help",
        "--config",
        "--watch",
        "--json",
        "--template",
        "--plan",
        "--node",
        "--undo",
        *(one for command in BOOKINGS for parameter in command.params for one in parameter.opts),
    }
    for line in commands:
        words = line.partition("#")[0].partition("'")[0]
        for flag in re.findall(r"(?<!\S)--[a-z-]+", words):
            assert flag in known, line
