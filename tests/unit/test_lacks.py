"""What this process lacks is told from what others do: never an engine's fault, and never a container's."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from tmpnb_py.core.errors import EngineDownError, EngineError, FailureClass, LackError, StartFailedError, is_our_lack
from tmpnb_py.core.models import ContainerConfig, ContainerSpec, Egress, ImageFacts, TcpAddress, Transport
from tmpnb_py.engines.docker import host
from tmpnb_py.engines.local.engine import LocalEngine
from tmpnb_py.jupyter import questions
from tmpnb_py.jupyter.endpoint import Endpoint

HOST = host.DockerHost("unix:///x", "unix://x")
KEY = ConnectionKey("x", 1, False, True, None, None, None)


def wrapped(number: int) -> Exception:
    """As aiohttp raises it, and as somebody passes it on."""
    error = aiohttp.ClientConnectorError(KEY, OSError(number, os.strerror(number)))
    passed_on = RuntimeError("passed on")
    passed_on.__cause__ = error
    return passed_on


@pytest.mark.parametrize(
    ("number", "ours", "unsent"),
    [
        (errno.EMFILE, True, True),
        (errno.ENFILE, True, True),
        (errno.ENOMEM, True, False),
        (errno.ENOBUFS, True, False),
        (errno.ECONNREFUSED, False, False),
        (errno.ENOENT, False, False),
        (errno.EAGAIN, False, False),
        (errno.ENOSPC, False, False),
    ],
)
def test_which_errors_are_our_own(number: int, ours: bool, unsent: bool) -> None:
    for error in (OSError(number, "x"), wrapped(number)):
        assert is_our_lack(error) == ours
        assert is_our_lack(error, unsent=True) == unsent
        explained = host.explain(HOST, error, doing="list")
        assert isinstance(explained, LackError) == unsent, "the engine may have been asked otherwise"
        assert isinstance(explained, EngineDownError) != unsent
    assert not is_our_lack(TimeoutError())


class _Lacking(Endpoint):
    def __init__(self, number: int) -> None:
        super().__init__(TcpAddress("127.0.0.1", 1))
        self._number = number

    async def connect(self, factory: object) -> None:  # type: ignore[override]
        del factory
        raise OSError(self._number, os.strerror(self._number))


async def test_who_listens_is_not_judged_by_what_we_lack() -> None:
    with pytest.raises(LackError):
        await questions.accepts(_Lacking(errno.EMFILE))
    assert not await questions.accepts(_Lacking(errno.ECONNREFUSED))
    assert await questions.accepts(_Lacking(errno.EAGAIN)), "its backlog is full, so it listens"


async def test_time_without_descriptors_is_no_time_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    config = ContainerConfig(ImageFacts("x", "x"), "", Transport.PORT, Egress.NONE, 1, 0, 1, 1, 1, 1)
    spec, asked = ContainerSpec("a", "", config), 0

    async def ask(*_: object) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.2)
        if asked < 6:
            raise questions.NoAnswerError("x") from OSError(errno.EMFILE, "Too many open files")
        return 200, b""

    monkeypatch.setattr(questions, "_ask", ask)
    address, died = TcpAddress("127.0.0.1", 1), asyncio.Event()
    endpoint = await questions.wait_until_ready(address, spec, timeout_seconds=1, died=died)
    endpoint.close()
    assert asked == 6

    async def silent(*_: object) -> tuple[int, bytes]:
        raise questions.NoAnswerError("x")

    monkeypatch.setattr(questions, "_ask", silent)
    with pytest.raises(StartFailedError) as failed:
        await questions.wait_until_ready(address, spec, timeout_seconds=0.1, died=died)
    assert failed.value.failure is FailureClass.NOT_ANSWERING


@pytest.mark.parametrize(("number", "ours"), [(errno.EMFILE, True), (errno.ENOSPC, False)])
async def test_the_local_engine_tells_its_own_lack(tmp_path: Path, number: int, ours: bool) -> None:
    engine = LocalEngine(pool="p", runtime_dir=tmp_path, workshop_directory=tmp_path, sandbox=None)
    engine._records.make()

    def fails() -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(EngineError) as raised:
        await engine._work(fails)
    assert isinstance(raised.value, LackError) == ours
    assert not isinstance(raised.value, EngineDownError)
