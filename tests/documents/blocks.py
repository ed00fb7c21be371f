"""The blocks of the documents, as their readers see them. Pure."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNITS = ("packaging/tmpnb-py.service", "packaging/tmpnb-py.socket")  # their heads are documents, too
_FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>.*)$")
_MARK = re.compile(r"<!-- \w+: (begin|end) -->$")
_QUOTED = re.compile(r"<!-- from: (\S+) -->$")
_DIRECTIVE = re.compile(r"\{(?!code|code-block\})[\w:-]+\}")  # of the site of documentation: no code in it


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A block with its document, relative to the repository, the line it begins at, and its language ("" if none).

    `source` is the file that a comment says it is quoted from, or `docs/generate`, which has written it; else "".
    """

    page: str
    line: int
    language: str
    text: str
    source: str = ""

    @property
    def begins(self) -> str:
        """Its first line that says anything, which names it within its page."""
        return next(line for line in map(str.strip, self.text.splitlines()) if len(line) > 2)

    @property
    def sum(self) -> str:
        """Of every character of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def commands(self) -> list[str]:
        """The lines of shell, continued ones as one."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.begins}"


def pages() -> list[str]:
    """All documents but the changelog, which speaks of what was."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted(str(one.relative_to(ROOT)) for one in found if one.name != "CHANGELOG.md")


def blocks_of(text: str, page: str) -> Iterator[Block]:
    """The fenced blocks of a document. Raises `ValueError` for one that does not end."""
    lines = iter(enumerate(text.splitlines(), 1))
    generated = quoted = ""
    for number, line in lines:
        opened = _FENCE.match(line)
        if opened is None:
            mark = _MARK.match(line)
            generated = {"begin": "docs/generate", "end": ""}[mark[1]] if mark else generated
            quoted = named[1] if (named := _QUOTED.match(line)) else ""
            continue
        fence, indent, inside = opened["fence"], len(opened["indent"]), []
        for _, one in lines:
            if one.strip().startswith(fence) and not one.strip().strip(fence[0]):
                break
            inside.append(one[indent:] if not one[:indent].strip() else one)
        else:
            raise ValueError(f"{page}:{number}: a block that does not end")
        language = opened["info"].strip()
        if not _DIRECTIVE.match(language):
            language = language.removeprefix("{code-block}").strip()
            yield Block(page, number, language, "\n".join(inside) + "\n", source=quoted or generated)


def head_of(unit: str) -> Block:
    """The commands in the head of a unit for systemd, in their order."""
    head = (ROOT / unit).read_text().partition("[Unit]")[0]
    lines = re.findall(r"^#   (\S.*)$", head, re.MULTILINE)
    return Block(unit, 1, "sh", "".join(f"{line}\n" for line in lines))


@functools.cache
def all_blocks() -> tuple[Block, ...]:
    """Every block of every document."""
    found = [one for page in pages() for one in blocks_of((ROOT / page).read_text(), page)]
    return (*found, *map(head_of, UNITS))


def block(page: str, begins: str) -> Block:
    """The block of a page that begins with this line, or as no other one does."""
    there = [one for one in all_blocks() if one.page == page]
    (found,) = [one for one in there if one.begins == begins] or [
        one for one in there if one.begins.startswith(begins)
    ]
    return found
