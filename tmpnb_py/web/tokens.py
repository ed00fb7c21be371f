"""Tokens that requests show: the operator's, and those of sessions."""

from __future__ import annotations

from collections.abc import Mapping


def presented_token(headers: Mapping[str, str]) -> str:
    """The token of an `Authorization: token …` (tmpnb's and Jupyter's form) or `Bearer …` header."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("token", "bearer") else ""
