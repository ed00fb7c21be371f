"""Where a span stands: its trace, its id and whether it is recorded, as text by W3C Trace Context. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

# W3C Trace Context §3.2: version, trace id, parent id, flags; a later version may have more behind.
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_LENGTH = 55
_LONGEST = 512
_SAMPLED = 1


@dataclasses.dataclass(frozen=True, slots=True)
class SpanContext:
    """A span's place. Neither id is a secret: they say nothing of anybody."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As it is written in a header."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def read_traceparent(text: str) -> SpanContext | None:
    """A `traceparent`; None for what is none. Whoever calls this has decided to trust the sender."""
    found = _TRACEPARENT.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None or found[1] == "ff" or (found[1] == "00" and len(text) != _LENGTH):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    return SpanContext(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED)) if trace_id and span_id else None


def only_traceparent(values: Sequence[str]) -> SpanContext | None:
    """The same of a header's values: more than one of them are none. The caller trusts the sender."""
    return read_traceparent(values[0]) if len(values) == 1 else None
