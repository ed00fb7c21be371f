"""Making what a container wrote fit to be shown to an operator. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_TOKENS = re.compile(r"(?i)((?:token|password|secret)[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;]+")
_LONGEST_LINE = 400


def clean_lines(lines: Iterable[str], secrets: Iterable[str] = ()) -> tuple[str, ...]:
    """Log lines without terminal escapes, control characters and tokens, each at most 400 characters long."""
    known = [secret for secret in secrets if secret]
    return tuple(line for line in (_clean(line, known) for line in lines) if line)


def _clean(line: str, secrets: list[str]) -> str:
    line = _ESCAPES.sub("", line)
    line = "".join(char if char.isprintable() else " " for char in line).strip()
    for secret in secrets:
        line = line.replace(secret, "[removed]")
    line = _TOKENS.sub(r"\1[removed]", line)
    return line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "…"
