"""`docs/options.md` says of every option exactly what the model says.

`python tests/unit/test_docs_options.py` writes the tables anew.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tmpnb_py.cli.main import EXIT_CODES
from tmpnb_py.core import errors
from tmpnb_py.core.units import parse_duration, parse_size
from tmpnb_py.options.declaration import Option
from tmpnb_py.options.settings import OPTIONS

PAGE = Path(__file__).parents[2] / "docs" / "options.md"
BEGIN, END = "<!-- options: begin -->\n", "<!-- options: end -->\n"


def _row(option: Option) -> str:
    choices = f" One of {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
    engines = f" Only with the engine {' or '.join(option.engines)}." if option.engines else ""
    meaning = f"{option.description}{choices}{engines}"
    return f"| `{option.flag}` | `{option.variable}` | `{option.default}` | {meaning} | {option.reload.value} |"


def _tables() -> str:
    parts = []
    for group, options in itertools.groupby(OPTIONS.values(), key=lambda option: option.group):
        rows = "\n".join(map(_row, options))
        parts.append(
            f"### {group}\n\n| option | variable | default | meaning | a change |\n|---|---|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def _with_tables(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{_tables()}\n{END}{after}"


def test_every_option_is_documented_as_it_is() -> None:
    page = PAGE.read_text()
    assert _with_tables(page) == page, f"run: python {Path(__file__).relative_to(PAGE.parents[1])}"


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option_has_a_sentence_that_fits_a_table(option: Option) -> None:
    assert option.description[0].isupper()
    assert option.description.endswith(".")
    assert option.default
    assert "|" not in option.description + option.default
    if option.kind in {"size", "duration"}:
        assert f"({option.kind}" in option.description


def _subclasses(cls: type[errors.TmpnbError]) -> Iterator[type[errors.TmpnbError]]:
    yield cls
    for subclass in cls.__subclasses__():
        yield from _subclasses(subclass)


def test_every_exit_code_is_documented() -> None:
    codes = {0, 130, *(cls.exit_code for cls in _subclasses(errors.TmpnbError))}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)} == codes
    assert {int(code) for code in re.findall(r"\b\d+\b", EXIT_CODES)} == codes


def test_the_units_in_the_page_are_understood() -> None:
    page = PAGE.read_text()
    sizes = re.search(r"^\*\*Sizes\*\*: (.*)$", page, re.MULTILINE)
    durations = re.search(r"^\*\*Durations\*\*: (.*)$", page, re.MULTILINE)
    assert sizes
    assert durations
    assert [parse_size(text) for text in re.findall(r"`(.*?)`", sizes[1])]
    assert [parse_duration(text) for text in re.findall(r"`(.*?)`", durations[1])]


if __name__ == "__main__":
    PAGE.write_text(_with_tables(PAGE.read_text()))
