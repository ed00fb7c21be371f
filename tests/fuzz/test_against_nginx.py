"""The same bytes, read by nginx: whatever the proxy passes on, nginx must read alike, or refuse.

Twice: nginx in the proxy's place, with the same bytes of a client; and nginx as the server that the proxy talks to.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.grammar import requests
from tests.fuzz.nginx import Lane, Recorder, nginx_lanes, send
from tests.fuzz.properties import Reading, reading, with_host
from tests.fuzz.smuggling import CORPUS, TARGET_SIZE
from tests.integration import proxy_support
from tests.integration.proxy_support import Rig
from tests.integration.test_proxy_fuzz import Call, run_examples
from tmpnb_py.core.links import Targets
from tmpnb_py.core.models import SocketAddress, TcpAddress

rig = proxy_support.rig

_LANES = 8
_EXAMPLES = 40
_IDS = ("a" * 26, "b" * 26)


class Reader:
    """One lane with the proxy: a container that records, and one that is nginx."""

    def __init__(self, number: int, rig: Rig, lane: Lane, recorder: Recorder) -> None:
        self._port = rig.port
        self._lane = lane
        self._recorder = recorder
        self._ids = tuple(f"{one}{number}" for one in _IDS)
        rig.claimed(self._ids[0], TcpAddress("127.0.0.1", recorder.port))
        rig.claimed(self._ids[1], SocketAddress(str(lane.behind.parent), lane.behind.name))

    async def check(self, message: bytes) -> int:
        """Compare all readings of a message; how many requests were passed on."""
        assert len(f"/user/{self._ids[0]}/x") == TARGET_SIZE
        direct, through = (
            message.replace(b"{}", f"/user/{one}/x".encode())
            + f"GET /user/{one}/x/end HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode()
            for one in self._ids
        )
        recorders = (self._recorder, self._lane.recorder_of_front, self._lane.recorder_of_behind)
        for recorder in recorders:
            recorder.requests.clear()
        _, (by_nginx, reset), _ = await asyncio.gather(
            send(self._port, direct), send(self._lane.front, direct), send(self._port, through)
        )
        assert self._recorder.malformed == self._lane.recorder_of_behind.malformed == []
        ours, theirs, chained = (self._readings(recorder) for recorder in recorders)
        if len(theirs) < len(ours):
            assert reset or _refused(by_nginx), (message, ours, theirs, by_nginx)
            assert theirs == ours[: len(theirs)], (message, ours, theirs)
        else:
            assert ours == theirs[: len(ours)], (message, ours, theirs)
        assert chained == [one for one in ours if not _refused_by_line(one)], (message, ours, chained)
        return len(ours)

    def _readings(self, recorder: Recorder) -> list[Reading]:
        found = []
        for request in recorder.requests:
            request.target, request.body = _of_first(request.target), _of_first(request.body)
            route = Targets().match(request.target)
            if route is not None and route.session_id == self._ids[0]:
                request.target = route.target
                found.append(with_host(reading(request)))
        return found


def _of_first(data: bytes) -> bytes:
    """As if it had been for the first of both containers; a body may break off in the midst of an id."""
    return re.sub(rb"/user/b+", lambda found: found[0].replace(b"b", b"a"), data)


def _refused(answers: bytes) -> bool:
    """Whether the last answer says that nginx read no further (it also closes after "Connection: closed")."""
    if b"\r\nConnection: close\r\n" in answers[answers.rfind(b"\r\nServer:") :]:
        return True
    statuses = re.findall(rb"^HTTP/1\.1 (\d\d\d) |<title>(\d\d\d) ", answers, re.MULTILINE)
    return bool(statuses) and max(statuses[-1]) >= b"400"


def _refused_by_line(one: Reading) -> bool:
    """nginx takes no method in lower case, no path with NUL or a broken escape, nor one that leads above the root."""
    path = one.target.partition(b"?")[0]
    broken = re.search(rb"%00|%(?![0-9A-Fa-f]{2})", path)
    return (
        re.search(rb"[^A-Z_-]", one.method) is not None
        or broken is not None
        or path.replace(b"%2e", b".").count(b"..") > 2
    )


@pytest.fixture
async def readers(rig: Rig, tmp_path: Path) -> AsyncIterator[list[Reader]]:
    """As many as run at the same time."""
    await rig.start()
    recorders = [Recorder() for _ in range(_LANES)]
    async with nginx_lanes(tmp_path, _LANES) as lanes:
        for recorder in recorders:
            await recorder.start()
        yield [
            Reader(number, rig, lane, recorder)
            for number, lane, recorder in zip(itertools.count(), lanes, recorders, strict=False)
        ]
        await rig.proxy.shut_down(0)
        for recorder in recorders:
            await recorder.stop()


async def test_known_smuggling(readers: list[Reader]) -> None:
    passed_on = 0
    for start in range(0, len(CORPUS), _LANES):
        checks = (one.check(message) for one, message in zip(readers, CORPUS[start:], strict=False))
        passed_on += sum(await asyncio.gather(*checks))
    assert passed_on > 50


async def test_generated_requests(readers: list[Reader]) -> None:
    passed_on: list[int] = []

    async def check(messages: list[bytes]) -> None:
        checks = (one.check(message) for one, message in zip(readers, messages, strict=True))
        passed_on.append(sum(await asyncio.gather(*checks)))

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        derandomize=True,
        phases=[Phase.generate],  # shrinking is for examples in memory: here each takes its milliseconds
    )
    @given(messages=st.lists(requests, min_size=_LANES, max_size=_LANES))
    def run(call: Call, messages: list[bytes]) -> None:
        call(check(messages))

    await run_examples(asyncio.get_running_loop(), run)
    assert sum(passed_on) > _EXAMPLES * _LANES / 2
