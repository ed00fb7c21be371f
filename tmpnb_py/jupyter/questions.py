"""Asks a notebook server whether it is ready, and whether work is going on in it.

Used by the reconciler (while a container starts), by the claims (is it still there?) and by the reaper. Answers
come from a container and are hostile: they are validated, and bounded in time and size.
"""

from __future__ import annotations

import asyncio
import heapq
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal, cast

import aiohttp
import pydantic

from tmpnb_py.core.errors import LACK_REMEDY, FailureClass, LackError, StartFailedError, is_our_lack
from tmpnb_py.core.log_cleaning import clean_lines
from tmpnb_py.core.models import Address, ContainerSpec
from tmpnb_py.core.tasks import event_or_time
from tmpnb_py.core.warm import WarmState
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.jupyter.http import http_session
from tmpnb_py.jupyter.report import Report

_FIRST_INTERVAL = 0.02
_LAST_INTERVAL = 0.25
_QUESTION_SECONDS = 5.0
_PROBE_SECONDS = 2.0
_MAX_ANSWER = 1024 * 1024
_MAX_WARM_ANSWER = 64 * 1024
_LONGEST_PROBLEM = 500
_MOST_MOMENTS = (
    100  # of kernels, and of terminals: 1 MB could hold 24,000, and each is compared with the pages' doings
)


class NoAnswerError(Exception):
    """The notebook server did not answer, or not like a notebook server."""


class _Terminal(pydantic.BaseModel):
    last_activity: pydantic.AwareDatetime | None = None


class _Kernel(_Terminal):
    execution_state: str = ""


_KERNELS = pydantic.TypeAdapter(list[_Kernel])
_TERMINALS = pydantic.TypeAdapter(list[_Terminal])


async def wait_until_ready(
    address: Address, spec: ContainerSpec, *, timeout_seconds: float, died: asyncio.Event
) -> Endpoint:
    """Poll `{base_path}api` with a growing interval until it answers 200 (decision 5).

    Time during which this process lacks the resources to ask does not count. Raises `StartFailedError`: "does not
    answer" at the deadline, "exits at once" as soon as `died` is set.
    """
    deadline = time.monotonic() + timeout_seconds
    interval = _FIRST_INTERVAL
    while time.monotonic() < deadline:
        asked_at = time.monotonic()
        try:
            endpoint = await _answering(address, spec)
        except LackError:
            endpoint = None
            deadline += time.monotonic() - asked_at + interval
        if endpoint is not None:
            return endpoint
        if await event_or_time(died, interval):
            raise StartFailedError("the container exited before it answered", FailureClass.EXITS_AT_ONCE)
        interval = min(_LAST_INTERVAL, interval * 1.3)
    raise StartFailedError(
        f"no answer on {spec.base_path}api within {timeout_seconds:g} s", FailureClass.NOT_ANSWERING
    )


async def _answering(address: Address, spec: ContainerSpec) -> Endpoint | None:
    try:
        endpoint = Endpoint(address)
    except OSError:
        return None  # the server has not created its socket yet
    try:
        status, _ = await _ask(endpoint, f"{spec.base_path}api", spec.token, _PROBE_SECONDS)
    except NoAnswerError as error:
        endpoint.close()
        _raise_our_lack(error)
        return None
    except BaseException:
        endpoint.close()
        raise
    if status == 200:
        return endpoint
    endpoint.close()
    return None


async def accepts(endpoint: Endpoint) -> bool:
    """Whether the server still listens. A dead one refuses at once.

    Raises `LackError` if this process lacks the resources to find out.
    """
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await endpoint.connect(_Probe)
    except BlockingIOError:
        return True  # unix(7): the backlog is full, so it listens
    except OSError as error:  # TimeoutError is one
        _raise_our_lack(error)
        return False
    return True


def _raise_our_lack(error: Exception) -> None:
    if is_our_lack(error):
        raise LackError("no file descriptor or memory is left to dial a notebook", remedy=LACK_REMEDY) from error


