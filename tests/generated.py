"""The parts of the documentation that the program writes: tables of options, metrics, commands, the API's fields.

They stand in the pages between two comments, so that GitHub, a clone and the site show the same. The program is their
one source: tests compare them with it, and `docs/generate` (`python -m tests.generated`) writes them anew.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# Each has a list PARTS.
MODULES = (
    "tests.unit.test_docs_api_reference",
    "tests.unit.test_docs_commands",
    "tests.unit.test_docs_events",
    "tests.unit.test_docs_metrics",
    "tests.unit.test_docs_operating",
    "tests.unit.test_docs_options",
)


@dataclasses.dataclass(frozen=True)
class Part:
    """What stands in `page` between the comments `<!-- NAME: begin -->` and `<!-- NAME: end -->`."""

    page: Path
    name: str
    make: Callable[[], str]

    def check(self) -> None:
        """Fail where the page has anything else."""
        text = self.page.read_text()
        assert self._in(text) == text, "run: docs/generate"

    def write(self) -> None:
        """Bring the page up to date."""
        self.page.write_text(self._in(self.page.read_text()))

    def _in(self, text: str) -> str:
        begin, end = (f"<!-- {self.name}: {which} -->\n" for which in ("begin", "end"))
        assert text.count(begin) == text.count(end) == 1, f"{self.page.name} has no place for {self.name}"
        before, rest = text.split(begin)
        return f"{before}{begin}\n{self.make()}\n{end}{rest.partition(end)[2]}"


@dataclasses.dataclass(frozen=True)
class Whole:
    """A file that is all written by the program."""

    file: Path
    make: Callable[[], str]

    def check(self) -> None:
        """Fail where the file is anything else."""
        assert self.file.read_text() == self.make(), "run: docs/generate"

    def write(self) -> None:
        """Bring the file up to date."""
        self.file.write_text(self.make())


def main() -> None:
    """Write every part."""
    for module in MODULES:
        for part in importlib.import_module(module).PARTS:
            part.write()


if __name__ == "__main__":
    main()
