"""`docs/options.md` says of every option exactly what the model says; `docs/generate` writes its tables."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.generated import DOCS, Part
from tmpnb_py.core.units import parse_duration, parse_size
from tmpnb_py.options.declaration import Option, Tables
from tmpnb_py.options.settings import OPTIONS

PAGE = DOCS / "options.md"


def _row(option: Option) -> str:
    choices = f" One of {', '.join(f'`{choice}`' for choice in option.choices)}." if option.choices else ""
    engines = f" Only with the engine {' or '.join(option.engines)}." if option.engines else ""
    meaning = f"{option.description}{choices}{engines}"
    names = f"`{option.flag}` | `{option.variable}`"
    if option.tables is Tables.ONLY:
        names = f"`{option.name}` | `TMPNB_POOLS__<NAME>__{option.name.upper()}`"
    pools = "" if option.tables is Tables.NONE else option.tables.value
    return f"| {names} | `{option.default}` | {meaning} | {option.reload.value} | {pools} |"


def _tables() -> str:
    parts = []
    for group, options in itertools.groupby(OPTIONS.values(), key=lambda option: option.group):
        rows = "\n".join(map(_row, options))
        head = "| option | variable | default | meaning | a change | pools |\n|---|---|---|---|---|---|"
        parts.append(f"### {group}\n\n{head}\n{rows}\n")
    return "\n".join(parts)


PARTS = [Part(PAGE, "options", _tables)]


def test_every_option_is_documented_as_it_is() -> None:
    PARTS[0].check()


@pytest.mark.parametrize("option", OPTIONS.values(), ids=OPTIONS)
def test_every_option_has_a_sentence_that_fits_a_table(option: Option) -> None:
    assert option.description[0].isupper()
    assert option.description.endswith(".")
    assert option.default
    assert "|" not in option.description + option.default
    if option.kind in {"size", "duration"}:
        assert f"({option.kind}" in option.description


def test_the_units_in_the_page_are_understood() -> None:
    page = PAGE.read_text()
    sizes = re.search(r"^\*\*Sizes\*\*: (.*)$", page, re.MULTILINE)
    durations = re.search(r"^\*\*Durations\*\*: (.*)$", page, re.MULTILINE)
    assert sizes
    assert durations
    assert [parse_size(text) for text in re.findall(r"`(.*?)`", sizes[1])]
    assert [parse_duration(text) for text in re.findall(r"`(.*?)`", durations[1])]
