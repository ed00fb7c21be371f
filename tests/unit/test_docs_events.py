"""The log's events are documented exactly as they are logged, and a JSON Schema says the same.

`docs/generate` writes `docs/events.md` and `docs/events.schema.json` anew from `docs/events.toml`; that is written by
hand, and this holds it against the code, in both directions.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.event_reference import (
    COMMON,
    INDIRECT,
    LEVELS,
    MORE,
    SCHEMA,
    documented,
    logged,
    mistakes,
    schema_text,
)
from tests.generated import DOCS, Part, Whole
from tmpnb_py.core.installation import PACKAGE


def _row(name: str, one: dict[str, Any]) -> str:
    fields = [f"`{field}`" for field in one["fields"]] + [f"(`{field}`)" for field in one.get("may", ())]
    return f"| `{name}` | {one['level']} | {', '.join(fields) or '-'} | {one['is']} | {one.get('do', '-')} |"


def _tables() -> str:
    source = documented()
    rows = ["| event | level | fields | when | what to do |", "|---|---|---|---|---|"]
    rows += [_row(name, one) for name, one in sorted(source["events"].items())]
    fields = ["| field | type | meaning |", "|---|---|---|"]
    fields += [f"| `{name}` | {one['type']} | {one['is']} |" for name, one in sorted(source["fields"].items())]
    return "\n".join([*rows, "", "## Fields", "", *fields]) + "\n"


PARTS = [Part(DOCS / "events.md", "events", _tables), Whole(SCHEMA, schema_text)]


# --- the code and its documentation


def test_every_event_is_documented_and_every_documented_one_is_logged() -> None:
    assert logged().keys() == documented()["events"].keys()


@pytest.mark.parametrize("name", sorted(logged()))
def test_an_event_has_the_level_and_the_fields_that_it_is_said_to_have(name: str) -> None:
    code, told = logged()[name], documented()["events"][name]
    assert told["level"].split(" or ") == [level for level in LEVELS if level in code.levels]
    assert told["fields"] == sorted(code.fields)
    assert told.get("may", []) == sorted(code.may)
    assert told["is"].endswith(".")
    assert told.get("do", ".").endswith((".", "`"))


def test_what_goes_wrong_says_what_to_do() -> None:
    events = documented()["events"]
    without = {name for name, one in events.items() if "error" in one["level"] or "critical" in one["level"]}
    assert not {name for name in without if "do" not in events[name]}


def test_every_field_is_documented_and_used() -> None:
    used = {field for one in logged().values() for field in one.fields | one.may} | set(COMMON)
    assert documented()["fields"].keys() == used


def test_what_is_said_of_calls_without_a_name_is_so() -> None:
    """An event whose name is put together elsewhere is written in that module, or is made of a name there."""
    for module, names in INDIRECT.items():
        source = (PACKAGE / (module.replace(".", "/") + ".py")).read_text()
        for name in names:
            assert f'"{name}"' in source or "_refused" in source, name
    assert MORE.keys() <= logged().keys()


# --- the reference and the schema


@pytest.mark.parametrize("part", PARTS, ids=["page", "schema"])
def test_the_reference_is_up_to_date(part: Part | Whole) -> None:
    part.check()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


LINE = {"timestamp": "2026-01-01T00:00:00Z", "level": "info", "logger": "tmpnb_py.pools.journal", "event": "ready"}
GOOD = {**LINE, "id": "a", "pool": "tmpnb", "duration": 0.5}


@pytest.mark.parametrize(
    "line",
    [
        GOOD,
        {**GOOD, "trace_id": "a" * 32, "span_id": "b" * 16},
        {**LINE, "logger": "asyncio", "event": "anything at all", "level": "error"},
        {**LINE, "event": "state_damaged", "level": "error", "file": "/a", "hint": "b", "kept": "/c"},
        {**LINE, "event": "stopped", "pool": "tmpnb", "kept": 3, "duration": 1.5},
    ],
)
def test_the_schema_takes_what_is_logged(line: dict[str, Any]) -> None:
    assert mistakes(line) == []


@pytest.mark.parametrize(
    "line",
    [
        {**GOOD, "event": "made_up"},
        {**GOOD, "level": "error"},
        {**GOOD, "duration": "long"},
        {**GOOD, "another": 1},
        {name: value for name, value in GOOD.items() if name != "id"},
        {name: value for name, value in GOOD.items() if name != "timestamp"},
    ],
)
def test_the_schema_refuses_what_is_not(line: dict[str, Any]) -> None:
    assert mistakes(line)
