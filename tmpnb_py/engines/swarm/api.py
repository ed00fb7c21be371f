"""A Docker engine's HTTP API, call by call. Used by the Swarm engine for the manager and by a relay for its node.

Swarm's part of the API is small and needs whole documents (a service is updated with all of its specification), so
they are passed as the plain dictionaries that they are. Any number of calls may run at once; each is bounded in time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.engines.docker.host import DockerHost, explain, message_of, refusal, resolve, session

_LARGEST_ANSWER = 256 * 1024 * 1024  # 100,000 tasks


class EngineApi:
    """Calls one engine. `docker_host` None means `DOCKER_HOST`, else the usual socket; `seconds` bound calls."""

    def __init__(self, docker_host: str | None = None, *, seconds: float = 10.0) -> None:
        self._docker_host = docker_host
        self._seconds = seconds
        self._host: DockerHost | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Allow calls, also after `close`."""
        self._host = host = resolve(self._docker_host, os.environ)
        if self._session is None:
            self._session = session(host, self._seconds)

    async def close(self) -> None:
        """Give back every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def takes_connections(self, seconds: float) -> bool:
        """Whether the engine answers somebody who is new to it. One that stops serves old connections to the end."""
        host = resolve(self._docker_host, os.environ)
        try:
            async with session(host, seconds) as fresh:
                timeout = aiohttp.ClientTimeout(total=seconds)
                async with fresh.get(f"{host.base}/_ping", timeout=timeout) as response:
                    return response.status == 200
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            return False

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> Any:
        """The JSON of the answer, None where it has no content. Raises `EngineError`."""
        timeout = aiohttp.ClientTimeout(total=seconds or self._seconds)
        headers = {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        async with self._response(method, path, params=params, timeout=timeout, data=data, headers=headers) as got:
            content = bytearray()
            while len(content) < _LARGEST_ANSWER and (chunk := await got.content.readany()):
                content += chunk
            try:
                return json.loads(content) if content.strip() else None
            except ValueError as error:
                raise EngineDownError("the Docker engine sent something that is not its API") from error

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own kind
        data: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A response of any length (`docker.streams.OpenStream`); it is closed however much of it was read."""
        async with self._response(
            method, path, params=params, timeout=timeout, data=data, headers=headers
        ) as response:
            try:
                yield response
            finally:
                response.close()

    @contextlib.asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own kind
        data: AsyncIterator[bytes] | bytes | None,
        headers: Mapping[str, str] | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        host, session = self._host, self._session
        if host is None or session is None:
            raise EngineDownError("the connection to the Docker engine was closed", remedy="open it again")
        try:
            async with session.request(
                method, f"{host.base}/{path}", params=params, data=data, headers=headers, timeout=timeout
            ) as response:
                if response.status >= 400:
                    raise refusal(response.status, message_of(await response.read()))
                yield response
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise explain(host, error, doing=f"{method} {path}") from error
