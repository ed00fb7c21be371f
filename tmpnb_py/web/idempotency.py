"""Idempotency keys: a request that is sent twice with one key opens one ticket. Forms and the API call it `once`.

Our forms carry a key that was issued here, so that a button pressed twice, or a page loaded again, asks once. Scripts
make 128 random bits of their own. A key gives access to the ticket, so nobody must be able to guess one.
"""

from __future__ import annotations

import re
import secrets

from tmpnb_py.core.proofs import Purpose, is_proof, proof
from tmpnb_py.web.context import Context

_RANDOM_KEY = re.compile(r"[0-9a-f]{32}")


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
    key, seal = once[:32], once[32:]
    return key if is_proof(seal, context.secret, Purpose.TICKET, key) else ""
