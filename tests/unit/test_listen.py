"""Which sockets an address means, and what is said where there can be none."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.ports import needs_ipv6
from tmpnb_py.core.errors import ListenError
from tmpnb_py.service import listen


@contextlib.contextmanager
def bound(host: str, port: int = 0) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in listen.bound(host, port)]


@needs_ipv6
def test_two_colons_are_both_kinds_at_one_port() -> None:
    with bound("::") as sockets:
        assert [one.family for one in sockets] == [socket.AF_INET, socket.AF_INET6]
        assert len({one.getsockname()[1] for one in sockets}) == 1
        assert sockets[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        for one, address in zip(sockets, ("127.0.0.1", "::1"), strict=True):
            one.listen()
            with socket.create_connection((address, one.getsockname()[1])):
                peer = one.accept()[0]
                assert peer.getpeername()[0] == address  # no ::ffff:127.0.0.1
                peer.close()


@needs_ipv6
@pytest.mark.parametrize("name", ["localhost"])
def test_all_addresses_of_a_name_have_one_port(name: str) -> None:
    with bound(name) as sockets:
        assert len({one.getsockname()[1] for one in sockets}) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_one_address_is_one_socket(host: str) -> None:
    with bound(host) as (one,):
        assert one.getsockname()[0] == host


@needs_ipv6
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_what_somebody_has_at_one_of_them_is_taken(family: int, address: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match="is taken"), listen.explained("port", "::", port):
            listen.bound("::", port)


def _without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket.bind

    def bind(self: socket.socket, address: tuple[str, int]) -> None:
        if self.family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        real(self, address)

    monkeypatch.setattr(socket.socket, "bind", bind)


def test_a_machine_without_ipv6_can_listen_on_a_name_that_has_both(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_ipv6(monkeypatch)
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: both)
    with bound("localhost") as (one,):
        assert one.getsockname()[0] == "127.0.0.1"


def test_a_machine_without_ipv6_says_so_where_ipv6_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    _without_ipv6(monkeypatch)
    with pytest.raises(ListenError) as refused, listen.explained("port", "::", 0):
        listen.bound("::", 0)
    assert "0.0.0.0 is all of IPv4" in refused.value.remedy


def test_a_port_that_is_free_at_one_address_only_is_not_the_kernels_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second address refuses the first three ports that the kernel picks for the first."""
    real = socket.socket.bind
    refused: list[tuple[str, int]] = []

    def bind(self: socket.socket, address: tuple[str, int]) -> None:
        if address[1] and len(refused) < 3:
            refused.append(address)
            raise OSError(errno.EADDRINUSE, "Address already in use")
        real(self, address)

    monkeypatch.setattr(socket.socket, "bind", bind)
    two = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", 0)) for number in (1, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: two)
    with bound("twice") as sockets:
        assert len({one.getsockname()[1] for one in sockets}) == 1
    assert len(refused) == 3


def test_a_resolver_that_does_not_answer_holds_up_neither_the_start_nor_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(listen, "_RESOLVER_SECONDS", 0.1)
    monkeypatch.setattr(socket, "getfqdn", lambda name: f"{name}.example" if answers.wait(20) else name)
    began = time.monotonic()
    names = asyncio.run(listen.own_names())
    assert time.monotonic() - began < 10
    assert socket.gethostname() in names
    assert f"{socket.gethostname()}.example" not in names
    answers.set()
    assert f"{socket.gethostname()}.example" in asyncio.run(listen.own_names())