class _Probe(asyncio.Protocol):
    """Connects and disconnects."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


async def report(endpoint: Endpoint, base_path: str, token: str) -> Report:
    """Ask what kernels and terminals are doing. Raises `NoAnswerError`, and `LackError` if it could not ask.

    Uses `no_track_activity=1`: otherwise the request itself would count as activity (Jupyter Server's API).
    """
    kernels = _KERNELS.validate_json(await _api(endpoint, base_path, "kernels", token))
    try:
        terminals = _TERMINALS.validate_json(await _api(endpoint, base_path, "terminals", token))
    except NoAnswerError:
        terminals = []  # terminals may be disabled
    return Report(
        busy=any(kernel.execution_state == "busy" for kernel in kernels),
        kernels=_moments(kernels),
        terminals=_moments(terminals),
    )


def _moments(workers: Sequence[_Terminal]) -> tuple[float, ...]:
    """When each was last active, on the monotonic clock; only the newest if there are very many."""
    offset = time.monotonic() - time.time()
    found = [one.last_activity.timestamp() + offset for one in workers if one.last_activity is not None]
    return tuple(heapq.nlargest(_MOST_MOMENTS, found))


async def _api(endpoint: Endpoint, base_path: str, name: str, token: str) -> bytes:
    path = f"{base_path}api/{name}?no_track_activity=1"
    try:
        status, body = await _ask(endpoint, path, token, _QUESTION_SECONDS)
    except NoAnswerError as error:
        _raise_our_lack(error)
        raise
    if status != 200:
        raise NoAnswerError(f"{name}: status {status}")
    return body


class _Warm(pydantic.BaseModel):
    name: Annotated[str, pydantic.Field(max_length=64)]
    state: Literal["starting", "ready", "taken", "failed", "ended"]
    problem: Annotated[str, pydantic.Field(max_length=4096)] = ""


class _WarmAnswer(pydantic.BaseModel):
    kernels: Annotated[list[_Warm], pydantic.Field(max_length=64)]


async def warm_states(
    endpoint: Endpoint, base_path: str, token: str, kernels: Sequence[str]
) -> tuple[WarmState, ...]:
    """Ask how far a server is with these kernels, which it was told to start before a visitor comes.

    Kernels that it was not told of are ignored, and what it says of a problem is cleaned and cut. Raises
    `NoAnswerError`, and `LackError` if it could not ask.
    """
    path = f"{base_path}api/tmpnb/warm?no_track_activity=1"
    try:
        status, body = await _ask(endpoint, path, token, _PROBE_SECONDS, most=_MAX_WARM_ANSWER)
    except NoAnswerError as error:
        _raise_our_lack(error)
        raise
    if status == 404:
        return tuple(WarmState(name, problem="the image starts no kernels ahead") for name in kernels)
    if status != 200:
        raise NoAnswerError(f"warm: status {status}")
    try:
        told = {one.name: one for one in _WarmAnswer.model_validate_json(body).kernels}
    except ValueError as error:
        raise NoAnswerError("warm: not the answer that was expected") from error
    return tuple(_warm_state(name, told.get(name), token) for name in kernels)


def _warm_state(name: str, told: _Warm | None, token: str) -> WarmState:
    if told is None:
        return WarmState(name, problem="the server does not know of it")
    if told.state in ("failed", "ended"):
        problem = " ".join(clean_lines(told.problem.splitlines(), [token]))[:_LONGEST_PROBLEM]
        return WarmState(name, problem=problem or f"it {told.state}, and the server does not say why")
    if told.state == "taken":
        return WarmState(name, problem="it was taken before a visitor came")
    return WarmState(name, is_ready=told.state == "ready")


async def begin_in(endpoint: Endpoint, base_path: str, token: str, folder: str) -> bool:
    """Make kernels without a document of the visitor's start in `folder`. Returns whether the server supports that.

    Only our own images do (`tmpnb_folder`). No-op for others, and if the server does not answer.
    """
    path = f"{base_path}tmpnb/folder?no_track_activity=1&path={urllib.parse.quote(folder, safe='')}"
    try:
        status, _ = await _ask(endpoint, path, token, _PROBE_SECONDS, method="PUT")
    except NoAnswerError:
        return False
    return status == 204


async def lacks(endpoint: Endpoint, base_path: str, token: str, document: str) -> bool:
    """Whether a notebook server confirms that it has no such file or folder. False if it does not answer."""
    expected = {urllib.parse.quote(document): 404, "": 200}  # the second rules out servers without a contents API
    try:
        for name, answer in expected.items():
            path = f"{base_path}api/contents/{name}?content=0&no_track_activity=1"
            status, _ = await _ask(endpoint, path, token, _PROBE_SECONDS)
            if status != answer:
                return False
    except NoAnswerError:
        return False
    return True


async def _ask(
    endpoint: Endpoint, path: str, token: str, seconds: float, *, method: str = "GET", most: int = _MAX_ANSWER
) -> tuple[int, bytes]:
    try:
        async with (
            http_session(endpoint, token, seconds=seconds) as session,
            session.request(method, path, allow_redirects=False) as response,
        ):
            body = await _bounded(response.content.readany, most)
            return response.status, body
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error


async def _bounded(read: Callable[[], Awaitable[bytes]], most: int) -> bytes:
    body = b""
    while part := await read():
        body += part
        if len(body) > most:
            raise NoAnswerError("the answer is too long")
    return body
