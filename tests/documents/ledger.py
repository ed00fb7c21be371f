"""The ledger: what is done with each block.

`python -m tests.documents.ledger` writes the checksums anew, after the blocks that have changed were run.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic

from tests.documents.blocks import Block, all_blocks, block

PATH = Path(__file__).parent / "ledger.toml"
Words = Annotated[str, pydantic.StringConstraints(min_length=3)]


class Entry(pydantic.BaseModel):
    """One block: it is run, or checked, or both; or a reason tells why neither."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    page: Words
    begins: str
    run: str = ""
    """Where it is run: a file of tests, or one of the `PLACES`."""
    check: str = ""
    """The name of the check in `checks.py` that it passes in the unit tests."""
    reason: str = ""
    """Why it is neither run nor checked."""
    sum: str = ""
    """Of the block as it was when it was run, or when the reason was written."""

    # For those that a place runs:
    before: str = ""
    """Shell that makes what the text around the block says there is."""
    fill: Mapping[str, str] = {}
    """What the reader puts in another one's place: their own token for "…". The values may be commands: $(…)."""
    file: str = ""
    """Where it is written, for a block that is a file and no command."""
    then: str = ""
    """The command that reads the file."""
    told: bool = False
    """It is what the entry before prints. Values of `fill` are regular expressions then."""
    until: str = ""
    """What a command of it that does not end prints (a regular expression) before Ctrl-C stops it."""
    shows: str = ""
    """What it prints, as a regular expression."""
    answer: str = ""
    """What the reader answers to a question, on a terminal."""

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Entry:
        if bool(self.run or self.check) == bool(self.reason):
            raise ValueError(f"{self.page}: {self.begins}: tell run or check, or a reason")
        if bool(self.file) != bool(self.then):
            raise ValueError(f"{self.page}: {self.begins}: tell which command reads the file")
        for one in (self.until, self.shows):
            re.compile(one)
        return self

    @property
    def block(self) -> Block:
        """The block itself."""
        return block(self.page, self.begins)

    @property
    def has_sum(self) -> bool:
        """Whether somebody has to look when it changes: what is only checked is checked each time."""
        return not self.check or bool(self.run)


def entries() -> list[Entry]:
    """All of them, in their order, which is that of running them."""
    read: dict[str, Any] = tomllib.loads(PATH.read_text())
    return [Entry.model_validate(one) for one in read["block"]]


def entries_of(place: str) -> list[Entry]:
    """Those that are run in a place."""
    return [one for one in entries() if one.run == place]


def missing() -> list[str]:
    """Blocks that no entry, or more than one, is about; and entries of no block."""
    known = [(one.page, one.begins) for one in entries()]
    theirs = [one for one in all_blocks() if not one.source]
    there = [(one.page, one.begins) for one in theirs]
    twice = [f"{page}: {begins}: twice" for page, begins in {*known} if known.count((page, begins)) > 1]
    twice += [f"{page}: {begins}: two blocks" for page, begins in {*there} if there.count((page, begins)) > 1]
    unknown = [f"{one}: not in the ledger" for one in theirs if (one.page, one.begins) not in known]
    return [
        *twice,
        *unknown,
        *(f"{page}: {begins}: no such block" for page, begins in known if (page, begins) not in there),
    ]


def changed() -> list[str]:
    """Blocks that differ, be it by one character, from what was run, or from what a reason was written for."""
    return [str(one.block) for one in entries() if one.has_sum and one.sum != one.block.sum]


def write_sums() -> None:
    """Note all blocks as they are now."""
    parts = re.split(r"(?m)^(?=\[\[block\]\]$)", PATH.read_text())
    written = [parts[0]]
    for part, entry in zip(parts[1:], entries(), strict=True):
        head, begins, rest = re.split(r"(?m)^(begins = .*\n)", re.sub(r'(?m)^sum = ".*"\n', "", part))
        written += [head, begins, f'sum = "{entry.block.sum}"\n' if entry.has_sum else "", rest]
    PATH.write_text("".join(written))


if __name__ == "__main__":
    write_sums()
