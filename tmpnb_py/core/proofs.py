"""Proofs that this service, or somebody with a certain secret, made something. Pure.

Each is an HMAC (RFC 2104) over its purpose and its subject, so that a proof for one purpose is invalid for another.
Proofs made with a session's token outlive the process, as the token does; their form must not change, because
visitors' cookies hold them. Those made with the secret of the state directory outlive a reboot, as people have the
links. The others are made with a secret of this process.
"""

from __future__ import annotations

import enum
import hmac


class Purpose(enum.StrEnum):
    """What a proof is for, and in brackets which secret it is made with."""

    COOKIE = "cookie"  # a browser was given this session (the session's token)
    ENTRANCE = "entrance"  # a browser may be let in at this session's own host, once (the session's token)
    HOST = "host"  # a browser was let in at this session's own host (the session's token)
    PAGE = "page"  # a page may use this session (the session's token)
    TICKET = "ticket"  # a ticket's idempotency key was made here (the process's)
    TRACE = "trace"  # a page of ours has this span (the process's)
    ADDRESS = "address"  # stands for the address that a notebook counts for (the process's)
    CLASS = "class"  # opens a notebook of a class (the state directory's)
    TEACHER = "teacher"  # opens the page of a class's teacher (the state directory's)
    MEMBER = "member"  # stands for a notebook that was given away to a class (the state directory's)


def proof(secret: bytes | str, purpose: Purpose, subject: str) -> str:
    """128 bits as 32 hexadecimal digits."""
    key = secret.encode() if isinstance(secret, str) else secret
    return hmac.digest(key, f"tmpnb {purpose} {subject}".encode(), "sha256").hex()[:32]


def is_proof(shown: str, secret: bytes | str, purpose: Purpose, subject: str) -> bool:
    """Whether what somebody shows is the proof."""
    return is_same(shown, proof(secret, purpose, subject))


def is_same(shown: str, expected: str) -> bool:
    """Compare in constant time. What is shown may be any bytes, as aiohttp decodes headers."""
    return hmac.compare_digest(shown.encode(errors="surrogateescape"), expected.encode())
