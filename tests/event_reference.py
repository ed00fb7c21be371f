"""The log's events: as the code logs them (read from its syntax), as `docs/events.toml` says, and as a JSON Schema.

`docs/events.toml` is the source of the reference (`docs/events.md`) and of the schema (`docs/events.schema.json`):
`docs/generate` writes both, and `tests/unit/test_docs_events.py` holds it against the code.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from tmpnb_py.core.installation import PACKAGE

DOCS = Path(__file__).parents[1] / "docs"
SOURCE = DOCS / "events.toml"
SCHEMA = DOCS / "events.schema.json"
LEVELS = ("debug", "info", "warning", "error", "critical")

# Where the name of an event is not written where it is logged: what it can be.
INDIRECT = {
    "core.state_file": ("state_damaged", "state_of_another_version"),
    "engines.swarm.link.door": ("front_refused", "relay_refused"),
    "pools.configuration": ("notebooks_share_a_network", "notebooks_share_the_host"),
    "pools.journal": ("starting", "ready", "claimed", "removing", "removed"),
}
# Fields that are passed by `**`.
MORE = {
    "option_changed": {"pool"},
    "option_needs_restart": {"pool"},
    "reloaded": {"pool"},
    "removed": {"reason"},
    "removing": {"reason"},
    "session_ended": {"client"},
    "session_started": {"client"},
    "web_refused": {"host", "port"},
}
# What any line may have: of a service of several pools, of what is traced, of an error.
COMMON = ("pool", "trace_id", "span_id", "exception")


@dataclasses.dataclass
class Event:
    """An event: at which levels, with which fields always, and which sometimes."""

    levels: set[str]
    fields: set[str]
    may: set[str]


@functools.cache
def logged() -> dict[str, Event]:
    """Every event that the code logs. Raises `AssertionError` for one that cannot be told from its syntax."""
    found: dict[str, Event] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for call in _calls(ast.parse(path.read_text())):
            for name in _names(call, module):
                _add(found, name, call)
    return found


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            is_log = owner in ("log", "_log") or "get_logger" in owner
            if is_log and node.func.attr in (*LEVELS, "exception"):
                yield node


def _names(call: ast.Call, module: str) -> tuple[str, ...]:
    first = call.args[0]
    if isinstance(first, ast.Constant):
        return (str(first.value),)
    assert module in INDIRECT, f"{module}: say in INDIRECT which events {ast.unparse(call)} is"
    return INDIRECT[module]


def _add(found: dict[str, Event], name: str, call: ast.Call) -> None:
    assert isinstance(call.func, ast.Attribute)
    level = "error" if call.func.attr == "exception" else call.func.attr
    fields = {one.arg for one in call.keywords if one.arg not in (None, "exc_info")}
    more = MORE.get(name, set()) if any(one.arg is None for one in call.keywords) else set()
    here = Event({level}, {str(one) for one in fields}, set(more))
    known = found.setdefault(name, here)
    known.may |= here.may | (known.fields ^ here.fields)
    known.fields &= here.fields
    known.levels |= here.levels


@functools.cache
def documented() -> Mapping[str, Any]:
    """`docs/events.toml`, as it is."""
    return tomllib.loads(SOURCE.read_text())


def schema() -> dict[str, Any]:
    """A JSON Schema that each line of `--log-format json` fulfils. Other programs' loggers may say anything."""
    source = documented()
    kinds = {name: _kind(one) for name, one in source["fields"].items()}
    head = {
        "timestamp": {"type": "string", "format": "date-time"},
        "level": {"enum": list(LEVELS)},
        "logger": {"type": "string"},
        "event": {"type": "string"},
    }
    ours = {"properties": {"logger": {"pattern": r"^tmpnb_py(\.|$)"}}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A line of tmpnb-py's log (--log-format json)",
        "type": "object",
        "required": list(head),
        "properties": head,
        "if": ours,
        "then": {
            "properties": {"event": {"enum": sorted(source["events"])}},
            "allOf": [_case(name, one, kinds) for name, one in sorted(source["events"].items())],
        },
        "$defs": kinds,
    }


def _case(name: str, one: Mapping[str, Any], kinds: Mapping[str, Any]) -> dict[str, Any]:
    own = {field: {"type": kind} for field, kind in one.get("types", {}).items()}
    fields = [*one["fields"], *one.get("may", ()), *(field for field in COMMON if field in kinds)]
    said = {field: own.get(field, {"$ref": f"#/$defs/{field}"}) for field in dict.fromkeys(fields)}
    always = dict.fromkeys(("timestamp", "logger", "event"), True)
    return {
        "if": {"properties": {"event": {"const": name}}},
        "then": {
            "required": list(one["fields"]),
            "properties": {"level": {"enum": one["level"].split(" or ")}, **said, **always},
            "additionalProperties": False,
        },
    }


def schema_text() -> str:
    """The schema as it is written: an event is a line."""
    found = schema()
    cases, found["then"]["allOf"] = found["then"]["allOf"], ["CASES"]
    lines = ",\n".join("   " + json.dumps(one, ensure_ascii=False) for one in cases)
    return json.dumps(found, indent=1, ensure_ascii=False).replace('   "CASES"', lines) + "\n"


def _kind(one: Mapping[str, Any]) -> dict[str, Any]:
    kind = one["type"].split(" or ")
    if "strings" in kind:
        return {"type": "array", "items": {"type": "string"}, "description": one["is"]}
    return {"type": kind[0] if len(kind) == 1 else kind, "description": one["is"]}


@functools.cache
def _validators() -> Mapping[str, jsonschema.Draft202012Validator]:
    whole = schema()
    cases = {one["if"]["properties"]["event"]["const"]: one["then"] for one in whole["then"]["allOf"]}
    named = {name: {**one, "$defs": whole["$defs"]} for name, one in cases.items()}
    return {name: jsonschema.Draft202012Validator(one) for name, one in named.items()} | {
        "": jsonschema.Draft202012Validator(whole)
    }


def mistakes(line: Mapping[str, Any]) -> list[str]:
    """What is wrong with a line of the log, by the event's own part of the schema; empty where nothing is."""
    event, logger = line.get("event"), str(line.get("logger"))
    known = _validators()
    found = known.get(str(event), known[""]) if logger.startswith("tmpnb_py") and "timestamp" in line else known[""]
    return [f"{event}: {one.message}" for one in found.iter_errors(line)]
