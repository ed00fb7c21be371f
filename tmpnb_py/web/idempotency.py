"""Idempotency keys: a request that is sent twice with one key opens one ticket. Forms and the API call it `once`.

Our forms carry a key that was issued here, so that a button pressed twice, or a page loaded again, asks once. Scripts
make 128 random bits of their own. A key gives access to the ticket, so nobody must be able to guess one.

Where visits are traced, the key of a launch page is followed by the page's span, under a proof of its own: a visitor
can bring no other trace than one that was begun here for a page, and that for some minutes only.
"""

from __future__ import annotations

import re
import secrets
import time

from tmpnb_py.core.proofs import Purpose, is_proof, is_same, proof
from tmpnb_py.tracing.context import SpanContext, read_traceparent
from tmpnb_py.web.context import Context

_RANDOM_KEY = re.compile(r"[0-9a-f]{32}")
_ISSUED = 64  # characters of a key with its seal
# The span, when the page was made, and the proof of both.
_PAGE = re.compile(r"-([0-9a-f-]{55})-([0-9]{1,12})-([0-9a-f]{32})", re.ASCII)
_PAGE_SECONDS = 300


def issue(context: Context) -> str:
    """A new key for a form that is about to be shown."""
    key = secrets.token_hex(16)
    return f"{key}{proof(context.secret, Purpose.TICKET, key)}"


def accepted(context: Context, once: str) -> str:
    """The key in `once` if it was issued here, or is 128 random bits that a script made; otherwise "".

    Our scripts are the same file for everybody, also on pages of other sites, so they cannot carry an issued key.
    """
    if _RANDOM_KEY.fullmatch(once):
        return once
    key, seal = once[:32], once[32:_ISSUED]
    if once[_ISSUED:] and not _PAGE.fullmatch(once, _ISSUED):
        return ""
    return key if is_proof(seal, context.secret, Purpose.TICKET, key) else ""


def issue_of_page(context: Context, span: SpanContext | None) -> str:
    """A new key for the form of the page with this span."""
    key = issue(context)
    if span is None:
        return key
    said = f"{span.traceparent}-{int(time.time())}"
    return f"{key}-{said}-{_page_proof(context, key, said)}"


def page_of(context: Context, once: str) -> SpanContext | None:
    """The span of the page whose form has brought this; None where it says none, or long ago."""
    found = _PAGE.fullmatch(once, _ISSUED) if context.tracing is not None else None
    if found is None or not 0 <= time.time() - int(found[2]) <= _PAGE_SECONDS:
        return None
    said = f"{found[1]}-{found[2]}"
    is_ours = is_same(found[3], _page_proof(context, once[:_ISSUED], said))
    return read_traceparent(found[1]) if is_ours else None


def _page_proof(context: Context, key: str, said: str) -> str:
    return proof(context.secret, Purpose.TRACE, f"{key} {said}")
