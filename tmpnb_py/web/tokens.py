"""Tokens in requests: the operator's and those of sessions."""

from __future__ import annotations

import hmac
from collections.abc import Mapping


def presented_token(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: token …` (tmpnb's and Jupyter's form) or `Bearer …` header."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("token", "bearer") else ""


def same_token(presented: str, expected: str) -> bool:
    """Compare in constant time. `presented` may stand for any bytes, as aiohttp decodes headers."""
    return hmac.compare_digest(presented.encode(errors="surrogateescape"), expected.encode())
