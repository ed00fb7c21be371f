"""The connection to a Docker engine: one HTTP session for aiodocker's short calls and for long streams.

Used by the Docker engine only, from any number of tasks at once. It connects at the first call, and translates the
exceptions of aiohttp and aiodocker into this program's errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping

import aiodocker
import aiohttp

from tmpnb_py.core.errors import EngineDownError
from tmpnb_py.engines.docker.host import (
    NOT_UNDERSTOOD,
    DockerHost,
    RefusedError,
    explain,
    message_of,
    not_an_engine,
    not_understood,
    refusal,
    refuse_podman,
    resolve,
    session,
)


class Connection:
    """`docker_host` None means `DOCKER_HOST`, else the usual socket. `call_timeout` (seconds) bounds short calls."""

    def __init__(self, docker_host: str | None, call_timeout: float) -> None:
        self._docker_host = docker_host
        self._call_timeout = call_timeout
        self._host: DockerHost | None = None
        self._session: aiohttp.ClientSession | None = None
        self._client: aiodocker.Docker | None = None
        self.is_closed = False

    @contextlib.asynccontextmanager
    async def opening(self) -> AsyncIterator[DockerHost]:
        """Connect and check the version. Within, an answer that is not Docker's raises `EngineDownError`."""
        self.is_closed = False
        host, client = self._connect()
        client.api_version = "auto"  # the engine may have been upgraded since the last time
        try:
            async with self._bounded("version"):
                version = await client.version()
            refuse_podman(host, version)
            yield host
        except NOT_UNDERSTOOD as error:
            raise not_an_engine(host, "it does not speak Docker's API") from error
        except RefusedError as error:
            raise not_an_engine(host, error) from error

    async def close(self) -> None:
        """Close the session. Calls fail with `EngineDownError` until the next `opening`."""
        self.is_closed = True
        client, self._client = self._client, None
        session, self._session = self._session, None
        if client is not None:
            await client.close()
        if session is not None:
            await session.close()

    def _connect(self) -> tuple[DockerHost, aiodocker.Docker]:
        if self.is_closed:
            raise EngineDownError("the connection to the Docker engine was closed")
        if self._host is None:
            self._host = resolve(self._docker_host, os.environ)
        if self._client is None:
            self._session = session(self._host, self._call_timeout)
            connector = self._session.connector
            self._client = aiodocker.Docker(url=self._host.base, connector=connector, session=self._session)
        return self._host, self._client

    @contextlib.asynccontextmanager
    async def calling(self, doing: str, seconds: float | None = None) -> AsyncIterator[aiodocker.Docker]:
        """Yield the client for a bounded time. Translates its exceptions into this program's errors."""
        try:
            async with self._bounded(doing, seconds) as client:
                yield client
        except NOT_UNDERSTOOD as error:
            raise not_understood(error, doing) from error

    @contextlib.asynccontextmanager
    async def _bounded(self, doing: str, seconds: float | None = None) -> AsyncIterator[aiodocker.Docker]:
        """`calling`, but for answers that are not understood."""
        host, client = self._connect()
        try:
            async with asyncio.timeout(seconds or self._call_timeout):
                yield client
        except aiodocker.DockerError as error:
            if error.status == 900:  # aiodocker's own, for "cannot connect"
                raise explain(host, error, doing=doing) from error
            raise refusal(error.status, error.message) from error
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise explain(host, error, doing=doing) from error

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
        """Yield a response of any length; close it on exit, however much of it was read."""
        host, client = self._connect()
        if client.api_version == "auto":
            async with self.calling("version"):
                await client.version()
        url = f"{host.base}/{client.api_version}/{path}"
        try:
            async with client.session.request(
                method, url, params=params, data=data, headers=headers, timeout=timeout
            ) as response:
                try:
                    if response.status >= 400:
                        raise refusal(response.status, message_of(await response.read()))
                    yield response
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError) as error:
            raise explain(host, error, doing=path) from error
        except NOT_UNDERSTOOD as error:
            raise not_understood(error, path) from error
        except RuntimeError as error:  # how aiohttp says "Session is closed"
            if client.session.closed:
                raise EngineDownError("the connection to the Docker engine was closed") from error
            raise
