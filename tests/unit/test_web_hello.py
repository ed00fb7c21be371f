"""The name in the beginning of TLS."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmpnb_py.egress.hello import NotTlsError, server_name


def hello(name: str | None) -> bytes:
    """What a client sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        handshake.do_handshake()
    return outgoing.read()


def test_the_name_is_read_however_it_is_cut() -> None:
    data = hello("PyPI.org")
    assert server_name(data) == "pypi.org"
    assert server_name(data + b"more") == "pypi.org"
    assert all(server_name(data[:size]) is None for size in range(0, len(data), 16))


def test_no_name() -> None:
    assert server_name(hello(None)) == ""


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 64])
def test_what_is_not_tls(data: bytes) -> None:
    with pytest.raises(NotTlsError):
        server_name(data)


def test_what_never_ends() -> None:
    with pytest.raises(NotTlsError):
        server_name(hello("a.example")[:9] + b"\0" * (1 << 17))


@given(data=st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(NotTlsError):
        assert server_name(data) in (None, "")
