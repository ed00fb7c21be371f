"""Idempotency keys: a request that is sent twice with one key opens one ticket. Forms and the API call it `once`.

Our forms carry a key that was issued here, so that a button pressed twice, or a page loaded again, asks once. Scripts
make 128 random bits of their own. A key gives access to the ticket, so nobody must be able to guess one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from tmpnb_py.web.context import Context

_RANDOM_KEY = re.compile(r"[0-9a-f]{32}")


def issue(context: Context) -> str:
    """A new key for a form that is about to be shown."""
    key = secrets.token_hex(16)
    return f"{key}{_seal(context, key)}"


def accepted(context: Context, once: str) -> str:
    """The key in `once` if it was issued here, or is 128 random bits that a script made; otherwise "".

    Our scripts are the same file for everybody, also on pages of other sites, so they cannot carry an issued key.
    """
    if _RANDOM_KEY.fullmatch(once):
        return once
    key, seal = once[:32], once[32:]
    is_ours = hmac.compare_digest(_seal(context, key).encode(), seal.encode())
    return key if is_ours else ""


def _seal(context: Context, key: str) -> str:
    return hmac.new(context.secret, key.encode(), hashlib.sha256).hexdigest()[:32]
