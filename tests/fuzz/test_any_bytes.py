"""Thousands of messages through the real proxy, in memory, put together by hypothesis from pieces of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.grammar import cuts, requests, responses
from tests.fuzz.memory import TARGET, Memory
from tests.fuzz.properties import check_request_bytes, check_response_bytes, check_tunnel
from tests.integration.test_proxy_fuzz import REQUEST_PIECES, RESPONSE_PIECES, messages

_SETTINGS = settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop that is used by many examples in turn."""
    with asyncio.Runner() as runner:
        yield runner


def test_any_request_bytes_in_any_split(runner: asyncio.Runner) -> None:
    async def make() -> Memory:
        return Memory(max_head_size=4096)

    memory = runner.run(make())

    @_SETTINGS
    @given(st.one_of(requests, requests, requests, messages(REQUEST_PIECES)), cuts)
    @example(
        b"PUT {} HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: a\r\n\r\n", [1] * 99
    )
    @example(b"POST {} HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx\r\n\r\n", [1] * 200)
    @example(b"POST {} HTTP/0.1\r\nHost: t\r\nX\nHost: t\r\n\r\n", [1] * 60)
    def run(data: bytes, sizes: list[int]) -> None:
        runner.run(check_request_bytes(memory, data.replace(b"{}", TARGET), sizes))

    run()


def test_any_response_bytes_in_any_split(runner: asyncio.Runner) -> None:
    async def make() -> Memory:
        return Memory()

    memory = runner.run(make())

    @_SETTINGS
    @given(
        st.one_of(responses, responses, responses, messages(RESPONSE_PIECES)),
        cuts,
        st.sampled_from([b"GET", b"GET", b"HEAD"]),
        st.booleans(),
    )
    def run(data: bytes, sizes: list[int], method: bytes, old: bool) -> None:
        runner.run(check_response_bytes(memory, data, sizes, method, old=old))

    run()


def test_a_tunnel_passes_any_bytes_however_its_ends_stall(runner: asyncio.Runner) -> None:
    async def make() -> Memory:
        return Memory()

    memory = runner.run(make())
    step = st.tuples(
        st.sampled_from(["client", "container"]), st.binary(max_size=40) | st.just(b"\x81\x85mask.") | st.just(b"")
    )
    endings = ["client ends", "client resets", "container ends", "container resets"]

    @settings(_SETTINGS, max_examples=300)
    @given(st.lists(step, max_size=20), st.sampled_from(endings))
    @example([("client", b"x" * 200_000), ("container", b""), ("client", b"y" * 200_000)], "client ends")
    def run(steps: list[tuple[str, bytes]], ending: str) -> None:
        runner.run(check_tunnel(memory, steps, ending))

    run()
