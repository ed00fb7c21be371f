"""Proofs: separate for each purpose, and as they are in visitors' cookies."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from tmpnb_py.core.proofs import Purpose, is_proof, is_same, proof


@pytest.mark.parametrize("purpose", [Purpose.COOKIE, Purpose.PAGE])
def test_what_cookies_and_pages_hold_keeps_its_form(purpose: Purpose) -> None:
    """Written by every version so far: a service that is replaced takes its visitors' cookies up."""
    expected = hmac.new(b"t0ken", f"tmpnb {purpose.value} abc".encode(), hashlib.sha256).hexdigest()[:32]
    assert proof("t0ken", purpose, "abc") == expected
    assert (Purpose.COOKIE.value, Purpose.PAGE.value) == ("cookie", "page")


def test_a_proof_is_for_one_secret_one_purpose_and_one_subject() -> None:
    made = {proof(secret, purpose, text) for secret in (b"a", b"b") for purpose in Purpose for text in ("1", "2")}
    assert len(made) == 2 * len(Purpose) * 2


def test_only_the_proof_itself_is_taken() -> None:
    shown = proof(b"secret", Purpose.TICKET, "name")
    assert is_proof(shown, b"secret", Purpose.TICKET, "name")
    for other in ("", shown[:-1], shown.upper(), shown + "0", "\udcff", "é"):
        assert not is_proof(other, b"secret", Purpose.TICKET, "name")


def test_any_bytes_of_a_header_can_be_compared() -> None:
    assert is_same("token", "token")
    assert not is_same("\udce9", "token")
